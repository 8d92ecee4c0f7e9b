"""Plants copies of a run's images and compares them as the run compares images: which links would there be?

Two cases. Of images of the pool: a copy is looked at beside the images that are nearest to it, and beside its source
where it would be among those nearest to that. Of reference images: a copy would be an image of the pool, so it is
looked at beside each reference in whose list of nearest pool images it would be.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from curation.arrays import Float16Array, Float32Array, Int64Array
from curation.config import ImageConfig
from curation.drops import Dropped
from curation.engine.progress import Progress
from curation.imaging.decode import Pixels, decode
from curation.imaging.local_features import Features, as_stored
from curation.imaging.pictures import compare, picture_of
from curation.report.describing import Describer
from curation.report.pictures import Pictures
from curation.report.planted import SIDE, planted_copies
from curation.report.targets import targets_of
from curation.run.directory import Run
from curation.run.parts import Ledger, random_for
from curation.search.knn import Searcher
from curation.stages.dedup.comparing import Comparer
from curation.stages.knn.vectors import live_counts

__all__ = ["Outcome", "Trial"]

SHARE = 4
"""Copies are planted of at most one in so many of the images that were compared."""
CHUNK = 64
"""Copies at a time whose similarities to all references are held."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one copy.

    Attributes:
        source: id of the image that it is a copy of, in hex.
        found: whether it was linked to that, or to an image that the run takes for the same.
        false: ids of the images that it was linked to without cause.
    """

    source: str
    edit: str
    found: bool
    false: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Copy:
    """A planted copy: the place of its source among the targets, the edit, its bytes, and what the run makes of it."""

    source: int
    edit: str
    data: bytes
    features: Features
    vector: Float16Array
    offset: float

    def pixels(self, limits: ImageConfig) -> Pixels:
        picture = picture_of(self.data, limits, self.features.frame)
        assert not isinstance(picture, Dropped), "it decoded a moment ago"
        return picture[0]


class Trial:
    """Copies of a run's images, planted and looked for.

    Args:
        of_pool: whether they are of images of the pool, rather than of reference images.
    """

    def __init__(self, run: Run, of_pool: bool) -> None:
        """Reads the run's descriptors and loads its model."""
        cv2.setNumThreads(1)
        self._config = run.config
        self._of_pool = of_pool
        self._targets = targets_of(run, of_pool=of_pool)
        others = [] if of_pool else list(live_counts(run.pool, "copy_descriptors").values())
        self._images = len(self._targets.ids) + sum(others)
        self._comparer = Comparer(run.config.image)
        self._pictures = Pictures(run)
        self._describer = Describer(run)

    def outcomes(self, plant: int, report: Progress) -> list[Outcome]:
        """What became of each copy, of up to `plant` images, but of no more than one in four, so that a small run is
        not mostly planting; the same for equal runs and seeds."""
        chosen = self._sample(plant)
        if not len(chosen):
            return []
        with report.stage("plant copies", len(chosen)) as bar:
            copies = []
            for source in chosen.tolist():
                copies += self._copies(source)
                bar.advance(1, Ledger(1, 1))
        pairs = self._pairs(copies)
        with report.stage("look for them", len(pairs)) as bar:
            links: dict[int, list[int]] = {}
            for at, target in self._linked(copies, pairs):
                bar.advance(1, Ledger(1, 1))
                if target is not None:
                    links.setdefault(at, []).append(target)
        return [self._outcome(copy, links.get(at, [])) for at, copy in enumerate(copies)]

    def _sample(self, plant: int) -> Int64Array:
        rng = random_for(self._config.seed, "detection")
        count = len(self._targets.ids)
        return np.sort(rng.permutation(count)[: min(plant, -(-self._images // SHARE))]).astype(np.int64)

    def _copies(self, source: int) -> list[_Copy]:
        """The copies of one image, described as the run would; none where it can no longer be read."""
        collection, part, row = self._targets.place(source)
        image = self._pictures.image((collection.path, part, row), SIDE)
        if image is None:
            return []
        limits = self._config.image
        rng = random_for(self._config.seed, "detection", self._targets.ids[source])
        planted = []
        for edit, data in planted_copies(image, rng):
            pixels, picture = decode(data, limits, self._describer.side), picture_of(data, limits)
            if not isinstance(pixels, Dropped) and not isinstance(picture, Dropped):
                features = as_stored(*picture)
                planted.append((edit, data, pixels, features))
        described = self._describer.describe([item[2] for item in planted], [item[1] for item in planted])
        return [
            _Copy(source, edit, data, features, vector, offset)
            for (edit, data, _, features), (vector, offset) in zip(planted, described, strict=True)
            if vector.any()
        ]

    def _pairs(self, copies: Sequence[_Copy]) -> list[tuple[int, int]]:
        """Copy and target of each pair that the run would look at, or, without looking, would link."""
        if not copies:
            return []
        vectors = np.stack([copy.vector for copy in copies])
        offsets = np.array([copy.offset for copy in copies], np.float32)
        sources = np.array([copy.source for copy in copies])
        near = self._near_pool if self._of_pool else self._near_references
        return sorted(set(near(vectors, offsets, sources)))

    def _near_pool(
        self, vectors: Float16Array, offsets: Float32Array, sources: Int64Array
    ) -> Iterator[tuple[int, int]]:
        targets, settings = self._targets, self._config.dedup
        similar, rows = Searcher(targets.vectors).search(vectors, settings.neighbours)
        similar = similar - offsets[:, None] - targets.offsets[rows]
        order = np.argsort(-similar, axis=1, kind="stable")[:, : targets.most]
        for at, places in enumerate(order):
            for place in places.tolist():
                if similar[at, place] > targets.above[rows[at, place]]:
                    yield at, int(rows[at, place])
        for at, source in enumerate(sources.tolist()):
            likeness = float(vectors[at].astype(np.float32) @ targets.vectors[source].astype(np.float32))
            likeness -= float(offsets[at] + targets.offsets[source])
            if likeness > max(targets.above[source], targets.last[source]):
                yield at, source

    def _near_references(
        self, vectors: Float16Array, offsets: Float32Array, sources: Int64Array
    ) -> Iterator[tuple[int, int]]:
        targets = self._targets
        least = np.maximum(targets.above, targets.last)
        base = targets.vectors.astype(np.float32)
        for start in range(0, len(vectors), CHUNK):
            block = vectors[start : start + CHUNK].astype(np.float32)
            similar = block @ base.T - offsets[start : start + CHUNK, None] - targets.offsets
            listed = similar > least
            for at, row in enumerate(np.where(listed, similar, -np.inf)):
                nearest = np.argsort(-row, kind="stable")[: targets.most]
                source = int(sources[start + at])
                for target in {*nearest[np.isfinite(row[nearest])].tolist(), *([source] * bool(listed[at, source]))}:
                    yield start + at, int(target)

    def _linked(self, copies: Sequence[_Copy], pairs: Sequence[tuple[int, int]]) -> Iterator[tuple[int, int | None]]:
        """For each pair the copy, and the target where they are linked; a part of the targets at a time."""
        if self._config.dedup.verify == "off":
            yield from pairs
            return
        for collection, part, targets in self._targets.by_part({target for _, target in pairs}):
            rows = {target: self._targets.place(target)[2] for target in targets}
            features = self._comparer.features(collection, part, sorted(rows.values()))
            for at, target in pairs:
                if target in rows:
                    its = features.get(rows[target])
                    yield at, target if its is not None and self._is_copy(copies[at], target, its) else None

    def _is_copy(self, copy: _Copy, target: int, features: Features) -> bool:
        sides = [
            (copy.features, lambda: copy.pixels(self._config.image)),
            (features, lambda: self._comparer.pixels_of(self._targets.place(target), features.frame)),
        ]
        (one, its_pixels), (other, others) = sides if self._of_pool else sides[::-1]
        return self._is_likely(compare(one, other, its_pixels, others).probability)

    def _is_likely(self, probability: float) -> bool:
        return bool(np.float32(probability) >= np.float32(self._config.dedup.probability))

    def _outcome(self, copy: _Copy, linked: Sequence[int]) -> Outcome:
        targets = self._targets
        own = [target for target in linked if targets.is_same(copy.source, target)]
        wrong = [target for target in linked if target not in own and not self._are_copies(copy.source, target)]
        ids = tuple(targets.ids[target] for target in wrong)
        return Outcome(targets.ids[copy.source], copy.edit, bool(own), ids)

    def _are_copies(self, one: int, other: int) -> bool:
        """Whether two targets, which the run may not have compared, are copies of each other by its rule."""
        targets = self._targets
        if self._config.dedup.verify == "off":
            first, second = (targets.vectors[at].astype(np.float32) for at in (one, other))
            return bool(first @ second - targets.offsets[one] - targets.offsets[other] > targets.above[other])
        places = targets.place(one), targets.place(other)
        features = [self._comparer.features(*place[:2], [place[2]]).get(place[2]) for place in places]
        if features[0] is None or features[1] is None:
            return False
        return self._is_likely(self._comparer.compare(*places, (features[0], features[1])).probability)
