"""What pages are made of: pictures within the page, one image's outline in another, and text that stays text."""

import base64
import html
from collections.abc import Sequence
from typing import Protocol

import numpy as np

from curation.imaging.decode import Header, identify

__all__ = ["Transform", "data_uri", "drawing", "outline", "shown"]


class Transform(Protocol):
    """How a first image lies in a second; see `curation.imaging.matching.Match`."""

    @property
    def mirrored(self) -> bool: ...

    @property
    def transform(self) -> tuple[float, ...]: ...


def drawing(jpeg: bytes, outlines: Sequence[str] = ()) -> str:
    """A picture with polygons over it, whose points are shares of its sides."""
    header = identify(jpeg)
    assert isinstance(header, Header), "made by this program"
    uri = data_uri(jpeg, "jpeg")
    lines = "".join(f'<polygon points="{outline}"/>' for outline in outlines)
    return (
        f'<svg width="{header.width}" height="{header.height}" viewBox="0 0 1 1" preserveAspectRatio="none">'
        f'<image href="{uri}" width="1" height="1" preserveAspectRatio="none"/>{lines}</svg>'
    )


def outline(match: Transform, *, inverse: bool = False) -> str:
    """The corners of the first image within the second, as shares of its sides; or those of the second in it."""
    corners = np.array([[0.0, 0.0], [1.0, 0.0], [1.0, 1.0], [0.0, 1.0]])
    affine = np.array(match.transform).reshape(2, 3)
    if inverse:
        corners = (corners - affine[:, 2]) @ np.linalg.pinv(affine[:, :2]).T
        if match.mirrored:
            corners[:, 0] = 1 - corners[:, 0]
    else:
        corners = corners @ affine[:, :2].T + affine[:, 2]
    return " ".join(f"{x:.4f},{y:.4f}" for x, y in np.clip(corners, -9, 9).tolist())


def data_uri(data: bytes, kind: str) -> str:
    """A picture as an address that holds it."""
    return f"data:image/{kind};base64,{base64.b64encode(data).decode()}"


def shown(value: object, *, lines: bool = False) -> str:
    """Text that is shown and never read as markup; what does not print is shown as its code."""
    safe = (char if char.isprintable() or (lines and char == "\n") else f"\\u{ord(char):04x}" for char in str(value))
    return html.escape("".join(safe))
