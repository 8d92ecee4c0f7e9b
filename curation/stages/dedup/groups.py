"""The stage `groups`: which further pairs must be looked at, so that every image is dropped by evidence of its own.

Links are between near images, and equal hashes bring together others. Of each group of images that are linked over any
number of them, those that may be kept are compared with each of the others, a reference with each image of a group
that holds a copy of it, and of a large group some of the others among themselves, which tells a picture from a frame.
"""

from collections.abc import Iterator, Sequence

import numpy as np
import pyarrow as pa

from curation.arrays import Int32Array, Int64Array
from curation.config import Config, DedupConfig, HashConfig, ReferenceConfig
from curation.engine.contract import Output, StageSpec, global_digest
from curation.engine.graph import Site
from curation.run.parts import Collection
from curation.search.components import components_of
from curation.search.links import hash_links
from curation.stages.dedup.edges import Edges
from curation.stages.dedup.evidence import Evidence, read_evidence
from curation.stages.dedup.originals import keep_order_by
from curation.stages.dedup.stars import CROWD

__all__ = ["CHECKS", "Groups", "further_pairs", "is_checked"]

CONTENDERS = 3
"""Of a group, images that may be the one to keep, and are compared with all others: who has been compared with more of
them must not seem to be closer to them."""
CHECKS = pa.schema(
    [
        ("check_set", pa.list_(pa.int32())),  # the place of a reference set in the config, -1 for the pool
        ("check_part", pa.list_(pa.int32())),
        ("check_row", pa.list_(pa.int32())),
    ]
)


class Groups:
    """The stage `groups`: which further pairs must be looked at, so that an image is dropped by evidence of its own."""

    def __init__(
        self,
        pool: Collection,
        references: Sequence[Collection],
        sets: Sequence[ReferenceConfig],
        settings: DedupConfig,
        hashing: HashConfig,
        after: str,
    ) -> None:
        self._pool = pool
        self._references = references
        self._sets = sets
        self._settings = settings
        self._radius = hashing.radius
        shared = ["copy_descriptors", "copy_knn", "verify_copies"]
        self._read = [(pool, [*(["hashes"] if settings.self_.enabled else []), *shared])]
        self._read += [(reference, shared) for reference in references]
        self.spec = StageSpec(
            name="groups",
            version=1,
            after=after,
            reads={stage: [] for stage in self._read[0][1]},
            adds=CHECKS,
            settings={
                "probability": settings.probability,
                "self": settings.self_.enabled,
                "radius": hashing.radius,
                "references": [item.name for item in sets],
            },
        )

    @classmethod
    def at(cls, site: Site) -> "Groups":
        config = site.config
        references = [site.run.references(item.name) for item in config.references]
        return cls(site.pool, references, config.references, config.dedup, config.hash, site.after)

    def setup(self) -> None:
        pass

    def expected(self) -> dict[int, str]:
        inputs = [(collection, stage) for collection, stages in self._read for stage in stages]
        return dict.fromkeys(self._pool.parts("copy_descriptors"), global_digest(self.spec, inputs))

    def process(self, stale: Sequence[int]) -> Iterator[tuple[int, Output]]:
        settings = self._settings
        evidence = read_evidence(self._pool, self._references, self._sets, with_hashes=settings.self_.enabled)
        pairs = further_pairs(evidence, settings, self._radius)
        for part in stale:
            yield part, Output(_columns(evidence, pairs, part))


def is_checked(config: Config, path: str) -> bool:
    """Whether images are dropped by evidence of their own."""
    return config.dedup.verify != "off" and config.dedup.grouping == "star"


def further_pairs(evidence: Evidence, settings: DedupConfig, radius: int) -> Int64Array:
    """(P, 2) image, and image or reference that it is to be compared with; in order, none twice."""
    count = len(evidence.images)
    looked = evidence.looked(checked=False)
    linked = looked.evident(settings.probability)
    own = linked.between_images(count)
    wanted = [_of_references(count, own, linked)]
    if settings.self_.enabled:
        assert evidence.hashes is not None
        group = components_of(count, np.concatenate([own.pairs, hash_links(evidence.hashes, radius)]))
        wanted.append(_of_groups(group, keep_order_by(own, evidence.sizes, evidence.rank)))
    asked = np.unique(np.concatenate(wanted), axis=0)
    return asked[~np.isin(_keys(asked), _keys(looked.pairs))]


def _of_groups(group: Int64Array, place: Int64Array) -> Int64Array:
    """Each image with the first few of its group; in a group of many also with the one before it."""
    order = np.lexsort((place, group))
    starts = np.ones(len(order), dtype=bool)
    starts[1:] = group[order][1:] != group[order][:-1]
    at = np.arange(len(order))
    start = np.maximum.accumulate(np.where(starts, at, 0))
    contenders = [start + place for place in range(CONTENDERS)]
    with_first = [np.stack([order, order[np.minimum(one, at)]], axis=1)[at > one] for one in contenders]
    size = np.bincount(group, minlength=len(group))[group[order]]
    follows = (at - start > CONTENDERS) & (size > CROWD)
    with_previous = np.stack([order[at[follows]], order[at[follows] - 1]], axis=1)
    return np.concatenate([*with_first, with_previous])


def _of_references(count: int, own: Edges, linked: Edges) -> Int64Array:
    """Each image of a group that holds a copy of a reference with that reference; and the copies of one in turn."""
    leaks = linked.pairs[linked.pairs[:, 0] >= count]
    if not len(leaks):
        return np.empty((0, 2), np.int64)
    group = components_of(count, own.pairs)
    leading = np.unique(np.stack([group[leaks[:, 1]], leaks[:, 0]], axis=1), axis=0)
    order = np.argsort(group, kind="stable")
    first, last = (np.searchsorted(group[order], leading[:, 0], side) for side in ("left", "right"))
    lengths = last - first
    members = order[
        np.repeat(first, lengths) + np.arange(lengths.sum()) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    ]
    all_of_group = np.stack([members, np.repeat(leading[:, 1], lengths)], axis=1)
    leaks = leaks[np.lexsort((leaks[:, 1], leaks[:, 0]))]
    crowded = np.bincount(leaks[:, 0])[leaks[:, 0]] >= CROWD
    same = (leaks[1:, 0] == leaks[:-1, 0]) & crowded[1:]
    return np.concatenate([all_of_group, np.stack([leaks[1:, 1], leaks[:-1, 1]], axis=1)[same]])


def _keys(pairs: Int64Array) -> Int64Array:
    ordered = np.sort(pairs, axis=1)
    return np.asarray(ordered[:, 0] << 32 | ordered[:, 1], dtype=np.int64)


def _columns(evidence: Evidence, pairs: Int64Array, part: int) -> dict[str, pa.Array]:
    """The pairs of a part's images, as lists of the others' places."""
    mine = evidence.images.of_part(part)
    start, stop = np.searchsorted(pairs[:, 0], [mine.start, mine.stop])
    offsets = np.searchsorted(pairs[start:stop, 0], np.arange(mine.start, mine.stop + 1)).astype(np.int32)
    sets, parts, rows = _places(evidence, pairs[start:stop, 1])
    values = {"check_set": sets, "check_part": parts, "check_row": rows}
    return {name: pa.ListArray.from_arrays(pa.array(offsets), pa.array(value)) for name, value in values.items()}


def _places(evidence: Evidence, positions: Int64Array) -> tuple[Int32Array, Int32Array, Int32Array]:
    every = (evidence.images, *evidence.reference_images)
    sets = np.concatenate([np.full(len(one), at - 1, np.int32) for at, one in enumerate(every)])
    parts, rows = (np.concatenate([getattr(one, name) for one in every]) for name in ("part", "row"))
    return sets[positions], parts[positions], rows[positions]
