"""Which worker has which GPU: one worker for each, and work that wants a GPU goes to these alone.

Two workers with one GPU would each hold the network there and wait for one another, so more of them are no faster; the
cores that they would have had decode images beside the network instead.
"""

import os
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from curation.engine.work import GpuWork, PartWork

__all__ = ["Gpu", "Key", "Queue", "cores", "gpus_for", "wants_gpu"]

Key = tuple[int, int]
"""Number of the work, and part."""


@dataclass(frozen=True, slots=True)
class Gpu:
    """What a worker knows of its GPU.

    Attributes:
        number: which of those that it sees.
        sharers: workers of this machine that have one.
    """

    number: int
    sharers: int

    @property
    def threads(self) -> int:
        """Threads that decode beside its network: its share of the machine's cores."""
        return max(1, cores() // self.sharers)


class Queue:
    """Tasks that wait for a worker. Workers are numbered from 0, and the first so many have GPUs.

    Args:
        gpus: workers with a GPU; if 0, all work goes to any.
    """

    def __init__(self, works: Sequence[PartWork], todo: Iterable[Key], gpus: int) -> None:
        self._gpus = gpus
        self._on_gpu: deque[Key] = deque()
        self._rest: deque[Key] = deque()
        for key in todo:
            (self._on_gpu if gpus and wants_gpu(works[key[0]]) else self._rest).append(key)

    def __len__(self) -> int:
        return len(self._on_gpu) + len(self._rest)

    def take(self, free: list[int]) -> tuple[int, Key, bool] | None:
        """A free worker, its next task, and whether it is to use its GPU; None where none can begin. The worker is
        taken off `free`; those without a GPU are the first to get what wants none."""
        having = [worker for worker in free if worker < self._gpus]
        if self._on_gpu and having:
            free.remove(having[0])
            return having[0], self._on_gpu.popleft(), True
        if self._rest and free:
            worker = max(free)
            free.remove(worker)
            return worker, self._rest.popleft(), False
        return None


def wants_gpu(work: PartWork) -> bool:
    """Whether a work is faster with a GPU of its own."""
    return isinstance(work, GpuWork) and work.wants_gpu


def gpus_for(works: Sequence[PartWork]) -> int:
    """GPUs that torch finds on this machine, if any of the works wants one; else it is not asked, nor imported."""
    if not any(map(wants_gpu, works)):
        return 0
    from curation.models.device import gpus

    return gpus()


def cores() -> int:
    """Cores that this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
