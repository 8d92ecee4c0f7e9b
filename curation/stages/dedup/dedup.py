"""The stage `dedup`: which images of the pool are dropped, for which image or reference, and by what evidence.

By default every image is dropped for one that it is itself a copy of, by evidence between the two (`stars.py`); with
`dedup.grouping: components` links are followed to their ends, the paper's rule (`components.py`). Relative dedup, of
references, comes before self-dedup: each copy is compared with them, whichever of a group would be kept.
"""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from curation.arrays import BoolArray, Int64Array
from curation.config import DedupConfig, HashConfig, ReferenceConfig
from curation.drops import Dropped, DropReason
from curation.engine.contract import Output, StageSpec, global_digest
from curation.engine.gather import Gathered
from curation.engine.graph import Site
from curation.errors import UserError
from curation.imaging.matching import reversed_transform
from curation.run.parts import Collection
from curation.stages.dedup.brake import brake
from curation.stages.dedup.comparing import TRANSFORM
from curation.stages.dedup.components import Verdicts, decide, similar
from curation.stages.dedup.edges import LINKS, Edges
from curation.stages.dedup.evidence import Evidence, read_evidence
from curation.stages.dedup.groups import is_checked
from curation.stages.dedup.stars import stars_of
from curation.stages.knn.bias import BIAS, Offsets

__all__ = ["DEDUP_SCHEMA", "Dedup", "judged", "link_columns"]

DEDUP_SCHEMA = pa.schema(
    [
        ("representative", pa.binary(16)),
        ("similarity", pa.float32()),
        ("reference", pa.string()),
        ("link", pa.string()),
        ("probability", pa.float32()),
        ("inliers", pa.int32()),
        ("agreement", pa.float32()),
        ("mirrored", pa.bool_()),
        ("transform", TRANSFORM),
        ("hub", pa.bool_()),
    ]
)
NO_BEARING = {"partition", "max_share", "max_group"}
"""Settings of `dedup` that change no verdict."""


class Dedup:
    """The stage `dedup`: copies of reference images are dropped, and of images of the pool that are copies of each
    other all but one.

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
        *,
        checked: bool = False,
    ) -> None:
        self._pool = pool
        self._references = references
        self._sets = sets
        self._settings = settings
        self._radius = hashing.radius
        self._checked = checked
        looked, lowered = ["verify_copies"] * (settings.verify != "off"), [BIAS] * (settings.normalise.weight > 0)
        shared = ["copy_descriptors", *lowered, "copy_knn", *looked]
        own = [
            *(["hashes"] if settings.self_.enabled else []),
            *shared,
            *(["groups", "verify_kept"] if checked else []),
        ]
        self._read = [(pool, own), *((reference, shared) for reference in references)]
        without = NO_BEARING | ({"normalise"} if not settings.normalise.weight else set())
        self.spec = StageSpec(
            name="dedup",
            version=3,
            after=after,
            reads={stage: [] for stage in own},
            adds=DEDUP_SCHEMA,
            settings={
                **settings.model_dump(by_alias=True, exclude=without),
                "radius": hashing.radius,
                "references": [[item.name, item.threshold] for item in sets],
            },
        )

    @classmethod
    def at(cls, site: Site) -> "Dedup":
        config = site.config
        references = [site.run.references(item.name) for item in config.references]
        checked = is_checked(config, site.path)
        return cls(
            site.pool, references, config.references, config.dedup, config.hash, after=site.after, checked=checked
        )

    def setup(self) -> None:
        pass

    def expected(self) -> dict[int, str]:
        inputs = [(collection, stage) for collection, stages in self._read for stage in stages]
        digest = global_digest(self.spec, inputs)
        return dict.fromkeys(self._pool.parts("copy_descriptors"), digest)

    def process(self, stale: Sequence[int]) -> Iterator[tuple[int, Output]]:
        """Decide over all images; UserError where there is none, or where the brake holds."""
        evidence = read_evidence(
            self._pool,
            self._references,
            self._sets,
            with_hashes=self._settings.self_.enabled,
            offsets=Offsets.of(self._pool, self._settings.normalise),
        )
        if not len(evidence.images):
            raise UserError("pool: no image is left to deduplicate; see `lvd funnel` for what became of all of them")
        verdicts, links = judged(evidence, self._settings, self._radius, checked=self._checked)
        brake(verdicts, evidence.name_of, self._settings)
        columns = _columns(evidence, verdicts, links)
        for part in stale:
            yield part, _output(evidence.images, verdicts, columns, part)


def judged(
    evidence: Evidence, settings: DedupConfig, radius: int, *, checked: bool, probability: float | None = None
) -> tuple[Verdicts, Edges]:
    """What becomes of all images of a run, and the links by which it does.

    Args:
        radius: Hamming distance up to which two hashes are one image, with `dedup.verify: off`.
        checked: whether `verify_kept` has looked at what `groups` asked for.
        probability: in place of `dedup.probability`.
    """
    if settings.verify == "off":
        own, relative = evidence.similar(settings)
        looked = Edges.joined([own, relative, evidence.of_equal_hashes(radius)])
    else:
        looked = evidence.looked(checked=checked)
        relative = looked.evident(settings.probability if probability is None else probability)
        own = relative.between_images(len(evidence.images))
    if settings.grouping == "components":
        hashes = evidence.hashes if settings.verify == "off" else None
        verdicts = decide(hashes, evidence.vectors, own, relative, evidence.rank, settings, radius, evidence.offsets)
        return verdicts, Edges.joined([own, relative])
    linked = looked if settings.verify == "off" else relative
    return _by_stars(evidence, settings, looked, linked), linked


def _by_stars(evidence: Evidence, settings: DedupConfig, looked: Edges, linked: Edges) -> Verdicts:
    count = len(evidence.images)
    stars = stars_of(looked, linked, evidence.sizes, evidence.rank, self_dedup=settings.self_.enabled)
    images = np.arange(count)
    reason = [
        None if at == image else DropReason.REFERENCE_LEAK if at >= count else DropReason.COPY
        for image, at in enumerate(stars.representative.tolist())
    ]
    offsets = np.zeros(len(evidence.vectors), np.float32) if evidence.offsets is None else evidence.offsets
    return Verdicts(
        stars.representative, similar(evidence.vectors, offsets, images, stars.representative), reason, stars.hubs
    )


def _columns(evidence: Evidence, verdicts: Verdicts, links: Edges) -> dict[str, pa.Array]:
    at = verdicts.representative
    return {
        **link_columns(at, links, verdicts.reason),
        "representative": pa.array([evidence.ids[one] for one in at.tolist()], pa.binary(16)),
        "similarity": pa.array(verdicts.similarity, pa.float32()),
        "reference": pa.array([evidence.names[one] for one in at.tolist()], pa.string()),
        "hub": pa.array(np.isin(np.arange(len(at)), verdicts.hubs)),
    }


def link_columns(representative: Int64Array, edges: Edges, reason: Sequence[DropReason | None]) -> dict[str, pa.Array]:
    """For each image the link to the one that stands for it; `chain` where only others lead there."""
    images = np.arange(len(representative))
    at, backwards = _links_between(edges, representative, images)
    links: list[str | None] = [None] * len(images)
    transforms: list[list[float] | None] = [None] * len(images)
    for image in np.flatnonzero(representative != images).tolist():
        if reason[image] is DropReason.HASH_DUPLICATE:
            links[image] = "hash"
        elif at[image] < 0:
            links[image] = "chain"
        else:
            links[image] = LINKS[edges.kind[at[image]]]
            if edges.looked[at[image]]:
                forward = edges.transform[at[image]].astype(np.float64)
                mirrored = bool(edges.mirrored[at[image]])
                turned = reversed_transform(forward, mirrored) if backwards[image] else forward
                transforms[image] = turned.tolist()
    dropped = np.array([transform is not None for transform in transforms], bool)
    columns = {
        name: pa.array(_taken(getattr(edges, name), at), DEDUP_SCHEMA.field(name).type, mask=~dropped)
        for name in ("probability", "inliers", "agreement", "mirrored")
    }
    return {**columns, "link": pa.array(links, pa.string()), "transform": pa.array(transforms, TRANSFORM)}


def _links_between(edges: Edges, ones: Int64Array, others: Int64Array) -> tuple[Int64Array, BoolArray]:
    """For each pair the number of its edge, the likeliest, or -1; and whether that is the other way round."""
    width = 1 + int(max(ones.max(initial=0), others.max(initial=0), edges.pairs.max(initial=0)))
    first, second = edges.pairs.T
    keys = np.concatenate([first * width + second, second * width + first])
    likely = np.tile(np.where(edges.looked, edges.probability, 2.0), 2)  # equal bytes before all others
    order = np.lexsort((-likely, keys))
    asked = ones * width + others
    at = np.searchsorted(keys[order], asked)
    there = np.zeros(len(asked), bool)
    there[at < len(keys)] = keys[order][at[at < len(keys)]] == asked[at < len(keys)]
    which = np.full(len(asked), -1)
    which[there] = order[at[there]]
    backwards = which >= len(edges)
    return np.where(backwards, which - len(edges), which), backwards


def _taken(values: npt.NDArray[np.generic], at: Int64Array) -> npt.NDArray[np.generic]:
    return values[np.maximum(at, 0)] if len(values) else np.zeros(len(at), values.dtype)


def _output(images: Gathered, verdicts: Verdicts, facts: Mapping[str, pa.Array], part: int) -> Output:
    chosen = images.of_part(part)
    columns = {name: facts[name].slice(chosen.start, chosen.stop - chosen.start) for name in DEDUP_SCHEMA.names}
    drops = {
        at: Dropped(reason, columns["representative"][at].as_py().hex())
        for at, reason in enumerate(verdicts.reason[chosen])
        if reason is not None
    }
    return Output(columns, drops)
