"""Copies: which pairs of images are looked at and which are linked, and both at once for images that need no run.

The recipe is that of `lvd dedup`: copy descriptors propose pairs, and local features and pixels confirm them (Oquab et
al. 2023, arXiv 2304.07193, appendix A, has the descriptors and the threshold on their similarity).
"""

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from curation.arrays import BoolArray, Float32Array, Int64Array
from curation.config import CopyConfig, DedupConfig, parse_config
from curation.drops import Dropped
from curation.errors import ConfigError
from curation.imaging.local_features import FEATURES_SIDE, Features, extract
from curation.imaging.matching import Match, match, reversed_transform
from curation.imaging.pixels import Image, name_of, pixels_of
from curation.models.images import try_to_embed
from curation.search.arrays import nearest_others

__all__ = ["CopyPair", "find_copies", "is_candidate", "is_linked"]


def is_candidate(
    similarity: npt.NDArray[np.floating], place: Int64Array, settings: DedupConfig, floor: float, top: int
) -> BoolArray:
    """(E,) which pairs geometry is to look at: neither sure nor hopeless, and among the `top` of an image's list."""
    return (similarity > floor) & (similarity <= settings.accept_above) & (place < top)


def is_linked(
    similarity: npt.NDArray[np.floating],
    score: npt.NDArray[np.floating] | None,
    limit: float,
    settings: DedupConfig,
) -> BoolArray:
    """(E,) which pairs are links: those above a similarity, and those that geometry confirms.

    Args:
        score: (E,) of `Match.score`, NaN where nobody looked; None where nobody looks at any.
    """
    linked = similarity > limit
    return linked if score is None else linked | (np.nan_to_num(score, nan=-1.0) >= settings.score)


@dataclass(frozen=True, slots=True)
class CopyPair:
    """Two images of which one is a copy of the other, and the evidence.

    Attributes:
        first, second: positions in the images that were given, first < second.
        similarity: cosine similarity of their copy descriptors, in [-1, 1].
        verified: whether geometry confirmed the pair; what follows is None where it did not look.
        inliers: matched points that agree with the transform.
        agreement: how well the pixels agree under it, in [0, 1].
        mirrored: whether the first image had to be mirrored, left to right, before the transform.
        transform: 2 x 3, row by row: (x, y, 1) of the first image to (x, y) of the second, as shares of the width and
            height, from the upper left corner.
    """

    first: int
    second: int
    similarity: float
    verified: bool
    inliers: int | None = None
    agreement: float | None = None
    mirrored: bool | None = None
    transform: tuple[float, ...] | None = None


def find_copies(
    images: Sequence[Image], *, model: str | CopyConfig = "lvd/lite0-copy", dedup: DedupConfig | None = None
) -> list[CopyPair]:
    """Find the pairs of images that are copies of each other, by the links of `lvd dedup` but for its hashes.

    All is in memory: 2 bytes for each dimension of a descriptor, and for each image that geometry looks at up to 62 KB.
    It takes some 30 ms for an image and 3 ms for each pair that is looked at; for millions use a run.

    Args:
        images: N images, each a path or fsspec URL, encoded bytes, or an array (H, W, 3) uint8 RGB.
        model: the copy descriptor, by name or with its settings.
        dedup: when a pair is linked, of which `self_.threshold`, `neighbours`, `verify`, `accept_above`,
            `candidate_above`, `max_candidates` and `score` are used. None for what suits the descriptor.

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
    looks = settings.verify != "off"
    matches = _look(images, source, other, place, similar, settings) if looks else {}
    result = [matches.get(pair) for pair in zip(source.tolist(), other.tolist(), strict=True)]
    score = np.array([np.nan if item is None else item.score for item in result]) if looks else None
    limit = settings.accept_above if looks else settings.self_.threshold
    chosen = np.flatnonzero(is_linked(similar, score, limit, settings)).tolist()
    pairs = [_pair(int(source[at]), int(other[at]), float(similar[at]), result[at]) for at in chosen]
    return sorted({(pair.first, pair.second): pair for pair in pairs}.values(), key=lambda p: (p.first, p.second))


def _usual(copies: CopyConfig) -> DedupConfig:
    """When images are linked by default, as the whole config has it for this descriptor."""
    return parse_config({"pool": ["images"], "seeds": [], "copy_descriptors": copies.model_dump()}).dedup


def _warn(images: Sequence[Image], bad: Mapping[int, Dropped]) -> None:
    if bad:
        row, why = next(iter(bad.items()))
        warnings.warn(f"{len(bad)} of {len(images)} images are in no pair; {name_of(images, row)}: {why}", stacklevel=3)


def _look(
    images: Sequence[Image],
    source: Int64Array,
    other: Int64Array,
    place: Int64Array,
    similar: Float32Array,
    settings: DedupConfig,
) -> dict[tuple[int, int], Match]:
    """Matches of the pairs that may be copies; one that is in the lists of both images is looked at from the first."""
    chosen = is_candidate(similar, place, settings, settings.candidate_above, settings.max_candidates)
    pairs = list(zip(source[chosen].tolist(), other[chosen].tolist(), strict=True))
    there = set(pairs)
    features: dict[int, Features | None] = {}

    def of(row: int) -> Features | None:
        if row not in features:
            pixels = pixels_of(images, row, FEATURES_SIDE)
            features[row] = None if isinstance(pixels, Dropped) else _as_stored(extract(pixels))
        return features[row]

    result = {}
    for one, two in pairs:
        if one > two and (two, one) in there:
            continue
        if (first := of(one)) is not None and (second := of(two)) is not None:
            result[one, two] = match(first, second)
    return result


def _as_stored(features: Features) -> Features:
    """Points to 16 bits, as a run keeps them: the same verdict on every pair."""
    return Features.from_bytes(features.to_bytes())


def _pair(one: int, two: int, similarity: float, geometry: Match | None) -> CopyPair:
    if geometry is None:
        return CopyPair(min(one, two), max(one, two), similarity, False)
    transform = geometry.transform
    if one > two:
        transform = tuple(reversed_transform(np.array(transform), geometry.mirrored).tolist())
    return CopyPair(
        min(one, two),
        max(one, two),
        similarity,
        True,
        geometry.inliers,
        geometry.agreement,
        geometry.mirrored,
        transform,
    )
