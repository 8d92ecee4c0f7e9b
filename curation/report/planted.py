"""Copies that are planted to see whether they are found: of one image, one by each of ten edits.

The edits and their strengths are those that the copy descriptor's trainer knows (`models/copy/edits.py`), drawn at
random, so some of the copies are hard.
"""

from collections.abc import Iterator, Mapping

from numpy.random import Generator
from PIL import Image

from curation.imaging.decode import encode_jpeg
from curation.models.copy.edits import EDITS

__all__ = ["PLANTED", "PLANTED_VERSION", "SIDE", "planted_copies"]

PLANTED_VERSION = 1
"""Raised whenever the same image would give other copies."""
SIDE = 512
"""Shorter side in pixels that images are decoded for before they are edited; smaller ones stay as they are."""
QUALITY = 85
"""Of the JPEG that a copy is encoded as."""
PLANTED: Mapping[str, tuple[str, str]] = {
    "re-encode": ("encode", "JPEG of quality 5 to 50"),
    "resize": ("shrink", "reduced to 15 to 60 % of each side"),
    "crop": ("crop", "12 to 80 % of the area, anywhere"),
    "mirror": ("flip", "left to right, or one in four upside down"),
    "grey": ("grey", "without colours, one in four in two others"),
    "blur": ("blur", "Gaussian, of 0.8 to 3.5 % of the shorter side"),
    "text": ("text", "one to three lines of text over it"),
    "sticker": ("sticker", "one to four drawings over it"),
    "pad": ("pad", "borders of one colour, up to half of a side"),
    "screenshot": ("screen", "on a page or in an app, with bars and text"),
}
"""By the name of an edit that of the trainer's, and what it does."""
_BY_NAME = {edit.name: edit for edit in EDITS}


def planted_copies(image: Image.Image, rng: Generator) -> Iterator[tuple[str, bytes]]:
    """The name of each edit, and the copy as a JPEG. Equal generators give equal bytes."""
    for name, (edit, _) in PLANTED.items():
        apply = _BY_NAME[edit].apply
        assert apply is not None, "edits that take a second picture are not planted"
        yield name, encode_jpeg(apply(image, rng), QUALITY)
