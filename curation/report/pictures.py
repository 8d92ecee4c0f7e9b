"""Pictures for pages: a run's images as they are stored, faces blurred, and the outline of one image in another."""

from functools import lru_cache

import numpy as np
import pyarrow as pa
from PIL import Image

from curation.config import ImageConfig
from curation.drops import Dropped
from curation.engine.locations import PLACE, read_samples
from curation.errors import RunError
from curation.imaging.decode import decode_image, encode_jpeg, read_image
from curation.imaging.matching import Match
from curation.run.directory import Run

__all__ = ["Pictures", "Place", "outline", "thumbnail"]

Place = tuple[str, int, int]
"""Collection, part and row: where a run has an image."""
NO_LIMITS = ImageConfig(min_side=1)  # the run has judged them already
KEPT_TABLES = 64
QUALITY = 80


class Pictures:
    """Reads the images of a run; tables of recent parts are kept."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._table = lru_cache(maxsize=KEPT_TABLES)(self._read_table)

    def key(self, place: Place) -> str:
        """An image's id in hex."""
        collection, part, row = place
        return str(self._table(collection, part)["id"][row].as_py().hex())

    def image(self, place: Place, side: int) -> Image.Image | None:
        """An image; None where it can no longer be read.

        Args:
            side: decode with the shorter side at least this, where the image is that large.
        """
        collection, part, row = place
        table = self._table(collection, part)
        tar, offset, length = (table[name][row].as_py() for name in PLACE)
        if tar is None:
            return None
        try:
            image = decode_image(read_image(self._run.store, collection, tar, offset, length), NO_LIMITS, side)
        except RunError:
            return None
        return None if isinstance(image, Dropped) else image

    def thumbnail(self, place: Place, side: int) -> bytes | None:
        """A JPEG of at most `side` x `side` pixels; None where the image can no longer be read."""
        image = self.image(place, side)
        return None if image is None else thumbnail(image, side)

    def _read_table(self, collection: str, part: int) -> pa.Table:
        return read_samples(self._run.collection(collection), part, ["id", *PLACE])


def thumbnail(image: Image.Image, side: int) -> bytes:
    """A JPEG of at most `side` x `side` pixels. The image itself is scaled down."""
    image.thumbnail((side, side))
    return encode_jpeg(image, QUALITY)


def outline(match: Match, *, inverse: bool = False) -> str:
    """The corners of the first image within the second, as shares of its sides; with `inverse` the other way round."""
    corners = np.array([[0.0, 0.0], [1.0, 0.0], [1.0, 1.0], [0.0, 1.0]])
    affine = np.array(match.transform).reshape(2, 3)
    if inverse:
        corners = (corners - affine[:, 2]) @ np.linalg.pinv(affine[:, :2]).T
        if match.mirrored:
            corners[:, 0] = 1 - corners[:, 0]
    else:
        corners = corners @ affine[:, :2].T + affine[:, 2]
    return " ".join(f"{x:.4f},{y:.4f}" for x, y in np.clip(corners, -9, 9).tolist())
