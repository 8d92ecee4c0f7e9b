"""The stage `local_features`: local features of the pool images that occur in a pair to be looked at, once for each."""

from collections.abc import Mapping, Sequence

import cv2
import numpy as np
import pyarrow as pa

from curation.arrays import Int64Array
from curation.config import Config, DedupConfig, ImageConfig
from curation.engine.contract import Output, Place, StageSpec
from curation.engine.graph import Site
from curation.engine.locations import IMAGES
from curation.imaging.local_features import FEATURES_VERSION
from curation.run.parts import Collection, digest_of
from curation.search.copies import is_candidate
from curation.stages.dedup.comparing import features_from

__all__ = ["LocalFeatures", "candidates", "is_verified"]


def candidates(
    collection: Collection, part: int, settings: DedupConfig, most: int
) -> tuple[Int64Array, Int64Array, Int64Array]:
    """Pairs of a part that are to be looked at: the row, its place in the row's list, and (part, row) of the other."""
    table = collection.read("copy_knn", part, ["neighbour_part", "neighbour_row", "neighbour_similarity"])
    lists = table["neighbour_similarity"].combine_chunks()
    lengths = np.diff(lists.offsets.to_numpy()) if len(lists) else np.empty(0, np.int64)
    source = np.repeat(np.arange(len(lists)), lengths)
    place = np.arange(len(source)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    similar = lists.flatten().to_numpy(zero_copy_only=False)
    others = [
        table[name].combine_chunks().flatten().to_numpy(zero_copy_only=False)
        for name in ("neighbour_part", "neighbour_row")
    ]
    chosen = is_candidate(similar, place, settings, most)
    return source[chosen], place[chosen], np.stack(others, axis=1).astype(np.int64)[chosen]


class LocalFeatures:
    """The stage `local_features`: local features of the images in pairs that are to be looked at."""

    milliseconds = 15

    def __init__(
        self,
        pool: Collection,
        settings: DedupConfig,
        limits: ImageConfig,
        *,
        after: str = "copy_knn",
        reads: Mapping[str, Sequence[str]] = IMAGES,
    ) -> None:
        self._pool = pool
        self._settings = settings
        self._limits = limits
        self.spec = StageSpec(
            name="local_features",
            version=1,
            after=after,
            reads=dict.fromkeys(reads, ()),
            adds=pa.schema([("features", pa.binary())]),
            settings={
                "features": FEATURES_VERSION,
                "limits": limits.model_dump(),
                "candidates": [settings.candidate_above, settings.max_candidates],
                "copy_knn": digest_of(pool.state("copy_knn")),
            },
        )

    @classmethod
    def at(cls, site: Site) -> "LocalFeatures":
        return cls(site.pool, site.config.dedup, site.config.image, after=site.after, reads=site.image_columns)

    def setup(self) -> None:
        """Which images are in a pair, of all parts: one bit for each."""
        cv2.setNumThreads(1)
        self._wanted: dict[int, set[int]] = {}
        for part in self._pool.parts("copy_knn"):
            rows, _, others = candidates(self._pool, part, self._settings, self._settings.max_candidates)
            self._wanted.setdefault(part, set()).update(rows.tolist())
            for other in np.unique(others[:, 0]).tolist():
                self._wanted.setdefault(other, set()).update(others[others[:, 0] == other, 1].tolist())

    def process(self, rows: pa.Table, place: Place) -> Output:
        live = np.flatnonzero(place.collection.live(str(self.spec.after), place.part)).tolist()
        wanted = self._wanted.get(place.part, set())
        features = features_from(place.collection, place.part, sorted(wanted), self._limits)
        values = [features[row].to_bytes() if row in features else None for row in live]
        return Output({"features": pa.array(values, pa.binary())})


def is_verified(config: Config, path: str) -> bool:
    """Whether pairs that may be copies are looked at."""
    return config.dedup.verify != "off"
