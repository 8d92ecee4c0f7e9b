"""Notes on a run: what its filters dropped and altered, how good its search was, and whether dedup chained unlike
images."""

import shlex
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from curation.drops import DropReason
from curation.run.directory import Run
from curation.run.parts import Collection
from curation.stages.knn.knn import COPY_KNN, EMBEDDING_KNN, SEED_KNN, KnnKind

__all__ = ["Chains", "Recall", "find_chains", "measured_recall", "notes"]

SAFETY = "safety"
OF_SAFETY = (DropReason.FACE, DropReason.NSFW)

LARGE = 10
"""Smallest component whose chains are reported, in images."""


@dataclass(frozen=True, slots=True)
class Recall:
    """How many true neighbours the index found of images that were also searched exactly."""

    images: int
    share: float


@dataclass(frozen=True, slots=True)
class Chains:
    """Components whose kept image is little like some that were dropped for it.

    Attributes:
        components: how many; each of ten images or more.
        largest: images of the largest.
        images: their dropped images that are linked to the kept one only through others, and are too little like it.
        least: the smallest similarity of one of these to the kept one.
    """

    components: int
    largest: int
    images: int
    least: float


def notes(run: Run) -> list[str]:
    """Lines to show beneath a funnel; none where there is nothing to report."""
    collections = [run.collection(path) for path in run.collections()]
    lines = [line for collection in collections for line in _filtered(run, collection)]
    for stage in (COPY_KNN, EMBEDDING_KNN, SEED_KNN):
        if (recall := measured_recall(collections, stage)) is not None:
            lines.append(
                f"{stage.name}: the index found {recall.share:.2%} of the true neighbours of {recall.images:,} images "
                "that were searched exactly as well"
            )
    limit = run.config.dedup.relative.threshold
    chains = None if limit is None else find_chains(run.pool, limit)
    if chains is not None:
        lines.append(
            f"warning: dedup chained {chains.images:,} image(s) to others they are little like (similarity below "
            f"{limit:g}, the least {chains.least:.2f}) in {chains.components:,} component(s) of up to "
            f"{chains.largest:,}; look at `lvd thresholds RUN --filter dedup`, and set a higher threshold or "
            "dedup.min_similarity_to_kept"
        )
    return lines


def _filtered(run: Run, collection: Collection) -> list[str]:
    """What the safety stage did to a collection, which setting does not, and an image to ask about."""
    dropped: Counter[str] = Counter()
    blurred = faces = vetoed = 0
    examples: dict[str, str] = {}
    for part in collection.parts(SAFETY):
        if collection.footer(SAFETY, part) is None:
            continue
        table = collection.read(SAFETY, part, ["drop_reason", "blurred", "nsfw_veto"])
        reasons, counts = table["drop_reason"].to_pylist(), table["blurred"].fill_null(0).to_numpy()
        dropped.update(reason for reason in reasons if reason in OF_SAFETY)
        blurred, faces = blurred + int((counts > 0).sum()), faces + int(counts.sum())
        cleared = pc.indices_nonzero(table["nsfw_veto"].is_valid())
        vetoed += len(cleared)
        rows: dict[str, int] = {reason: reasons.index(reason) for reason in OF_SAFETY if reason in reasons}
        rows |= {"blurred": int(counts.argmax())} if counts.any() else {}
        rows |= {"vetoed": cleared[0].as_py()} if len(cleared) else {}
        for what in rows.keys() - examples.keys():
            examples[what] = _key(collection, part, rows[what])
    lines = {}
    if blurred:
        lines["blurred"] = f"{blurred:,} image(s) had {faces:,} face(s) blurred; `--set safety.faces=keep` leaves them"
    if count := dropped[DropReason.FACE]:
        lines[DropReason.FACE] = f"{count:,} image(s) dropped for a face; `--set safety.faces=keep` keeps them"
    if count := dropped[DropReason.NSFW]:
        lines[DropReason.NSFW] = f"{count:,} image(s) dropped as nsfw; `--set safety.nsfw=off` keeps them"
    if vetoed:
        lines["vetoed"] = f"{vetoed:,} image(s) kept that NudeNet alone would have dropped as nsfw"
    asks = f"lvd why {shlex.quote(run.store.root)}"
    return [f"{collection.path}: {line}, `{asks} {examples[what]}` says why" for what, line in lines.items()]


def _key(collection: Collection, part: int, row: int) -> str:
    """What `lvd why` knows an image by."""
    names = collection.read("fetch", part, ["url", "path", "id"]).slice(row, 1).to_pylist()[0]
    return shlex.quote(names["url"] or names["path"] or names["id"].hex())


def measured_recall(collections: Sequence[Collection], stage: KnnKind) -> Recall | None:
    """Of all images that a stage has searched in both ways; None where it needed no index."""
    name = "neighbour_recall"
    shares = [np.empty(0, np.float32)]
    for collection in collections:
        for part in collection.parts(stage.name):
            footer = collection.footer(stage.name, part)
            if footer is not None and footer.version == stage.version:
                shares.append(collection.read(stage.name, part, [name])[name].drop_null().to_numpy())
    result = np.concatenate(shares)
    return Recall(len(result), float(result.mean(dtype=np.float64))) if len(result) else None


def find_chains(pool: Collection, limit: float) -> Chains | None:
    """Look for chains in what the stage `dedup` has stored.

    Args:
        limit: similarity below which an image is too little like the one that stands for it.
    """
    parts = pool.parts("dedup")
    if not parts:
        return None
    columns = ["drop_reason", "representative", "similarity", "link"]
    table = pa.concat_tables([pool.read("dedup", part, columns) for part in parts])
    copies = table.filter(pc.equal(table["drop_reason"], DropReason.COPY.value))
    if not len(copies):
        return None
    component = copies["representative"].combine_chunks().dictionary_encode().indices.to_numpy()
    sizes = np.bincount(component) + 1
    similarity = copies["similarity"].to_numpy()
    chained = np.asarray(pc.equal(copies["link"], "chain").to_numpy(zero_copy_only=False), dtype=bool)
    unlike = (sizes[component] >= LARGE) & chained & (similarity < limit)
    if not unlike.any():
        return None
    among = np.unique(component[unlike])
    return Chains(len(among), int(sizes[among].max()), int(unlike.sum()), float(similarity[unlike].min()))
