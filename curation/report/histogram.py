"""Histograms for pages: the numbers of a drawing, which a template turns into SVG."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

__all__ = ["Bar", "Histogram", "histogram"]

WIDTH, HEIGHT = 640, 150


@dataclass(frozen=True, slots=True)
class Bar:
    """One bar: its place in the drawing, how many it counts, and of what."""

    x: float
    y: float
    width: float
    height: float
    count: int
    name: str


@dataclass(frozen=True, slots=True)
class Histogram:
    """A drawing of 640 x 150 units, counts upwards on a logarithmic scale that begins at 0.

    Attributes:
        decades: counts of 1, 10, 100 and so on, and the height of each.
        ticks: places along the axis, and what stands beneath.
        limit: place of a threshold, and what is said of it; None for none.
    """

    title: str
    bars: list[Bar]
    decades: list[tuple[int, float]]
    ticks: list[tuple[float, str]]
    limit: tuple[float, str] | None
    width: int = WIDTH
    height: int = HEIGHT


def histogram(
    title: str,
    counts: Sequence[int],
    names: Sequence[str],
    ticks: Sequence[tuple[float, str]],
    limit: tuple[float, str] | None = None,
) -> Histogram:
    """Lay out a histogram.

    Args:
        counts: of each bar.
        names: what each bar counts.
        ticks, limit: with places as shares of the axis, 0 to 1.
    """
    most = max(1, *counts)
    width = WIDTH / len(counts)

    def height(count: int) -> float:
        return round(float(HEIGHT * np.log1p(count) / np.log1p(most)), 1)

    return Histogram(
        title,
        [
            Bar(
                round(at * width + 1, 1),
                round(HEIGHT - height(count), 1),
                round(width - 2, 1),
                height(count),
                count,
                name,
            )
            for at, (count, name) in enumerate(zip(counts, names, strict=True))
        ],
        [(10**power, round(HEIGHT - height(10**power), 1)) for power in range(int(np.log10(most)) + 1)],
        [(round(share * WIDTH, 1), text) for share, text in ticks],
        None if limit is None else (round(limit[0] * WIDTH, 1), limit[1]),
    )
