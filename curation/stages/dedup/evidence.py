"""All that dedup decides by, of all parts at once: images, references, hashes, and the links between them."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from curation.arrays import Float16Array, Float32Array, Int64Array, UInt8Array
from curation.config import DedupConfig, ReferenceConfig
from curation.engine.gather import Gathered, gather, ids_of
from curation.run.parts import Collection
from curation.search.components import keep_order
from curation.stages.dedup.edges import Edges, read_edges
from curation.stages.knn.bias import Offsets
from curation.stages.knn.vectors import gather_vectors

__all__ = ["Evidence", "read_evidence"]


@dataclass(frozen=True)
class Evidence:
    """N images of the pool, R of its reference sets.

    Attributes:
        images: the pool's, with the columns `id`, `width`, `height`, `length`, and `hash` where it is used.
        reference_images: of each reference set its images, with the column `id`.
        vectors: (N + R, D) fp16, copy descriptors of the images and then of the references, L2-normalised.
        names: N + R, the set of each reference, None of an image.
        offsets: (N + R,) float32, what is taken off the similarities of each; None for nothing.
    """

    pool: Collection
    references: Sequence[Collection]
    sets: Sequence[ReferenceConfig]
    images: Gathered
    reference_images: Sequence[Gathered]
    vectors: Float16Array
    names: Sequence[str | None]
    offsets: Float32Array | None = None

    def links(self, settings: DedupConfig) -> Edges:
        """Links between images, for self-dedup."""
        return read_edges(self.pool, self.images, None, 0, settings)

    def relative_links(self, settings: DedupConfig, *, own_thresholds: bool = True) -> Edges:
        """Links that lead to references: between images, and of images and references.

        Args:
            own_thresholds: a set that names its threshold has that one.
        """
        result, first = [read_edges(self.pool, self.images, None, 0, settings, relative=True)], len(self.images)
        for reference, images, item in zip(self.references, self.reference_images, self.sets, strict=True):
            threshold = item.threshold if own_thresholds else None
            result.append(
                read_edges(reference, self.images, images, first, settings, relative=True, threshold=threshold)
            )
            first += len(images)
        return Edges.joined(result)

    @cached_property
    def hashes(self) -> UInt8Array | None:
        """(N, bytes) packed perceptual hashes; None where they are left out."""
        if "hash" not in self.images.table.column_names:
            return None
        return np.frombuffer(b"".join(self.images.table["hash"].to_pylist()), np.uint8).reshape(len(self.images), -1)

    @cached_property
    def rank(self) -> Int64Array:
        """(N,) which image of a component to keep: the one with the smallest."""
        table = self.images.table
        pixels = table["width"].to_numpy().astype(np.int64) * table["height"].to_numpy()
        return keep_order(pixels, table["length"].to_numpy(), ids_of(table["id"]))

    @cached_property
    def ids(self) -> list[bytes]:
        """The N + R ids."""
        return [key for one in (self.images, *self.reference_images) if len(one) for key in one.table["id"].to_pylist()]


def read_evidence(
    pool: Collection,
    references: Sequence[Collection],
    sets: Sequence[ReferenceConfig],
    *,
    with_hashes: bool,
    offsets: Offsets | None = None,
) -> Evidence:
    """Read what the stages before `dedup` have found.

    Args:
        sets: the settings of the reference sets, in the same order.
    """
    hashed = {"hashes": ["hash"]} if with_hashes else {}
    images = gather(pool, "copy_descriptors", {"fetch": ["id", "width", "height", "length"], **hashed})
    reference_images = [gather(reference, "copy_descriptors", {"fetch": ["id"]}) for reference in references]
    gathered = [
        gather_vectors(collection, "copy_descriptors", "copy_descriptors").halves for collection in (pool, *references)
    ]
    vectors = [halves for halves in gathered if len(halves)]
    names = [None] * len(images) + [
        item.name for own, item in zip(reference_images, sets, strict=True) for _ in range(len(own))
    ]
    return Evidence(
        pool,
        references,
        sets,
        images,
        reference_images,
        np.concatenate(vectors) if vectors else np.empty((0, 1), np.float16),
        names,
        None if offsets is None else np.concatenate([offsets.of_collection(one) for one in (pool, *references)]),
    )
