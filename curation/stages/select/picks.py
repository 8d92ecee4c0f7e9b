"""Who chooses which images: seeds as they are, their neighbours, members of their clusters, shares of the hierarchy."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from curation.arrays import Float32Array, Int32Array, Int64Array
from curation.config import BALANCED, Config, SeedConfig
from curation.engine.gather import Gathered, gather
from curation.errors import UserError
from curation.run.directory import Run
from curation.run.parts import random_for
from curation.search.balanced import balanced
from curation.stages.concepts.hierarchy import PATH
from curation.stages.select.nearest_seed import nearest_seeds

__all__ = ["Pick", "all_picks", "picks_by_cluster"]


@dataclass(frozen=True, slots=True)
class Pick:
    """One image, and what chose it.

    Attributes:
        source: path of the collection that the image is in, `pool` or `seeds/<name>`.
        at: the image's position among that collection's live images.
        seed_id: of the seed image that it is a neighbour of, or in cluster mode of the nearest in its cluster.
        similarity: to that seed image.
        rank: 0 for the nearest neighbour of its seed image, and so on; -1 outside of sample mode.
    """

    source: str
    at: int
    how: str
    seed_set: str
    seed_id: bytes | None = None
    similarity: float = 1.0
    rank: int = -1


def all_picks(run: Run, live: Mapping[str, Gathered]) -> Iterator[tuple[str, str, int, int, list[Pick]]]:
    """What each seed set picks in each way, by priority: an image picked twice counts for the first.

    Args:
        live: images of the pool and of each seed set, by path.

    Yields:
        The set (empty for the hierarchy), the way, images of the set, picks before the cap, and the picks.
    """
    for how, seed in _ways(run.config):
        picks, retrieved = _picks(run, seed, how, live)
        yield seed.name, how, len(live[f"seeds/{seed.name}"]), retrieved, picks
    if run.config.selection.balances:
        shares = list(_shares(run, live["pool"]))
        yield "", BALANCED, len(live["pool"]), len(shares), shares


def _ways(config: Config) -> Iterator[tuple[str, SeedConfig]]:
    for seed in config.seeds:
        if seed.as_is:
            yield "as_is", seed
    for how in ("sample", "cluster"):
        for seed in config.seeds:
            if seed.retrieve == how and config.selection.retrieves:
                yield how, seed


def picks_by_cluster(
    seed_clusters: Int32Array,
    pool_clusters: Int32Array,
    settings: SeedConfig,
    rng: np.random.Generator,
    similarities: Float32Array,
) -> tuple[Int64Array, int]:
    """Cluster mode: members of each cluster that more than `min_seed_images` seed images fall into.

    Args:
        seed_clusters: (S,) cluster of each seed image.
        pool_clusters: (N,) cluster of each pool image.
        similarities: (N,) to the centroid of that cluster; looked at with `picks: nearest`, where the first of equally
            near ones are taken. Which picks stay under the cap is left to chance either way.

    Returns:
        Positions of the picked pool images, at most `cap` of them, and how many there were before the cap.
    """
    clusters, seeds = np.unique(seed_clusters, return_counts=True)
    picked = [np.empty(0, dtype=np.int64)]
    for cluster in clusters[seeds > settings.min_seed_images]:
        members = np.flatnonzero(pool_clusters == cluster)
        if settings.picks == "nearest":
            order = np.argsort(-similarities[members], kind="stable")
            picked.append(np.sort(members[order[: settings.per_cluster]]))
        else:
            picked.append(_at_most(members, settings.per_cluster, rng))
    together = np.concatenate(picked)
    return _at_most(together, settings.cap, rng), len(together)


def _at_most(members: Int64Array, limit: int, rng: np.random.Generator) -> Int64Array:
    return members if len(members) <= limit else np.sort(rng.choice(members, limit, replace=False))


def _picks(run: Run, seed: SeedConfig, how: str, live: Mapping[str, Gathered]) -> tuple[list[Pick], int]:
    """What one seed set picks in one way, and how many picks there were before the cap."""
    path = f"seeds/{seed.name}"
    seeds, pool = live[path], live["pool"]
    if how == "as_is":
        ids = seeds.table["id"].to_pylist()
        return [Pick(path, at, how, seed.name, key) for at, key in enumerate(ids)], len(seeds)
    if how == "sample":
        picks = list(_neighbours(run, seed, pool))
        return picks, len(picks)
    rng = random_for(run.config.seed, "selection", seed.name)
    clusters = pool.table["cluster"].to_numpy()
    seed_clusters = seeds.table["cluster"].to_numpy()
    _check_seed_images(seed_clusters, seed)
    near = pool.table["cluster_similarity"].to_numpy()
    positions, retrieved = picks_by_cluster(seed_clusters, clusters, seed, rng, near)
    nearest, similar = nearest_seeds(run.pool, pool, positions, run.seeds(seed.name), seeds)
    ids = seeds.table["id"].take(pa.array(nearest)).to_pylist()
    chosen = zip(positions.tolist(), ids, similar.tolist(), strict=True)
    return [Pick("pool", at, how, seed.name, key, result) for at, key, result in chosen], retrieved


def _check_seed_images(clusters: Int32Array, seed: SeedConfig) -> None:
    """A set that can retrieve nothing, whatever the pool holds, is a mistake."""
    fullest = int(np.bincount(clusters).max())
    if fullest <= seed.min_seed_images:
        raise UserError(
            f"seeds/{seed.name}: no cluster holds more than {seed.min_seed_images} of its {len(clusters)} images, the "
            f"fullest {fullest}, so it retrieves nothing; set its min_seed_images to {fullest - 1} or less, make fewer "
            "clusters (clusters.count), or use retrieve: sample"
        )


def _neighbours(run: Run, seed: SeedConfig, pool: Gathered) -> Iterator[Pick]:
    position = {key: at for at, key in enumerate(zip(pool.part.tolist(), pool.row.tolist(), strict=True))}
    columns = {"fetch": ["id"], "seed_knn": ["neighbour_part", "neighbour_row", "neighbour_similarity"]}
    for row in gather(run.seeds(seed.name), "seed_knn", columns).table.to_pylist():
        places = zip(row["neighbour_part"], row["neighbour_row"], row["neighbour_similarity"], strict=True)
        for rank, (part, number, similarity) in enumerate(places):
            yield Pick("pool", position[part, number], "sample", seed.name, row["id"], similarity, rank)


def _shares(run: Run, pool: Gathered) -> Iterator[Pick]:
    """What the hierarchy of clusters gives."""
    size, rng = run.config.selection.size, random_for(run.config.seed, "selection", "balanced picks")
    assert size is not None, "the config has seen to that"
    similarities = pool.table["leaf_similarity"].to_numpy()
    near = similarities if run.config.selection.picks == "nearest" else None
    column = pool.table[PATH].combine_chunks()
    paths = column.flatten().to_numpy().reshape(len(column), -1) if len(column) else np.empty((0, 0), np.int32)
    for at in balanced(paths, size, rng, near).tolist():
        yield Pick("pool", at, BALANCED, "", None, float(similarities[at]))
