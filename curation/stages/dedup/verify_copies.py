"""The stage `verify_copies`: the evidence for each pair of near images that may be copies.

Its lists run parallel to those of `copy_knn`. Of a pair that is in both images' lists, the one with the smaller
(part, row) is looked at, so none is looked at twice.
"""

from collections.abc import Mapping, Sequence

import cv2
import numpy as np
import pyarrow as pa

from curation.config import DedupConfig, ImageConfig
from curation.engine.contract import Output, Place, StageSpec
from curation.engine.graph import Site
from curation.engine.locations import IMAGES
from curation.imaging.pictures import Comparison
from curation.run.parts import Collection, digest_of
from curation.stages.dedup.comparing import COMPARISONS, VERSIONS, Comparer, comparison_columns
from curation.stages.dedup.local_features import candidates

__all__ = ["VerifyCopies"]

REFERENCE_CANDIDATES = 1024
"""Neighbours of a reference image that are looked at: half a pool may be copies of one."""


class VerifyCopies:
    """The stage `verify_copies`: points, and pixels laid upon each other, say of each such pair whether it is one of
    copies."""

    milliseconds = 20

    def __init__(
        self,
        collection: Collection,
        pool: Collection,
        settings: DedupConfig,
        limits: ImageConfig,
        *,
        max_candidates: int,
        after: str = "copy_knn",
        reads: Mapping[str, Sequence[str]] = IMAGES,
    ) -> None:
        self.collection = collection
        self._pool = pool
        self._settings = settings
        self._limits = limits
        self._max_candidates = max_candidates
        self._own = collection.path == pool.path
        self.spec = StageSpec(
            name="verify_copies",
            version=2,
            after=after,
            reads=dict.fromkeys(["copy_knn", *(["local_features"] if self._own else reads)], ()),
            adds=COMPARISONS,
            settings={
                "comparing": VERSIONS,
                "limits": limits.model_dump(),
                "candidates": [settings.candidate_above, max_candidates],
                "pool": digest_of(pool.state("copy_knn") if self._own else pool.state("copy_descriptors")),
            },
        )

    @classmethod
    def at(cls, site: Site) -> "VerifyCopies":
        settings = site.config.dedup
        most = settings.max_candidates if site.path == "pool" else REFERENCE_CANDIDATES
        where = site.image_columns
        return cls(
            site.collection, site.pool, settings, site.config.image, max_candidates=most, after=site.after, reads=where
        )

    def setup(self) -> None:
        cv2.setNumThreads(1)
        self._comparer = Comparer(self._limits)

    def process(self, rows: pa.Table, place: Place) -> Output:
        seen = self._comparisons(place.part)
        neighbours = place.collection.read("copy_knn", place.part, ["neighbour_row"])["neighbour_row"].to_pylist()
        live = np.flatnonzero(place.collection.live(str(self.spec.after), place.part)).tolist()
        return Output(comparison_columns([[seen.get((row, at)) for at in range(len(neighbours[row]))] for row in live]))

    def _comparisons(self, part: int) -> dict[tuple[int, int], Comparison]:
        """What was seen, by row and place in its list, one part of the others at a time."""
        rows, places, others = candidates(self.collection, part, self._settings, self._max_candidates)
        comparer, result = self._comparer, {}
        mine = comparer.features(self.collection, part, sorted(set(rows.tolist())))
        for other in np.unique(others[:, 0]).tolist():
            here = np.flatnonzero(others[:, 0] == other)
            mirror = self._looked_at_there(part, other) if self._own and other <= part else set()
            theirs = comparer.features(self._pool, other, sorted(set(others[here, 1].tolist())))
            for at in here.tolist():
                row, there = int(rows[at]), int(others[at, 1])
                smaller = (other, there) < (part, row)
                if (smaller and (there, row) in mirror) or row not in mine or there not in theirs:
                    continue
                pair = (self.collection, part, row), (self._pool, other, there)
                result[row, int(places[at])] = comparer.compare(*pair, (mine[row], theirs[there]))
        return result

    def _looked_at_there(self, part: int, other: int) -> set[tuple[int, int]]:
        """Pairs of another part's images with this part's that the other part looks at: (its row, our row)."""
        rows, _, targets = candidates(self._pool, other, self._settings, self._max_candidates)
        chosen = targets[:, 0] == part
        return set(zip(rows[chosen].tolist(), targets[chosen, 1].tolist(), strict=True))
