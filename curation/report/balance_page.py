"""A page of how evenly a selection is spread: curves of occupancy, measures, and what some clusters look like.

It holds everything it shows, asks for nothing, and runs no script. What comes from the run is escaped.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from curation.arrays import Float64Array, Int64Array
from curation.config import ImageConfig
from curation.drops import Dropped
from curation.engine.gather import gather
from curation.engine.locations import PLACE, read_samples
from curation.errors import RunError
from curation.imaging.decode import decode_image, encode_jpeg, read_image
from curation.report.balance import Balance, Level, Occupancy, occupancy_of
from curation.report.pictures import data_uri, shown
from curation.run.directory import Run
from curation.run.parts import random_for

__all__ = ["balance_page"]

CLUSTERS = 6
"""Clusters shown: so many of the largest, and so many at random."""
IMAGES = 8
"""Images shown of each."""
WIDTH, HEIGHT, LEFT, BOTTOM = 640, 240, 56, 34
POINTS = 200
SIDE = 96
NO_LIMITS = ImageConfig(min_side=1)  # the run has judged them already
BEFORE, AFTER = "#b0743a", "#2f6f8f"
STYLE = """
body { font: 14px system-ui, sans-serif; margin: 2rem auto; max-width: 74rem; padding: 0 1rem; color: #222 }
figure { display: inline-block; margin: 4px; width: 96px; vertical-align: top }
figcaption { font-size: 11px; color: #555; overflow-wrap: anywhere }
h2 { margin: 2rem 0 .3rem } h3 { font-weight: normal; margin: .8rem 0 .2rem }
table { border-collapse: collapse } td, th { padding: 2px 10px; text-align: right }
td:first-child, th:first-child { text-align: left }
svg { max-width: 46rem; font: 11px system-ui, sans-serif }
"""


def balance_page(run: Run, report: Balance) -> str:
    """The page as HTML; thumbnails are made from the images as they are stored, faces blurred."""
    levels = "".join(_level(level) for level in report.levels)
    title = shown(f"balance of {run.store.root}")
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{title}</title><style>{STYLE}</style>'
        f"<h1>{title}</h1><p>Images of the pool in each cluster, before and after selection. Seed images that were "
        f"taken as they are do not count.</p>{levels}{_coverage(report)}{_clusters(run, report.levels[0])}</html>\n"
    )


def _level(level: Level) -> str:
    rows = (("before", occupancy_of(level.before)), ("after", occupancy_of(level.after)))
    return (
        f"<h2>{shown(level.name)}: {len(level.before):,} clusters</h2>{_curves(level)}"
        "<table><tr><th></th><th>images</th><th>clusters with any</th><th>entropy</th><th>Gini</th>"
        "<th>in the largest 1 %</th><th>in the largest 10 %</th></tr>"
        f"{''.join(_row(name, result) for name, result in rows)}</table>"
    )


def _row(name: str, result: Occupancy) -> str:
    cells = (
        f"{result.images:,}",
        f"{result.occupied:,}",
        f"{result.entropy:.3f}",
        f"{result.gini:.3f}",
        f"{result.top_1:.1%}",
        f"{result.top_10:.1%}",
    )
    return f"<tr><td>{name}</td>{''.join(f'<td>{cell}</td>' for cell in cells)}</tr>"


def _curves(level: Level) -> str:
    """Clusters from the fullest to the emptiest, each as a multiple of an even share; a flat line at 1 is balance."""
    curves = [(_multiples(level.before), BEFORE), (_multiples(level.after), AFTER)]
    known = np.concatenate([values[values > 0] for values, _ in curves])
    low, high = (float(known.min()), float(known.max())) if len(known) else (1.0, 1.0)
    bottom, top = np.floor(np.log10(min(low, 0.9))), np.ceil(np.log10(max(high, 1.1)))

    def height(value: float) -> float:
        return float((top - np.log10(value)) / (top - bottom) * HEIGHT)

    lines = []
    for decade in range(int(bottom), int(top) + 1):
        y = height(10.0**decade)
        lines.append(f'<line x1="{LEFT}" y1="{y:.1f}" x2="{LEFT + WIDTH}" y2="{y:.1f}" stroke="#ddd"/>')
        lines.append(f'<text x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{10.0**decade:g}</text>')
    y = height(1.0)
    lines.append(
        f'<line x1="{LEFT}" y1="{y:.1f}" x2="{LEFT + WIDTH}" y2="{y:.1f}" stroke="#777" stroke-dasharray="4"/>'
    )
    for values, colour in curves:
        points = " ".join(f"{LEFT + at * WIDTH:.1f},{height(value):.1f}" for at, value in _points(values))
        lines.append(f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="2"/>')
    for at, (name, colour) in enumerate((("before", BEFORE), ("after", AFTER))):
        lines.append(f'<text x="{LEFT + WIDTH - 60}" y="{16 + 16 * at}" fill="{colour}">{name}</text>')
    lines.append(
        f'<text x="{LEFT}" y="{HEIGHT + 24}">clusters, the fullest first; upwards: multiples of an even share '
        "(an empty cluster is not drawn)</text>"
    )
    size = f"0 -8 {LEFT + WIDTH + 12} {HEIGHT + BOTTOM + 8}"
    return f'<svg viewBox="{size}" role="img" aria-label="occupancy of clusters">{"".join(lines)}</svg>'


def _multiples(counts: Int64Array) -> Float64Array:
    total = counts.sum()
    return np.sort(counts)[::-1] * (len(counts) / total) if total else np.zeros(len(counts))


def _points(values: Float64Array) -> Iterator[tuple[float, float]]:
    """Place along the axis, 0 to 1, and value, of some hundred of the clusters that hold anything."""
    occupied = int((values > 0).sum())
    for at in np.unique(np.linspace(0, occupied - 1, min(POINTS, occupied)).astype(int)).tolist() if occupied else []:
        yield (at + 0.5) / len(values), float(values[at])


def _coverage(report: Balance) -> str:
    if not report.coverage:
        return ""
    rows = "".join(
        f"<tr><td>{shown(item.seed_set)}</td><td>{item.images:,}</td><td>{item.clusters:,}</td>"
        f"<td>{item.covered:,}</td><td>{item.share:.1%}</td></tr>"
        for item in report.coverage
    )
    return (
        "<h2>concepts of the seed sets</h2><table><tr><th>seed set</th><th>images</th><th>clusters that they fall "
        f"into</th><th>of which images were selected</th><th>share</th></tr>{rows}</table>"
    )


def _clusters(run: Run, level: Level) -> str:
    """Pictures of the largest clusters and of some at random, those of the pool before selection."""
    occupied = np.flatnonzero(level.before)
    largest = occupied[np.argsort(-level.before[occupied], kind="stable")][:CLUSTERS]
    others = np.setdiff1d(occupied, largest)
    rng = random_for(run.config.seed, "balance")
    drawn = np.sort(rng.choice(others, min(CLUSTERS, len(others)), replace=False))
    pool = gather(run.pool, "clusters", {"clusters": ["cluster"]})
    clusters = pool.table["cluster"].to_numpy()
    parts = []
    for heading, numbers in (("the largest clusters", largest), ("clusters at random", drawn)):
        parts.append(f"<h2>{heading}</h2>")
        for number in numbers.tolist():
            members = np.flatnonzero(clusters == number)
            some = np.sort(rng.choice(members, min(IMAGES, len(members)), replace=False))
            places = list(zip(pool.part[some].tolist(), pool.row[some].tolist(), strict=True))
            parts.append(
                f"<h3>cluster {number}: {level.before[number]:,} images, {level.after[number]:,} selected</h3>"
                f"{''.join(_figures(run, places))}"
            )
    return "".join(parts)


def _figures(run: Run, places: Sequence[tuple[int, int]]) -> Iterator[str]:
    for part, row in places:
        fields = read_samples(run.pool, part, ["id", *PLACE]).slice(row, 1).to_pylist()[0]
        yield f"<figure>{_thumbnail(run, fields)}<figcaption>{fields['id'].hex()}</figcaption></figure>"


def _thumbnail(run: Run, fields: dict[str, Any]) -> str:
    try:
        image = decode_image(read_image(run.store, run.pool.path, *(fields[name] for name in PLACE)), NO_LIMITS, SIDE)
    except RunError:
        return "(no longer stored)"
    if isinstance(image, Dropped):
        return "(no longer stored)"
    image.thumbnail((SIDE, SIDE))
    return f'<img alt="" src="{data_uri(encode_jpeg(image, 80), "jpeg")}">'
