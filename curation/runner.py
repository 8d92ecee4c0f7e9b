"""Where the work runs: in this process, or on Ray. The only module that imports Ray.

A runner is given part numbers and work; pixels and embeddings stay in files and never pass through it. Both runners
give identical bytes, since a part's output depends on nothing but its input, the settings and the seed.
"""

import collections
import contextlib
import itertools
import logging
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from threadpoolctl import threadpool_limits

from curation.config import RunnerConfig
from curation.errors import LvdError, PartsFailed, RunError, UserError
from curation.stages.execute import PartWork

__all__ = ["Runner", "Step", "Task", "open_runner"]

Key = tuple[int, int]  # (number of the work, part)

ATTEMPTS = 2


@dataclass(frozen=True, slots=True)
class Task:
    """One part to be brought up to date, and the work that does it."""

    work: PartWork
    part: int


@dataclass(frozen=True, slots=True)
class Answer:
    """How an attempt at a part ended: no problem, or one, and whether only the user can mend it."""

    problem: str | None = None
    is_users: bool = False


class Step(Protocol):
    """Work on all parts of a collection at once. Must pickle."""

    def is_current(self) -> bool:
        """Tell whether there is nothing to do."""

    def run(self) -> None:
        """Do what there is to do, and commit it."""


class Runner(Protocol):
    """Runs work on parts, and single calls."""

    def run_tasks(self, tasks: Sequence[Task]) -> Iterator[Task]:
        """Run all tasks, in any order, and yield each as it is done. Parts of several collections go in together, so
        that a small one costs no start-up of its own and leaves no core idle.

        Raises:
            PartsFailed: some parts failed twice; raised after all the others are done.
            UserError: a worker met something that only the user can mend.
        """

    def run_step(self, step: Step) -> None:
        """Run a step that needs all parts at once, as one task with all cores to itself."""


@contextlib.contextmanager
def open_runner(settings: RunnerConfig) -> Iterator[Runner]:
    """The runner that the settings ask for; Ray is shut down when the block ends, also on Ctrl-C."""
    if settings.kind == "inline":
        yield _InlineRunner(settings)
        return
    with contextlib.ExitStack() as stack:
        yield _RayRunner(settings, stack)


class _Worker:
    """Sets each work up once, and turns what goes wrong with a part into a plain answer."""

    def __init__(self, works: Sequence[PartWork], threads: int) -> None:
        self._works = works
        self._threads = threads
        self._ready: set[int] = set()

    def attempt(self, work: int, part: int) -> Answer:
        try:
            _limit_threads(self._threads)
            if work not in self._ready:
                self._works[work].setup()
                self._ready.add(work)
            self._works[work].run(part)
            return Answer()
        except UserError as error:
            return Answer(str(error), is_users=True)
        except Exception as error:
            logging.getLogger(__name__).debug("part %d failed", part, exc_info=True)
            return Answer(f"{type(error).__name__}: {' '.join(str(error).split())[:300]}")


class _InlineRunner:
    def __init__(self, settings: RunnerConfig) -> None:
        self._threads = settings.threads

    def run_tasks(self, tasks: Sequence[Task]) -> Iterator[Task]:
        return _with_retries(tasks, self._map)

    def _map(self, works: Sequence[PartWork], todo: Sequence[Key]) -> Iterator[tuple[Key, Answer]]:
        worker = _Worker(works, self._threads)
        return ((key, worker.attempt(*key)) for key in todo)

    def run_step(self, step: Step) -> None:
        _run_alone(step)


class _RayRunner:
    """A pool of actors that live as long as the command, each with one part in work.

    Ray is started with the first work, since a command that finds nothing to do should not take its seconds.
    """

    def __init__(self, settings: RunnerConfig, stack: contextlib.ExitStack) -> None:
        self._settings = settings
        self._stack = stack
        self._actors: list[Any] = []
        self._rounds = itertools.count()

    def run_tasks(self, tasks: Sequence[Task]) -> Iterator[Task]:
        return _with_retries(tasks, self._map)

    def run_step(self, step: Step) -> None:
        self._start()
        import ray

        # No blind retries: a step commits part by part, so that running the command again continues it.
        try:
            ray.get(self._pool(1)[0].run_step.remote(step))
        except ray.exceptions.RayTaskError as error:
            raise error.cause if isinstance(error.cause, LvdError) else error from None
        except ray.exceptions.RayActorError as error:
            raise LvdError(
                f"{type(step).__name__}: its worker was killed, perhaps for lack of memory; "
                "finished parts are kept, run the same command again to continue"
            ) from error

    def _map(self, works: Sequence[PartWork], todo: Sequence[Key]) -> Iterator[tuple[Key, Answer]]:
        self._start()
        import ray

        shared = ray.put(list(works))
        waiting = collections.deque(todo)
        free = self._pool(len(todo))
        round_number = next(self._rounds)
        busy: dict[Any, tuple[Any, Key]] = {}
        while waiting or busy:
            while waiting and free:
                actor, key = free.pop(), waiting.popleft()
                busy[actor.attempt.remote(round_number, shared, *key)] = (actor, key)
            (done,), _ = ray.wait(list(busy), num_returns=1)
            actor, key = busy.pop(done)
            try:
                answer = ray.get(done)
                free.append(actor)
            except ray.exceptions.RayActorError:
                self._actors.remove(actor)
                free.append(self._new_actor())
                answer = Answer("its worker was killed, perhaps for lack of memory")
            yield key, answer

    def _pool(self, wanted: int) -> list[Any]:
        """Up to so many actors, started as needed and no more than there are cores."""
        import ray

        size = min(wanted, self._settings.workers or max(1, int(ray.cluster_resources().get("CPU", 1))))
        while len(self._actors) < size:
            self._new_actor()
        return self._actors[:size]

    def _new_actor(self) -> Any:
        import ray

        self._actors.append(ray.remote(num_cpus=1)(_RayWorker).remote(self._settings.threads))
        return self._actors[-1]

    def _start(self) -> None:
        import ray

        if not ray.is_initialized():
            self._stack.enter_context(_ray_session(self._settings))


class _RayWorker:
    """An actor: keeps the models of one round of work, and lets go of them when the next begins."""

    def __init__(self, threads: int) -> None:
        self._threads = threads
        self._round = -1

    def attempt(self, round_number: int, works: Sequence[PartWork], work: int, part: int) -> Answer:
        if round_number != self._round:
            self._worker = _Worker(works, self._threads)
            self._round = round_number
        return self._worker.attempt(work, part)

    def run_step(self, step: Step) -> None:
        _run_alone(step)


def _run_alone(step: Step) -> None:
    _limit_threads(_cores())
    step.run()


def _with_retries(
    tasks: Sequence[Task], attempt: Callable[[Sequence[PartWork], Sequence[Key]], Iterator[tuple[Key, Answer]]]
) -> Iterator[Task]:
    works = list({id(task.work): task.work for task in tasks}.values())
    number = {id(work): at for at, work in enumerate(works)}
    todo = [(number[id(task.work)], task.part) for task in tasks]
    failures: dict[Key, str] = {}
    for _ in range(ATTEMPTS):
        failures = {}
        for key, answer in attempt(works, todo) if todo else ():
            if answer.problem is None:
                yield Task(works[key[0]], key[1])
            elif answer.is_users:
                raise UserError(answer.problem)
            else:
                failures[key] = answer.problem
        todo = sorted(failures)
    if failures:
        raise PartsFailed({_file(works[work], part): cause for (work, part), cause in failures.items()})


def _file(work: PartWork, part: int) -> str:
    """What to call a part in messages: the first file that it makes."""
    return work.collection.file(work.stages[0], part)


@contextlib.contextmanager
def _ray_session(settings: RunnerConfig) -> Iterator[None]:
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # read by Ray as it is imported
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    import ray

    logging.getLogger("ray").setLevel(logging.ERROR)
    address = settings.ray_address or os.environ.get("RAY_ADDRESS")
    try:
        if address:
            ray.init(address=address, logging_level=logging.ERROR, log_to_driver=False)
        else:
            # "local": a stale address file of an earlier cluster would otherwise take this run there.
            ray.init(
                address="local",
                num_cpus=max(settings.workers, _cores()),
                include_dashboard=False,
                logging_level=logging.ERROR,
                log_to_driver=False,
            )
    except (ConnectionError, ValueError, RuntimeError, TimeoutError) as error:
        raise RunError(f"Ray at {address or 'local'} cannot be reached ({error}); check the address") from error
    try:
        yield
    finally:
        ray.shutdown()


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _limit_threads(threads: int) -> None:
    """Give numerical libraries this many threads: those that are loaded, and those that will be."""
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[name] = str(threads)
    threadpool_limits(threads)
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(threads)
