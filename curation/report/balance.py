"""How evenly a pool's images are spread over its clusters, before and after selection, and what seed sets reached.

Images of seed sets that were taken as they are do not count: it is the pool that is balanced, not what is added to it.
"""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from curation.arrays import Int32Array, Int64Array
from curation.engine.gather import Gathered, gather
from curation.errors import UserError
from curation.run.artifacts import Artifact
from curation.run.directory import Run
from curation.stages.concepts.hierarchy import PATH
from curation.stages.select.selection import SELECTION

__all__ = ["Balance", "Coverage", "Level", "Occupancy", "balance", "level_columns", "occupancy_of"]


@dataclass(frozen=True, slots=True)
class Occupancy:
    """How images are spread over clusters.

    Attributes:
        occupied: clusters that hold any.
        entropy: of a random image's cluster, as a share of the highest there can be, log(clusters): 1 when all hold
            equally many. Of a single cluster it is 1.
        gini: 0 when all clusters hold equally many, near 1 when one holds all.
        top_1, top_10: share of the images that the largest 1 % and 10 % of the clusters hold (one cluster at least).
    """

    images: int
    occupied: int
    entropy: float
    gini: float
    top_1: float
    top_10: float


@dataclass(frozen=True)
class Level:
    """One clustering of the pool: images in each cluster before selection, and of these the selected ones."""

    name: str
    before: Int64Array
    after: Int64Array

    def to_dict(self) -> dict[str, Any]:
        measures = {"before": asdict(occupancy_of(self.before)), "after": asdict(occupancy_of(self.after))}
        return {"name": self.name, "clusters": len(self.before), **measures}


@dataclass(frozen=True, slots=True)
class Coverage:
    """What one seed set's concepts received.

    Attributes:
        clusters: clusters that images of the set fall into.
        covered: those of which any pool image was selected, whatever chose it.
    """

    seed_set: str
    images: int
    clusters: int
    covered: int

    @property
    def share(self) -> float:
        return self.covered / self.clusters if self.clusters else 0.0


@dataclass(frozen=True)
class Balance:
    """The whole report; `to_dict` is the JSON."""

    levels: Sequence[Level]
    coverage: Sequence[Coverage]

    def to_dict(self) -> dict[str, Any]:
        return {
            "levels": [level.to_dict() for level in self.levels],
            "coverage": [{**asdict(item), "share": item.share} for item in self.coverage],
        }


def occupancy_of(counts: Int64Array) -> Occupancy:
    """Measures of the images in each cluster; of no images at all, every measure is 0."""
    images, clusters = int(counts.sum()), len(counts)
    if not images:
        return Occupancy(0, 0, 0.0, 0.0, 0.0, 0.0)
    falling = np.sort(counts)[::-1]
    shares = falling[falling > 0] / images
    entropy = float(-(shares * np.log(shares)).sum() / np.log(clusters)) if clusters > 1 else 1.0
    rank = np.arange(1, clusters + 1)
    gini = float((clusters + 1 - 2 * (rank * falling).sum() / images) / clusters)

    def top(share: float) -> float:
        return float(falling[: max(1, round(share * clusters))].sum() / images)

    return Occupancy(images, len(shares), entropy, gini, top(0.01), top(0.1))


def balance(run: Run) -> Balance:
    """Measure a run that has a selection.

    Raises:
        UserError: it has none yet.
    """
    selected = _selected(run)
    pool = gather(run.pool, "clusters", {"clusters": ["cluster"]})
    clusters = pool.table["cluster"].to_numpy()
    chosen = selected["cluster"].to_numpy()
    count = Artifact(run.store, "centroids", "").rows()["centroids"]
    levels = [_level("clusters", count, clusters, chosen)]
    levels += _tree_levels(run, selected)
    reached = np.unique(chosen)
    return Balance(levels, list(_coverage(run, reached)))


def _selected(run: Run) -> pa.Table:
    """Of the selected images of the pool, their clusters."""
    parts = run.selection.parts("selection")
    if not parts:
        raise UserError(
            f"{run.store.root}: nothing is selected yet, so there is nothing to compare; "
            "run `lvd curate` up to its step `selection` first"
        )
    if any(
        (footer := run.selection.footer("selection", part)) and footer.version != SELECTION.version for part in parts
    ):
        raise UserError(f"{run.store.root}: was selected by another version; run `lvd curate` again to select anew")
    names = ["collection", "cluster", PATH]
    table = pa.concat_tables(run.selection.read("selection", part, names) for part in parts)
    return table.filter(pc.equal(table["collection"], "pool"))


def level_columns(table: pa.Table) -> Int32Array:
    """The column of cluster paths, as (N, levels) from the top level to the lowest."""
    column = table[PATH].combine_chunks()
    return np.asarray(column.flatten().to_numpy().reshape(len(column), -1), dtype=np.int32)


def _tree_levels(run: Run, selected: pa.Table) -> Iterator[Level]:
    """The levels of the hierarchy, from the lowest, where the run has one."""
    if not run.config.selection.balances:
        return
    pool: Gathered = gather(run.pool, "clusters", {"hierarchy": [PATH]})
    before = level_columns(pool.table)
    after = level_columns(selected) if len(selected) else before[:0]
    counts = Artifact(run.store, "hierarchy", "").rows()
    for level in range(1, before.shape[1] + 1):
        clusters, chosen = before[:, -level], after[:, -level]
        yield _level(f"level {level}", counts[f"centroids_{level}"], clusters, chosen)


def _level(name: str, count: int, before: Int32Array, after: Int32Array) -> Level:
    return Level(name, np.bincount(before, minlength=count), np.bincount(after, minlength=count))


def _coverage(run: Run, reached: Int32Array) -> Iterator[Coverage]:
    for seed in run.config.seeds:
        result = gather(run.seeds(seed.name), "clusters", {"clusters": ["cluster"]})
        clusters = np.unique(result.table["cluster"].to_numpy()) if len(result) else np.empty(0, np.int32)
        yield Coverage(seed.name, len(result), len(clusters), int(np.isin(clusters, reached).sum()))
