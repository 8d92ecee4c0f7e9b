"""A pool of processes of this machine: ready within a second, where an embedded Ray takes several."""

import contextlib
import itertools
import multiprocessing
import os
import signal
import sys
import threading
import traceback
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from multiprocessing.connection import Connection, wait
from typing import Any

from curation.config import RunnerConfig
from curation.engine.runner.contract import GroupStep, Step, Task
from curation.engine.runner.gpus import Gpu, Queue, gpus_for
from curation.engine.runner.worker import KILLED, Answer, Host, Key, cores, died, with_retries
from curation.engine.work import PartWork
from curation.errors import LvdError
from curation.search.worker_group import Partition, added_up

__all__ = ["ProcessRunner"]

# Forked from a server that has no threads which a fork would cut off.
_CONTEXT = multiprocessing.get_context("forkserver")
OWN_PACKAGES = ("curation", "pipelines")
IMPORTED_BY_USE = ("pandas",)
"""What pyarrow imports as soon as it is used, where it is installed."""


class ProcessRunner:
    """Processes that live as long as the command, each with one part in work."""

    def __init__(self, settings: RunnerConfig, stack: contextlib.ExitStack) -> None:
        self._settings = settings
        self._stack = stack
        self._processes: list[_Process] = []
        self._rounds = itertools.count()
        self._starting: Future[list[_Process]] | None = None

    def warm_up(self) -> None:
        if self._starting is None:
            starter = self._stack.enter_context(ThreadPoolExecutor(1, thread_name_prefix="lvd-start"))
            self._stack.callback(self._end)
            _CONTEXT.set_forkserver_preload(_imported())
            self._starting = starter.submit(self._pool, sys.maxsize)

    def run_tasks(self, tasks: Sequence[Task]) -> Iterator[Task]:
        return with_retries(tasks, self._map)

    def run_step(self, step: Step) -> None:
        self._start()
        try:
            self._processes[0].ask("run_step", step)
            self._processes[0].answer()
        except (EOFError, OSError) as error:
            raise died(step.name, "parts") from error

    def run_group(self, step: GroupStep) -> None:
        self._start()
        partitions = step.partitions(len(self._processes))
        group = _ProcessGroup(self._processes[: len(partitions)], partitions, step.name)
        try:
            step.run(group)
        finally:
            group.leave()

    def _map(self, works: Sequence[PartWork], todo: Sequence[Key]) -> Iterator[tuple[Key, Answer]]:
        self._start()
        gpus = min(gpus_for(works), len(self._processes))
        waiting = Queue(works, todo, gpus)
        free = list(range(min(len(todo), len(self._processes))))
        round_number = next(self._rounds)
        informed: set[_Process] = set()
        busy: dict[Connection, tuple[int, Key]] = {}
        while waiting or busy:
            while (taken := waiting.take(free)) is not None:
                number, key, on_gpu = taken
                process = self._processes[number]
                gpu = Gpu(number, gpus) if on_gpu else None
                process.ask("attempt", round_number, None if process in informed else works, *key, gpu)
                informed.add(process)
                busy[process.pipe] = (number, key)
            for pipe in wait(list(busy)):
                assert isinstance(pipe, Connection)
                number, key = busy.pop(pipe)
                try:
                    answer: Answer = self._processes[number].answer()
                except (EOFError, OSError):
                    self._replace(number)
                    answer = Answer(KILLED)
                free.append(number)
                yield key, answer

    def _start(self) -> None:
        self.warm_up()
        assert self._starting is not None
        self._starting.result()

    def _pool(self, wanted: int) -> list["_Process"]:
        size = min(wanted, self._settings.workers or cores())
        while len(self._processes) < size:
            self._processes.append(_Process(self._settings.threads))
        return self._processes

    def _replace(self, number: int) -> None:
        self._processes[number].end()
        self._processes[number] = _Process(self._settings.threads)

    def _end(self) -> None:
        for process in self._processes:
            process.end()


def _imported() -> list[str]:
    """What this program has imported: the server imports it once, and the workers not at all."""
    return sorted(name for name in sys.modules if name.partition(".")[0] in OWN_PACKAGES or name in IMPORTED_BY_USE)


class _Process:
    """One worker, and the pipe to it."""

    def __init__(self, threads: int) -> None:
        self.pipe, theirs = _CONTEXT.Pipe()
        self._process = _CONTEXT.Process(target=_serve, args=(theirs, threads), daemon=True, name="lvd-worker")
        self._process.start()
        theirs.close()  # so that the end of the process is the end of the pipe

    def ask(self, method: str, *arguments: Any) -> None:
        self.pipe.send((method, arguments))

    def answer(self) -> Any:
        """What the method returned, or raises what it raised; EOFError or OSError where the process is gone."""
        value, error = self.pipe.recv()
        if error is not None:
            raise error
        return value

    def end(self) -> None:
        self.pipe.close()
        self._process.kill()  # what it was doing is not finished, and files only appear whole
        self._process.join()


class _WorkerError(Exception):
    """What a worker says of an error of a kind that the pipe does not take, or takes for its own."""


def _serve(pipe: Connection, threads: int) -> None:
    """Answer calls until the other end is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the command's to handle: it ends its workers
    threading.Thread(target=_end_with_parent, daemon=True).start()
    host = Host(threads)
    while True:
        try:
            method, arguments = pipe.recv()
        except EOFError:
            return
        value = None
        raised: Exception | None = None
        try:
            value = getattr(host, method)(*arguments)
        except LvdError as error:
            raised = error
        except Exception as error:
            raised = _WorkerError(f"{type(error).__name__}: {error}")
            raised.add_note(traceback.format_exc())
        pipe.send((value, raised))


def _end_with_parent() -> None:
    """A command that was killed must not leave workers behind that go on writing into its run."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


class _ProcessGroup:
    """Members in processes of the pool."""

    def __init__(self, processes: Sequence[_Process], partitions: Sequence[Partition], name: str) -> None:
        self._processes = processes
        self._name = name
        with self._watched():
            for process, partition in zip(processes, partitions, strict=True):
                process.ask("join", partition)
            for process in processes:
                process.answer()

    def call(self, method: str, *arguments: Any) -> list[Any]:
        with self._watched():
            for process in self._processes:
                process.ask("call", method, arguments)
            return [process.answer() for process in self._processes]

    def total(self, method: str, *arguments: Any) -> Any:
        return added_up(self.call(method, *arguments))

    def leave(self) -> None:
        """Let go of the members' data; a dead process has."""
        for process in self._processes:
            with contextlib.suppress(EOFError, OSError):
                process.ask("leave")
                process.answer()

    @contextlib.contextmanager
    def _watched(self) -> Iterator[None]:
        try:
            yield
        except (EOFError, OSError) as error:
            raise died(self._name, "iterations") from error
