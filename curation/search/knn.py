"""Search for nearest neighbours in memory: exact, or by an inverted file where comparing all with all takes too long.

Both only propose; similarities are then computed from the vectors themselves, so what a pair's similarity is does not
depend on how it was found, nor on the number of threads. An exact search proposes some more than are asked for, and
more still where the last of them are too close to tell apart, so that its answer is that of a plain comparison to the
bit: the last bits of a matrix product depend on its shape, and copies of one image differ in nothing else.
"""

from typing import Any

import faiss
import numpy as np
from threadpoolctl import threadpool_limits

from curation.arrays import Float16Array, Float32Array, Int64Array
from curation.run.parts import random_for
from curation.search import devices
from curation.search.kmeans import kmeans
from curation.search.partition import KMeansPartition, single

__all__ = ["Rows", "Searcher", "build_index", "similarities_of"]

Rows = Float16Array | Float32Array

SAMPLE_PER_LIST = 64
"""Vectors per list that the centroids are trained on."""
ITERATIONS = 8
CODE_SAMPLE = 65_536
"""Vectors that codes are trained on, at most."""
CODE_BITS = 4
DIMENSIONS_PER_CODE = 2
"""Of a kind that is compared 32 at a time in registers; a vector takes as many bytes as 8 bits for 4 dimensions."""
AGAIN, AT_LEAST = 4, 512
"""With codes, this many times k are ranked again by their vectors, and no fewer than so many: codes of 4 neighbours are
hardly the 4 best codes."""
CHUNK = 4096
"""Queries at a time: bounds what is held for ranking again."""
SPARE, WIDER = 16, 4
"""Rows that an exact search looks at beyond k, and how many times as many where these do not settle it."""
HELD = 1 << 20
"""Pairs of a query and such a row at a time."""
NEAR = np.float32(1e-5)
"""Similarities closer than this may come in the other order out of a matrix product."""
PAIRS = 65_536
"""Pairs at a time whose vectors are held as float32."""
BLOCK = 131_072
"""Vectors of the base at a time that are held as float32."""


class Searcher:
    """The k most similar rows of a base, by exact search or with an index built for it.

    Args:
        base: (N, D) fp16 or float32, L2-normalised.
    """

    def __init__(self, base: Rows, index: Any = None, probes: int = 32) -> None:
        self._base = base
        self._index = None if index is None else devices.Placed(index, probes)
        self._codes = isinstance(index, faiss.IndexIVFPQFastScan)

    def __len__(self) -> int:
        return len(self._base)

    @property
    def dim(self) -> int:
        """Length of a vector."""
        return int(self._base.shape[1])

    def search(self, queries: Rows, k: int, *, exact: bool = False) -> tuple[Float32Array, Int64Array]:
        """Similarities and row numbers, (Q, min(k, N)), best first and equal ones in the order of rows; where the index
        found fewer, the row is -1 and the similarity -2.

        Args:
            exact: compare with every row, whether there is an index or not.
        """
        k = min(k, len(self._base))
        if not k or not len(queries):
            return np.empty((len(queries), k), np.float32), np.empty((len(queries), k), np.int64)
        result = [self._chunk(_single(queries[at : at + CHUNK]), k, exact) for at in range(0, len(queries), CHUNK)]
        return np.concatenate([similar for similar, _ in result]), np.concatenate([rows for _, rows in result])

    def _chunk(self, queries: Float32Array, k: int, exact: bool) -> tuple[Float32Array, Int64Array]:
        if exact or self._index is None:
            return self._exact(queries, k)
        wanted = max(AGAIN * k, AT_LEAST) if self._codes else k
        return self._ranked(queries, self._index.search(queries, min(wanted, len(self._base))), k)

    def _ranked(self, queries: Float32Array, rows: Int64Array, k: int) -> tuple[Float32Array, Int64Array]:
        """The k best of those proposed."""
        similar = self._similarities(queries, rows)
        order = np.lexsort((rows, -similar), axis=1)[:, :k]
        return np.take_along_axis(similar, order, axis=1), np.take_along_axis(rows, order, axis=1)

    def _similarities(self, queries: Float32Array, rows: Int64Array) -> Float32Array:
        """To each query's rows, to the bit as `similarities_of` has them; -2 where a row is -1."""
        similar = np.empty(rows.shape, np.float32)
        step = max(1, PAIRS // max(1, rows.shape[1]))
        for at in range(0, len(rows), step):
            for first in range(0, rows.shape[1], PAIRS):
                block = np.s_[at : at + step, first : first + PAIRS]
                result = _single(self._base[rows[block]])  # of row -1, any
                similar[block] = np.einsum("qd,qkd->qk", queries[at : at + step], result)
        similar[rows < 0] = -2
        return similar

    def _exact(self, queries: Float32Array, k: int) -> tuple[Float32Array, Int64Array]:
        """The k best by the similarities that are reported, whatever a matrix product makes of their last bits."""
        best, rows = np.empty((len(queries), k), np.float32), np.empty((len(queries), k), np.int64)
        unsettled, wanted = np.arange(len(queries)), min(k + SPARE, len(self._base))
        while len(unsettled):
            step, left = max(1, HELD // wanted), [np.empty(0, np.int64)]
            for at in range(0, len(unsettled), step):
                some = unsettled[at : at + step]
                least, proposed = self._proposed(queries[some], wanted)
                best[some], rows[some] = self._ranked(queries[some], proposed, k)
                if wanted < len(self._base):
                    left.append(some[best[some, -1] <= least + NEAR])
            unsettled, wanted = np.concatenate(left), min(WIDER * wanted, len(self._base))
        return best, rows

    def _proposed(self, queries: Float32Array, wanted: int) -> tuple[Float32Array, Int64Array]:
        """Rows of the best by matrix products, block by block, and what the least of them has there."""
        best, rows = np.empty((len(queries), 0), np.float32), np.empty((len(queries), 0), np.int64)
        for first in range(0, len(self._base), BLOCK):
            block = _single(self._base[first : first + BLOCK])
            similar, result = devices.knn(queries, block, min(wanted, len(block)))
            best, rows = np.concatenate([best, similar], axis=1), np.concatenate([rows, result + first], axis=1)
            order = np.argsort(-best, axis=1, kind="stable")[:, :wanted]
            best, rows = np.take_along_axis(best, order, axis=1), np.take_along_axis(rows, order, axis=1)
        return best[:, -1], rows


def similarities_of(first: Rows, second: Rows, rows: Int64Array, others: Int64Array, step: int = PAIRS) -> Float32Array:
    """Cosine similarity of pairs of rows, (E,); the same for a pair in either order."""
    result = [
        np.einsum(
            "nd,nd->n",
            _single(first[rows[at : at + step]]),
            _single(second[others[at : at + step]]),
            dtype=np.float32,
        )
        for at in range(0, len(rows), step)
    ]
    return np.concatenate(result) if result else np.empty(0, np.float32)


def build_index(vectors: Rows, *, compressed: bool, seed: int, threads: int = 1) -> Any:
    """An inverted file over vectors: half-precision vectors in 4 sqrt(N) lists, or product-quantised codes.

    The lists' centroids come from k-means on a sample, and each vector goes into the list of its nearest one; neither
    depends on the number of threads, nor on the machine.
    """
    halves = vectors.astype(np.float16, copy=False)
    count, dim = halves.shape
    lists = max(1, min(65536, int(4 * np.sqrt(count)), count // 40))
    rng = random_for(seed, "near")
    sample = halves
    if count > lists * SAMPLE_PER_LIST:
        sample = halves[np.sort(rng.choice(count, lists * SAMPLE_PER_LIST, replace=False))]
    centroids = kmeans(sample, lists, ITERATIONS, rng, threads=threads).centroids
    quantizer: Any = faiss.IndexFlatIP(dim)
    quantizer.add(centroids)
    index: Any
    if compressed and dim % DIMENSIONS_PER_CODE == 0:
        codes = dim // DIMENSIONS_PER_CODE
        index = faiss.IndexIVFPQ(quantizer, dim, lists, codes, CODE_BITS, faiss.METRIC_INNER_PRODUCT)
        index.pq.cp.seed = seed + 1
    else:
        kind = faiss.ScalarQuantizer.QT_fp16
        index = faiss.IndexIVFScalarQuantizer(quantizer, dim, lists, kind, faiss.METRIC_INNER_PRODUCT, False)
    quantizer.this.disown()  # the index frees it
    index.own_fields = True
    before = faiss.omp_get_max_threads()
    try:
        faiss.omp_set_num_threads(1)
        with threadpool_limits(1):
            index.train(_single(sample[:: -(-len(sample) // CODE_SAMPLE)]))  # the codes alone: there are centroids
    finally:
        faiss.omp_set_num_threads(before)
    _fill(index, halves, centroids, threads)
    if not isinstance(index, faiss.IndexIVFPQ):
        return index
    packed = faiss.IndexIVFPQFastScan(index)
    index.own_fields, packed.own_fields = False, True  # of the quantizer
    return packed


def _fill(index: Any, halves: Float16Array, centroids: Float32Array, threads: int) -> None:
    share = KMeansPartition(halves, threads=threads, bounds=False)
    share.update(centroids)
    lists = share.clusters.astype(np.int64)
    for first in range(0, len(halves), BLOCK):
        block, where = _single(halves[first : first + BLOCK]), np.ascontiguousarray(lists[first : first + BLOCK])
        index.add_core(len(block), faiss.swig_ptr(block), None, faiss.swig_ptr(where))


def _single(rows: Rows) -> Float32Array:
    """As float32; Arrow's memory is read-only, which torch does not take."""
    if rows.dtype == np.float32:
        return np.ascontiguousarray(rows)
    halves = rows.astype(np.float16, copy=not rows.flags.writeable)
    return single(np.ascontiguousarray(halves))
