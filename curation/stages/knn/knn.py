"""The stages that look for neighbours: for each image of a collection, the most similar images of the pool.

- `copy_knn`: by copy descriptor, of the pool and of each reference set;
- `embedding_knn`: by embedding, of the pool;
- `seed_knn`: by embedding, of each seed set in sample mode.

What a reference or seed set needs is in its own files, so one that is added later redoes nothing of the pool.

A pool of one partition is searched and the answer is the stage's file. One of several is searched in passes: of each
part and each partition in turn, the result is merged with what was found before, in files that are removed once the
stage's own file is there. Few parts are searched for in several partitions at once, in *lanes*, so that all workers
have something to do. The best of several partitions are the best of all, so neither partitions nor lanes change the
answer of an exact search.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pyarrow as pa

from curation.arrays import Float16Array, Float32Array, Int64Array
from curation.engine.contract import Output, Place, StageSpec, commit_output, expected_digest, is_current
from curation.errors import RunError
from curation.run.parts import Collection, random_for
from curation.search.lists import COLUMNS, Lists, places_of
from curation.stages.knn.bias import BIAS, Offsets
from curation.stages.knn.pool_index import Opened, PoolIndex
from curation.stages.knn.vectors import read_vectors

__all__ = ["COPY_KNN", "EMBEDDING_KNN", "SEED_KNN", "Knn", "KnnKind", "SearchPass"]

CHECKED = 32
"""Images of each part whose neighbours are searched exactly as well, where there is an index."""
WIDER = 4
"""A reference image whose neighbours are copies is searched again for this many times as many."""
ROUNDED = np.float32(1e-6)
"""By how much similarities may differ for the order in which offsets are taken off."""
AT_ONCE = 256
"""Pairs of a part and a partition that a pass should have at least."""
NEIGHBOUR = "neighbour"
"""What the names of the stages' columns begin with."""
FOUND, TRUE = "found", "true"
"""What the columns of a lane begin with: the neighbours found so far, and for images whose recall is measured, the true
ones."""


@dataclass(frozen=True, slots=True)
class KnnKind:
    """One of these stages: its name and version."""

    name: str
    version: int

    @property
    def schema(self) -> pa.Schema:
        """Neighbours of each image, the most similar first: part, row and similarity; and the recall of the search."""
        return pa.schema(
            [
                *((f"{NEIGHBOUR}_{name}", kind) for name, kind in COLUMNS.items()),
                (f"{NEIGHBOUR}_recall", pa.float32()),
            ]
        )


COPY_KNN = KnnKind("copy_knn", 2)
EMBEDDING_KNN = KnnKind("embedding_knn", 2)
SEED_KNN = KnnKind("seed_knn", 3)


@dataclass(frozen=True)
class Found:
    """Of a part's images, what a search has found; and where an index does it, the true neighbours of some of them."""

    result: Lists
    true: Lists

    @classmethod
    def joined(cls, several: "Sequence[Found]") -> "Found":
        """What several searches found for the same part; at least one."""
        return cls(Lists.joined([some.result for some in several]), Lists.joined([some.true for some in several]))


class Knn:
    """A stage: the nearest pool images of each image of a collection.

    Args:
        collection: the pool itself, whose images are no neighbours of themselves, or another.
        index: of the pool; to be built before work starts.
        after: the stage whose live rows of the collection are searched for; of the pool itself, the index's.
        neighbours: k.
        copies_above: for a reference set, the similarity from which on an image may be a copy: where all k neighbours
            are above it, all others that are follow, and the k nearest that are not.
        offsets: what is taken off the similarities of those found, which are then in the order of what is left.
    """

    def __init__(
        self,
        kind: KnnKind,
        collection: Collection,
        index: PoolIndex,
        *,
        after: str,
        neighbours: int,
        copies_above: float | None = None,
        offsets: Offsets | None = None,
    ) -> None:
        self.collection = collection
        self.index = index
        self._kind = kind
        self._after = after
        self._own = collection.path == index.collection.path
        self._neighbours = neighbours
        self._copies_above = copies_above
        self._offsets = offsets
        self._limits: tuple[int, Float32Array] | None = None
        assert not self._own or after == index.after
        self.spec = StageSpec(
            name=kind.name,
            version=kind.version,
            after=after,
            reads={index.stage: [], **({} if offsets is None else {BIAS: []})},
            adds=kind.schema,
            settings={
                "neighbours": neighbours,
                "copies_above": copies_above,
                "index": index.digest,
                "probes": index.settings.probes if index.is_needed else None,
                "pool": index.state,
                **({} if offsets is None else {"normalised": offsets.settings}),
            },
        )

    @cached_property
    def lanes(self) -> int:
        """Partitions that are searched at once; none where the pool is one partition. No answer depends on it."""
        partitions, parts = len(self.index.partitions), max(1, len(self.collection.parts(self._after)))
        return 0 if partitions == 1 else min(partitions, -(-AT_ONCE // parts))

    def passes(self) -> "list[list[SearchPass]]":
        """What is to be done before this, pass after pass."""
        partitions = range(len(self.index.partitions))
        return [
            [SearchPass(self, partition) for partition in partitions[first : first + self.lanes]]
            for first in (partitions[:: self.lanes] if self.lanes else ())
        ]

    def setup(self) -> None:
        if not self.lanes:
            self.index.open()

    def process(self, rows: pa.Table, place: Place) -> Output:
        """Raises RunError where vectors are damaged, or of another dimension than the pool's."""
        part = place.part
        if self.lanes:
            last = [SearchPass(self, len(self.index.partitions) - 1 - lane) for lane in range(self.lanes)]
            result = Found.joined([work.read(part) for work in last])
        else:
            result = self.search(0, part)
        lists, true = self._cut(result.result, part), self._cut(result.true, part)
        reported = lists if self._offsets is None else self._offsets.lowered(lists, self._offsets_of(part))
        columns = {
            **reported.columns(NEIGHBOUR),
            f"{NEIGHBOUR}_recall": pa.array(self._recall(lists, true, part), pa.float32()),
        }
        return Output(columns)

    def lane(self, number: int) -> str:
        """The folder of what was found in a lane so far, as a stage."""
        return f"{self._kind.name}/lane-{number:05d}"

    def forget_lanes(self) -> None:
        """Remove what a killed command left of lanes, once all parts are done."""
        store, folder = self.collection.store, f"{self.collection.path}/{self._kind.name}"
        for lane in store.folders(folder):
            store.remove_folder(f"{folder}/{lane}")

    def best(self, several: Sequence[Found], part: int) -> Found:
        """What must be kept of what several partitions hold for a part."""
        joined = Found.joined(several)
        return Found(*(lists.cut(self._longest(lists, part)) for lists in (joined.result, joined.true)))

    def search(self, partition: int, part: int) -> Found:
        """The nearest images of one partition. Raises as `process`."""
        queries = read_vectors(self.collection, part, self.index.stage, self._after)
        nobody = np.empty(0, np.int64)
        if not len(queries):
            nothing = Lists(nobody, np.empty(0, np.float32), nobody)
            return Found(nothing, nothing)
        opened = self.index.open(partition)
        if queries.shape[1] != opened.searcher.dim:
            raise RunError(
                f"{self.collection.store.url(self.collection.file(self.index.stage, part))}: vectors of "
                f"{queries.shape[1]} dimensions, those of {self.index.collection.path} have {opened.searcher.dim}; "
                "they are of different models, so delete this file and run the same command again"
            )
        every, checked = np.arange(len(queries)), self._checked(len(queries), part)
        result = self._search(opened, queries, every, part)
        true = self._search(opened, queries, checked, part, exact=True)
        return Found(result, true)

    def _search(
        self, opened: Opened, queries: Float16Array, images: Int64Array, part: int, *, exact: bool = False
    ) -> Lists:
        """The nearest images of one partition for some of a part's; the lists of the others are empty."""
        most = len(opened.searcher)
        wanted = min(self._neighbours + self._own, most)
        result = self._once(opened, queries, images, part, wanted, exact)
        while len(images) and wanted < most:
            images = images[(result.lengths[images] >= wanted) & (self._longest(result, part)[images] > wanted)]
            wanted = min(WIDER * wanted, most)
            if len(images):
                result = result.replaced(self._once(opened, queries, images, part, wanted, exact))
        return result.cut(self._longest(result, part))

    def _once(self, opened: Opened, queries: Float16Array, images: Int64Array, part: int, k: int, exact: bool) -> Lists:
        similar, rows = opened.searcher.search(queries[images], k, exact=exact)
        vectors = opened.vectors
        place = places_of(vectors.part[rows], vectors.row[rows])
        chosen = rows >= 0
        if self._own:
            numbers = np.flatnonzero(self.collection.live(self._after, part))
            chosen &= place != places_of(part, numbers[images])[:, None]
        image = np.repeat(images, rows.shape[1]).reshape(rows.shape)[chosen]
        return Lists.of(len(queries), image, similar[chosen], place[chosen])

    def _longest(self, result: Lists, part: int) -> Int64Array:
        """How long each list must be in one partition, so that `_cut` has what it needs of all of them together."""
        if self._copies_above is None:
            return np.full(len(result.lengths), self._neighbours)
        copies = result.above(self._may_be_copies(part))
        few = copies < (self._neighbours if len(self.index.partitions) == 1 else 1)
        return np.where(few, self._neighbours, copies + self._neighbours)

    def _cut(self, result: Lists, part: int) -> Lists:
        """The k best; where all are copies, all copies and the k best after them."""
        longest = np.full(len(result.lengths), self._neighbours)
        if self._copies_above is not None:
            copies = result.above(self._may_be_copies(part))
            longest += np.where(copies < self._neighbours, 0, copies)
        return result.cut(longest)

    def _may_be_copies(self, part: int) -> float | Float32Array:
        """From which similarity of vectors on an image may be a copy; with offsets, of each of a part's images."""
        assert self._copies_above is not None
        if self._offsets is None:
            return self._copies_above
        if self._limits is None or self._limits[0] != part:
            lowest = self._offsets_of(part) + self._offsets.least() + np.float32(self._copies_above)
            self._limits = part, lowest - ROUNDED
        return self._limits[1]

    def _offsets_of(self, part: int) -> Float32Array:
        assert self._offsets is not None
        return self._offsets.of_part(self.collection, part)

    def _checked(self, count: int, part: int) -> Int64Array:
        """The images of a part whose recall is measured: some, where there is an index."""
        if not self.index.is_needed:
            return np.empty(0, np.int64)
        rng = random_for(self.index.seed, self._kind.name, self.collection.path, part)
        return np.sort(rng.choice(count, min(CHECKED, count), replace=False))

    def _recall(self, result: Lists, true: Lists, part: int) -> list[float | None]:
        """Of those images, the share of true neighbours that the index found; None for the others."""
        recall: list[float | None] = [None] * len(result.lengths)
        for at in self._checked(len(recall), part).tolist():
            if true.lengths[at]:
                recall[at] = float(np.isin(true.list_of(at), result.list_of(at)).mean())
        return recall


class SearchPass:
    """One pass: the nearest images of one partition, merged with those of the partitions before it in its lane."""

    def __init__(self, near: Knn, partition: int) -> None:
        self.collection = near.collection
        self._near = near
        self.partition = partition
        self._lane = partition % near.lanes
        self.stages = [near.lane(self._lane)]

    def setup(self) -> None:
        pass

    def is_current(self, part: int) -> bool:
        if is_current(self._near.spec, self.collection, part):
            return True
        footer = self.collection.footer(self.stages[0], part)
        later = range(self.partition, len(self._near.index.partitions), self._near.lanes)
        return footer is not None and any(footer.digest == self._digest(partition, part) for partition in later)

    def run(self, part: int) -> None:
        """Raises as `Knn.process`."""
        if self.is_current(part):
            return
        started = time.monotonic()
        before = self.partition - self._near.lanes
        result = [self._near.search(self.partition, part)]
        if before >= 0:
            result.append(SearchPass(self._near, before).read(part))
        best = self._near.best(result, part)
        columns = {**best.result.columns(FOUND), **best.true.columns(TRUE)}
        spec, live = self._spec(self.partition), self.collection.live(str(self._near.spec.after), part)
        commit_output(spec, self.collection, part, live, Output(columns), seconds=time.monotonic() - started)

    def read(self, part: int) -> Found:
        """What this partition and those before it in its lane hold."""
        footer = self.collection.footer(self.stages[0], part)
        assert footer is not None
        assert footer.digest == self._digest(self.partition, part), "a pass was left out"
        live = self.collection.live(self.stages[0], part)
        table = self.collection.read(self.stages[0], part, self._spec(self.partition).adds.names)
        table = table.filter(pa.array(live))
        return Found(Lists.read(table, FOUND), Lists.read(table, TRUE))

    def _digest(self, partition: int, part: int) -> str | None:
        return expected_digest(self._spec(partition), self.collection, part)

    def _spec(self, last: int) -> StageSpec:
        """Of the lane's file once a partition is done."""
        near = self._near
        partitions = near.index.partitions[self._lane : last + 1 : near.lanes]
        return StageSpec(
            name=self.stages[0],
            version=near.spec.version,
            after=near.spec.after,
            reads=near.spec.reads,
            adds=pa.schema([(f"{prefix}_{name}", kind) for prefix in (FOUND, TRUE) for name, kind in COLUMNS.items()]),
            settings={
                **{
                    name: near.spec.settings[name]
                    for name in ("neighbours", "copies_above", "probes", "normalised")
                    if name in near.spec.settings
                },
                "partitions": [partition.digest for partition in partitions],
            },
        )
