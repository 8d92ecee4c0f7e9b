"""Removes duplicates from the pool, and all that leads to a reference image.

Three rules, in this order (Oquab et al. 2023, arXiv 2304.07193, section 3 and appendix A):

1. equal or nearly equal perceptual hashes: one image of each group is kept;
2. relative dedup: images linked by copy similarity, over any number of links, to a reference image are all dropped;
3. self-dedup: of each component linked by copy similarity, one image is kept.

The relative step looks at every image that its own copies could stand for, so it comes before self-dedup.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from curation.config import DedupConfig, HashConfig
from curation.drops import Dropped, DropReason
from curation.errors import UserError
from curation.parts import Collection, digest_of
from curation.stages.components import components_of, first_of_each, keep_order
from curation.stages.contract import Output, StageSpec, commit_output
from curation.stages.describe import VECTOR
from curation.stages.gather import Gathered, gather, ids_of, vectors_of
from curation.stages.neighbours import hash_links, similarity_links

__all__ = ["DEDUP_SCHEMA", "Dedup", "Verdicts", "duplicates_in"]

DEDUP_SCHEMA = pa.schema([("component", pa.binary(16)), ("similarity", pa.float32())])
Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Verdicts:
    """What became of N images.

    Attributes:
        component: (N,) the image that stands for each: itself, the one that is kept instead of it, or, from N on, the
            reference that it leads to.
        similarity: (N,) cosine similarity to that image.
        reason: (N,) why it is dropped, or None.
    """

    component: Ints
    similarity: Floats
    reason: list[DropReason | None]


class Dedup:
    """The stage `dedup`, over all parts of the pool at once."""

    def __init__(
        self, pool: Collection, references: Sequence[Collection], settings: DedupConfig, hashing: HashConfig
    ) -> None:
        self._pool = pool
        self._references = references
        self._settings = settings
        self._radius = hashing.radius
        self._spec = StageSpec(
            name="dedup",
            version=1,
            after="copies",
            reads={"hashes": ["hash"], "copies": [VECTOR]},
            schema=DEDUP_SCHEMA,
            settings={**settings.model_dump(by_alias=True), "radius": hashing.radius},
        )

    def is_current(self) -> bool:
        return not self._stale(self._digest())

    def run(self) -> None:
        """Decide over all images, and commit the parts that are out of date."""
        started = time.monotonic()
        digest = self._digest()
        columns = {"samples": ["id", "width", "height", "length"], "hashes": ["hash"], "copies": [VECTOR]}
        images = gather(self._pool, "copies", columns)
        if not len(images):
            raise UserError("pool: no image is left to deduplicate; see `lvd funnel` for what became of all of them")
        leaks = [gather(reference, "copies", {"samples": ["id"], "copies": [VECTOR]}) for reference in self._references]
        leaks = [leak for leak in leaks if len(leak)]
        vectors = vectors_of(images.table[VECTOR])
        references = [np.empty((0, vectors.shape[1]), np.float32), *(vectors_of(leak.table[VECTOR]) for leak in leaks)]
        verdicts = duplicates_in(
            np.frombuffer(b"".join(images.table["hash"].to_pylist()), np.uint8).reshape(len(images), -1),
            vectors,
            np.concatenate(references),
            _rank(images),
            self._settings,
            self._radius,
        )
        tables = [images.table, *(leak.table for leak in leaks)]
        names = [key for table in tables for key in table["id"].to_pylist()]
        stale = self._stale(digest)
        seconds = (time.monotonic() - started) / max(1, len(stale))
        for part in stale:
            self._commit(images, verdicts, names, part, digest, seconds)

    def _commit(
        self, images: Gathered, verdicts: Verdicts, names: Sequence[bytes], part: int, digest: str, seconds: float
    ) -> None:
        chosen = images.of_part(part)
        standing = [names[at] for at in verdicts.component[chosen]]
        drops = {
            at: Dropped(reason, standing[at].hex())
            for at, reason in enumerate(verdicts.reason[chosen])
            if reason is not None
        }
        columns = {
            "component": pa.array(standing, pa.binary(16)),
            "similarity": pa.array(verdicts.similarity[chosen], pa.float32()),
        }
        output = Output(columns, drops)
        commit_output(self._spec, self._pool, part, images.masks[part], output, digest=digest, seconds=seconds)

    def _stale(self, digest: str) -> list[int]:
        footers = {part: self._pool.footer(self._spec.name, part) for part in self._pool.parts("copies")}
        return [part for part, footer in footers.items() if footer is None or footer.digest != digest]

    def _digest(self) -> str:
        read = [(self._pool, ("hashes", "copies")), *((reference, ("copies",)) for reference in self._references)]
        inputs = [[collection.path, stage, collection.state(stage)] for collection, stages in read for stage in stages]
        return digest_of([self._spec.name, self._spec.version, dict(self._spec.settings), inputs])


def duplicates_in(
    hashes: npt.NDArray[np.uint8],
    vectors: Floats,
    references: Floats,
    rank: Ints,
    settings: DedupConfig,
    radius: int,
) -> Verdicts:
    """Decide over N images.

    Args:
        hashes: (N, bytes) uint8, packed perceptual hashes.
        vectors: (N, D) float32, copy descriptors, L2-normalised.
        references: (R, D) float32, those of the reference images.
        rank: (N,) which image of a component to keep: the one with the smallest.
        radius: Hamming distance up to which two hashes are one image.
    """
    count = len(vectors)
    everything = np.concatenate([vectors, references])
    component = np.arange(count)
    reason: list[DropReason | None] = [None] * count

    kept_instead = first_of_each(components_of(count, hash_links(hashes, radius)), rank)
    _drop(np.flatnonzero(kept_instead != component), kept_instead, DropReason.HASH_DUPLICATE, component, reason)

    if len(references):
        live = _live(reason)
        leaking, leads_to = _leaks(vectors[live], references, settings)
        _drop(live[leaking], _at(live[leaking], leads_to + count, count), DropReason.REFERENCE_LEAK, component, reason)

    if settings.self_.enabled:
        live = _live(reason)
        links, _ = similarity_links(vectors[live], settings.neighbours, settings.self_.threshold)
        local_rank = np.argsort(np.argsort(rank[live]))
        kept_instead = np.arange(count)
        kept_instead[live] = live[first_of_each(components_of(len(live), links), local_rank)]
        _drop(live[kept_instead[live] != live], kept_instead, DropReason.COPY, component, reason)

    similarity = np.einsum("nd,nd->n", vectors, everything[component], dtype=np.float32)
    return Verdicts(component, similarity, reason)


def _leaks(vectors: Floats, references: Floats, settings: DedupConfig) -> tuple[Ints, Ints]:
    """Rows in a component that holds a reference, and for each the reference in it that it resembles most."""
    count = len(vectors)
    links, _ = similarity_links(np.concatenate([vectors, references]), settings.neighbours, settings.relative.threshold)
    components = components_of(count + len(references), links)
    members = np.arange(count, count + len(references))
    leaking = np.flatnonzero(np.isin(components[:count], components[members]))
    leads_to = np.empty(len(leaking), dtype=np.int64)
    for at, row in enumerate(leaking):
        candidates = np.flatnonzero(components[members] == components[row])
        leads_to[at] = candidates[np.argmax(references[candidates] @ vectors[row])]
    return leaking, leads_to


def _drop(rows: Ints, instead: Ints, why: DropReason, component: Ints, reason: list[DropReason | None]) -> None:
    component[rows] = instead[rows]
    for row in rows.tolist():
        reason[row] = why


def _at(rows: Ints, values: Ints, count: int) -> Ints:
    spread = np.arange(count)
    spread[rows] = values
    return spread


def _live(reason: Sequence[DropReason | None]) -> Ints:
    return np.array([row for row, why in enumerate(reason) if why is None], dtype=np.int64)


def _rank(images: Gathered) -> Ints:
    table = images.table
    pixels = table["width"].to_numpy().astype(np.int64) * table["height"].to_numpy()
    return keep_order(pixels, table["length"].to_numpy(), ids_of(table["id"]))
