"""First centroids that are far from each other: k-means++ (Arthur and Vassilvitskii 2007), for unit rows."""

import numpy as np

from curation.arrays import Float16Array, Float32Array
from curation.search.partition import single

__all__ = ["SAMPLE", "plus_plus"]

SAMPLE = 32
"""Rows per cluster that are enough to choose from."""


def plus_plus(rows: Float16Array, count: int, rng: np.random.Generator) -> Float32Array:
    """Choose rows one after the other, each with a chance proportional to its squared distance from those before it.

    It takes one product of all rows with a vector for each choice, so give it a sample.

    Args:
        rows: (N, D) fp16, N >= count.

    Returns:
        (count, D) float32; where fewer rows differ, some are repeated.
    """
    sample = single(rows)
    chosen = [int(rng.integers(len(sample)))]
    distance = np.full(len(sample), np.inf)
    for _ in range(count - 1):
        # Squared distance of unit rows; rounding must not leave a chance to what was chosen.
        distance = np.minimum(distance, 2 - 2 * (sample @ sample[chosen[-1]]).astype(np.float64))
        distance[distance < 1e-3] = 0
        total = distance.sum()
        chosen.append(int(rng.choice(len(sample), p=distance / total)) if total > 0 else int(rng.integers(len(sample))))
    return np.ascontiguousarray(sample[chosen])
