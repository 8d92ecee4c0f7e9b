"""The pool as it is searched: in partitions, runs of parts of bounded size, so that a worker's memory is bounded too.

A worker holds one partition at a time: its vectors, and its index where the pool is too large for exact search.
Partitions are filled in the order of parts, so a part that is added changes the last one alone. How a pool is searched
is decided by its own size, not by that of its partitions, so that how it is cut says nothing of how well it is
searched.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import IO, Any, Protocol

import faiss

from curation.errors import RunError
from curation.run.parts import Collection, digest_of
from curation.search.knn import Searcher, build_index
from curation.search.worker_group import WorkerGroup
from curation.stages.knn.vectors import Vectors, gather_vectors, live_counts, part_states

__all__ = ["BuildPartition", "IndexPartition", "Opened", "PoolIndex", "SearchSettings"]

PIECE = 1 << 20
"""Bytes of an index at a time that are read or written."""
HASH = 32


class SearchSettings(Protocol):
    """How a search is made: a section of the config that has these."""

    @property
    def exact_up_to(self) -> int:
        """Vectors of the pool up to which all are compared."""

    @property
    def probes(self) -> int:
        """Lists of an inverted file that are searched."""

    @property
    def compressed_from(self) -> int:
        """Vectors of the pool from which on inverted files hold codes."""

    @property
    def partition(self) -> int:
        """Vectors of a partition, at most."""


@dataclass(frozen=True, slots=True)
class IndexPartition:
    """A run of parts.

    Attributes:
        counts: the parts, and how many live images each has.
        state: a digest of the vectors of these.
        digest: of its index, or of the state where it has none.
    """

    counts: Mapping[int, int]
    state: str
    digest: str

    def __len__(self) -> int:
        return sum(self.counts.values())


@dataclass(frozen=True, slots=True)
class Opened:
    """A partition in memory: its vectors, with where each comes from, and search among them."""

    vectors: Vectors
    searcher: Searcher


class PoolIndex:
    """Search among a collection's vectors, partition by partition. As a step, it builds the missing indexes.

    Args:
        stage: the one that made the vectors.
        after: the stage whose live rows are searched; by default the same.
        folder: where indexes are stored; it holds them alone.

    Attributes:
        state: a digest of the vectors that are searched.
        is_needed: whether the collection is too large for exact search.
        partitions: at least one.
    """

    def __init__(
        self,
        collection: Collection,
        stage: str,
        settings: SearchSettings,
        seed: int,
        *,
        after: str | None = None,
        folder: str = "artifacts/copy_knn",
    ) -> None:
        self.collection = collection
        self.stage = stage
        self.after = after or stage
        self.settings = settings
        self.seed = seed
        self.folder = folder
        states = part_states(collection, stage, self.after)
        counts = live_counts(collection, self.after)
        images = sum(counts.values())
        self.state = digest_of(list(states.values()))
        self.is_needed = images > settings.exact_up_to
        self._compressed = images >= settings.compressed_from
        self.partitions = [self._partition(run, states) for run in _runs(counts, settings.partition)]
        self._opened: tuple[int, Opened] | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_opened": None}  # each process opens its own

    @property
    def name(self) -> str:
        """What errors call it."""
        return f"index of {self.stage}"

    @property
    def digest(self) -> str | None:
        """Of all indexes; None for exact search, whose answer is the same however the pool is cut."""
        return digest_of([partition.digest for partition in self.partitions]) if self.is_needed else None

    def file(self, number: int) -> str:
        """Where a partition's index is."""
        return f"{self.folder}/{self.partitions[number].digest[:16]}.faiss"

    def is_built(self, number: int) -> bool:
        return not self.is_needed or self.collection.store.exists(self.file(number))

    def is_current(self) -> bool:
        return all(map(self.is_built, range(len(self.partitions))))

    def run(self, group: WorkerGroup | None = None) -> None:
        """Build what is missing here, one partition after the other. Raises RunError where vectors are damaged."""
        self.forget_others()
        for number in range(len(self.partitions)):
            self.build(number, faiss.omp_get_max_threads())

    def forget_others(self) -> None:
        """Remove indexes of what is no partition any more."""
        store, files = self.collection.store, {self.file(number) for number in range(len(self.partitions))}
        for name in store.names(self.folder):
            if f"{self.folder}/{name}" not in files:
                store.remove(f"{self.folder}/{name}")

    def work(self) -> "BuildPartition":
        """The work of building several at once."""
        return BuildPartition(self)

    def build(self, number: int, threads: int) -> None:
        """Build and store a partition's index. Raises RunError where vectors are damaged."""
        if self.is_built(number):
            return
        halves = self._gather(number).halves
        index = build_index(halves, compressed=self._compressed, seed=self.seed, threads=threads)
        digest = hashlib.sha256()
        with self.collection.store.writing(self.file(number)) as file:

            def write(data: bytes) -> None:
                digest.update(data)
                file.write(data)

            writer = faiss.PyCallbackIOWriter(write, PIECE)  # type: ignore[attr-defined]  # faiss's stubs lack it
            faiss.write_index(index, writer)
            file.write(digest.digest())

    def open(self, number: int = 0) -> Opened:
        """A partition: once in a process, for all the work that shares this index. The one before is let go of.

        Raises:
            RunError: the index is damaged, or of other vectors.
        """
        if self._opened is None or self._opened[0] != number:
            self._opened = None
            vectors = self._gather(number)
            index = self._read(number, vectors) if self.is_needed else None
            self._opened = number, Opened(vectors, Searcher(vectors.halves, index, self.settings.probes))
        return self._opened[1]

    def _partition(self, counts: Mapping[int, int], states: Mapping[int, list[str]]) -> IndexPartition:
        state = digest_of([states[part] for part in counts])
        if not self.is_needed:
            return IndexPartition(counts, state, state)
        return IndexPartition(counts, state, digest_of(["near index", 4, self._compressed, self.seed, state]))

    def _gather(self, number: int) -> Vectors:
        return gather_vectors(self.collection, self.stage, self.after, self.partitions[number].counts)

    def _read(self, number: int, vectors: Vectors) -> Any:
        store, name = self.collection.store, self.file(number)
        with store.open(name) as file:
            if not _is_whole(file, store.size(name) - HASH):
                raise RunError(f"{store.url(name)}: is damaged; delete this file and run the same command again")
            file.seek(0)
            reader = faiss.PyCallbackIOReader(file.read, PIECE)  # type: ignore[attr-defined]
            index = faiss.read_index(reader)
        if (index.ntotal, index.d) != vectors.halves.shape:
            raise RunError(
                f"{store.url(name)}: is an index of {index.ntotal} vectors of {index.d} dimensions, this part of "
                f"{self.collection.path} has {len(vectors)} of {vectors.halves.shape[1]}; delete this file and run the "
                "same command again"
            )
        return index


class BuildPartition:
    """The work of building the indexes of several partitions at once; its parts are the numbers of the partitions."""

    def __init__(self, index: PoolIndex) -> None:
        self._index = index
        self.collection: Collection = _Files(index)
        self.stages = [index.folder]

    def setup(self) -> None:
        pass

    def is_current(self, part: int) -> bool:
        return self._index.is_built(part)

    def run(self, part: int) -> None:
        """Raises RunError where vectors are damaged."""
        self._index.build(part, faiss.omp_get_max_threads())


class _Files(Collection):
    """A collection whose files are indexes, which have no footer, for those who ask what a part is called."""

    def __init__(self, index: PoolIndex) -> None:
        super().__init__(index.collection.store, index.collection.path)
        self._index = index

    def file(self, stage: str, part: int) -> str:
        return self._index.file(part)

    def footer(self, stage: str, part: int) -> None:
        return None


def _runs(counts: Mapping[int, int], most: int) -> list[dict[int, int]]:
    """Parts in order, in runs of at most so many images, or of one part that has more; at least one run."""
    runs: list[dict[int, int]] = [{}]
    for part, count in counts.items():
        if runs[-1] and sum(runs[-1].values()) + count > most:
            runs.append({})
        runs[-1][part] = count
    return runs


def _is_whole(file: IO[bytes], size: int) -> bool:
    """Whether so many bytes are followed by their SHA-256."""
    digest = hashlib.sha256()
    while size > 0 and (data := file.read(min(PIECE, size))):
        digest.update(data)
        size -= len(data)
    return file.read() == digest.digest()
