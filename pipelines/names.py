"""Names for datasets that are given without one."""

import re
from collections.abc import Sequence
from pathlib import Path

__all__ = ["named"]


def named(datasets: Sequence[str]) -> list[tuple[str, str]]:
    """Each dataset with a name from its last path component, made unique by a number."""
    named: dict[str, str] = {}
    for data in datasets:
        stem = re.sub("[^A-Za-z0-9]+", "-", Path(data.rstrip("/")).stem)[:90].strip("-") or "set"
        name = next(name for name in (stem, *(f"{stem}-{n}" for n in range(2, 10_000))) if name not in named)
        named[name] = data
    return list(named.items())
