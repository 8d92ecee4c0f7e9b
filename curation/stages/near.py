"""The stage `near`: for each image, of the pool or of a reference set, the most similar images of the pool.

What a reference set needs is in its own files, so one that is added later redoes nothing of the pool.
"""

import time

import numpy as np
import pyarrow as pa

from curation.config import DedupConfig
from curation.parts import Collection, digest_of, random_for
from curation.stages.contract import Output, StageSpec, commit_output, is_current
from curation.stages.describe import VECTOR
from curation.stages.gather import gather, vectors_of
from curation.stages.index import BuildIndex, Floats, Ints

__all__ = ["NEAR_SCHEMA", "NearWork"]

NEAR_SCHEMA = pa.schema(
    [
        ("near_part", pa.list_(pa.int32())),
        ("near_row", pa.list_(pa.int32())),
        ("near_similarity", pa.list_(pa.float32())),
        ("near_recall", pa.float32()),
    ]
)
CHECKED = 32
"""Images of each part whose neighbours are searched exactly as well, where there is an index."""
WIDER = 4
"""A reference image all of whose neighbours are copies is searched again for this many times as many."""


class NearWork:
    """Nearest pool images of each image of a collection, by part.

    Args:
        collection: the pool itself, whose images are no neighbours of themselves, or a reference set.
        index: of the pool; to be built before work starts.
        neighbours: k.
        copies_above: for a reference set, the similarity from which on an image may be a copy: where all k neighbours
            are above it, more are looked for until one is not.
    """

    def __init__(
        self,
        collection: Collection,
        pool: Collection,
        index: BuildIndex,
        settings: DedupConfig,
        seed: int,
        *,
        neighbours: int,
        copies_above: float | None = None,
    ) -> None:
        self.collection = collection
        self.stages = ["near"]
        self._pool = pool
        self._index = index
        self._seed = seed
        self._neighbours = neighbours
        self._copies_above = copies_above
        self._spec = StageSpec(
            name="near",
            version=1,
            after="copies",
            reads={"copies": [VECTOR]},
            schema=NEAR_SCHEMA,
            settings={
                "neighbours": neighbours,
                "copies_above": copies_above,
                "index": index.digest if index.is_needed else None,
                "probes": settings.probes if index.is_needed else None,
                "pool": digest_of(pool.state("copies")),
            },
        )

    def setup(self) -> None:
        images = gather(self._pool, "copies", {"copies": [VECTOR]})
        self._part, self._row = images.part, images.row
        self._searcher = self._index.searcher(vectors_of(images.table[VECTOR]))
        del images

    def is_current(self, part: int) -> bool:
        return is_current(self._spec, self.collection, part)

    def run(self, part: int) -> None:
        if self.is_current(part):
            return
        started = time.monotonic()
        live = self.collection.live("copies", part)
        table = self.collection.read("copies", part, [VECTOR]).filter(pa.array(live))
        queries = vectors_of(table[VECTOR]) if len(table) else np.empty((0, 1), np.float32)
        found = self._search(queries, int(np.searchsorted(self._part, part))) if len(queries) else []
        recall = self._recall(queries, found, part)
        columns = {
            "near_part": pa.array([self._part[rows] for _, rows in found], pa.list_(pa.int32())),
            "near_row": pa.array([self._row[rows] for _, rows in found], pa.list_(pa.int32())),
            "near_similarity": pa.array([similar for similar, _ in found], pa.list_(pa.float32())),
            "near_recall": pa.array(recall, pa.float32()),
        }
        seconds = time.monotonic() - started
        commit_output(self._spec, self.collection, part, live, Output(columns), seconds=seconds)

    def _search(self, queries: Floats, first: int, *, exact: bool = False) -> list[tuple[Floats, Ints]]:
        """For each query its neighbours' similarities and positions; `first` is the position of query 0 in the pool."""
        own = self.collection.path == self._pool.path
        k = self._neighbours + own
        similar, rows = self._searcher.search(queries, k, exact=exact)
        found = []
        for at in range(len(queries)):
            chosen = (rows[at] >= 0) & ~(own & (rows[at] == first + at))
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

    def _recall(self, queries: Floats, found: list[tuple[Floats, Ints]], part: int) -> list[float | None]:
        """For a sample of images the share of their true neighbours that the index found; None for the others."""
        recall: list[float | None] = [None] * len(queries)
        if not self._index.is_needed or not len(queries):
            return recall
        rng = random_for(self._seed, "near", self.collection.path, part)
        first = int(np.searchsorted(self._part, part))
        for at in np.sort(rng.choice(len(queries), min(CHECKED, len(queries)), replace=False)).tolist():
            ((_, true),) = self._search(queries[at : at + 1], first + at, exact=True)
            recall[at] = float(np.isin(true, found[at][1]).mean()) if len(true) else None
        return recall
