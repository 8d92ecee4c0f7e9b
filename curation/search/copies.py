"""Copies: which pairs of images are looked at and which are linked, and both at once for images that need no run.

The recipe is that of `lvd dedup`: copy descriptors propose pairs (Oquab et al. 2023, arXiv 2304.07193, appendix A),
points and pixels laid upon each other confirm them.
"""

import functools
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from curation.arrays import BoolArray, Float32Array, Int64Array
from curation.config import CopyConfig, DedupConfig, ImageConfig, parse_config
from curation.drops import Dropped
from curation.errors import ConfigError
from curation.imaging.decode import Pixels
from curation.imaging.framed import WHOLE, Frame, cut, picture_in
from curation.imaging.local_features import Features, as_stored
from curation.imaging.matching import reversed_transform
from curation.imaging.pictures import Comparison, compare, picture_of
from curation.imaging.pixels import Image, bytes_of, name_of
from curation.models.images import try_to_embed
from curation.search.arrays import nearest_others

__all__ = ["CopyPair", "find_copies", "is_candidate"]

LIMITS = ImageConfig(min_side=1)


def is_candidate(
    similarity: npt.NDArray[np.floating], place: Int64Array, settings: DedupConfig, most: int
) -> BoolArray:
    """(E,) which pairs are to be looked at: not hopeless, and among the `most` first of an image's list."""
    return np.asarray((similarity > settings.candidate_above) & (place < most), dtype=bool)


@dataclass(frozen=True, slots=True)
class CopyPair:
    """Two images of which one is a copy of the other, and the evidence.

    Attributes:
        first, second: positions in the images that were given, first < second.
        similarity: cosine similarity of their copy descriptors, in [-1, 1].
        probability: that they are copies, by the evidence; it and what follows are None with `verify: off`.
        original: probability that the first is the original of the second.
        inliers: matched points that agree with the transform.
        agreement: how well the pixels agree under it, in [0, 1].
        mirrored: whether the first image had to be mirrored, left to right, before the transform.
        transform: 2 x 3, row by row: (x, y, 1) of the first image to (x, y) of the second, as shares of the width and
            height, from the upper left corner.
    """

    first: int
    second: int
    similarity: float
    probability: float | None = None
    original: float | None = None
    inliers: int | None = None
    agreement: float | None = None
    mirrored: bool | None = None
    transform: tuple[float, ...] | None = None


def find_copies(
    images: Sequence[Image], *, model: str | CopyConfig = "lvd/lite0-copy", dedup: DedupConfig | None = None
) -> list[CopyPair]:
    """Find the pairs of images that are copies of each other, by the links of `lvd dedup` but for its hashes.

    All is in memory: 2 bytes for each dimension of a descriptor, and for each image that geometry looks at up to 62 KB.
    It takes some 25 ms for an image, 3 ms for each pair that is proposed and 30 to 60 ms for each that is then looked
    at carefully; for millions use a run.

    Args:
        images: N images, each a path or fsspec URL, encoded bytes, or an array (H, W, 3) uint8 RGB.
        model: the copy descriptor, by name or with its settings.
        dedup: when a pair is linked, of which `self_.threshold`, `neighbours`, `verify`, `candidate_above`,
            `max_candidates` and `probability` are used. None for what suits the descriptor.

    Returns:
        Pairs in the order of `first`, then `second`. An image that does not decode is in no pair, and a warning.

    Raises:
        ConfigError: an array is of another shape, or `dedup.normalise` is on, which needs the background of a run.
        ModelError: the model is unknown, or its weights cannot be had.
    """
    copies = model if isinstance(model, CopyConfig) else CopyConfig(model=model)
    settings = _usual(copies) if dedup is None else dedup
    if settings.normalise.weight:
        raise ConfigError("dedup.normalise: needs the background of a run; leave it out, or curate with it")
    vectors, bad = try_to_embed(images, copies)
    _warn(images, bad)
    rows = np.array([row for row in range(len(images)) if row not in bad], np.int64)
    if len(rows) < 2:
        return []
    source, other, place, similar = nearest_others(vectors[rows].astype(np.float16), settings.neighbours)
    source, other = rows[source], rows[other]
    if settings.verify == "off":
        linked = np.flatnonzero(similar > settings.self_threshold).tolist()
        ends = [sorted((int(source[at]), int(other[at]))) for at in linked]
        pairs = [CopyPair(one, two, float(similar[at])) for (one, two), at in zip(ends, linked, strict=True)]
    else:
        chosen = is_candidate(similar, place, settings, settings.max_candidates)
        pairs = _verified(images, source[chosen], other[chosen], similar[chosen], settings.probability)
    return sorted({(pair.first, pair.second): pair for pair in pairs}.values(), key=lambda p: (p.first, p.second))


def _usual(copies: CopyConfig) -> DedupConfig:
    """When images are linked by default, as the whole config has it for this descriptor."""
    return parse_config({"pool": ["images"], "seeds": [], "copy_descriptors": copies.model_dump()}).dedup


def _warn(images: Sequence[Image], bad: Mapping[int, Dropped]) -> None:
    if bad:
        row, why = next(iter(bad.items()))
        warnings.warn(f"{len(bad)} of {len(images)} images are in no pair; {name_of(images, row)}: {why}", stacklevel=3)


def _verified(
    images: Sequence[Image], source: Int64Array, other: Int64Array, similar: Float32Array, probability: float
) -> list[CopyPair]:
    """The pairs that the evidence takes for copies; one that is in the lists of both images is looked at from the
    first."""
    listed = list(zip(source.tolist(), other.tolist(), similar.tolist(), strict=True))
    there = {(one, two) for one, two, _ in listed}
    of = functools.lru_cache(maxsize=None)(functools.partial(_features, images))
    result = []
    for one, two, similarity in listed:
        if one > two and (two, one) in there:
            continue
        first, second = of(one), of(two)
        if first is None or second is None:
            continue
        pixels = [functools.partial(_pixels, images, row, its.frame) for row, its in ((one, first), (two, second))]
        seen = compare(first, second, *pixels)
        if seen.probability >= probability:
            result.append(_pair(one, two, similarity, seen))
    return result


def _features(images: Sequence[Image], row: int) -> Features | None:
    picture = _picture(images, row)
    return None if isinstance(picture, Dropped) else as_stored(*picture)


def _pixels(images: Sequence[Image], row: int, frame: Frame) -> Pixels:
    picture = _picture(images, row, frame)
    assert not isinstance(picture, Dropped), "it decoded a moment ago"
    return picture[0]


def _picture(images: Sequence[Image], row: int, frame: Frame | None = None) -> tuple[Pixels, Frame] | Dropped:
    image = images[row]
    if isinstance(image, np.ndarray):
        frame = (picture_in(image) or WHOLE) if frame is None else frame
        return cut(image, frame), frame
    return picture_of(bytes_of(images, row), LIMITS, frame)


def _pair(one: int, two: int, similarity: float, seen: Comparison) -> CopyPair:
    transform, original = seen.transform, seen.original
    if one > two:
        one, two, original = two, one, 1 - original
        transform = tuple(reversed_transform(np.array(transform), seen.mirrored).tolist())
    return CopyPair(
        one, two, similarity, seen.probability, original, seen.inliers, seen.agreement, seen.mirrored, transform
    )
