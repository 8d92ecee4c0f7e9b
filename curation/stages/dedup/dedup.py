"""Removes duplicates from the pool, and all that leads to a reference image.

Three rules, in this order (Oquab et al. 2023, arXiv 2304.07193, section 3 and appendix A):

1. equal or nearly equal perceptual hashes: one image of each group is kept;
2. relative dedup: images linked to a reference image, over any number of links, are all dropped;
3. self-dedup: of each component of linked images, one is kept.

The relative step looks at every image that its own copies could stand for, so it comes before self-dedup. What a link
is, `edges.py` says: a similarity, or one that geometry confirms. The decision looks at all parts as one graph, so
borders between parts do not matter.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from curation.config import DedupConfig, HashConfig, ReferenceConfig
from curation.drops import Dropped, DropReason
from curation.engine.contract import Output, StageSpec, commit_output
from curation.engine.gather import Gathered
from curation.errors import UserError
from curation.run.parts import Collection, digest_of
from curation.search.components import components_of, first_of_each
from curation.search.knn import Rows, similarities_of
from curation.search.links import hash_links, nearest, similarity_links
from curation.stages.dedup.edges import Edges, link_columns
from curation.stages.dedup.evidence import Evidence, read_evidence
from curation.stages.dedup.verify_copies import TRANSFORM
from curation.stages.knn.bias import BIAS, Offsets

__all__ = ["DEDUP_SCHEMA", "Dedup", "Verdicts", "decide", "duplicates_in", "verdicts_of"]

DEDUP_SCHEMA = pa.schema(
    [
        ("component", pa.binary(16)),
        ("similarity", pa.float32()),
        ("reference", pa.string()),
        ("link", pa.string()),
        ("inliers", pa.int32()),
        ("agreement", pa.float32()),
        ("mirrored", pa.bool_()),
        ("transform", TRANSFORM),
    ]
)
Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Verdicts:
    """What became of N images.

    Attributes:
        component: (N,) the image that stands for each: itself, the one that is kept instead of it, or, from N on, the
            reference that it leads to.
        similarity: (N,) to that image: of vectors, less the offsets of both.
        reason: (N,) why it is dropped, or None.
    """

    component: Ints
    similarity: Floats
    reason: list[DropReason | None]


class Dedup:
    """The stage `dedup`, over all parts of the pool at once.

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
        self._spec = StageSpec(
            name="dedup",
            version=2,
            after="copy_descriptors",
            reads={stage: [] for stage in self._own_stages},
            schema=DEDUP_SCHEMA,
            settings={
                **settings.model_dump(
                    by_alias=True, exclude={"partition"} | ({"normalise"} if not settings.normalise.weight else set())
                ),
                "radius": hashing.radius,
                "references": [[item.name, item.threshold] for item in sets],
            },
        )

    def is_current(self) -> bool:
        return not self._stale(self._digest())

    def run(self) -> None:
        """Decide over all images, and commit the parts that are out of date."""
        started = time.monotonic()
        digest = self._digest()
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
        facts = link_columns(verdicts.component, Edges.joined([links, relative]), verdicts.reason)
        facts["component"] = pa.array([evidence.ids[at] for at in verdicts.component], pa.binary(16))
        facts["similarity"] = pa.array(verdicts.similarity, pa.float32())
        facts["reference"] = pa.array([evidence.names[at] for at in verdicts.component], pa.string())
        stale = self._stale(digest)
        seconds = (time.monotonic() - started) / max(1, len(stale))
        for part in stale:
            self._commit(evidence.images, verdicts, facts, part, digest, seconds)

    def _commit(
        self, images: Gathered, verdicts: Verdicts, facts: dict[str, pa.Array], part: int, digest: str, seconds: float
    ) -> None:
        chosen = images.of_part(part)
        columns = {name: facts[name].slice(chosen.start, chosen.stop - chosen.start) for name in DEDUP_SCHEMA.names}
        drops = {
            at: Dropped(reason, columns["component"][at].as_py().hex())
            for at, reason in enumerate(verdicts.reason[chosen])
            if reason is not None
        }
        output = Output(columns, drops)
        commit_output(self._spec, self._pool, part, images.masks[part], output, digest=digest, seconds=seconds)

    def _stale(self, digest: str) -> list[int]:
        footers = {part: self._pool.footer(self._spec.name, part) for part in self._pool.parts("copy_descriptors")}
        return [part for part, footer in footers.items() if footer is None or footer.digest != digest]

    def _digest(self) -> str:
        read = [(self._pool, self._own_stages), *((reference, self._stages) for reference in self._references)]
        inputs = [[collection.path, stage, collection.state(stage)] for collection, stages in read for stage in stages]
        return digest_of([self._spec.name, self._spec.version, dict(self._spec.settings), inputs])


def verdicts_of(evidence: Evidence, links: Edges, relative: Edges, settings: DedupConfig, radius: int) -> Verdicts:
    """Decide over all images of a run; see `decide` for arguments."""
    return decide(evidence.hashes, evidence.vectors, links, relative, evidence.rank, settings, radius, evidence.offsets)


def decide(
    hashes: npt.NDArray[np.uint8] | None,
    vectors: Rows,
    links: Edges,
    relative: Edges,
    rank: Ints,
    settings: DedupConfig,
    radius: int,
    offsets: Floats | None = None,
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
    component = np.arange(count)
    reason: list[DropReason | None] = [None] * count
    standing = np.arange(len(vectors))
    if hashes is not None:
        standing[:count] = first_of_each(components_of(count, hash_links(hashes, radius)), rank)
        _drop(np.flatnonzero(standing[:count] != component), standing, DropReason.HASH_DUPLICATE, component, reason)

    # What is linked to a dropped image is linked to the one that stands for it.
    if len(vectors) > count:
        leaking, leads_to = _leaks(vectors, offsets, count, standing[relative.pairs])
        live = np.array([reason[row] is None for row in leaking.tolist()], dtype=bool)
        instead = np.arange(count)
        instead[leaking] = leads_to
        _drop(leaking[live], instead, DropReason.REFERENCE_LEAK, component, reason)

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
        _drop(dropped, kept_instead, DropReason.COPY, component, reason)

    similarity = _similar(vectors, offsets, np.arange(count), component)
    return Verdicts(component, similarity, reason)


def duplicates_in(
    hashes: npt.NDArray[np.uint8],
    vectors: Floats,
    references: Floats,
    rank: Ints,
    settings: DedupConfig,
    radius: int,
) -> Verdicts:
    """Decide over N images in memory by similarity alone, the paper's rule; see `decide` for arguments.

    Args:
        vectors: (N, D) float32.
        references: (R, D) float32.
    """
    count = len(vectors)
    pairs, similar = similarity_links(vectors, settings.neighbours, settings.self_.threshold)
    wider, also = similarity_links(vectors, settings.neighbours, settings.relative.threshold)
    result = [Edges.similar(wider, also)]
    if len(references):
        near, rows = nearest(vectors, references, settings.neighbours)
        image, column = np.nonzero(near > settings.relative.threshold)
        leads = np.stack([count + rows[image, column], image], axis=1)
        result.append(Edges.similar(leads, near[image, column]))
    everything = np.concatenate([vectors, references])
    return decide(hashes, everything, Edges.similar(pairs, similar), Edges.joined(result), rank, settings, radius)


def _similar(vectors: Rows, offsets: Floats, rows: Ints, others: Ints) -> Floats:
    """Similarities of pairs, (E,), an image's to itself included: that is 1 whatever else it resembles."""
    lowered = np.where(rows == others, np.float32(0), offsets[rows] + offsets[others])
    return np.asarray(similarities_of(vectors, vectors, rows, others) - lowered)


def _leaks(vectors: Rows, offsets: Floats, count: int, pairs: Ints) -> tuple[Ints, Ints]:
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


def _drop(rows: Ints, instead: Ints, why: DropReason, component: Ints, reason: list[DropReason | None]) -> None:
    component[rows] = instead[rows]
    for row in rows.tolist():
        reason[row] = why
