"""Where faiss compares vectors: on a GPU, if it finds one, and else on the cores.

What comes back are proposals, which are ranked by similarities computed on the cores, so a GPU changes a result only
where an inverted file's proposals differ. Not run on a GPU yet: its calls are tested with stand-ins.
"""

import os
from functools import cache
from typing import Any

import faiss

from curation.arrays import Float32Array, Int64Array

__all__ = ["Placed", "gpu", "knn"]

MOST = 2048
"""Neighbours, and lists probed, that faiss's GPU kernels take; more are looked for on the cores."""


def gpu() -> int | None:
    """The GPU of this process: workers take them in turn, by their process numbers. None where faiss finds none."""
    count = faiss.get_num_gpus()
    return os.getpid() % count if count else None


def knn(queries: Float32Array, base: Float32Array, k: int) -> tuple[Float32Array, Int64Array]:
    """The k rows of the base with the largest inner products, the largest first."""
    number = gpu()
    if number is None or k > MOST:
        result = faiss.knn(queries, base, k, metric=faiss.METRIC_INNER_PRODUCT)
    else:
        result = faiss.knn_gpu(_resources(number), queries, base, k, metric=faiss.METRIC_INNER_PRODUCT, device=number)
    return result[0], result[1]


class Placed:
    """An inverted file where it is searched. One of 4-bit codes stays on the cores: their layout is for registers."""

    def __init__(self, index: Any, probes: int) -> None:
        index.nprobe = probes
        self._index = self._near = index
        number = gpu()
        if number is not None and probes <= MOST and not isinstance(index, faiss.IndexIVFPQFastScan):
            self._near = faiss.index_cpu_to_gpu(_resources(number), number, index)
            self._near.nprobe = probes

    def search(self, queries: Float32Array, k: int) -> Int64Array:
        """Row numbers, (Q, k), best first; -1 where there are no more in the lists that are probed."""
        rows: Int64Array = (self._near if k <= MOST else self._index).search(queries, k)[1]
        return rows


@cache
def _resources(number: int) -> Any:
    """Room on a GPU for faiss to work in."""
    return faiss.StandardGpuResources()
