"""All that dedup decides by, of all parts at once: images, references, hashes, and the pairs between them."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from curation.arrays import Float16Array, Float32Array, Int64Array, UInt8Array
from curation.config import DedupConfig, ReferenceConfig
from curation.engine.gather import Gathered, gather, ids_of
from curation.run.parts import Collection
from curation.search.components import keep_order
from curation.search.links import hash_links
from curation.stages.dedup.edges import BYTES, HASH, Edges, read_candidates, read_checks
from curation.stages.knn.bias import Offsets
from curation.stages.knn.vectors import gather_vectors

__all__ = ["Evidence", "read_evidence"]


@dataclass(frozen=True)
class Evidence:
    """N images of the pool, R of its reference sets.

    Attributes:
        images: the pool's, with the columns `id`, `sha256`, `width`, `height`, `length`, and `hash` where it is used.
        reference_images: of each reference set its images, with the columns `id` and `sha256`.
        names: N + R, the set of each reference, None of an image.
        offsets: (N + R,) float32, what is taken off the similarities of each; None for nothing.
    """

    pool: Collection
    references: Sequence[Collection]
    sets: Sequence[ReferenceConfig]
    images: Gathered
    reference_images: Sequence[Gathered]
    names: Sequence[str | None]
    offsets: Float32Array | None = None

    def candidates(self, *, looked: bool) -> Edges:
        """Pairs of images that are near each other; those that were looked at where `looked`."""
        return read_candidates(self.pool, self.images, self.images, 0, looked=looked)

    def reference_candidates(self, *, looked: bool) -> list[Edges]:
        """The same of each reference set's images and the pool's."""
        result, first = [], len(self.images)
        for reference, images in zip(self.references, self.reference_images, strict=True):
            result.append(read_candidates(reference, self.images, images, first, looked=looked))
            first += len(images)
        return result

    def looked(self, *, checked: bool) -> Edges:
        """All pairs that were looked at, and those of equal bytes.

        Args:
            checked: with those that `groups` asked for.
        """
        own = [self.candidates(looked=True), *self.reference_candidates(looked=True), self._of_equal_bytes()]
        if checked:
            own.append(read_checks(self.pool, self.images, self.reference_images))
        return Edges.joined(own)

    def similar(self, settings: DedupConfig) -> tuple[Edges, Edges]:
        """Links by similarity alone: between images for self-dedup; and for relative dedup those between images, and of
        images and references, each set with its own threshold."""
        candidates = self.candidates(looked=False)
        own = candidates.above(settings.self_threshold) if settings.self_.enabled else Edges.none()
        if not self.references:
            return own, Edges.none()
        relative = [candidates.above(settings.relative_threshold)]
        for edges, item in zip(self.reference_candidates(looked=False), self.sets, strict=True):
            relative.append(edges.above(settings.relative_threshold if item.threshold is None else item.threshold))
        return own, Edges.joined(relative)

    def of_equal_hashes(self, radius: int) -> Edges:
        """Images of hashes that differ in at most so many bits; none where hashes are left out."""
        pairs = np.empty((0, 2), np.int64) if self.hashes is None else hash_links(self.hashes, radius)
        return Edges.plain(pairs, np.full(len(pairs), np.nan, np.float32), HASH)

    def _of_equal_bytes(self) -> Edges:
        """Each image or reference with the first that has its bytes; not references with each other."""
        tables = [one.table for one in (self.images, *self.reference_images) if len(one)]
        digests = np.array([value for table in tables for value in table["sha256"].to_pylist()], "S32")
        # In the order of digests, references before images, so that an image is linked to the reference that it is.
        is_image = np.arange(len(digests)) < len(self.images)
        order = np.lexsort((np.arange(len(digests)), is_image, digests))
        starts = np.ones(len(order), dtype=bool)
        starts[1:] = digests[order][1:] != digests[order][:-1]
        first = order[np.maximum.accumulate(np.where(starts, np.arange(len(order)), 0))]
        repeats = ~starts & is_image[order]
        pairs = np.stack([first[repeats], order[repeats]], axis=1)
        return Edges.plain(pairs, np.ones(len(pairs), np.float32), BYTES)

    @cached_property
    def hashes(self) -> UInt8Array | None:
        """(N, bytes) packed perceptual hashes; None where they are left out."""
        if "hash" not in self.images.table.column_names:
            return None
        return np.frombuffer(b"".join(self.images.table["hash"].to_pylist()), np.uint8).reshape(len(self.images), -1)

    @cached_property
    def vectors(self) -> Float16Array:
        """(N + R, D) fp16, copy descriptors of the images and then of the references, L2-normalised; read when they are
        first asked for, as much of what is decided needs none."""
        collections = (self.pool, *self.references)
        gathered = [gather_vectors(one, "copy_descriptors", "copy_descriptors").halves for one in collections]
        vectors = [halves for halves in gathered if len(halves)]
        return np.concatenate(vectors) if vectors else np.empty((0, 1), np.float16)

    @cached_property
    def sizes(self) -> Int64Array:
        """(N, 2) width and height in pixels."""
        columns = [self.images.table[name].to_numpy().astype(np.int64) for name in ("width", "height")]
        return np.stack(columns, axis=1)

    @cached_property
    def rank(self) -> Int64Array:
        """(N,) which of images to keep where evidence says nothing else: the one with the smallest."""
        table = self.images.table
        return keep_order(self.sizes.prod(axis=1), table["length"].to_numpy(), ids_of(table["id"]))

    def name_of(self, at: int) -> str:
        """How an image or reference is called: its path in its dataset, its URL, or its id."""
        collections = (self.pool, *self.references)
        for collection, images in zip(collections, (self.images, *self.reference_images), strict=True):
            if at < len(images):
                fields = collection.read("fetch", int(images.part[at])).slice(int(images.row[at]), 1).to_pylist()[0]
                return str(fields.get("path") or fields.get("url") or fields["id"].hex())
            at -= len(images)
        raise AssertionError("a position beyond the last reference")

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
    """Read what the stages before `dedup` have stored.

    Args:
        sets: the settings of the reference sets, in the same order.
    """
    hashed = {"hashes": ["hash"]} if with_hashes else {}
    images = gather(pool, "copy_descriptors", {"fetch": ["id", "sha256", "width", "height", "length"], **hashed})
    reference_images = [gather(reference, "copy_descriptors", {"fetch": ["id", "sha256"]}) for reference in references]
    names = [None] * len(images) + [
        item.name for own, item in zip(reference_images, sets, strict=True) for _ in range(len(own))
    ]
    return Evidence(
        pool,
        references,
        sets,
        images,
        reference_images,
        names,
        None if offsets is None else np.concatenate([offsets.of_collection(one) for one in (pool, *references)]),
    )
