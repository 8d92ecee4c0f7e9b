"""The form in which an image's bytes are stored: as they came, without their metadata, or scaled down."""

import hashlib
from dataclasses import dataclass

from curation.config import ImageConfig
from curation.drops import Dropped, DropReason
from curation.imaging.decode import Header, holds_metadata, identify, scale_down
from curation.imaging.metadata import FORMATS, BrokenFileError, strip_metadata

__all__ = ["Storable", "storable", "storage_settings"]


@dataclass(frozen=True, slots=True)
class Storable:
    """Bytes to be stored, and what is known of them."""

    data: bytes
    header: Header
    sha256: bytes


def storage_settings(image: ImageConfig) -> dict[str, object]:
    """The settings that decide which bytes are stored."""
    names = {"metadata"} | ({"max_side", "quality", "max_pixels"} if image.max_side is not None else set())
    return image.model_dump(include=names)


def storable(data: bytes, image: ImageConfig) -> Storable | Dropped:
    """What to store of the bytes of a file, or why it is worth nothing."""
    header = identify(data)
    if isinstance(header, Dropped):
        return header
    form = _form(data, header, image)
    if isinstance(form, Dropped):
        return form
    kept, header = form
    return Storable(kept, header, hashlib.sha256(kept).digest())


def _form(data: bytes, header: Header, image: ImageConfig) -> tuple[bytes, Header] | Dropped:
    if image.max_side is not None and max(header.width, header.height) > image.max_side:
        return scale_down(data, header, image)
    if image.metadata == "keep":
        return data, header
    if header.format not in FORMATS or (header.format == "GIF" and header.orientation != 1):
        # TIFF and AVIF: the picture refers to places in the file, so that nothing can simply be left out.
        return scale_down(data, header, image) if holds_metadata(data) else (data, header)
    try:
        kept = strip_metadata(data, header.format, header.orientation)
    except BrokenFileError as error:
        return Dropped(DropReason.CORRUPT, f"the file {error}")
    if header.format == "MPO":
        header = Header("JPEG", header.width, header.height, header.orientation)
    return kept, header
