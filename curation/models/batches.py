"""How many images go through a model at once: as the settings say, or as many as its device has memory for."""

import logging
from collections.abc import Callable, Iterator
from typing import Literal, TypeVar

import torch

from curation.errors import ModelError, cause_of

__all__ = ["Batches", "is_out_of_memory"]

T = TypeVar("T")

CPU_BATCH = 8
"""Images per CPU second on one core (`bench_embed --sizes 2 4 8 16 64`), of a ViT-S/16: 8.4 by 2, 8.7 by 4, 8.8 by 8,
8.2 by 16, 7.0 by 64. What a larger batch leaves between two layers falls out of the cache, and memory of that size is
asked of the system again each time."""
GPU_BATCH = 256
"""Where the search begins on a GPU. Chosen, not measured: it is large enough for any model's matrix products."""

_fitting: dict[str, int] = {}
"""Batch that was found to fit, by model: for all that this process opens of it."""


class Batches:
    """Cuts images into batches for one model; with `auto`, halves them when memory runs out, and keeps what fits.

    The size changes vectors by rounding at most, so it is no part of a model's fingerprint. On a CPU it depends on
    nothing else, unless memory runs out, so neither do the last bits.

    Args:
        model: its name, for messages.
        setting: `ModelConfig.batch`.

    Attributes:
        first: images of the first batch.
    """

    def __init__(self, model: str, setting: int | Literal["auto"], device: torch.device) -> None:
        self._model = model
        self._auto = setting == "auto"
        self._device = device
        self._key = f"{model} on {device}"
        begin = GPU_BATCH if device.type == "cuda" else CPU_BATCH
        self._size = _fitting.get(self._key, begin) if setting == "auto" else setting
        self.first = self._size

    def run(self, count: int, forward: Callable[[slice], T]) -> Iterator[tuple[slice, T]]:
        """Call `forward` with slices that together are `range(count)`, in order; yield each with its answer.

        Raises:
            ModelError: memory is too small for one image, or for the number that was set.
        """
        start = 0
        while start < count:
            part = slice(start, min(start + self._size, count))
            cause = ""
            try:
                answer = forward(part)
            except RuntimeError as error:
                if not is_out_of_memory(error):
                    raise
                cause = cause_of(error, 120)
            if cause:  # out of the handler, whose traceback holds on to what was computed so far
                self._halve(part.stop - part.start, cause)
                continue
            yield part, answer
            start = part.stop

    def _halve(self, failed: int, cause: str) -> None:
        if self._device.type == "cuda":
            torch.cuda.empty_cache()
        where = "GPU" if self._device.type == "cuda" else "machine"
        if failed == 1:
            raise ModelError(
                f"model {self._model}: the {where}'s memory does not hold one image at a time ({cause}); use a smaller "
                "model, or fewer workers (runner.workers), which share this memory"
            )
        if not self._auto:
            raise ModelError(
                f"model {self._model}: the {where}'s memory does not hold {failed} images at a time ({cause}); "
                "set its batch to a smaller number, or to auto"
            )
        self._size = _fitting[self._key] = failed // 2
        logging.getLogger(__name__).warning(
            "model %s: out of memory with %d images at a time, so %d from now on", self._model, failed, self._size
        )


def is_out_of_memory(error: RuntimeError) -> bool:
    """Whether torch had no memory left, on a GPU or on the machine itself."""
    text = str(error)
    return isinstance(error, torch.OutOfMemoryError) or "CUDA out of memory" in text or "can't allocate memory" in text
