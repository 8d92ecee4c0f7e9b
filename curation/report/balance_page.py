"""A page of how evenly a selection is spread: curves of occupancy, measures, and pictures of a few clusters."""

from collections.abc import Iterator
from typing import Any

import numpy as np

from curation.arrays import Float64Array, Int64Array
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
POINTS = 200
SIDE = 132


def balance_page(run: Run, report: Balance) -> str:
    """The page as HTML; thumbnails are made from the images as they are stored, faces blurred."""
    return render(
        "balance.html",
        title=f"balance of {run.store.root}",
        levels=[(level.name, len(level.before), _curves(level), _rows(level)) for level in report.levels],
        coverage=[
            (item.seed_set, item.images, item.clusters, item.covered, f"{item.share:.1%}") for item in report.coverage
        ],
        groups=list(_groups(run, report.levels[0])),
    )


def _rows(level: Level) -> list[tuple[str | int, ...]]:
    return [_row("before", occupancy_of(level.before)), _row("after", occupancy_of(level.after))]


def _row(name: str, result: Occupancy) -> tuple[str | int, ...]:
    measures = (f"{result.entropy:.3f}", f"{result.gini:.3f}", f"{result.top_1:.1%}", f"{result.top_10:.1%}")
    return (name, result.images, result.occupied, *measures)


def _curves(level: Level) -> dict[str, Any]:
    """Clusters from the fullest to the emptiest, each as a multiple of an even share; a flat line at 1 is balance.

    Places are shares of the drawing's width and height, from its upper left corner. An empty cluster is not drawn.
    """
    curves = {"before": _multiples(level.before), "after": _multiples(level.after)}
    occupied = np.concatenate([values[values > 0] for values in curves.values()])
    low, high = (float(occupied.min()), float(occupied.max())) if len(occupied) else (1.0, 1.0)
    bottom, top = int(np.floor(np.log10(min(low, 0.9)))), int(np.ceil(np.log10(max(high, 1.1))))

    def down(value: float) -> float:
        return float(top - np.log10(value)) / (top - bottom)

    return {
        "decades": [(f"{10.0**decade:g}", down(10.0**decade)) for decade in range(bottom, top + 1)],
        "even": down(1.0),
        "lines": {name: [(x, down(value)) for x, value in _points(values)] for name, values in curves.items()},
    }


def _multiples(counts: Int64Array) -> Float64Array:
    """Each cluster's images as a multiple of an even share, the fullest first."""
    total = counts.sum()
    return np.sort(counts)[::-1] * (len(counts) / total) if total else np.zeros(len(counts))


def _points(values: Float64Array) -> Iterator[tuple[float, float]]:
    """Place along the axis, 0 to 1, and value, of at most 200 of the clusters that hold anything."""
    occupied = int((values > 0).sum())
    for at in np.unique(np.linspace(0, occupied - 1, min(POINTS, occupied)).astype(int)).tolist() if occupied else []:
        yield (at + 0.5) / len(values), float(values[at])


def _groups(run: Run, level: Level) -> Iterator[tuple[str, list[dict[str, Any]]]]:
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
            counts = {"before": int(level.before[number]), "after": int(level.after[number])}
            shown.append({"number": number, **counts, "figures": figures})
        yield heading, shown


def _figure(pictures: Pictures, place: Place) -> Figure:
    return Figure(pictures.thumbnail(place, SIDE), pictures.key(place))
