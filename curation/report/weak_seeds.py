"""Seed images whose picks are hardly more similar to them than random pool images are: what they ask for is not there.

Among N random images the most similar one is about mean + deviation x sqrt(2 ln N) similar (the expected maximum of N
normal values). A pick that is no more similar than that is what chance would bring.
"""

import math
from dataclasses import dataclass

import numpy as np

from curation.arrays import Float32Array
from curation.run.directory import Run
from curation.run.parts import random_for
from curation.stages.knn.vectors import live_counts, read_vectors

__all__ = ["WeakSeeds", "weak_seeds"]

SAMPLE = 1000
"""Pool images that seeds are compared with, of the first parts."""
FEWEST = 100
"""Pool images below which nothing is said."""


@dataclass(frozen=True, slots=True)
class WeakSeeds:
    """The seed images of a set whose best pick is no better than chance.

    Attributes:
        set: the collection's path.
        weak, images: how many of how many.
        picks, chance: median similarity of a seed image's best pick, and what chance would bring.
    """

    set: str
    weak: int
    images: int
    picks: float
    chance: float


def weak_seeds(run: Run) -> list[WeakSeeds]:
    """Of each seed set in sample mode that has some."""
    collections = [run.collection(f"seeds/{seed.name}") for seed in run.config.seeds]
    asked = [(collection, parts) for collection in collections if (parts := collection.parts("seed_knn"))]
    counts = live_counts(run.pool, "embeddings") if asked else {}
    sample = _sample(run, counts)
    result: list[WeakSeeds] = []
    for collection, parts in asked if len(sample) >= FEWEST else ():
        best, chance = [], []
        for part in parts:
            lists = collection.read("seed_knn", part, ["neighbour_similarity"])["neighbour_similarity"].to_pylist()
            best += [items[0] for items in lists if items]
            similar = read_vectors(collection, part, "embeddings", "seed_knn").astype(np.float32) @ sample.T
            most = similar.mean(axis=1) + similar.std(axis=1) * math.sqrt(2 * math.log(sum(counts.values())))
            chance += most.tolist()
        weak = int((np.array(best) <= np.array(chance)).sum()) if len(best) == len(chance) else 0
        if weak:
            result.append(WeakSeeds(collection.path, weak, len(best), float(np.median(best)), float(np.median(chance))))
    return result


def _sample(run: Run, counts: dict[int, int]) -> Float32Array:
    """(S, D) float32, embeddings of random images of the first parts that hold enough."""
    rows: list[Float32Array] = []
    for part in counts:
        if sum(map(len, rows)) < SAMPLE:
            rows.append(read_vectors(run.pool, part, "embeddings").astype(np.float32))
    if not rows:
        return np.empty((0, 1), np.float32)
    vectors = np.concatenate(rows)
    chosen = random_for(run.config.seed, "weak_seeds", "pool", 0).permutation(len(vectors))[:SAMPLE]
    return np.asarray(vectors[chosen])
