"""Search for nearest neighbours in a collection too large for comparing all with all: an inverted file, built once.

The index proposes; similarities are then computed from the vectors themselves, so what a pair's similarity is does not
depend on how it was found, nor on the number of threads.
"""

import hashlib
from typing import Any, Protocol

import faiss
import numpy as np
import numpy.typing as npt
from threadpoolctl import threadpool_limits

from curation.clustering.kmeans import kmeans
from curation.clustering.share import Share, single
from curation.errors import RunError
from curation.parts import Collection, digest_of, random_for
from curation.stages.vectors import Halves, Vectors, gather_vectors, live_counts, vectors_state

__all__ = ["BuildIndex", "SearchSettings", "Searcher", "build_index", "similarities_of"]

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float32]
Rows = Halves | Floats

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
PAIRS = 65_536
"""Pairs at a time whose vectors are held as float32."""
BLOCK = 131_072
"""Vectors of the base at a time that are held as float32."""


class SearchSettings(Protocol):
    """How a search is made: a section of the config that has these."""

    @property
    def exact_up_to(self) -> int:
        """Vectors up to which all are compared."""

    @property
    def probes(self) -> int:
        """Lists of the inverted file that are searched."""

    @property
    def compressed_from(self) -> int:
        """Vectors from which on the inverted file holds codes."""


class Searcher:
    """The k most similar rows of a base, by exact search or with an index built for it.

    Args:
        base: (N, D) fp16 or float32, L2-normalised.
    """

    def __init__(self, base: Rows, index: Any = None, probes: int = 32) -> None:
        self._base = base
        self._index = index
        self._codes = isinstance(index, faiss.IndexIVFPQFastScan)
        if index is not None:
            index.nprobe = probes

    def __len__(self) -> int:
        return len(self._base)

    @property
    def dim(self) -> int:
        """Length of a vector."""
        return int(self._base.shape[1])

    def search(self, queries: Rows, k: int, *, exact: bool = False) -> tuple[Floats, Ints]:
        """Similarities and row numbers, (Q, min(k, N)), best first and equal ones in the order of rows; where the index
        found fewer, the row is -1 and the similarity -2.

        Args:
            exact: compare with every row, whether there is an index or not.
        """
        k = min(k, len(self._base))
        found = [self._chunk(_single(queries[at : at + CHUNK]), k, exact) for at in range(0, len(queries), CHUNK)]
        if not found:
            return np.empty((0, k), np.float32), np.empty((0, k), np.int64)
        return np.concatenate([similar for similar, _ in found]), np.concatenate([rows for _, rows in found])

    def _chunk(self, queries: Floats, k: int, exact: bool) -> tuple[Floats, Ints]:
        if exact or self._index is None:
            rows = self._exact(queries, k)
        else:
            wanted = max(AGAIN * k, AT_LEAST) if self._codes else k
            _, rows = self._index.search(queries, min(wanted, len(self._base)))
        similar = self._similarities(queries, rows)
        order = np.lexsort((rows, -similar), axis=1)[:, :k]
        return np.take_along_axis(similar, order, axis=1), np.take_along_axis(rows, order, axis=1)

    def _similarities(self, queries: Floats, rows: Ints) -> Floats:
        """To each query's rows, to the bit as `similarities_of` has them; -2 where a row is -1."""
        similar = np.empty(rows.shape, np.float32)
        step = max(1, PAIRS // max(1, rows.shape[1]))
        for at in range(0, len(rows), step):
            found = _single(self._base[rows[at : at + step]])  # of row -1, any
            np.einsum("qd,qkd->qk", queries[at : at + step], found, out=similar[at : at + step])
        similar[rows < 0] = -2
        return similar

    def _exact(self, queries: Floats, k: int) -> Ints:
        """Rows of the k best, found block by block."""
        best, rows = np.empty((len(queries), 0), np.float32), np.empty((len(queries), 0), np.int64)
        for first in range(0, len(self._base), BLOCK):
            block = _single(self._base[first : first + BLOCK])
            similar, found = faiss.knn(queries, block, min(k, len(block)), metric=faiss.METRIC_INNER_PRODUCT)
            best, rows = np.concatenate([best, similar], axis=1), np.concatenate([rows, found + first], axis=1)
            order = np.argsort(-best, axis=1, kind="stable")[:, :k]
            best, rows = np.take_along_axis(best, order, axis=1), np.take_along_axis(rows, order, axis=1)
        return rows


def similarities_of(first: Rows, second: Rows, rows: Ints, others: Ints, step: int = PAIRS) -> Floats:
    """Cosine similarity of pairs of rows, (E,); the same for a pair in either order."""
    found = [
        np.einsum(
            "nd,nd->n",
            _single(first[rows[at : at + step]]),
            _single(second[others[at : at + step]]),
            dtype=np.float32,
        )
        for at in range(0, len(rows), step)
    ]
    return np.concatenate(found) if found else np.empty(0, np.float32)


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


def _fill(index: Any, halves: Halves, centroids: Floats, threads: int) -> None:
    share = Share(halves, threads=threads, bounds=False)
    share.update(centroids)
    lists = share.clusters.astype(np.int64)
    for first in range(0, len(halves), BLOCK):
        block, where = _single(halves[first : first + BLOCK]), np.ascontiguousarray(lists[first : first + BLOCK])
        index.add_core(len(block), faiss.swig_ptr(block), None, faiss.swig_ptr(where))


def _single(rows: Rows) -> Floats:
    """As float32; Arrow's memory is read-only, which torch does not take."""
    if rows.dtype == np.float32:
        return np.ascontiguousarray(rows)
    halves = rows.astype(np.float16, copy=not rows.flags.writeable)
    return single(np.ascontiguousarray(halves))


class BuildIndex:
    """The step that builds the index of a collection, where it is too large for exact search, and stores it.

    Args:
        stage: the one that made the vectors.
        after: the stage whose live rows are searched; by default the same.
        folder: where it is stored; it holds this index alone.
    """

    def __init__(
        self,
        collection: Collection,
        stage: str,
        settings: SearchSettings,
        seed: int,
        *,
        after: str | None = None,
        folder: str = "models/near",
    ) -> None:
        self.collection = collection
        self.stage = stage
        self.after = after or stage
        self.settings = settings
        self.seed = seed
        self._folder = folder
        self._opened: tuple[Vectors, Searcher] | None = None
        self.state = digest_of(vectors_state(collection, stage, self.after))
        shape = [settings.exact_up_to, settings.compressed_from]
        self.digest = digest_of(["near index", 3, shape, seed, self.state])
        self.is_needed = sum(live_counts(collection, self.after).values()) > settings.exact_up_to

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_opened": None}  # each process opens its own

    @property
    def file(self) -> str:
        return f"{self._folder}/{self.digest[:16]}.faiss"

    def is_current(self) -> bool:
        return not self.is_needed or self.collection.store.exists(self.file)

    def run(self) -> None:
        """Raises RunError where vectors are damaged."""
        halves = gather_vectors(self.collection, self.stage, self.after).halves
        compressed = len(halves) >= self.settings.compressed_from
        index = build_index(halves, compressed=compressed, seed=self.seed, threads=faiss.omp_get_max_threads())
        data = faiss.serialize_index(index).tobytes()
        store = self.collection.store
        for name in store.names(self._folder):
            store.remove(f"{self._folder}/{name}")
        store.write_bytes(self.file, hashlib.sha256(data).digest() + data)

    def open(self) -> tuple[Vectors, Searcher]:
        """The vectors, and search among them: once in a process, for all the work that shares this index.

        Raises:
            RunError: the index is damaged, or of other vectors.
        """
        if self._opened is None:
            vectors = gather_vectors(self.collection, self.stage, self.after)
            index = self._read(vectors) if self.is_needed else None
            self._opened = vectors, Searcher(vectors.halves, index, self.settings.probes)
        return self._opened

    def _read(self, vectors: Vectors) -> Any:
        where = self.collection.store.url(self.file)
        data = self.collection.store.read_bytes(self.file)
        if hashlib.sha256(data[32:]).digest() != data[:32]:
            raise RunError(f"{where}: is damaged; delete this file and run the same command again")
        index = faiss.deserialize_index(np.frombuffer(data, np.uint8, offset=32))
        if (index.ntotal, index.d) != vectors.halves.shape:
            raise RunError(
                f"{where}: is an index of {index.ntotal} vectors of {index.d} dimensions, {self.collection.path} has "
                f"{len(vectors)} of {vectors.halves.shape[1]}; delete this file and run the same command again"
            )
        return index
