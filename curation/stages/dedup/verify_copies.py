"""The stage `verify_copies`: what geometry says of each pair of near images that may be copies.

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
from curation.imaging.local_features import FEATURES_VERSION, Features
from curation.imaging.matching import MATCHING_VERSION, Match, match
from curation.run.parts import Collection, digest_of
from curation.stages.dedup.local_features import band, features_from

__all__ = ["TRANSFORM", "VERIFY_SCHEMA", "VerifyCopies"]

REFERENCE_CANDIDATES = 1024
"""Neighbours of a reference image that are looked at: half a pool may be copies of one."""
TRANSFORM = pa.list_(pa.float32())
VERIFY_SCHEMA = pa.schema(
    [
        ("inliers", pa.list_(pa.int32())),
        ("agreement", pa.list_(pa.float32())),
        ("score", pa.list_(pa.float32())),
        ("mirrored", pa.list_(pa.bool_())),
        ("transform", pa.list_(TRANSFORM)),
    ]
)


class VerifyCopies:
    """The stage `verify_copies`: what geometry says of each pair that may be copies."""

    milliseconds = 20

    def __init__(
        self,
        collection: Collection,
        pool: Collection,
        settings: DedupConfig,
        limits: ImageConfig,
        *,
        candidate_above: float,
        max_candidates: int,
        after: str = "copy_knn",
        reads: Mapping[str, Sequence[str]] = IMAGES,
    ) -> None:
        self.collection = collection
        self._pool = pool
        self._settings = settings
        self._limits = limits
        self._candidate_above = candidate_above
        self._max_candidates = max_candidates
        own = collection.path == pool.path
        inputs = ["local_features"] if own else reads
        self._own = own
        self.spec = StageSpec(
            name="verify_copies",
            version=1,
            after=after,
            reads=dict.fromkeys(["copy_knn", *inputs], ()),
            adds=VERIFY_SCHEMA,
            settings={
                "matching": [FEATURES_VERSION, MATCHING_VERSION],
                "limits": limits.model_dump(),
                "band": [candidate_above, settings.accept_above, max_candidates],
                "pool": digest_of(pool.state("copy_knn") if own else pool.state("copy_descriptors")),
            },
        )

    @classmethod
    def at(cls, site: Site) -> "VerifyCopies":
        settings = site.config.dedup
        above, most = settings.candidate_above, settings.max_candidates
        if site.path != "pool":
            item = site.reference
            above = settings.relative.threshold if item.threshold is None else item.threshold
            most = REFERENCE_CANDIDATES
        return cls(
            site.collection,
            site.pool,
            settings,
            site.config.image,
            candidate_above=above,
            max_candidates=most,
            after=site.after,
            reads=site.image_columns,
        )

    def setup(self) -> None:
        cv2.setNumThreads(1)

    def process(self, rows: pa.Table, place: Place) -> Output:
        matches = self._matches(place.part)
        neighbours = place.collection.read("copy_knn", place.part, ["neighbour_row"])["neighbour_row"].to_pylist()
        live = np.flatnonzero(place.collection.live(str(self.spec.after), place.part)).tolist()
        return Output(_columns([[matches.get((row, at)) for at in range(len(neighbours[row]))] for row in live]))

    def _matches(self, part: int) -> dict[tuple[int, int], Match]:
        """Matches by row and place in its list, one part of the others at a time."""
        rows, places, others = band(self.collection, part, self._settings, self._candidate_above, self._max_candidates)
        mine = self._features(self.collection, part, sorted(set(rows.tolist())))
        result = {}
        for other in np.unique(others[:, 0]).tolist():
            here = np.flatnonzero(others[:, 0] == other)
            mirror = self._looked_at_there(part, other) if self._own and other <= part else set()
            theirs = self._features(self._pool, other, sorted(set(others[here, 1].tolist())))
            for at in here.tolist():
                row, there = int(rows[at]), int(others[at, 1])
                smaller = (other, there) < (part, row)
                if (smaller and (there, row) in mirror) or row not in mine or there not in theirs:
                    continue
                result[row, int(places[at])] = match(mine[row], theirs[there])
        return result

    def _looked_at_there(self, part: int, other: int) -> set[tuple[int, int]]:
        """Pairs of another part's images with this part's that the other part looks at: (its row, our row)."""
        rows, _, targets = band(self._pool, other, self._settings, self._candidate_above, self._max_candidates)
        chosen = targets[:, 0] == part
        return set(zip(rows[chosen].tolist(), targets[chosen, 1].tolist(), strict=True))

    def _features(self, collection: Collection, part: int, rows: list[int]) -> dict[int, Features]:
        """Stored features where the pool has them; those of the other images are computed."""
        stored: dict[int, Features] = {}
        if collection.path == self._pool.path and collection.footer("local_features", part) is not None:
            column = collection.read("local_features", part, ["features"])["features"].take(pa.array(rows, pa.int64()))
            stored = {
                row: Features.from_bytes(value.as_py())
                for row, value in zip(rows, column, strict=True)
                if value.is_valid
            }
        return {**stored, **features_from(collection, part, [row for row in rows if row not in stored], self._limits)}


def _columns(lists: Sequence[Sequence[Match | None]]) -> dict[str, pa.Array]:
    """Where a pair was not looked at: -1 inliers, and nulls."""

    def values(name: str, absent: object) -> list[list[object]]:
        return [[absent if item is None else getattr(item, name) for item in items] for items in lists]

    return {
        name: pa.array(values(name, -1 if name == "inliers" else None), VERIFY_SCHEMA.field(name).type)
        for name in VERIFY_SCHEMA.names
    }
