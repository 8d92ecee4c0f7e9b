"""The stage `verified`: what geometry says of each pair of near images that may be copies.

Its lists run parallel to those of `near`. Of a pair that is in both images' lists, the one with the smaller (part, row)
is looked at, so none is looked at twice.
"""

import time
from collections.abc import Sequence

import cv2
import numpy as np
import pyarrow as pa

from curation.config import DedupConfig, ImageConfig
from curation.engine.contract import Output, StageSpec, commit_output, is_current
from curation.engine.locations import image_columns
from curation.imaging.local_features import FEATURES_VERSION, Features
from curation.imaging.matching import MATCHING_VERSION, Match, match
from curation.run.parts import Collection, digest_of
from curation.stages.dedup.local_features import band, features_from

__all__ = ["TRANSFORM", "VERIFY_SCHEMA", "VerifyCopiesWork"]

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


class VerifyCopiesWork:
    """Looks at the pairs of one part of the pool or of a reference set."""

    def __init__(
        self,
        collection: Collection,
        pool: Collection,
        settings: DedupConfig,
        limits: ImageConfig,
        *,
        floor: float,
        top: int,
        changed: bool,
    ) -> None:
        self.collection = collection
        self.stages = ["verify_copies"]
        self._pool = pool
        self._settings = settings
        self._limits = limits
        self._floor = floor
        self._top = top
        own = collection.path == pool.path
        inputs = {"local_features": ["features"]} if own else image_columns(changed)
        self._own = own
        self._spec = StageSpec(
            name="verify_copies",
            version=1,
            after="copy_descriptors",
            reads={"copy_knn": ["neighbour_part"], **inputs},
            schema=VERIFY_SCHEMA,
            settings={
                "matching": [FEATURES_VERSION, MATCHING_VERSION],
                "limits": limits.model_dump(),
                "band": [floor, settings.accept_above, top],
                "pool": digest_of(pool.state("copy_knn") if own else pool.state("copy_descriptors")),
            },
        )

    def setup(self) -> None:
        cv2.setNumThreads(1)

    def is_current(self, part: int) -> bool:
        return is_current(self._spec, self.collection, part)

    def run(self, part: int) -> None:
        if self.is_current(part):
            return
        started = time.monotonic()
        live = self.collection.live("copy_descriptors", part)
        result = self._matches(part)
        lengths = [
            len(items or ())
            for items in self.collection.read("copy_knn", part, ["neighbour_row"])["neighbour_row"].to_pylist()
        ]
        rows = np.flatnonzero(live).tolist()
        lists: list[list[Match | None]] = [[result.get((row, place)) for place in range(lengths[row])] for row in rows]
        output = Output(_columns(lists))
        commit_output(self._spec, self.collection, part, live, output, seconds=time.monotonic() - started)

    def _matches(self, part: int) -> dict[tuple[int, int], Match]:
        """Matches by row and place in its list, one part of the others at a time."""
        rows, places, others = band(self.collection, part, self._settings, self._floor, self._top)
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
        rows, _, targets = band(self._pool, other, self._settings, self._floor, self._top)
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
