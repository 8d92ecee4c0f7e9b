"""Whether two images show the same picture: matched points that one transform explains, and pixels that agree under it.

Points alone are not enough: a text or an emoji laid over two photos gives points that match, and a blurred copy has few
points left. So a transform that points suggest, and the plain guess that one image covers the other whole, are both
judged by the pixels: the first image is laid over the second, and the two are compared block by block. The mirror image
is tried as well; its descriptors follow from those of the image itself by a permutation, as SIFT measures directions
from each point's own.
"""

import math
from dataclasses import dataclass
from typing import NamedTuple

import cv2
import numpy as np

from curation.arrays import BoolArray, Float32Array, Float64Array, Int64Array, UInt8Array
from curation.imaging.local_features import Features

__all__ = ["MATCHING_VERSION", "Match", "PointsAlone", "match", "points_alone", "reversed_transform"]

MATCHING_VERSION = 2
"""Raised whenever the same features would give another match."""

RATIO = 0.85
"""Lowe's ratio: the nearest descriptor must be this much nearer than the next."""
TOLERANCE = 3.0
"""How far from its place a point may be, in pixels of a picture of 256."""
FEWEST = 4
"""Matched points below which no transform is looked for."""
STRONGEST, PROMISING = 200, 10
"""Of images with more than so many points these are matched first, for a quarter of the time; with fewer than so many
matches among them all points would not find a transform. Of 159 edited copies that only points could confirm, the
poorest had 12 such matches; of 300 pairs of different photos four in five had fewer than 10."""
FRAME = 256.0
"""Longer side of the frame that transforms are found in."""
LARGEST_SCALE = 8.0
MOST_STRETCH = 3.0
"""What a copy may be enlarged or reduced by, and how unequally in its two directions."""
BLOCK = 12
"""Blocks are about this many pixels of the grey picture wide."""
SMALLEST_BLOCK = 4
FEWEST_PIXELS = 9
FEWEST_BLOCKS = 3
FLAT = 3.0
"""Standard deviation in grey levels below which a block shows nothing to compare."""

PLENTY = 30
CLEAR = 0.7
"""Inliers and agreement that leave no doubt."""

WHOLE: Float64Array = np.array([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])
_MIRRORED = np.arange(128).reshape(4, 4, 8)[::-1][..., (-np.arange(8)) % 8].reshape(-1)


@dataclass(frozen=True, slots=True)
class Match:
    """What geometry says of two images.

    Attributes:
        inliers: matched points that agree with the transform.
        agreement: in [0, 1]: mean correlation of blocks where the first image, laid over the second, covers it; 0 where
            too little is covered, or too little is to be seen there, to say.
        mirrored: whether the first image had to be mirrored, left to right, before the transform.
        transform: 2 x 3, row by row: takes (x, y, 1) of the first image (after mirroring) to (x, y) of the second, both
            as shares of the image's width and height, in [0, 1] from its upper left corner.
    """

    inliers: int
    agreement: float
    mirrored: bool
    transform: tuple[float, ...]

    @property
    def score(self) -> float:
        """Points and pixels together: agreement x ln(8 + inliers). Without points, blocks have to agree well."""
        return self.agreement * math.log(8 + self.inliers)


def match(first: Features, second: Features) -> Match:
    """Compare two images by their features. The same features give the same match, whatever ran before.

    Of the four hypotheses (by points or as a whole, as it is or mirrored) the one with the highest score is given; one
    that leaves no doubt ends the search.
    """
    best: Match | None = None
    for mirrored in (False, True):
        for candidate in (_by_points(first, second, mirrored), _judged(first, second, 0, mirrored, WHOLE)):
            if candidate is not None and (best is None or candidate.score > best.score):
                best = candidate
        assert best is not None
        if best.inliers >= PLENTY and best.agreement >= CLEAR:
            break
    assert best is not None
    return best


class PointsAlone(NamedTuple):
    """What points say of two images without a pixel.

    Attributes:
        inliers: distinct matched points under one affine transform.
        cells: of 16 cells of the inliers' own bounding box those that hold one, in the image where they are fewer.
        share: of the matched points that agree with the transform.
    """

    inliers: int
    cells: int
    share: float


def points_alone(first: Features, second: Features) -> PointsAlone:
    """Compare two images by their points, as they are and mirrored; the better one is given."""
    best = PointsAlone(0, 0, 0.0)
    for mirrored in (False, True):
        descriptors = first.descriptors[:, _MIRRORED] if mirrored else first.descriptors
        pairs = _matched(descriptors, second.descriptors)
        if len(pairs) < FEWEST:
            continue
        one, other = first.points[pairs[:, 0]].astype(np.float64), second.points[pairs[:, 1]].astype(np.float64)
        if mirrored:
            one[:, 0] = 1 - one[:, 0]
        source, target = one * _frame(first), other * _frame(second)
        cv2.setRNGSeed(0)
        affine, inside = cv2.estimateAffine2D(
            source, target, method=cv2.RANSAC, ransacReprojThreshold=TOLERANCE, maxIters=1000, confidence=0.995
        )
        if affine is None or not np.isfinite(affine).all() or not _plausible(affine):
            continue
        chosen = inside.ravel() > 0
        cells = min(_cells(points[chosen]) for points in (one, other))
        best = max(best, PointsAlone(_distinct(source[chosen], target[chosen]), cells, float(chosen.mean())))
    return best


def _cells(points: Float64Array) -> int:
    """How many of 4 x 4 cells of the points' own bounding box hold one: copies may be crops."""
    low, high = points.min(axis=0), points.max(axis=0)
    places = np.minimum((points - low) / np.maximum(high - low, 1e-6) * 4, 3).astype(int)
    return len(np.unique(places, axis=0))


def reversed_transform(transform: Float64Array, mirrored: bool) -> Float64Array:
    """`Match.transform` the other way: from the second image, mirrored if the first was, to the first."""
    flip = np.diag([-1.0, 1.0, 1.0]) if mirrored else np.eye(3)
    flip[0, 2] = float(mirrored)
    full = np.vstack([transform.reshape(2, 3), [0.0, 0.0, 1.0]])
    return np.asarray((flip @ np.linalg.inv(full) @ flip)[:2].ravel(), dtype=np.float64)


def _by_points(first: Features, second: Features, mirrored: bool) -> Match | None:
    descriptors = first.descriptors[:, _MIRRORED] if mirrored else first.descriptors
    if min(len(descriptors), len(second.descriptors)) > STRONGEST:
        strongest = _matched(descriptors[:STRONGEST], second.descriptors[:STRONGEST])
        if len(strongest) < PROMISING:
            return None
    pairs = _matched(descriptors, second.descriptors)
    if len(pairs) < FEWEST:
        return None
    points = first.points[pairs[:, 0]].astype(np.float64)
    if mirrored:
        points[:, 0] = 1 - points[:, 0]
    from_frame, to_frame = _frame(first), _frame(second)
    source, target = points * from_frame, second.points[pairs[:, 1]] * to_frame
    cv2.setRNGSeed(0)
    affine, inside = cv2.estimateAffine2D(
        source,
        target,
        method=cv2.RANSAC,
        ransacReprojThreshold=TOLERANCE,
        maxIters=1000,
        confidence=0.995,
        refineIters=10,
    )
    if affine is None or not _plausible(affine):
        return None
    inliers = _distinct(source[inside.ravel() > 0], target[inside.ravel() > 0])
    relative = affine.copy()
    relative[:, :2] *= from_frame
    relative /= to_frame[:, None]
    return _judged(first, second, inliers, mirrored, relative)


def _matched(first: UInt8Array, second: UInt8Array) -> Int64Array:
    """Pairs of points, each the nearest to the other and clearly nearer than the next: (N, 2)."""
    if len(first) < 2 or len(second) < 2:
        return np.empty((0, 2), np.int64)
    a, b = first.astype(np.float32), second.astype(np.float32)
    length = np.einsum("nd,nd->n", a, a)
    # Squared distances less each row's own squared length: whole numbers below 2^24, so exact in whatever order summed.
    distances = (-2 * a) @ b.T
    distances += np.einsum("nd,nd->n", b, b)
    rows = np.arange(len(a))
    nearest = distances.argmin(axis=1)
    best = distances[rows, nearest]
    distances[rows, nearest] = np.inf
    following = distances.min(axis=1)
    distances[rows, nearest] = best
    clear = np.flatnonzero(best + length < RATIO**2 * (following + length))
    back = (distances[:, nearest[clear]] + length[:, None]).argmin(axis=0) if len(clear) else clear
    chosen = clear[back == clear]
    return np.stack([chosen, nearest[chosen]], axis=1)


def _plausible(affine: Float64Array) -> bool:
    stretch = np.linalg.svd(affine[:, :2], compute_uv=False)
    if not (np.isfinite(affine).all() and stretch[1] > 1 / LARGEST_SCALE and stretch[0] < LARGEST_SCALE):
        return False
    return bool(stretch[0] < MOST_STRETCH * stretch[1] and np.linalg.det(affine[:, :2]) > 0)


def _distinct(source: Float64Array, target: Float64Array) -> int:
    """Points that lie apart in both images: SIFT puts several, of different scale or direction, in one place."""
    seen = [len(np.unique(np.floor(points / TOLERANCE).astype(np.int64), axis=0)) for points in (source, target)]
    return int(min(seen))


def _frame(image: Features) -> Float64Array:
    size = np.array([image.width, image.height], np.float64)
    return np.asarray(size * (FRAME / size.max()), dtype=np.float64)


def _judged(first: Features, second: Features, inliers: int, mirrored: bool, relative: Float64Array) -> Match:
    """Lay the first picture over the second, and compare."""
    picture = first.picture[:, ::-1] if mirrored else first.picture
    base = second.picture
    warped, cover = _laid(picture, _scaled(relative, picture, base), base.shape)
    numbers = tuple(float(np.float32(value)) for value in relative.ravel())
    return Match(inliers, _agreement(warped, base, cover), mirrored, numbers)


def _scaled(relative: Float64Array, picture: UInt8Array, base: UInt8Array) -> Float64Array:
    """The transform between pixel centres of the two grey pictures."""
    size = np.array(picture.shape[1::-1], np.float64)
    other = np.array(base.shape[1::-1], np.float64)
    linear = relative[:, :2] / size * other[:, None]
    shift = relative[:, 2] * other + linear @ np.array([0.5, 0.5]) - 0.5
    return np.asarray(np.concatenate([linear, shift[:, None]], axis=1), dtype=np.float64)


def _laid(picture: UInt8Array, transform: Float64Array, shape: tuple[int, ...]) -> tuple[Float32Array, BoolArray]:
    """A picture under a transform, and where it covers the frame."""
    scale = np.sqrt(abs(transform[0, 0] * transform[1, 1] - transform[0, 1] * transform[1, 0]))
    if scale < 0.7:  # smoothed first, as reducing would do
        picture = cv2.GaussianBlur(picture, (0, 0), 0.5 / scale)
    size = (shape[1], shape[0])
    warped = cv2.warpAffine(picture.astype(np.float32), transform, size, flags=cv2.INTER_LINEAR)
    everywhere = np.full(picture.shape, 255, np.uint8)
    inside = cv2.warpAffine(everywhere, transform, size, flags=cv2.INTER_LINEAR)
    return warped, inside > 252


def _agreement(one: Float32Array, other: UInt8Array, cover: BoolArray) -> float:
    """Mean over blocks of their correlation, opposite taken as none. Blocks that are flat in both say nothing."""
    left, top, wide, high = cv2.boundingRect(cover.view(np.uint8))
    mask = cover[top : top + high, left : left + wide].view(np.uint8)
    if cv2.countNonZero(mask) < 4 * BLOCK:
        return 0.0
    a = one[top : top + high, left : left + wide] * mask
    b = other[top : top + high, left : left + wide].astype(np.float32) * mask
    size = float(np.clip(min(high, wide) / 4, SMALLEST_BLOCK, BLOCK))
    grid = np.ix_(*(_bounds(length, size) for length in (high, wide)))
    count = _sums(cv2.integral(mask, sdepth=cv2.CV_64F), grid)
    sums = [[_sums(table, grid) for table in cv2.integral2(image)] for image in (a, b)]
    total = np.maximum(count, 1)
    (mean_a, square_a), (mean_b, square_b) = ((plain / total, squared / total) for plain, squared in sums)
    spread_a, spread_b = square_a - mean_a**2, square_b - mean_b**2
    together = _sums(cv2.integral(a * b, sdepth=cv2.CV_64F), grid) / total - mean_a * mean_b
    shows = (np.maximum(spread_a, spread_b) > FLAT**2) & (count >= FEWEST_PIXELS)
    if shows.sum() < FEWEST_BLOCKS:
        return 0.0
    correlation = together[shows] / np.sqrt(np.maximum(spread_a, 1.0) * np.maximum(spread_b, 1.0))[shows]
    return float(np.clip(correlation, 0, 1).mean())


def _bounds(length: int, size: float) -> Int64Array:
    """Where blocks of a size begin, and where the last one ends."""
    starts = np.ceil(np.arange(int((length - 1) // size) + 1) * size).astype(np.int64)
    return np.append(starts, length)


def _sums(table: Float64Array, grid: tuple[Int64Array, ...]) -> Float64Array:
    """Sums over blocks from a summed-area table."""
    corners = table[grid]
    return np.asarray(corners[1:, 1:] - corners[1:, :-1] - corners[:-1, 1:] + corners[:-1, :-1])
