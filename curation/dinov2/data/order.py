"""The order in which a rank sees its samples: a pure function of seed, epoch and position.

Nothing has to be remembered to resume but how far a rank has come. In every epoch the units (shards) are shuffled and
laid end to end; each rank gets an equal stretch of the line, so no sample comes twice in an epoch and all ranks get
equally many (up to ranks - 1 samples sit an epoch out). Within its stretch a rank shuffles the samples of `window`
units at a time, so that only so many need to be open.
"""

import itertools
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

__all__ = ["Cursor", "Order"]


@dataclass(frozen=True)
class Cursor:
    """How far a rank has come: the next sample is number `position` of its share of `epoch`."""

    epoch: int = 0
    position: int = 0


_Piece = tuple[int, range]
"""A unit, and consecutive samples of it."""


class Order:
    """Where the sample at a cursor lies. `sizes` has the number of samples in each unit."""

    def __init__(self, sizes: Sequence[int], *, seed: int, rank: int = 0, world: int = 1, window: int = 4) -> None:
        self.sizes = tuple(sizes)
        self.seed = seed
        self.rank = rank
        self.window = window
        self.share = sum(sizes) // world
        """Samples of a rank in an epoch."""
        self._windows = lru_cache(maxsize=2)(self._make_windows)
        self._shuffled = lru_cache(maxsize=4)(self._shuffle)

    def at(self, cursor: Cursor) -> tuple[int, int]:
        """(unit, index in the unit) of the sample at `cursor`, whose position is below `share`."""
        starts, windows = self._windows(cursor.epoch)
        number = bisect_right(starts, cursor.position) - 1
        inside = int(self._shuffled(cursor.epoch, number)[cursor.position - starts[number]])
        for unit, samples in windows[number]:
            if inside < len(samples):
                return unit, samples[inside]
            inside -= len(samples)
        raise AssertionError("a position outside its window")

    def next(self, cursor: Cursor) -> Cursor:
        """The cursor one sample on; after the last of the share comes the first of the next epoch."""
        position = cursor.position + 1
        return Cursor(cursor.epoch, position) if position < self.share else Cursor(cursor.epoch + 1, 0)

    def _make_windows(self, epoch: int) -> tuple[list[int], list[list[_Piece]]]:
        pieces = self._pieces(epoch)
        windows = [pieces[i : i + self.window] for i in range(0, len(pieces), self.window)]
        return [0, *itertools.accumulate(map(_length, windows[:-1]))], windows

    def _pieces(self, epoch: int) -> list[_Piece]:
        """The rank's stretch of this epoch's line of units."""
        units = np.random.default_rng((self.seed, epoch)).permutation(len(self.sizes))
        low, high = self.rank * self.share, (self.rank + 1) * self.share
        pieces, line = [], 0
        for unit in units.tolist():
            pieces.append((unit, range(self.sizes[unit])[max(low - line, 0) : max(high - line, 0)]))
            line += self.sizes[unit]
        return [(unit, samples) for unit, samples in pieces if samples]

    def _shuffle(self, epoch: int, number: int) -> np.ndarray:
        _, windows = self._windows(epoch)
        return np.random.default_rng((self.seed, epoch, self.rank, number)).permutation(_length(windows[number]))


def _length(window: Sequence[_Piece]) -> int:
    return sum(len(samples) for _, samples in window)
