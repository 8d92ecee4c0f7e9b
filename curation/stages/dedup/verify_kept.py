"""The stage `verify_kept`: the evidence for the pairs that `groups` asks for; its lists run parallel to those."""

from collections.abc import Mapping, Sequence

import cv2
import numpy as np
import pyarrow as pa

from curation.config import ImageConfig
from curation.engine.contract import Output, Place, StageSpec
from curation.engine.graph import Site
from curation.engine.locations import IMAGES
from curation.imaging.pictures import Comparison
from curation.run.parts import Collection, digest_of
from curation.stages.dedup.comparing import COMPARISONS, VERSIONS, Comparer, comparison_columns
from curation.stages.dedup.groups import CHECKS

__all__ = ["VerifyKept"]


class VerifyKept:
    """The stage `verify_kept`: the evidence for the pairs that `groups` asks for."""

    milliseconds = 5

    def __init__(
        self,
        pool: Collection,
        references: Sequence[Collection],
        limits: ImageConfig,
        *,
        after: str = "groups",
        reads: Mapping[str, Sequence[str]] = IMAGES,
    ) -> None:
        self._pool = pool
        self._references = references
        self._limits = limits
        others = [pool.state("copy_descriptors"), *(one.state("copy_descriptors") for one in references)]
        self.spec = StageSpec(
            name="verify_kept",
            version=1,
            after=after,
            reads=dict.fromkeys(["groups", *reads], ()),
            adds=COMPARISONS,
            settings={"comparing": VERSIONS, "limits": limits.model_dump(), "images": digest_of(others)},
        )

    @classmethod
    def at(cls, site: Site) -> "VerifyKept":
        references = [site.run.references(item.name) for item in site.config.references]
        return cls(site.pool, references, site.config.image, after=site.after, reads=site.image_columns)

    def setup(self) -> None:
        cv2.setNumThreads(1)
        self._comparer = Comparer(self._limits)

    def process(self, rows: pa.Table, place: Place) -> Output:
        checks = place.collection.read("groups", place.part, CHECKS.names)
        lists = list(zip(*(checks[name].to_pylist() for name in CHECKS.names), strict=True))
        live = np.flatnonzero(place.collection.live(str(self.spec.after), place.part)).tolist()
        asked = {
            (row, at): place
            for row in live
            for at, place in enumerate(zip(*map(_none_is_empty, lists[row]), strict=True))
        }
        seen = self._comparisons(place.part, asked)
        lengths = {row: len(_none_is_empty(lists[row][0])) for row in live}
        return Output(comparison_columns([[seen.get((row, at)) for at in range(lengths[row])] for row in live]))

    def _comparisons(
        self, part: int, asked: Mapping[tuple[int, int], tuple[int, int, int]]
    ) -> dict[tuple[int, int], Comparison]:
        """What was seen, by row and place in its list, one part of the others at a time."""
        comparer, result = self._comparer, {}
        mine = comparer.features(self._pool, part, sorted({row for row, _ in asked}))
        for which, other in sorted({(which, other) for which, other, _ in asked.values()}):
            collection = self._pool if which < 0 else self._references[which]
            here = {key: there for key, (one, two, there) in asked.items() if (one, two) == (which, other)}
            theirs = comparer.features(collection, other, sorted(set(here.values())))
            for (row, at), there in here.items():
                if row in mine and there in theirs:
                    pair = (self._pool, part, row), (collection, other, there)
                    result[row, at] = comparer.compare(*pair, (mine[row], theirs[there]))
        return result


def _none_is_empty(values: list[int] | None) -> list[int]:
    return values or []
