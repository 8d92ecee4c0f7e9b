"""The images of a run that a planted copy is compared with: those of its pool, or its reference images."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow.compute as pc

from curation.arrays import Float16Array, Float32Array, Int64Array
from curation.config import DedupConfig
from curation.engine.gather import Gathered
from curation.run.directory import Run
from curation.run.parts import Collection
from curation.stages.dedup.dedup import judged
from curation.stages.dedup.evidence import Evidence, read_evidence
from curation.stages.dedup.groups import is_checked
from curation.stages.dedup.verify_copies import REFERENCE_CANDIDATES
from curation.stages.knn.bias import Offsets

__all__ = ["Targets", "targets_of"]


@dataclass(frozen=True)
class Targets:
    """T images that copies may be linked to.

    Attributes:
        ids: of each, in hex.
        vectors: (T, D) fp16, copy descriptors, L2-normalised.
        offsets: (T,) float32, what is taken off the similarities of each.
        above: (T,) float32, similarity that a pair must exceed to be looked at, or, where nobody looks, to be linked.
        last: (T,) float32, similarity that a further image must exceed to be among those nearest to each that are
            looked at.
        most: so many of the nearest images are looked at.
        group: (T,) images of one number are one to the run.
        linked: pairs of targets that the run has linked, the smaller first.
    """

    collections: Sequence[Collection]
    images: Sequence[Gathered]
    ids: Sequence[str]
    vectors: Float16Array
    offsets: Float32Array
    above: Float32Array
    last: Float32Array
    most: int
    group: Int64Array
    linked: frozenset[tuple[int, int]]

    def place(self, target: int) -> tuple[Collection, int, int]:
        """Collection, part and row of a target."""
        for collection, images in zip(self.collections, self.images, strict=True):
            if target < len(images):
                return collection, int(images.part[target]), int(images.row[target])
            target -= len(images)
        raise IndexError(target)

    def by_part(self, targets: set[int]) -> Iterator[tuple[Collection, int, list[int]]]:
        """The targets of each part."""
        parts: dict[tuple[str, int], tuple[Collection, list[int]]] = {}
        for target in sorted(targets):
            collection, part, _ = self.place(target)
            parts.setdefault((collection.path, part), (collection, []))[1].append(target)
        for (_, part), (collection, its) in parts.items():
            yield collection, part, its

    def is_same(self, one: int, other: int) -> bool:
        """Whether the run takes two targets for one image, or has linked them."""
        return bool(self.group[one] == self.group[other]) or (min(one, other), max(one, other)) in self.linked


def targets_of(run: Run, *, of_pool: bool) -> Targets:
    """The images of a run's pool, or its reference images."""
    config, settings = run.config, run.config.dedup
    references = [run.references(item.name) for item in config.references]
    offsets = Offsets.of(run.pool, settings.normalise)
    evidence = read_evidence(
        run.pool, references, config.references, with_hashes=settings.self_.enabled, offsets=offsets
    )
    count = len(evidence.images)
    mine = slice(0, count) if of_pool else slice(count, None)
    vectors = evidence.vectors[mine]
    lowered = np.zeros(len(vectors), np.float32) if evidence.offsets is None else evidence.offsets[mine]
    ids = [key.hex() for key in evidence.ids[mine]]
    if of_pool:
        group, linked = _verdicts(evidence, settings, config.hash.radius, is_checked(config, "pool"))
        above = settings.self_threshold if settings.verify == "off" else settings.candidate_above
        most = settings.neighbours if settings.verify == "off" else settings.max_candidates
        last = _last(run.pool, evidence.images, most, np.inf)
        limits = np.full(count, above, np.float32)
        return Targets([run.pool], [evidence.images], ids, vectors, lowered, limits, last, most, group, linked)
    group = np.arange(len(vectors))
    limits, last = _of_references(run, evidence)
    most = settings.max_candidates
    return Targets(references, evidence.reference_images, ids, vectors, lowered, limits, last, most, group, frozenset())


def _verdicts(
    evidence: Evidence, settings: DedupConfig, radius: int, checked: bool
) -> tuple[Int64Array, frozenset[tuple[int, int]]]:
    """Which images the run takes for one, and which it has linked."""
    verdicts, links = judged(evidence, settings, radius, checked=checked)
    pairs = np.sort(links.between_images(len(evidence.images)).pairs, axis=1)
    return verdicts.representative, frozenset(map(tuple, pairs.tolist()))


def _of_references(run: Run, evidence: Evidence) -> tuple[Float32Array, Float32Array]:
    """`above` and `last` of all reference images."""
    settings = run.config.dedup
    above, last = [np.empty(0, np.float32)], [np.empty(0, np.float32)]
    sets = zip(evidence.references, evidence.sets, evidence.reference_images, strict=True)
    for collection, item, images in sets:
        limit, all_above = settings.candidate_above, settings.relative.all_above
        if settings.verify == "off":
            limit = all_above = settings.relative_threshold if item.threshold is None else item.threshold
        k = settings.neighbours if item.neighbours is None else item.neighbours
        most = k if settings.verify == "off" else min(k, REFERENCE_CANDIDATES)
        above.append(np.full(len(images), limit, np.float32))
        last.append(_last(collection, images, most, all_above))
    return np.concatenate(above), np.concatenate(last)


def _last(collection: Collection, images: Gathered, most: int, all_above: float) -> Float32Array:
    """Of each image the similarity of the last neighbour that is looked at; -1 where a list is not full.

    Args:
        all_above: what else is more similar than this is looked at too, where a whole list is.
    """
    result = np.full(len(images), -1, np.float32)
    for part in sorted(images.masks):
        column = collection.read("copy_knn", part, ["neighbour_similarity"])["neighbour_similarity"].combine_chunks()
        lengths = pc.fill_null(pc.list_value_length(column), 0).to_numpy().astype(np.int64)
        starts = np.cumsum(lengths) - lengths
        similar = column.flatten().to_numpy(zero_copy_only=False)
        mine = images.of_part(part)
        rows = images.row[mine]
        full = lengths[rows] >= most
        result[mine][full] = np.minimum(similar[starts[rows][full] + most - 1], all_above)
    return result
