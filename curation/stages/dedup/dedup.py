"""Removes duplicates from the pool, and all that leads to a reference image.

Three rules, in this order (Oquab et al. 2023, arXiv 2304.07193, section 3 and appendix A):

1. equal or nearly equal perceptual hashes: one image of each group is kept;
2. relative dedup: images linked to a reference image, over any number of links, are all dropped;
3. self-dedup: of each component of linked images, one is kept.

The relative step looks at every image that its own copies could stand for, so it comes before self-dedup. What a link
is, `edges.py` says: a similarity, or one that geometry confirms. The decision looks at all parts as one graph, so
borders between parts do not matter.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from curation.arrays import Float32Array, Int64Array, UInt8Array
from curation.config import DedupConfig, HashConfig, ReferenceConfig
from curation.drops import Dropped, DropReason
from curation.engine.contract import Output, StageSpec, global_digest
from curation.engine.gather import Gathered
from curation.engine.graph import Site
from curation.errors import UserError
from curation.run.parts import Collection
from curation.search.components import components_of, first_of_each
from curation.search.knn import Rows, similarities_of
from curation.search.links import hash_links
from curation.stages.dedup.edges import Edges, link_columns
from curation.stages.dedup.evidence import Evidence, read_evidence
from curation.stages.dedup.verify_copies import TRANSFORM
from curation.stages.knn.bias import BIAS, Offsets

__all__ = ["DEDUP_SCHEMA", "Dedup", "Verdicts", "decide", "verdicts_of"]

DEDUP_SCHEMA = pa.schema(
    [
        ("representative", pa.binary(16)),
        ("similarity", pa.float32()),
        ("reference", pa.string()),
        ("link", pa.string()),
        ("inliers", pa.int32()),
        ("agreement", pa.float32()),
        ("mirrored", pa.bool_()),
        ("transform", TRANSFORM),
    ]
)


@dataclass(frozen=True)
class Verdicts:
    """What became of N images.

    Attributes:
        representative: (N,) the image that stands for each: itself, the one that is kept instead of it, or, from N on,
            the reference that it leads to.
        similarity: (N,) to that image: of vectors, less the offsets of both.
        reason: (N,) why it is dropped, or None.
    """

    representative: Int64Array
    similarity: Float32Array
    reason: list[DropReason | None]


class Dedup:
    """The stage `dedup`: equal or nearly equal hashes, copies of reference images, and copies within the pool are
    dropped.

    Its columns say of each image which one stands for it, and of a dropped one what the link to that image is: the
    transform takes that image to this one.

    Args:
        references: the reference sets' collections, and their settings, in the same order.
    """

    def __init__(
        self,
        pool: Collection,
        references: Sequence[Collection],
        sets: Sequence[ReferenceConfig],
        settings: DedupConfig,
        hashing: HashConfig,
        after: str = "copy_knn",
    ) -> None:
        self._pool = pool
        self._references = references
        self._sets = sets
        self._settings = settings
        self._radius = hashing.radius
        looked, lowered = ["verify_copies"] * (settings.verify != "off"), [BIAS] * (settings.normalise.weight > 0)
        self._stages = ["copy_descriptors", *lowered, "copy_knn", *looked]
        own = ["hashes"] if settings.self_.enabled else []
        self._own_stages = [*own, *self._stages]
        self.spec = StageSpec(
            name="dedup",
            version=2,
            after=after,
            reads={stage: [] for stage in self._own_stages},
            adds=DEDUP_SCHEMA,
            settings={
                **settings.model_dump(
                    by_alias=True, exclude={"partition"} | ({"normalise"} if not settings.normalise.weight else set())
                ),
                "radius": hashing.radius,
                "references": [[item.name, item.threshold] for item in sets],
            },
        )

    @classmethod
    def at(cls, site: Site) -> "Dedup":
        config = site.config
        references = [site.run.references(item.name) for item in config.references]
        return cls(site.pool, references, config.references, config.dedup, config.hash, after=site.after)

    def setup(self) -> None:
        pass

    def expected(self) -> dict[int, str]:
        read = [(self._pool, self._own_stages), *((reference, self._stages) for reference in self._references)]
        inputs = [(collection, stage) for collection, stages in read for stage in stages]
        digest = global_digest(self.spec, inputs)
        return dict.fromkeys(self._pool.parts("copy_descriptors"), digest)

    def process(self, stale: Sequence[int]) -> Iterator[tuple[int, Output]]:
        """Decide over all images; UserError where there is none."""
        evidence = read_evidence(
            self._pool,
            self._references,
            self._sets,
            with_hashes=self._settings.self_.enabled,
            offsets=Offsets.of(self._pool, self._settings.normalise),
        )
        if not len(evidence.images):
            raise UserError("pool: no image is left to deduplicate; see `lvd funnel` for what became of all of them")
        links, relative = evidence.links(self._settings), evidence.relative_links(self._settings)
        verdicts = verdicts_of(evidence, links, relative, self._settings, self._radius)
        facts = link_columns(verdicts.representative, Edges.joined([links, relative]), verdicts.reason)
        facts["representative"] = pa.array([evidence.ids[at] for at in verdicts.representative], pa.binary(16))
        facts["similarity"] = pa.array(verdicts.similarity, pa.float32())
        facts["reference"] = pa.array([evidence.names[at] for at in verdicts.representative], pa.string())
        for part in stale:
            yield part, _output(evidence.images, verdicts, facts, part)


def _output(images: Gathered, verdicts: Verdicts, facts: dict[str, pa.Array], part: int) -> Output:
    chosen = images.of_part(part)
    columns = {name: facts[name].slice(chosen.start, chosen.stop - chosen.start) for name in DEDUP_SCHEMA.names}
    drops = {
        at: Dropped(reason, columns["representative"][at].as_py().hex())
        for at, reason in enumerate(verdicts.reason[chosen])
        if reason is not None
    }
    return Output(columns, drops)


def verdicts_of(evidence: Evidence, links: Edges, relative: Edges, settings: DedupConfig, radius: int) -> Verdicts:
    """Decide over all images of a run; see `decide` for arguments."""
    return decide(evidence.hashes, evidence.vectors, links, relative, evidence.rank, settings, radius, evidence.offsets)


def decide(
    hashes: UInt8Array | None,
    vectors: Rows,
    links: Edges,
    relative: Edges,
    rank: Int64Array,
    settings: DedupConfig,
    radius: int,
    offsets: Float32Array | None = None,
) -> Verdicts:
    """Decide over N images by the links between them.

    Args:
        hashes: (N, bytes) uint8, packed perceptual hashes; None to leave them out.
        vectors: (N + R, D) fp16 or float32, copy descriptors of the images and then of the references, L2-normalised.
        links: between images.
        relative: those that lead to references: between images, and of images and references.
        rank: (N,) which image of a component to keep: the one with the smallest.
        radius: Hamming distance up to which two hashes are one image.
        offsets: (N + R,) float32, what is taken off the similarities of each; by default nothing.
    """
    count = len(rank)
    offsets = np.zeros(len(vectors), np.float32) if offsets is None else offsets
    representative = np.arange(count)
    reason: list[DropReason | None] = [None] * count
    standing = np.arange(len(vectors))
    if hashes is not None:
        standing[:count] = first_of_each(components_of(count, hash_links(hashes, radius)), rank)
        _drop(
            np.flatnonzero(standing[:count] != representative),
            standing,
            DropReason.HASH_DUPLICATE,
            representative,
            reason,
        )

    # What is linked to a dropped image is linked to the one that stands for it.
    if len(vectors) > count:
        leaking, leads_to = _leaks(vectors, offsets, count, standing[relative.pairs])
        live = np.array([reason[row] is None for row in leaking.tolist()], dtype=bool)
        instead = np.arange(count)
        instead[leaking] = leads_to
        _drop(leaking[live], instead, DropReason.REFERENCE_LEAK, representative, reason)

    if settings.self_.enabled:
        live = np.array([why is None for why in reason])
        pairs = standing[links.pairs]
        pairs = pairs[live[pairs].all(axis=1)]
        kept_instead = first_of_each(
            components_of(count, pairs), np.where(live, rank, rank + count).argsort().argsort()
        )
        dropped = np.flatnonzero(live & (kept_instead != np.arange(count)))
        if settings.min_similarity_to_kept is not None:
            dropped = dropped[
                _similar(vectors, offsets, dropped, kept_instead[dropped]) >= settings.min_similarity_to_kept
            ]
        _drop(dropped, kept_instead, DropReason.COPY, representative, reason)

    similarity = _similar(vectors, offsets, np.arange(count), representative)
    return Verdicts(representative, similarity, reason)


def _similar(vectors: Rows, offsets: Float32Array, rows: Int64Array, others: Int64Array) -> Float32Array:
    """Similarities of pairs, (E,), an image's to itself included: that is 1 whatever else it resembles."""
    lowered = np.where(rows == others, np.float32(0), offsets[rows] + offsets[others])
    return np.asarray(similarities_of(vectors, vectors, rows, others) - lowered)


def _leaks(vectors: Rows, offsets: Float32Array, count: int, pairs: Int64Array) -> tuple[Int64Array, Int64Array]:
    """Images in a component that holds a reference, and for each the reference in it that it resembles most."""
    components = components_of(len(vectors), pairs)
    members = np.argsort(components[count:], kind="stable") + count
    roots = components[members]
    start = np.searchsorted(roots, components[:count], "left")
    stop = np.searchsorted(roots, components[:count], "right")
    leaking = np.flatnonzero(stop > start)
    leads_to = np.empty(len(leaking), dtype=np.int64)
    for at, row in enumerate(leaking.tolist()):
        candidates = members[start[row] : stop[row]]
        similar = vectors[candidates].astype(np.float32) @ vectors[row].astype(np.float32)
        leads_to[at] = candidates[np.argmax(similar - offsets[candidates])]
    return leaking, leads_to


def _drop(
    rows: Int64Array, instead: Int64Array, why: DropReason, representative: Int64Array, reason: list[DropReason | None]
) -> None:
    representative[rows] = instead[rows]
    for row in rows.tolist():
        reason[row] = why
