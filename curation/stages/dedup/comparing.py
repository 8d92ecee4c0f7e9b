"""Compares images of a run: their features, stored or made now, and their pixels where these are asked for."""

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, TypeVar

import pyarrow as pa

from curation.config import ImageConfig
from curation.drops import Dropped
from curation.engine.locations import PLACE, read_samples
from curation.errors import RunError
from curation.imaging.decode import Pixels, read_image
from curation.imaging.evidence import EVIDENCE_VERSION
from curation.imaging.framed import Frame
from curation.imaging.local_features import FEATURES_VERSION, Features, as_stored
from curation.imaging.matching import MATCHING_VERSION
from curation.imaging.pictures import Comparison, compare, picture_of
from curation.run.parts import Collection

__all__ = ["COMPARISONS", "TRANSFORM", "VERSIONS", "Comparer", "comparison_columns", "features_from"]

VERSIONS = [FEATURES_VERSION, MATCHING_VERSION, EVIDENCE_VERSION]
PIXELS_KEPT = 256
"""Pictures whose pixels are kept for the next pair, a quarter of a megabyte each."""
PARTS_KEPT = 4
"""Parts of which is kept where their images are."""
TRANSFORM = pa.list_(pa.float32())
COMPARISONS = pa.schema(
    [
        ("inliers", pa.list_(pa.int32())),
        ("agreement", pa.list_(pa.float32())),
        ("probability", pa.list_(pa.float32())),
        ("original", pa.list_(pa.float32())),
        ("mirrored", pa.list_(pa.bool_())),
        ("transform", pa.list_(TRANSFORM)),
    ]
)
"""Columns of lists that run parallel to those of the pairs."""

Key = TypeVar("Key")
Value = TypeVar("Value")


class _Picture(NamedTuple):
    collection: Collection
    part: int
    row: int
    frame: Frame


@dataclass
class Comparer:
    """Compares images of a run's collections, a part of each at a time."""

    limits: ImageConfig
    _pixels: dict[tuple[str, int, int], Pixels] = field(default_factory=dict)
    _places: dict[tuple[str, int], pa.Table] = field(default_factory=dict)

    def features(self, collection: Collection, part: int, rows: Sequence[int]) -> dict[int, Features]:
        """Features of images of a part, by row: stored ones where there are any; the others are made."""
        stored: dict[int, Features] = {}
        if collection.footer("local_features", part) is not None:
            column = collection.read("local_features", part, ["features"])["features"].take(pa.array(rows, pa.int64()))
            found = zip(rows, column, strict=True)
            stored = {row: Features.from_bytes(value.as_py()) for row, value in found if value.is_valid}
        return {**stored, **features_from(collection, part, [row for row in rows if row not in stored], self.limits)}

    def compare(
        self,
        first: tuple[Collection, int, int],
        second: tuple[Collection, int, int],
        features: tuple[Features, Features],
    ) -> Comparison:
        """Compare two images, given by collection, part and row."""
        pixels = [
            functools.partial(self.pixels_of, place, its.frame)
            for place, its in zip((first, second), features, strict=True)
        ]
        return compare(*features, *pixels)

    def pixels_of(self, place: tuple[Collection, int, int], frame: Frame) -> Pixels:
        """The picture that an image shows, which is in the image where `frame` says; RunError where it is gone."""
        picture = _Picture(*place, frame)
        key = (picture.collection.path, picture.part, picture.row)
        if key not in self._pixels:
            read = picture_of(self._bytes_of(picture), self.limits, picture.frame)
            if isinstance(read, Dropped):
                raise RunError(
                    f"{picture.collection.file('fetch', picture.part)}: row {picture.row} decoded before and does not "
                    f"now ({read.detail}); its file has changed, so bring it back or make a new run"
                )
            _keep(self._pixels, key, read[0], PIXELS_KEPT)
        return self._pixels[key]

    def _bytes_of(self, picture: _Picture) -> bytes:
        collection, key = picture.collection, (picture.collection.path, picture.part)
        if key not in self._places:
            _keep(self._places, key, read_samples(collection, picture.part, PLACE), PARTS_KEPT)
        place = self._places[key].slice(picture.row, 1).to_pylist()[0]
        return read_image(collection.store, collection.path, *(place[name] for name in PLACE))


def features_from(collection: Collection, part: int, rows: Sequence[int], limits: ImageConfig) -> dict[int, Features]:
    """Features of images of a part, by row, from their pixels. An image that does not decode any more has none."""
    if not rows:
        return {}
    places = read_samples(collection, part, PLACE).take(list(rows)).to_pylist()
    result = {}
    for row, place in zip(rows, places, strict=True):
        picture = picture_of(read_image(collection.store, collection.path, *(place[name] for name in PLACE)), limits)
        if not isinstance(picture, Dropped):
            result[row] = as_stored(*picture)
    return result


def _keep(cache: dict[Key, Value], key: Key, value: Value, most: int) -> None:
    """Keep a value in place of the oldest."""
    if len(cache) >= most:
        cache.pop(next(iter(cache)))
    cache[key] = value


def comparison_columns(lists: Sequence[Sequence[Comparison | None]]) -> Mapping[str, pa.Array]:
    """The columns of `COMPARISONS`. Where a pair was not compared: -1 inliers, and nulls."""

    def values(name: str, absent: object) -> list[list[object]]:
        return [[absent if item is None else getattr(item, name) for item in items] for items in lists]

    return {
        name: pa.array(values(name, -1 if name == "inliers" else None), COMPARISONS.field(name).type)
        for name in COMPARISONS.names
    }
