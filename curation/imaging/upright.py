"""Images as upright JPEG: what an orientation tag says is done to the picture, so that no reader has to know of it."""

from typing import Any

from curation.config import ImageConfig
from curation.drops import Dropped
from curation.imaging.decode import Header, decode_image, encode_jpeg, identify
from curation.imaging.metadata import BrokenFileError, strip_metadata

try:
    import turbojpeg
except ImportError:  # no wheel for this platform: turned images are then encoded anew
    turbojpeg = None

__all__ = ["upright_jpeg"]

TURNS = {2: "HFLIP", 3: "ROT180", 4: "VFLIP", 5: "TRANSPOSE", 6: "ROT90", 7: "TRANSVERSE", 8: "ROT270"}
"""EXIF orientation -> what makes the picture upright."""


def upright_jpeg(data: bytes, limits: ImageConfig, quality: int) -> bytes | Dropped:
    """JPEG bytes of the picture as it is shown, without an orientation tag.

    JPEG bytes that have no turn to be made are given back as they came. Those that have are turned without loss, by
    moving their blocks of coefficients, where the picture is whole blocks at the edges that become its top and left;
    what is not the picture (EXIF, XMP) goes, the colour profile stays. All else is decoded as `decode_image` has it
    and encoded at `quality`.
    """
    header = identify(data)
    if isinstance(header, Dropped):
        return header
    if header.format in ("JPEG", "MPO"):
        if header.orientation == 1:
            return data
        if (turned := _turned(data, header)) is not None:
            return turned
    image = decode_image(data, limits)
    return image if isinstance(image, Dropped) else encode_jpeg(image, quality)


def _turned(data: bytes, header: Header) -> bytes | None:
    """The JPEG with its blocks moved; None where that cannot be done without loss."""
    if turbojpeg is None:
        return None
    try:
        picture = strip_metadata(data, header.format, 1)
        operation: Any = getattr(turbojpeg.OP, TURNS[header.orientation])
        return bytes(turbojpeg.transform(picture, op=operation, perfect=True))
    except (BrokenFileError, RuntimeError):  # RuntimeError: blocks are cut at an edge, or libjpeg finds damage
        return None
