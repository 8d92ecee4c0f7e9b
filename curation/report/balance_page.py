"""A page of how evenly a selection is spread: curves of occupancy, measures, and pictures of a few clusters."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from curation.engine.gather import gather
from curation.report.balance import Balance, Level, Occupancy, occupancy_of
from curation.report.page import Figure, render
from curation.report.pictures import Pictures, Place
from curation.run.directory import Run
from curation.run.parts import random_for

__all__ = ["balance_page"]

CLUSTERS = 6
"""Clusters shown: so many of the largest, and so many at random."""
IMAGES = 8
"""Images shown of each."""
WIDTH, HEIGHT = 640, 240
POINTS = 200
SIDE = 132


@dataclass(frozen=True, slots=True)
class _Chart:
    """Clusters from the fullest to the emptiest, each as a multiple of an even share; a flat line at 1 is balance.

    Attributes:
        decades: powers of ten, and the height of each.
        even: height of an even share.
        curves: "before" and "after", and the points of each line; an empty cluster is not drawn.
    """

    width: int
    height: int
    decades: list[tuple[str, float]]
    even: float
    curves: list[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class _Cluster:
    """One cluster with images of the pool that it holds, selected or not."""

    number: int
    before: int
    after: int
    figures: list[Figure]


def balance_page(run: Run, report: Balance) -> str:
    """The page as HTML; thumbnails are made from the images as they are stored, faces blurred."""
    return render(
        "balance.html",
        title=f"balance of {run.store.root}",
        levels=[(level.name, len(level.before), _chart(level), _measures(level)) for level in report.levels],
        coverage=[
            (item.seed_set, item.images, item.clusters, item.covered, f"{item.share:.1%}") for item in report.coverage
        ],
        groups=list(_groups(run, report.levels[0])),
    )


def _measures(level: Level) -> list[tuple[str | int, ...]]:
    return [_row("before", occupancy_of(level.before)), _row("after", occupancy_of(level.after))]


def _row(name: str, result: Occupancy) -> tuple[str | int, ...]:
    measures = (f"{result.entropy:.3f}", f"{result.gini:.3f}", f"{result.top_1:.1%}", f"{result.top_10:.1%}")
    return (name, result.images, result.occupied, *measures)


def _chart(level: Level) -> _Chart:
    curves = {"before": _multiples(level.before), "after": _multiples(level.after)}
    occupied = np.concatenate([values[values > 0] for values in curves.values()])
    low, high = (float(occupied.min()), float(occupied.max())) if len(occupied) else (1.0, 1.0)
    bottom, top = np.floor(np.log10(min(low, 0.9))), np.ceil(np.log10(max(high, 1.1)))

    def height(value: float) -> float:
        return round(float((top - np.log10(value)) / (top - bottom) * HEIGHT), 1)

    return _Chart(
        WIDTH,
        HEIGHT,
        [(f"{10.0**decade:g}", height(10.0**decade)) for decade in range(int(bottom), int(top) + 1)],
        height(1.0),
        [
            (name, " ".join(f"{at * WIDTH:.1f},{height(value)}" for at, value in _points(values)))
            for name, values in curves.items()
        ],
    )


def _multiples(counts: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """Each cluster's images as a multiple of an even share, the fullest first."""
    total = counts.sum()
    return np.sort(counts)[::-1] * (len(counts) / total) if total else np.zeros(len(counts))


def _points(values: npt.NDArray[np.float64]) -> Iterator[tuple[float, float]]:
    """Place along the axis, 0 to 1, and value, of at most 200 of the clusters that hold anything."""
    occupied = int((values > 0).sum())
    for at in np.unique(np.linspace(0, occupied - 1, min(POINTS, occupied)).astype(int)).tolist() if occupied else []:
        yield (at + 0.5) / len(values), float(values[at])


def _groups(run: Run, level: Level) -> Iterator[tuple[str, list[_Cluster]]]:
    """Pictures of the largest clusters and of others at random, those of the pool before selection."""
    occupied = np.flatnonzero(level.before)
    largest = occupied[np.argsort(-level.before[occupied], kind="stable")][:CLUSTERS]
    others = np.setdiff1d(occupied, largest)
    rng = random_for(run.config.seed, "balance")
    drawn = np.sort(rng.choice(others, min(CLUSTERS, len(others)), replace=False))
    pool = gather(run.pool, "clusters", {"clusters": ["cluster"]})
    clusters = pool.table["cluster"].to_numpy()
    pictures = Pictures(run)
    for heading, numbers in (("the largest clusters", largest), ("clusters at random", drawn)):
        shown = []
        for number in numbers.tolist():
            members = np.flatnonzero(clusters == number)
            sample = np.sort(rng.choice(members, min(IMAGES, len(members)), replace=False))
            places = zip(pool.part[sample].tolist(), pool.row[sample].tolist(), strict=True)
            figures = [_figure(pictures, (run.pool.path, part, row)) for part, row in places]
            shown.append(_Cluster(number, int(level.before[number]), int(level.after[number]), figures))
        yield heading, shown


def _figure(pictures: Pictures, place: Place) -> Figure:
    return Figure(pictures.thumbnail(place, SIDE), pictures.key(place))
