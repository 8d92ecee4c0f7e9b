"""Everything in this process: no start-up seconds, one part at a time."""

from collections.abc import Iterator, Sequence

from curation.config import RunnerConfig
from curation.engine.runner.contract import GroupStep, Step, Task
from curation.engine.runner.gpus import Gpu, gpus_for, wants_gpu
from curation.engine.runner.worker import Answer, Key, Worker, cores, limit_threads, run_alone, with_retries
from curation.engine.work import PartWork
from curation.search.worker_group import LocalGroup

__all__ = ["InlineRunner"]


class InlineRunner:
    def __init__(self, settings: RunnerConfig) -> None:
        self._threads = settings.threads

    def warm_up(self) -> None:
        pass

    def run_tasks(self, tasks: Sequence[Task]) -> Iterator[Task]:
        return with_retries(tasks, self._map)

    def _map(self, works: Sequence[PartWork], todo: Sequence[Key]) -> Iterator[tuple[Key, Answer]]:
        worker = Worker(works, self._threads)
        gpu = Gpu(0, 1) if gpus_for(works) else None
        return ((key, worker.attempt(*key, gpu if wants_gpu(works[key[0]]) else None)) for key in todo)

    def run_step(self, step: Step) -> None:
        run_alone(step)

    def run_group(self, step: GroupStep) -> None:
        limit_threads(self._threads)
        step.run(LocalGroup(step.partitions(1), cores()))
