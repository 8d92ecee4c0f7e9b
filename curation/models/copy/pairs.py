"""The views of a training step, which are a function of the seed and of the step alone."""

import signal
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from curation.arrays import Int64Array, UInt8Array
from curation.models.copy.edits import edited_copy, near_original

__all__ = ["Pairs", "ignore_interrupts"]


class Pairs(Dataset[tuple[Tensor, Tensor]]):
    """Item `step` is (2B, S, S, 3) uint8, two views of each of B photos, and the (2B,) numbers of the photos.

    Args:
        photos: (H, W, 3) uint8.
        batch: B.
        near: share of first views that are the photo nearly as it was.
        side: S.
    """

    def __init__(self, photos: Sequence[UInt8Array], batch: int, near: float, seed: int, side: int) -> None:
        self._photos, self._batch, self._near, self._seed, self._side = photos, batch, near, seed, side

    def __getitem__(self, step: int) -> tuple[Tensor, Tensor]:
        photos = self._photos_of(step)
        views = [self._view(photo, step, copy, row) for copy in range(2) for row, photo in enumerate(photos)]
        return torch.from_numpy(np.stack(views)), torch.from_numpy(np.concatenate([photos, photos]))

    def _photos_of(self, step: int) -> Int64Array:
        """Each pass takes all photos in an order of its own; what does not fill a batch is left out of it."""
        per_pass = len(self._photos) // self._batch
        order = np.random.default_rng([self._seed, 7, step // per_pass]).permutation(len(self._photos))
        start = step % per_pass * self._batch
        return order[start : start + self._batch]

    def _view(self, photo: int, step: int, copy: int, row: int) -> UInt8Array:
        rng = np.random.default_rng([self._seed, step, copy, row])
        if copy == 0 and rng.random() < self._near:
            return near_original(self._photos[photo], self._side, rng)
        return edited_copy(self._photos[photo], self._photos, self._side, rng)


def ignore_interrupts(_worker: int) -> None:
    """Leave Ctrl-C, which a terminal sends to workers too, to the process that they work for."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
