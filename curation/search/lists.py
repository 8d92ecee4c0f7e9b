"""Lists of neighbours, one for each image that is asked for: merged, cut, and as columns of a part file."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from curation.arrays import Float32Array, Int64Array

__all__ = ["COLUMNS", "Lists", "places_of"]


COLUMNS = {"part": pa.list_(pa.int32()), "row": pa.list_(pa.int32()), "similarity": pa.list_(pa.float32())}
_ROW = (1 << 32) - 1


def places_of(part: npt.NDArray[np.generic] | int, row: npt.NDArray[np.generic]) -> Int64Array:
    """Part and row as one number, in the order of the pool."""
    return np.asarray(np.asarray(part, np.int64) << 32 | row.astype(np.int64))


@dataclass(frozen=True)
class Lists:
    """Neighbours of Q images, list after list, each with the most similar first and equal ones in the pool's order.

    Attributes:
        lengths: (Q,) of the lists.
        similarity: (E,) float32, of all of them.
        place: (E,) where in the pool each neighbour is; see `places_of`.
    """

    lengths: Int64Array
    similarity: Float32Array
    place: Int64Array

    @classmethod
    def of(cls, images: int, image: Int64Array, similarity: Float32Array, place: Int64Array) -> "Lists":
        """From pairs in any order; `image` is (E,), which of the Q images each belongs to."""
        order = np.lexsort((place, -similarity, image))
        return cls(np.bincount(image, minlength=images), similarity[order], place[order])

    @classmethod
    def joined(cls, several: "Sequence[Lists]") -> "Lists":
        """What several searches found for the same images; at least one."""
        if len(several) == 1:
            return several[0]
        image = np.concatenate([some.image for some in several])
        similarity = np.concatenate([some.similarity for some in several])
        return cls.of(len(several[0].lengths), image, similarity, np.concatenate([some.place for some in several]))

    @classmethod
    def read(cls, table: pa.Table, prefix: str) -> "Lists":
        """From columns of the rows that were asked for."""
        part, row, similarity = (table[f"{prefix}_{name}"].combine_chunks() for name in COLUMNS)
        lengths = row.value_lengths().to_numpy(zero_copy_only=False).astype(np.int64)
        places = places_of(*(column.flatten().to_numpy(zero_copy_only=False) for column in (part, row)))
        return cls(lengths, similarity.flatten().to_numpy(zero_copy_only=False), places)

    @property
    def image(self) -> Int64Array:
        """(E,) which image each neighbour belongs to."""
        return np.repeat(np.arange(len(self.lengths)), self.lengths)

    def above(self, similarity: float | Float32Array) -> Int64Array:
        """(Q,) how many of each list are more similar than this, or than the one of (Q,) that is the list's own."""
        image, limit = self.image, np.float32(similarity)
        chosen = self.similarity > (limit[image] if limit.ndim else limit)
        return np.bincount(image[chosen], minlength=len(self.lengths))

    def cut(self, longest: Int64Array) -> "Lists":
        """Each list cut to its own length, (Q,)."""
        firsts = np.cumsum(self.lengths) - self.lengths
        keep = np.arange(len(self.place)) - np.repeat(firsts, self.lengths) < np.repeat(longest, self.lengths)
        return Lists(np.minimum(self.lengths, longest), self.similarity[keep], self.place[keep])

    def replaced(self, others: "Lists") -> "Lists":
        """With other lists of the same images in place of its own, where those are not empty."""
        return Lists.joined([self.cut(np.where(others.lengths > 0, 0, self.lengths)), others])

    def list_of(self, image: int) -> Int64Array:
        """The places in one list."""
        first = int(self.lengths[:image].sum())
        return self.place[first : first + int(self.lengths[image])]

    def columns(self, prefix: str) -> dict[str, pa.Array]:
        """As arrays of lists."""
        offsets = pa.array(np.concatenate([[0], np.cumsum(self.lengths)]), pa.int32())
        values = {"part": self.place >> 32, "row": self.place & _ROW, "similarity": self.similarity}
        return {
            f"{prefix}_{name}": pa.ListArray.from_arrays(offsets, pa.array(values[name], kind.value_type))
            for name, kind in COLUMNS.items()
        }
