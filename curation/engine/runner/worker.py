"""What workers do, in whichever process they are: parts, steps, and a worker group's calls."""

import logging
import os
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from threadpoolctl import threadpool_limits

from curation.engine.runner.contract import Step, Task
from curation.engine.runner.gpus import Gpu, Key, cores
from curation.engine.work import GpuWork, PartWork
from curation.errors import LvdError, PartsFailed, UserError
from curation.run.log import Message, relay, relayed
from curation.search.worker_group import Partition

__all__ = ["KILLED", "Answer", "Host", "Key", "Worker", "cores", "died", "limit_threads", "run_alone", "with_retries"]

logger = logging.getLogger(__name__)

ATTEMPTS = 2
KILLED = "its worker was killed, perhaps for lack of memory"


def died(name: str, what: str) -> LvdError:
    """What a lost worker means for a step, of which what is finished is kept."""
    return LvdError(f"{name}: {KILLED}; finished {what} are kept, run the same command again to continue")


@dataclass(frozen=True, slots=True)
class Answer:
    """How an attempt at a part ended: no problem, or one, and whether only the user can fix it."""

    problem: str | None = None
    is_users: bool = False
    trace: str = ""
    """The traceback of a problem that is nobody's mistake."""
    messages: tuple[Message, ...] = ()
    """What a worker of another process logged meanwhile."""


class Worker:
    """Sets each work up once, and turns what goes wrong with a part into a plain answer."""

    def __init__(self, works: Sequence[PartWork], threads: int) -> None:
        self._works = works
        self._threads = threads
        self._ready: set[int] = set()

    def attempt(self, work: int, part: int, gpu: Gpu | None = None) -> Answer:
        with relayed() as messages:
            answer = self._attempt(work, part, gpu)
        return replace(answer, messages=tuple(messages))

    def _attempt(self, work: int, part: int, gpu: Gpu | None) -> Answer:
        try:
            limit_threads(self._threads)
            if gpu is not None:
                _give(self._works[work], gpu)
            if work not in self._ready:
                self._works[work].setup()
                self._ready.add(work)
            self._works[work].run(part)
            return Answer()
        except UserError as error:
            return Answer(str(error), is_users=True)
        except Exception as error:
            cause = f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
            return Answer(cause, trace=traceback.format_exc().rstrip())


class Host:
    """One worker of a pool: keeps the models of one round of work, and lets go of them when the next begins."""

    def __init__(self, threads: int) -> None:
        self._threads = threads
        self._round = -1
        self._worker: Worker | None = None

    def attempt(
        self, round_number: int, works: Sequence[PartWork] | None, work: int, part: int, gpu: Gpu | None
    ) -> Answer:
        """Try one part; the works of a round need only come with its first."""
        if round_number != self._round:
            assert works is not None
            self._worker = Worker(works, self._threads)
            self._round = round_number
        assert self._worker is not None
        return self._worker.attempt(work, part, gpu)

    def run_step(self, step: Step) -> None:
        run_alone(step)

    def join(self, partition: Partition) -> None:
        limit_threads(self._threads)
        self._round = -1
        self._worker = None  # its models, while a member's data is here
        self._partition: Partition | None = partition
        partition.setup(self._threads)

    def call(self, method: str, arguments: Sequence[Any]) -> Any:
        return getattr(self._partition, method)(*arguments)

    def add(self, one: Any, other: Any) -> Any:
        return one + other

    def leave(self) -> None:
        self._partition = None


def _give(work: PartWork, gpu: Gpu) -> None:
    from curation.models.device import take_gpu

    assert isinstance(work, GpuWork)
    take_gpu(gpu.number, gpu.threads)
    work.decode_with(gpu.threads)


def run_alone(step: Step) -> None:
    limit_threads(cores())
    step.run()


def with_retries(
    tasks: Sequence[Task], attempt: Callable[[Sequence[PartWork], Sequence[Key]], Iterator[tuple[Key, Answer]]]
) -> Iterator[Task]:
    works = list({id(task.work): task.work for task in tasks}.values())
    number = {id(work): at for at, work in enumerate(works)}
    todo = [(number[id(task.work)], task.part) for task in tasks]
    failures: dict[Key, str] = {}
    for _ in range(ATTEMPTS):
        failures = {}
        for key, answer in attempt(works, todo) if todo else ():
            relay(answer.messages)
            if answer.problem is None:
                yield Task(works[key[0]], key[1])
            elif answer.is_users:
                raise UserError(answer.problem)
            else:
                failures[key] = answer.problem
                logger.warning("%s: %s\n%s", _file(works[key[0]], key[1]), answer.problem, answer.trace)
        todo = sorted(failures)
    if failures:
        raise PartsFailed({_file(works[work], part): cause for (work, part), cause in failures.items()})


def _file(work: PartWork, part: int) -> str:
    """What to call a part in messages: the first file that it makes."""
    return work.collection.file(work.stages[0], part)


def limit_threads(threads: int) -> None:
    """Give numerical libraries this many threads: those that are loaded, and those that will be."""
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[name] = str(threads)
    threadpool_limits(threads)
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(threads)
