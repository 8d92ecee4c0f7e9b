"""How an image is called in a certificate."""

from dataclasses import dataclass

__all__ = ["ImageName", "Place"]

Place = tuple[str, int, int]
"""Collection, part and row: where a run has an image."""


@dataclass(frozen=True, slots=True)
class ImageName:
    """An image: its name in its dataset, the SHA-256 of its bytes (empty where it has none), its place, its label."""

    name: str
    sha256: str
    place: Place
    label: str | None = None
