"""Histograms for pages: shares of a drawing's width and height, which a template turns into SVG."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

__all__ = ["Histogram", "histogram"]


@dataclass(frozen=True, slots=True)
class Histogram:
    """Bars of equal width, counts upwards on a logarithmic scale that begins at 0. All places are shares, 0 to 1.

    Attributes:
        bars: what each counts, how many, and its height.
        decades: counts of 1, 10, 100 and so on, and the height of each.
        ticks: places along the axis, and what stands beneath.
        limit: place of a threshold, and what is said of it; None for none.
    """

    title: str
    bars: list[tuple[str, int, float]]
    decades: list[tuple[int, float]]
    ticks: list[tuple[float, str]]
    limit: tuple[float, str] | None


def histogram(
    title: str,
    counts: Sequence[tuple[str, int]],
    ticks: Sequence[tuple[float, str]],
    limit: tuple[float, str] | None = None,
) -> Histogram:
    """Lay out bars: what each counts, and how many."""
    most = max(1, *(count for _, count in counts))

    def height(count: int) -> float:
        return float(np.log1p(count) / np.log1p(most))

    bars = [(name, count, height(count)) for name, count in counts]
    decades = [(10**power, height(10**power)) for power in range(len(str(most)))]
    return Histogram(title, bars, decades, list(ticks), limit)
