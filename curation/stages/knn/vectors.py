"""Vectors of a collection's live images, as they are stored: fp16, in memory once, and checked when they are read.

Which images are live may be decided by a later stage than the one that made the vectors: `after`.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from curation.arrays import Float16Array, Int32Array
from curation.errors import RunError
from curation.run.parts import Collection

__all__ = [
    "VECTOR",
    "Vectors",
    "gather_vectors",
    "halves_of",
    "live_counts",
    "part_states",
    "read_vectors",
    "vectors_state",
]


VECTOR = "vector"
"""The column: a fixed-size list of fp16, L2-normalised."""


@dataclass(frozen=True)
class Vectors:
    """Vectors of all parts, one after the other.

    Attributes:
        halves: (N, D) fp16, L2-normalised.
        part, row: (N,) where each comes from.
    """

    halves: Float16Array
    part: Int32Array
    row: Int32Array

    def __len__(self) -> int:
        return len(self.halves)


def gather_vectors(collection: Collection, stage: str, after: str, counts: Mapping[int, int] | None = None) -> Vectors:
    """The vectors of a stage, of all images that are live after it or a later one.

    Args:
        counts: parts, and how many live images each has; by default all that have any.

    Raises:
        RunError: some are not finite, or parts differ in their dimension.
    """
    counts = live_counts(collection, after) if counts is None else counts
    halves: Float16Array | None = None
    start = 0
    parts, rows = [np.empty(0, np.int32)], [np.empty(0, np.int32)]  # so that there is something to join
    for part in counts:
        result = read_vectors(collection, part, stage, after)
        if halves is None:
            halves = np.empty((sum(counts.values()), result.shape[1]), np.float16)
        if result.shape[1] != halves.shape[1]:
            raise RunError(
                f"{collection.store.url(collection.file(stage, part))}: vectors of {result.shape[1]} dimensions, those "
                f"of other parts have {halves.shape[1]}; delete this file and run the same command again"
            )
        halves[start : start + len(result)] = result
        start += len(result)
        parts.append(np.full(len(result), part, np.int32))
        rows.append(np.flatnonzero(collection.live(after, part)).astype(np.int32))
    empty = np.empty((0, 1), np.float16)
    return Vectors(empty if halves is None else halves, np.concatenate(parts), np.concatenate(rows))


def read_vectors(
    collection: Collection, part: int, stage: str = "embeddings", after: str | None = None
) -> Float16Array:
    """The vectors of a part's images that are live after a stage (by default the one that made them), (N, D) fp16;
    RunError where they are not finite."""
    live = pa.array(collection.live(after or stage, part))
    vectors = collection.read(stage, part, [VECTOR])[VECTOR].filter(live)
    return halves_of(vectors, collection.store.url(collection.file(stage, part)))


def halves_of(column: pa.ChunkedArray, file: str) -> Float16Array:
    """A column of vectors as an (N, D) fp16 array; RunError, which names the file, where they are not finite."""
    array = column.combine_chunks()
    vectors: Float16Array = array.flatten().to_numpy(zero_copy_only=False).reshape(len(array), array.type.list_size)
    bad = np.flatnonzero(~np.isfinite(vectors).all(axis=1))
    if len(bad):
        raise RunError(
            f"{file}: {len(bad)} of {len(vectors)} vectors hold NaN or infinity, the first at live image {bad[0]}; "
            "delete this file and run the same command again to remake it"
        )
    return vectors


def live_counts(collection: Collection, after: str) -> dict[int, int]:
    """Live images of each part that has any."""
    footers = {part: collection.footer(after, part) for part in collection.parts(after)}
    return {part: footer.ledger.live_out for part, footer in footers.items() if footer and footer.ledger.live_out}


def vectors_state(collection: Collection, stage: str, after: str) -> list[list[str]]:
    """What `gather_vectors` gives depends on: the digest of each part's vectors, and which of its rows are live."""
    return list(part_states(collection, stage, after).values())


def part_states(collection: Collection, stage: str, after: str) -> dict[int, list[str]]:
    """The same, by part."""
    result = {}
    for part in collection.parts(after):
        made, live = collection.footer(stage, part), collection.footer(after, part)
        assert made is not None, f"{after} without {stage}"
        assert live is not None, f"a part of {after} that is gone"
        result[part] = [made.digest, live.live]
    return result
