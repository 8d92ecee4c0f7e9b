"""What two pictures that lie in one place tell of whether they are the same picture, as numbers.

A digital copy agrees nearly perfectly wherever it agrees at all: what was laid over it, cut off or put around it
aside. A second photograph of the same place never does: its grid of pixels lies elsewhere, its noise is its own, near
things move against far ones, and where something else stands now, both pictures show a piece of the world that the
other has not.
"""

from typing import NamedTuple

import cv2
import numpy as np

from curation.arrays import BoolArray, Float32Array, UInt8Array
from curation.imaging.matching import Match
from curation.imaging.registration import Laid, softened

__all__ = ["Cues", "Places", "cues_of", "places_of"]

BLOCK, SMALLEST_BLOCK = 16, 8
"""Windows that are compared are so many pixels wide; less where little is in common."""
FLAT, SMOOTH_FLAT = 3.0, 2.5
"""Standard deviation in grey levels below which a window shows nothing, as it is and smoothed."""
SMOOTH = 2.0
"""Deviation in pixels by which both are smoothed for the second comparison: noise and sharpness are gone there."""
SLOPE = 1.5
"""Grey levels a pixel above which a pixel is part of a slope."""
NATURAL = 0.4
"""Share of such pixels from which a window shows texture as photographs have it; drawings are flat between edges."""
AGREES, DISAGREES = 0.9, 0.5
LEVELS = 32


class Cues(NamedTuple):
    """What is known of a pair. Shares of windows count those that show something, unless said otherwise."""

    matched: float
    """ln(1 + inliers) of the cheap match."""
    agreement: float
    """Of the cheap match."""
    points: float
    """ln(1 + corners that are found again where the transform says)."""
    found: float
    """Share of the corners looked for that are."""
    spread: float
    """Share of a 4 x 4 grid over what is in common that has such a corner."""
    offset: float
    """Median of what these are off by, in pixels."""
    offset_high: float
    """Its 90th percentile."""
    above_95: float
    above_90: float
    above_80: float
    below_50: float
    """Shares of windows by their correlation."""
    median: float
    """Median correlation."""
    median_agreeing: float
    """Median of the correlations above 0.8."""
    low: float
    """10th percentile of the correlation."""
    smooth_above_95: float
    smooth_above_90: float
    smooth_below_50: float
    smooth_median: float
    smooth_low: float
    """The same of both pictures smoothed."""
    even_above_95: float
    even_median: float
    even_low: float
    """The same of both made equally sharp."""
    even_residual: float
    """ln(1 + median grey levels left between these after the best gain and offset of each window)."""
    overlap_most: float
    overlap_least: float
    """Share of the one and of the other picture that is in common: the larger and the smaller share."""
    flat: float
    """Share of all windows in common that show nothing."""
    natural: float
    """ln(1 + windows that agree and show texture as photographs have it)."""
    natural_share: float
    """Share of all windows in common that are such."""
    natural_median: float
    """Median correlation where either picture shows such texture."""
    both_differ: float
    """Share of all windows in common where both show such texture, and not the same."""
    either_differs: float
    """Share where they differ, whatever they show."""
    largest_difference: float
    """Share of the largest connected region of these."""
    largest_both: float
    """Share of the largest connected region where both show texture and differ."""
    middle: float
    """How much more of the middle than of the rim differs, in [-1, 1]."""
    mapped: float
    """Share of the variance of one picture that is a function of the other's grey level, where they agree."""
    mapped_all: float
    """The same over all that is in common."""
    directions: float
    """Mean cosine between the two gradients where both have one."""
    residual: float
    """ln(1 + median grey levels left between them after the best gain and offset of each window)."""
    residual_share: float
    """The same against the deviation of the window."""
    sharpness: float
    """How much sharper the sharper one is, as the absolute ln of the ratio."""
    blur: float
    """ln(1 + deviation by which it was smoothed to be equally sharp)."""


class Places(NamedTuple):
    """Maps over the base, and which places of them count."""

    inside: BoolArray
    """(h, w) windows that lie wholly in what is in common, every half window."""
    shows: BoolArray
    correlation: Float32Array
    smooth: Float32Array
    even: Float32Array
    differs: BoolArray
    natural_over: BoolArray
    natural_base: BoolArray
    residual: Float32Array
    even_residual: Float32Array
    deviation: Float32Array
    window: int


def places_of(laid: Laid) -> Places:
    """Compare the two pictures window by window."""
    over, base = _grey(laid.over), _grey(laid.base)
    _, _, wide, high = cv2.boundingRect(laid.cover.view(np.uint8))
    window = int(np.clip(min(wide, high) // 6, SMALLEST_BLOCK, BLOCK))
    step = window // 2
    cover = laid.cover.astype(np.float32)
    sample = (slice(step, None, step), slice(step, None, step))
    inside = cv2.blur(cover, (window, window), borderType=cv2.BORDER_CONSTANT)[sample] > 0.98
    correlation, deviation, residual = _compared(over, base, window, FLAT)
    over = np.where(laid.cover, over, base)  # so that smoothing brings nothing in from outside
    even, even_residual = correlation, residual
    if any(laid.blur):
        even, _, even_residual = _compared(softened(over, laid.blur[0]), softened(base, laid.blur[1]), window, FLAT)
    soft_over, soft_base = (cv2.GaussianBlur(image, (0, 0), SMOOTH) for image in (over, base))
    smooth, soft_deviation, _ = _compared(soft_over, soft_base, window, SMOOTH_FLAT)
    shows = inside & (deviation[sample] > FLAT)
    differs = inside & (soft_deviation[sample] > SMOOTH_FLAT) & (smooth[sample] < DISAGREES)
    natural = [_natural(image, window)[sample] & inside for image in (over, base)]
    return Places(
        inside,
        shows,
        correlation[sample],
        smooth[sample],
        even[sample],
        differs,
        natural[0],
        natural[1],
        residual[sample],
        even_residual[sample],
        deviation[sample],
        window,
    )


def cues_of(laid: Laid, places: Places, match: Match) -> Cues:
    """All cues of a pair; places that show nothing give no correlation, and none that do gives zeros."""
    shown, shown_smooth, even = (
        part[places.shows] if places.shows.any() else np.zeros(1, np.float32)
        for part in (places.correlation, places.smooth, places.even)
    )
    total = max(1, int(places.inside.sum()))
    agreeing = shown[shown > 0.8]
    agrees = places.shows & (np.maximum(places.even, places.smooth) > AGREES)
    both = places.natural_over & places.natural_base
    either = places.natural_over | places.natural_base
    natural = places.correlation[either & places.shows]
    both_differ = places.differs & both
    shares = _overlaps(laid)
    offsets = np.hypot(*laid.moved.T) if len(laid.moved) else np.ones(1)
    residual = places.residual[agrees] if agrees.any() else np.full(1, 50.0)
    relative = residual / places.deviation[agrees] if agrees.any() else np.ones(1)
    over, base = (cv2.GaussianBlur(_grey(image), (0, 0), 0.8) for image in (laid.over, laid.base))
    mapped, mapped_all = _mapped(over, base, laid.cover, places)
    return Cues(
        matched=float(np.log1p(match.inliers)),
        agreement=match.agreement,
        points=float(np.log1p(len(laid.points))),
        found=len(laid.points) / max(1, laid.asked),
        spread=_spread(laid),
        offset=float(np.median(offsets)),
        offset_high=float(np.quantile(offsets, 0.9)),
        above_95=float((shown > 0.95).mean()),
        above_90=float((shown > 0.9).mean()),
        above_80=float((shown > 0.8).mean()),
        below_50=float((shown < 0.5).mean()),
        median=float(np.median(shown)),
        median_agreeing=float(np.median(agreeing)) if len(agreeing) else 0.0,
        low=float(np.quantile(shown, 0.1)),
        smooth_above_95=float((shown_smooth > 0.95).mean()),
        smooth_above_90=float((shown_smooth > 0.9).mean()),
        smooth_below_50=float((shown_smooth < 0.5).mean()),
        smooth_median=float(np.median(shown_smooth)),
        smooth_low=float(np.quantile(shown_smooth, 0.1)),
        even_above_95=float((even > 0.95).mean()),
        even_median=float(np.median(even)),
        even_low=float(np.quantile(even, 0.1)),
        even_residual=float(np.log1p(np.median(places.even_residual[agrees]) if agrees.any() else 50.0)),
        overlap_most=max(shares),
        overlap_least=min(shares),
        flat=1 - float(places.shows.sum()) / total,
        natural=float(np.log1p((agrees & both).sum() / 4)),
        natural_share=float((agrees & both).sum()) / total,
        natural_median=float(np.median(natural)) if len(natural) else 0.0,
        both_differ=float(both_differ.sum()) / total,
        either_differs=float(places.differs.sum()) / total,
        largest_difference=_largest(places.differs) / total,
        largest_both=_largest(both_differ) / total,
        middle=_middle(places),
        mapped=mapped,
        mapped_all=mapped_all,
        directions=_directions(over, base, laid.cover),
        residual=float(np.log1p(np.median(residual))),
        residual_share=float(np.median(relative)),
        sharpness=abs(_sharpness(over, laid.cover) - _sharpness(base, laid.cover)),
        blur=float(np.log1p(max(laid.blur))),
    )


def _grey(image: UInt8Array) -> Float32Array:
    return np.asarray(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), dtype=np.float32)


def _compared(
    over: Float32Array, base: Float32Array, window: int, flat: float
) -> tuple[Float32Array, Float32Array, Float32Array]:
    """Correlation, the larger deviation, and the deviation left after the best gain, around each pixel."""
    size = (window, window)
    mean_a, mean_b = cv2.blur(over, size), cv2.blur(base, size)
    variance_a = np.maximum(cv2.blur(over * over, size) - mean_a * mean_a, 0)
    variance_b = np.maximum(cv2.blur(base * base, size) - mean_b * mean_b, 0)
    together = cv2.blur(over * base, size) - mean_a * mean_b
    least = (flat / 3) ** 2
    correlation = together / np.sqrt(np.maximum(variance_a, least) * np.maximum(variance_b, least))
    correlation = np.clip(correlation, -1, 1)
    larger = np.sqrt(np.maximum(variance_a, variance_b))
    return correlation, larger, larger * np.sqrt(1 - correlation * correlation)


def _natural(image: Float32Array, window: int) -> BoolArray:
    soft = cv2.GaussianBlur(image, (0, 0), 0.8)
    slope = np.hypot(cv2.Sobel(soft, cv2.CV_32F, 1, 0, scale=0.125), cv2.Sobel(soft, cv2.CV_32F, 0, 1, scale=0.125))
    share = cv2.blur((slope > SLOPE).astype(np.float32), (window, window))
    return np.asarray(share > NATURAL, dtype=np.bool_)


def _overlaps(laid: Laid) -> tuple[float, float]:
    """Share of the base, and of the picture laid over it, that is in common."""
    common = float(np.count_nonzero(laid.cover))
    area = abs(float(np.linalg.det(laid.transform[:2, :2]))) * laid.fine.shape[0] * laid.fine.shape[1]
    return common / laid.cover.size, min(1.0, common / max(area, 1.0))


def _spread(laid: Laid) -> float:
    left, top, wide, high = cv2.boundingRect(laid.cover.view(np.uint8))
    if not len(laid.points):
        return 0.0
    cells = np.clip(((laid.points - (left, top)) * 4 / (wide, high)).astype(np.int64), 0, 3)
    return len(np.unique(cells @ np.array([1, 4]))) / 16


def _largest(region: BoolArray) -> float:
    count, _, stats, _ = cv2.connectedComponentsWithStats(region.view(np.uint8), connectivity=4)
    return float(stats[1:, cv2.CC_STAT_AREA].max()) if count > 1 else 0.0


def _middle(places: Places) -> float:
    """The share that differs in the middle half less that in the rim around it."""
    rows, columns = np.nonzero(places.inside)
    if not len(rows):
        return 0.0
    top, left, bottom, right = rows.min(), columns.min(), rows.max() + 1, columns.max() + 1
    high, wide = (bottom - top) // 4, (right - left) // 4
    middle = np.zeros_like(places.inside)
    middle[top + high : bottom - high, left + wide : right - wide] = True
    inner, rim = (places.differs[places.inside & where] for where in (middle, ~middle))
    return float(inner.mean() if len(inner) else 0.0) - float(rim.mean() if len(rim) else 0.0)


def _mapped(over: Float32Array, base: Float32Array, cover: BoolArray, places: Places) -> tuple[float, float]:
    """How far one grey level is a function of the other: the correlation ratio, the better of both ways."""
    agrees = (places.inside & (places.smooth > AGREES)).astype(np.uint8)
    where = np.zeros(cover.shape, np.uint8)
    step = places.window // 2
    high, wide = (
        min(length * step, limit - step // 2) for length, limit in zip(agrees.shape, cover.shape, strict=True)
    )
    where[step // 2 : step // 2 + high, step // 2 : step // 2 + wide] = np.repeat(
        np.repeat(agrees, step, axis=0), step, axis=1
    )[:high, :wide]
    return _ratio(over, base, cover & (where > 0)), _ratio(over, base, cover)


def _ratio(over: Float32Array, base: Float32Array, where: BoolArray) -> float:
    a, b = over[where].astype(np.float64), base[where].astype(np.float64)
    if len(a) < LEVELS:
        return 0.0
    best = 0.0
    for one, other in ((a, b), (b, a)):
        level = (one * (LEVELS / 256)).astype(np.int64)
        count = np.bincount(level, minlength=LEVELS)
        mean = np.bincount(level, other, LEVELS) / np.maximum(count, 1)
        variance = other.var()
        between = float((count * (mean - other.mean()) ** 2).sum()) / len(other)
        best = max(best, float(between / variance) if variance > 1 else 0.0)
    return best


def _directions(over: Float32Array, base: Float32Array, cover: BoolArray) -> float:
    ax, ay, bx, by = (
        cv2.Sobel(image, cv2.CV_32F, dx, dy, scale=0.125) for image in (over, base) for dx, dy in ((1, 0), (0, 1))
    )
    inner = cv2.erode(cover.view(np.uint8), np.ones((3, 3), np.uint8)) > 0
    one, other = np.hypot(ax, ay), np.hypot(bx, by)
    strong = inner & (one > 2 * SLOPE) & (other > 2 * SLOPE)
    if strong.sum() < LEVELS:
        return 0.0
    cosine = (ax[strong] * bx[strong] + ay[strong] * by[strong]) / (one[strong] * other[strong])
    return float(abs(cosine.mean(dtype=np.float64)))


def _sharpness(image: Float32Array, cover: BoolArray) -> float:
    """ln of the mean strength of the second derivative against that of the first."""
    fine = np.abs(cv2.Laplacian(image, cv2.CV_32F))[cover].mean(dtype=np.float64)
    coarse = np.abs(cv2.Laplacian(cv2.GaussianBlur(image, (0, 0), 2), cv2.CV_32F))[cover].mean(dtype=np.float64)
    return float(np.log((fine + 0.05) / (coarse + 0.05)))
