"""What the web's servers answer: routes by URL, and the bytes behind them in files named by their digest."""

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path

__all__ = ["Route", "Site"]


@dataclass(frozen=True, slots=True)
class Route:
    """One answer."""

    status: int = 200
    content_type: str | None = None
    body: str = ""
    """Name of a file in `bodies`; empty for an answer without a body."""
    location: str | None = None
    delay: float = 0.0
    """Seconds before the first byte."""
    stalls: bool = False
    """Whether it stops half way and never ends."""


class Site:
    """All routes of the web: filled by `add`, kept in a folder by `save`."""

    def __init__(self, folder: Path, routes: dict[str, Route] | None = None) -> None:
        self.folder = folder
        self.routes = routes or {}

    def add(
        self,
        url: str,
        data: bytes = b"",
        *,
        status: int = 200,
        content_type: str | None = None,
        location: str | None = None,
        delay: float = 0.0,
        stalls: bool = False,
    ) -> None:
        """Answer a URL, which has no answer yet, with these bytes."""
        assert url not in self.routes, f"{url} is planted twice"
        name = ""
        if data:
            name = hashlib.sha256(data).hexdigest()[:32]
            path = self.folder / "bodies" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
        self.routes[url] = Route(status, content_type, name, location, delay, stalls)

    def body(self, route: Route) -> bytes:
        """The bytes of an answer."""
        return (self.folder / "bodies" / route.body).read_bytes() if route.body else b""

    def save(self) -> None:
        """Write `routes.json` beside the bodies."""
        routes = {url: asdict(route) for url, route in self.routes.items()}
        (self.folder / "routes.json").write_text(json.dumps(routes, indent=0), encoding="utf-8")

    @classmethod
    def load(cls, folder: Path) -> "Site":
        """Read what `save` wrote."""
        routes = json.loads((folder / "routes.json").read_text(encoding="utf-8"))
        return cls(folder, {url: Route(**fields) for url, fields in routes.items()})
