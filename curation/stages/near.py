"""The stages that look for neighbours: for each image of a collection, the most similar images of the pool.

- `near`: by copy descriptor, of the pool and of each reference set;
- `alike`: by embedding, of the pool;
- `neighbours`: by embedding, of each seed set in sample mode.

What a reference or seed set needs is in its own files, so one that is added later redoes nothing of the pool.
"""

import time
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from curation.errors import RunError
from curation.parts import Collection, random_for
from curation.stages.contract import Output, StageSpec, commit_output, is_current
from curation.stages.describe import VECTOR
from curation.stages.index import BuildIndex, Floats, Ints
from curation.stages.vectors import Halves, read_vectors

__all__ = ["ALIKE", "NEAR", "NEIGHBOURS", "NearStage", "NearWork"]

CHECKED = 32
"""Images of each part whose neighbours are searched exactly as well, where there is an index."""
WIDER = 4
"""A reference image all of whose neighbours are copies is searched again for this many times as many."""


@dataclass(frozen=True, slots=True)
class NearStage:
    """One of these stages: its name, what the names of its columns begin with, and its version."""

    name: str
    prefix: str
    version: int

    @property
    def schema(self) -> pa.Schema:
        """Neighbours of each image, the most similar first: part, row and similarity; and the recall of the search."""
        return pa.schema(
            [
                (f"{self.prefix}_part", pa.list_(pa.int32())),
                (f"{self.prefix}_row", pa.list_(pa.int32())),
                (f"{self.prefix}_similarity", pa.list_(pa.float32())),
                (f"{self.prefix}_recall", pa.float32()),
            ]
        )


NEAR = NearStage("near", "near", 1)
ALIKE = NearStage("alike", "alike", 1)
NEIGHBOURS = NearStage("neighbours", "pool", 2)


class NearWork:
    """Nearest pool images of each image of a collection, by part.

    Args:
        collection: the pool itself, whose images are no neighbours of themselves, or another.
        index: of the pool; to be built before work starts.
        after: the stage whose live rows of the collection are searched for; of the pool itself, the index's.
        neighbours: k.
        copies_above: for a reference set, the similarity from which on an image may be a copy: where all k neighbours
            are above it, more are looked for until one is not.
    """

    def __init__(
        self,
        stage: NearStage,
        collection: Collection,
        index: BuildIndex,
        *,
        after: str,
        neighbours: int,
        copies_above: float | None = None,
    ) -> None:
        self.collection = collection
        self.stages = [stage.name]
        self._stage = stage
        self._index = index
        self._after = after
        self._own = collection.path == index.collection.path
        self._neighbours = neighbours
        self._copies_above = copies_above
        assert not self._own or after == index.after
        self._spec = StageSpec(
            name=stage.name,
            version=stage.version,
            after=after,
            reads={index.stage: [VECTOR]},
            schema=stage.schema,
            settings={
                "neighbours": neighbours,
                "copies_above": copies_above,
                "index": index.digest if index.is_needed else None,
                "probes": index.settings.probes if index.is_needed else None,
                "pool": index.state,
            },
        )

    def setup(self) -> None:
        self._vectors, self._searcher = self._index.open()

    def is_current(self, part: int) -> bool:
        return is_current(self._spec, self.collection, part)

    def run(self, part: int) -> None:
        """Raises RunError where vectors are damaged, or of another dimension than the pool's."""
        if self.is_current(part):
            return
        started = time.monotonic()
        queries = read_vectors(self.collection, part, self._index.stage, self._after)
        if len(queries) and queries.shape[1] != self._searcher.dim:
            raise RunError(
                f"{self.collection.store.url(self.collection.file(self._index.stage, part))}: vectors of "
                f"{queries.shape[1]} dimensions, those of {self._index.collection.path} have {self._searcher.dim}; "
                "they are of different models, so delete this file and run the same command again"
            )
        # Where in the pool each query is itself; nowhere, if it is of another collection.
        own = self._vectors.first_of(part) + np.arange(len(queries)) if self._own else np.full(len(queries), -1)
        found = self._search(queries, own) if len(queries) else []
        recall = self._recall(queries, own, found, part)
        prefix, kinds = self._stage.prefix, self._spec.schema
        columns = {
            f"{prefix}_part": [self._vectors.part[rows] for _, rows in found],
            f"{prefix}_row": [self._vectors.row[rows] for _, rows in found],
            f"{prefix}_similarity": [similar for similar, _ in found],
            f"{prefix}_recall": recall,
        }
        output = Output({name: pa.array(values, kinds.field(name).type) for name, values in columns.items()})
        live = self.collection.live(self._after, part)
        commit_output(self._spec, self.collection, part, live, output, seconds=time.monotonic() - started)

    def _search(self, queries: Halves, own: Ints, *, exact: bool = False) -> list[tuple[Floats, Ints]]:
        """For each query its neighbours' similarities and positions; `own` is its own position, or -1."""
        k = self._neighbours + self._own
        similar, rows = self._searcher.search(queries, k, exact=exact)
        found = []
        for at in range(len(queries)):
            chosen = (rows[at] >= 0) & (rows[at] != own[at])
            found.append((similar[at][chosen][: self._neighbours], rows[at][chosen][: self._neighbours]))
        while self._copies_above is not None and k < len(self._searcher):
            full = [at for at, (best, _) in enumerate(found) if len(best) and best[-1] > self._copies_above]
            full = [at for at in full if len(found[at][0]) >= k]
            if not full:
                break
            k = min(WIDER * k, len(self._searcher))
            similar, rows = self._searcher.search(queries[full], k, exact=exact)
            for at, best, where in zip(full, similar, rows, strict=True):
                found[at] = (best[where >= 0], where[where >= 0])
        return found

    def _recall(self, queries: Halves, own: Ints, found: list[tuple[Floats, Ints]], part: int) -> list[float | None]:
        """For a sample of images the share of their true neighbours that the index found; None for the others."""
        recall: list[float | None] = [None] * len(queries)
        if not self._index.is_needed or not len(queries):
            return recall
        rng = random_for(self._index.seed, self._stage.name, self.collection.path, part)
        checked = np.sort(rng.choice(len(queries), min(CHECKED, len(queries)), replace=False))
        truth = self._search(queries[checked], own[checked], exact=True)
        for at, (_, true) in zip(checked.tolist(), truth, strict=True):
            recall[at] = float(np.isin(true, found[at][1]).mean()) if len(true) else None
        return recall
