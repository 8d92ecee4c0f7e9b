"""Lays one picture over another as exactly as they allow, from the transform that matched points gave.

The finer of the two is laid over the coarser, so that it is smoothed as the coarser one was. Corners of the coarser
are then followed into it (Lucas and Kanade 1981, on pictures whose local brightness and contrast are taken out), a
homography is fitted to where they went (MAGSAC, Barath et al. 2019) and the picture is laid anew; where too few corners
are found, the whole is refined by its correlation (ECC, Evangelidis and Psarakis 2008) instead.
"""

from dataclasses import dataclass
from typing import Any, TypeVar

import cv2
import numpy as np

from curation.arrays import BoolArray, Float32Array, Float64Array, UInt8Array
from curation.imaging.matching import Match
from curation.imaging.scaling import reduced

__all__ = ["SIDE", "Laid", "lay", "softened", "working_size"]

ImageArray = TypeVar("ImageArray", UInt8Array, Float32Array)

SIDE = 320
"""Longer side in pixels that pictures are reduced to."""
CORNERS, APART = 250, 5
"""Most corners that are followed, and how many pixels lie between two of them at least."""
WINDOW = 13
"""Side of the window that is followed."""
ROUNDS = 2
NEAR = 1.0
"""A followed corner confirms the transform if it lies within so many pixels of its place."""
FAITHFUL = 0.8
"""And if the windows around the two places correlate as much."""
RETURN = 0.5
"""And if, followed back, it comes this near to where it began, in pixels."""
FEWEST = 8
"""Corners below which no homography is fitted."""
MOST_MOVED = 0.12
"""Share of the longer side that a refinement may move a corner of the overlap by; one that moves it more is no
refinement."""
LEAST_COVER = 24 * 24
"""Pixels in common below which nothing is compared."""
EQUALLY_SHARP = 0.25
BLURS = (0.5, 0.8, 1.2, 1.7, 2.4, 3.4, 4.8, 6.8)
"""Difference in ln of sharpness that is left alone, and the deviations that are tried in turn where it is larger."""
SMALLEST = 1 / 12
"""Scale below which a picture is too small in the other to be compared."""


@dataclass(frozen=True)
class Laid:
    """Two pictures in one place.

    Attributes:
        swapped: whether it is the second that is laid over the first.
        over, base: (h, w, 3) uint8, the picture that was laid over and the one below it.
        cover: (h, w) where there is something of both.
        transform: 3 x 3, pixels of the picture that is laid over (at its working size, mirrored where `Match.mirrored`
            says so and it is the first) to pixels of the base.
        fine: the picture that is laid over, at its working size.
        points: (N, 2) float32, corners of the base that the transform confirms.
        moved: (N, 2) float32, what each of them is off by, in pixels.
        asked: corners of the base in what is covered.
    """

    swapped: bool
    over: UInt8Array
    base: UInt8Array
    cover: BoolArray
    transform: Float64Array
    fine: UInt8Array
    points: Float32Array
    moved: Float32Array
    asked: int
    blur: tuple[float, float]
    """Deviations in pixels by which the picture laid over and the base are smoothed to be equally sharp; one is 0."""


def working_size(image: UInt8Array) -> UInt8Array:
    """A picture (H, W, 3) with its longer side at most `SIDE`."""
    return reduced(image, SIDE)


def lay(first: UInt8Array, second: UInt8Array, match: Match) -> Laid | None:
    """Lay one of two pictures of working size over the other; None where they have too little in common for that."""
    if match.mirrored:
        first = np.ascontiguousarray(first[:, ::-1])
    start = _between_pixels(np.array(match.transform, np.float64).reshape(2, 3), first, second)
    area = abs(np.linalg.det(start[:2, :2]))
    if not np.isfinite(start).all() or not SMALLEST**2 < area < SMALLEST**-2:
        return None
    swapped = bool(area > 1)
    fine, base = (second, first) if swapped else (first, second)
    transform = np.asarray(np.linalg.inv(start) if swapped else start, np.float64)
    over, cover = _over(fine, base, transform)
    if np.count_nonzero(cover) < LEAST_COVER:
        return None
    blur = _to_equal(_grey(over), _grey(base), cover)
    even = softened(base, blur[1])
    below = _levelled(even)
    for _ in range(ROUNDS):
        above = _levelled(softened(over, blur[0]))
        corners, moved, _ = _followed(below, above, even, cover)
        step = _step(corners, moved)
        if step is None:
            step = _by_correlation(below, above, cover)
        if step is None or not _is_small(step, cover):
            break
        transform = step @ transform
        over, cover = _over(fine, base, transform)
        if np.count_nonzero(cover) < LEAST_COVER:
            return None
    corners, moved, asked = _followed(below, _levelled(softened(over, blur[0])), even, cover)
    near = np.hypot(*moved.T) < NEAR
    return Laid(swapped, over, base, cover, transform, fine, corners[near], moved[near], asked, blur)


def softened(image: ImageArray, deviation: float) -> ImageArray:
    """A picture smoothed, or as it is where the deviation is 0."""
    return cv2.GaussianBlur(image, (0, 0), deviation) if deviation else image


def _to_equal(over: Float32Array, base: Float32Array, cover: BoolArray) -> tuple[float, float]:
    """What each has to be smoothed by to be no sharper than the other."""
    inside = cv2.blur(cover.astype(np.float32), (16, 16), borderType=cv2.BORDER_CONSTANT)[8::16, 8::16] > 0.98
    if not inside.any():
        return 0.0, 0.0
    sharp = [_sharpness(image, inside) for image in (over, base)]
    sharper, other = (over, sharp[1]) if sharp[0] > sharp[1] else (base, sharp[0])
    if abs(sharp[0] - sharp[1]) < EQUALLY_SHARP:
        return 0.0, 0.0
    blur = next((by for by in BLURS if _sharpness(softened(sharper, by), inside) <= other), BLURS[-1])
    return (blur, 0.0) if sharper is over else (0.0, blur)


def _sharpness(grey: Float32Array, inside: BoolArray) -> float:
    """Median over windows of ln of the strength of fine detail against coarse detail."""
    fine, coarse = (
        cv2.blur(np.abs(cv2.Laplacian(cv2.GaussianBlur(grey, (0, 0), by), cv2.CV_32F)), (16, 16))[8::16, 8::16][inside]
        for by in (0.8, 3.0)
    )
    return float(np.median(np.log((fine + 0.02) / (coarse + 0.02))))


def _grey(image: UInt8Array) -> Float32Array:
    return np.asarray(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), dtype=np.float32)


def _between_pixels(relative: Float64Array, first: UInt8Array, second: UInt8Array) -> Float64Array:
    """3 x 3 between pixel centres, of a transform between shares of width and height."""

    def shares(image: UInt8Array) -> Float64Array:
        height, width = image.shape[:2]
        return np.array([[1 / width, 0, 0.5 / width], [0, 1 / height, 0.5 / height], [0, 0, 1]], np.float64)

    full = np.vstack([relative, [0.0, 0.0, 1.0]])
    return np.asarray(np.linalg.inv(shares(second)) @ full @ shares(first), dtype=np.float64)


def _over(fine: UInt8Array, base: UInt8Array, transform: Float64Array) -> tuple[UInt8Array, BoolArray]:
    scale = float(np.sqrt(abs(np.linalg.det(transform[:2, :2]))))
    size = (base.shape[1], base.shape[0])
    smooth = cv2.GaussianBlur(fine, (0, 0), 0.45 / scale) if scale < 0.8 else fine
    over = cv2.warpPerspective(smooth, transform, size, flags=cv2.INTER_CUBIC)
    everywhere = np.full(fine.shape[:2], 255, np.uint8)
    inside = cv2.warpPerspective(everywhere, transform, size, flags=cv2.INTER_LINEAR)
    return np.asarray(over, dtype=np.uint8), np.asarray(inside > 252, dtype=np.bool_)


def _levelled(image: UInt8Array) -> UInt8Array:
    """Grey, with local brightness and contrast taken out: what is left is the same under most changes of colour."""
    grey = _grey(image)
    mean = cv2.blur(grey, (25, 25), borderType=cv2.BORDER_REFLECT)
    variance = cv2.blur(grey * grey, (25, 25), borderType=cv2.BORDER_REFLECT) - mean * mean
    level = 128 + 48 * (grey - mean) / (np.sqrt(np.maximum(variance, 0)) + 4)
    return np.asarray(np.clip(level, 0, 255).astype(np.uint8))


def _followed(
    below: UInt8Array, over: UInt8Array, base: UInt8Array, cover: BoolArray
) -> tuple[Float32Array, Float32Array, int]:
    """Corners of the base that are found again, what they are off by, and how many were looked for."""
    inner = cv2.erode(cover.view(np.uint8), np.ones((7, 7), np.uint8), borderValue=1)
    grey = cv2.cvtColor(base, cv2.COLOR_RGB2GRAY)
    corners = cv2.goodFeaturesToTrack(grey, CORNERS, 0.005, APART, mask=inner)
    none = np.empty((0, 2), np.float32)
    if corners is None:
        return none, none, 0
    there, found = _flow(below, over, corners)
    back, returned = _flow(over, below, there)
    corners, there, back = (points.reshape(-1, 2) for points in (corners, there, back))
    good = (found.ravel() > 0) & (returned.ravel() > 0) & (np.hypot(*(back - corners).T) < RETURN)
    if not good.any():
        return none, none, len(corners)
    good[good] = _correlation_at(below, over, corners[good], there[good]) > FAITHFUL
    return corners[good], (there - corners)[good], len(corners)


def _flow(one: UInt8Array, other: UInt8Array, points: Any) -> tuple[Any, Any]:
    size, until = (WINDOW, WINDOW), (cv2.TERM_CRITERIA_COUNT + cv2.TERM_CRITERIA_EPS, 15, 0.02)
    there, found, _ = cv2.calcOpticalFlowPyrLK(one, other, points, None, winSize=size, maxLevel=2, criteria=until)
    return there, found


def _correlation_at(one: UInt8Array, other: UInt8Array, at: Float32Array, there: Float32Array) -> Float32Array:
    """(N,) correlation of windows around places of two pictures."""
    reach = np.arange(WINDOW, dtype=np.float32) - WINDOW // 2
    windows = []
    for image, places in ((one, at), (other, there)):
        x = np.repeat(places[:, :1] + reach, WINDOW, axis=0).reshape(-1, WINDOW * WINDOW)
        y = np.repeat(places[:, 1:] + reach, WINDOW, axis=1)
        values = cv2.remap(image.astype(np.float32), x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT)
        values -= values.mean(axis=1, keepdims=True)
        windows.append(values / np.maximum(np.sqrt((values * values).sum(axis=1, keepdims=True)), 1e-3))
    return np.asarray((windows[0] * windows[1]).sum(axis=1), dtype=np.float32)


def _step(corners: Float32Array, moved: Float32Array) -> Float64Array | None:
    """The homography that takes the picture laid over to where the corners say, or an affine one."""
    if len(corners) < FEWEST:
        return None
    cv2.setRNGSeed(0)
    step, inside = cv2.findHomography(corners + moved, corners, cv2.USAC_MAGSAC, 1.0, maxIters=500, confidence=0.999)
    if step is not None and inside.sum() >= max(FEWEST, 0.3 * len(corners)):
        return np.asarray(step, dtype=np.float64)
    cv2.setRNGSeed(0)
    affine, inside = cv2.estimateAffine2D(corners + moved, corners, ransacReprojThreshold=1.5, maxIters=500)
    if affine is None or inside.sum() < FEWEST:
        return None
    return np.vstack([affine, [0.0, 0.0, 1.0]])


def _by_correlation(below: UInt8Array, over: UInt8Array, cover: BoolArray) -> Float64Array | None:
    mask = cover.view(np.uint8) * 255
    step = np.eye(3, dtype=np.float32)[:2]
    try:
        _, step = cv2.findTransformECC(over, below, step, cv2.MOTION_AFFINE, (3, 8, 1e-3), mask, 5)
    except cv2.error:  # it gives up where the two do not correlate
        return None
    # ECC's map goes from its first picture to its second.
    return np.vstack([np.asarray(step, np.float64), [0.0, 0.0, 1.0]])


def _is_small(step: Float64Array, cover: BoolArray) -> bool:
    left, top, wide, high = cv2.boundingRect(cover.view(np.uint8))
    corners = np.array([[left, top], [left + wide, top], [left, top + high], [left + wide, top + high]], np.float64)
    moved = cv2.perspectiveTransform(corners[None], step)[0] if np.isfinite(step).all() else np.full((4, 2), np.inf)
    return bool((np.abs(moved - corners) < MOST_MOVED * max(cover.shape)).all())
