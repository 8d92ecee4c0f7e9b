"""Search for nearest neighbours in a pool too large for comparing all with all: an inverted file, built once.

The index proposes; similarities are then computed from the vectors themselves, so what a pair's similarity is does not
depend on how it was found, nor on the number of threads.
"""

import hashlib
from typing import Any

import faiss
import numpy as np
import numpy.typing as npt
from threadpoolctl import threadpool_limits

from curation.config import DedupConfig
from curation.errors import RunError
from curation.parts import Collection, digest_of, random_for
from curation.stages.describe import VECTOR
from curation.stages.gather import gather, vectors_of

__all__ = ["BuildIndex", "Searcher", "build_index", "similarities_of"]

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float32]

SAMPLE_PER_LIST = 64
"""Vectors per list that the centroids are trained on."""
CODE_BITS = 8
DIMENSIONS_PER_CODE = 4
AGAIN = 4
"""With codes, this many times k are ranked again by their vectors."""
CHUNK = 4096
"""Queries at a time: bounds what is held for ranking again."""


class Searcher:
    """The k most similar rows of a base, by exact search or with an index built for it."""

    def __init__(self, base: Floats, index: Any = None, probes: int = 32) -> None:
        self._base = base
        self._index = index
        self._again = 1
        if index is not None:
            index.nprobe = probes
            self._again = AGAIN if isinstance(index, faiss.IndexIVFPQ) else 1

    def __len__(self) -> int:
        return len(self._base)

    def search(self, queries: Floats, k: int, *, exact: bool = False) -> tuple[Floats, Ints]:
        """Similarities and row numbers, (Q, min(k, N)), best first and equal ones in the order of rows; where the index
        found fewer, the row is -1 and the similarity -2.

        Args:
            exact: compare with every row, whether there is an index or not.
        """
        k = min(k, len(self._base))
        found = [self._chunk(queries[at : at + CHUNK], k, exact) for at in range(0, len(queries), CHUNK)]
        if not found:
            return np.empty((0, k), np.float32), np.empty((0, k), np.int64)
        return np.concatenate([similar for similar, _ in found]), np.concatenate([rows for _, rows in found])

    def _chunk(self, queries: Floats, k: int, exact: bool) -> tuple[Floats, Ints]:
        if exact or self._index is None:
            _, rows = faiss.knn(queries, self._base, k, metric=faiss.METRIC_INNER_PRODUCT)
        else:
            _, rows = self._index.search(queries, min(self._again * k, len(self._base)))
        similar = np.full(rows.shape, -2, np.float32)
        at, column = np.nonzero(rows >= 0)
        similar[at, column] = similarities_of(queries, self._base, at, rows[at, column])
        order = np.lexsort((rows, -similar), axis=1)[:, :k]
        return np.take_along_axis(similar, order, axis=1), np.take_along_axis(rows, order, axis=1)


def similarities_of(first: Floats, second: Floats, rows: Ints, others: Ints, step: int = 65536) -> Floats:
    """Cosine similarity of pairs of rows, (E,); the same for a pair in either order."""
    found = [
        np.einsum("nd,nd->n", first[rows[at : at + step]], second[others[at : at + step]], dtype=np.float32)
        for at in range(0, len(rows), step)
    ]
    return np.concatenate(found) if found else np.empty(0, np.float32)


def build_index(vectors: Floats, *, compressed: bool, seed: int) -> Any:
    """An inverted file over vectors: half-precision vectors in 4 sqrt(N) lists, or product-quantised codes.

    Centroids are trained on a sample, on one thread, so that they are the same whatever the machine.
    """
    count, dim = vectors.shape
    lists = max(1, min(65536, int(4 * np.sqrt(count)), count // 40))
    sample = vectors
    if count > lists * SAMPLE_PER_LIST:
        rng = random_for(seed, "near")
        sample = vectors[np.sort(rng.choice(count, lists * SAMPLE_PER_LIST, replace=False))]
    quantizer: Any = faiss.IndexFlatIP(dim)
    index: Any
    if compressed and dim % DIMENSIONS_PER_CODE == 0:
        codes = dim // DIMENSIONS_PER_CODE
        index = faiss.IndexIVFPQ(quantizer, dim, lists, codes, CODE_BITS, faiss.METRIC_INNER_PRODUCT)
        index.pq.cp.seed = seed + 1
    else:
        kind = faiss.ScalarQuantizer.QT_fp16
        index = faiss.IndexIVFScalarQuantizer(quantizer, dim, lists, kind, faiss.METRIC_INNER_PRODUCT, False)
    index.cp.seed, index.cp.spherical, index.cp.niter = seed + 1, True, 8
    threads = faiss.omp_get_max_threads()
    try:
        faiss.omp_set_num_threads(1)
        with threadpool_limits(1):
            index.train(sample)
    finally:
        faiss.omp_set_num_threads(threads)
    index.add(vectors)
    # The index points to the quantizer and does not keep it alive; one that was read owns all that it needs.
    return faiss.deserialize_index(faiss.serialize_index(index))


class BuildIndex:
    """The step that builds the pool's index, where the pool is too large for exact search, and stores it."""

    def __init__(self, pool: Collection, settings: DedupConfig, seed: int) -> None:
        self._pool = pool
        self._settings = settings
        self._seed = seed
        shape = [settings.exact_up_to, settings.compressed_from]
        self.digest = digest_of(["near index", 1, shape, seed, pool.state("copies")])
        self._folder = "models/near"

    @property
    def file(self) -> str:
        return f"{self._folder}/{self.digest[:16]}.faiss"

    @property
    def is_needed(self) -> bool:
        footers = [self._pool.footer("copies", part) for part in self._pool.parts("copies")]
        return sum(footer.ledger.live_out for footer in footers if footer) > self._settings.exact_up_to

    def is_current(self) -> bool:
        return not self.is_needed or self._pool.store.exists(self.file)

    def run(self) -> None:
        vectors = vectors_of(gather(self._pool, "copies", {"copies": [VECTOR]}).table[VECTOR])
        compressed = len(vectors) >= self._settings.compressed_from
        data = faiss.serialize_index(build_index(vectors, compressed=compressed, seed=self._seed)).tobytes()
        for name in self._pool.store.names(self._folder):
            self._pool.store.remove(f"{self._folder}/{name}")
        self._pool.store.write_bytes(self.file, hashlib.sha256(data).digest() + data)

    def searcher(self, vectors: Floats) -> Searcher:
        """Search among the pool's vectors, as `gather` gives them."""
        if not self.is_needed:
            return Searcher(vectors)
        data = self._pool.store.read_bytes(self.file)
        if hashlib.sha256(data[32:]).digest() != data[:32]:
            raise RunError(f"{self._pool.store.url(self.file)}: is damaged; delete this file and run the command again")
        index = faiss.deserialize_index(np.frombuffer(data, np.uint8, offset=32))
        return Searcher(vectors, index, self._settings.probes)
