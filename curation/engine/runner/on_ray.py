"""A pool of Ray actors, on this machine or on a cluster. The only module that imports Ray."""

import contextlib
import itertools
import logging
import os
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from curation.config import RunnerConfig
from curation.engine.runner.contract import GroupStep, Step, Task
from curation.engine.runner.gpus import Gpu, Queue
from curation.engine.runner.worker import KILLED, Answer, Host, Key, cores, died, with_retries
from curation.engine.work import PartWork
from curation.errors import LvdError, RunError
from curation.search.worker_group import Partition

__all__ = ["RayRunner"]


class RayRunner:
    """A pool of actors that live as long as the command, each with one part in work.

    Ray is started with the first work, or by `warm_up`, since a command that finds nothing to do should not take its
    seconds.
    """

    def __init__(self, settings: RunnerConfig, stack: contextlib.ExitStack) -> None:
        self._settings = settings
        self._stack = stack
        self._actors: list[Any] = []
        self._rounds = itertools.count()
        self._starting: Future[None] | None = None
        self._gpus = 0
        self._gpus_of_a_node = 1

    def warm_up(self) -> None:
        if self._starting is None:
            starter = self._stack.enter_context(ThreadPoolExecutor(1, thread_name_prefix="lvd-ray"))
            self._starting = starter.submit(self._start_now)

    def run_tasks(self, tasks: Sequence[Task]) -> Iterator[Task]:
        return with_retries(tasks, self._map)

    def run_step(self, step: Step) -> None:
        self._start()
        import ray

        # No blind retries: a step commits part by part, so that running the command again continues it.
        try:
            ray.get(self._pool(1)[0].run_step.remote(step))
        except ray.exceptions.RayTaskError as error:
            raise error.cause if isinstance(error.cause, LvdError) else error from None
        except ray.exceptions.RayActorError as error:
            raise died(step.name, "parts") from error

    def run_group(self, step: GroupStep) -> None:
        self._start()
        partitions = step.partitions(len(self._pool(sys.maxsize)))
        group = _RayGroup(self._pool(len(partitions)), partitions, step.name)
        try:
            step.run(group)
        finally:
            group.leave()

    def _map(self, works: Sequence[PartWork], todo: Sequence[Key]) -> Iterator[tuple[Key, Answer]]:
        self._start()
        import ray

        shared = ray.put(list(works))
        free = list(range(len(self._pool(len(todo)))))
        waiting = Queue(works, todo, min(self._gpus, len(self._actors)))
        round_number = next(self._rounds)
        busy: dict[Any, tuple[int, Key]] = {}
        while waiting or busy:
            while (taken := waiting.take(free)) is not None:
                number, key, on_gpu = taken
                gpu = Gpu(0, self._gpus_of_a_node) if on_gpu else None  # each sees its own alone
                busy[self._actors[number].attempt.remote(round_number, shared, *key, gpu)] = (number, key)
            (done,), _ = ray.wait(list(busy), num_returns=1)
            number, key = busy.pop(done)
            try:
                answer = ray.get(done)
            except ray.exceptions.RayActorError:
                self._actors[number] = self._new_actor(number)
                answer = Answer(KILLED)
            free.append(number)
            yield key, answer

    def _pool(self, wanted: int) -> list[Any]:
        """Up to so many actors, started as needed and no more than there are cores."""
        import ray

        size = min(wanted, self._settings.workers or max(1, int(ray.cluster_resources().get("CPU", 1))))
        while len(self._actors) < size:
            self._actors.append(self._new_actor(len(self._actors)))
        return self._actors[:size]

    def _new_actor(self, number: int) -> Any:
        import ray

        gpus = 1 if number < self._gpus else 0
        return ray.remote(num_cpus=1, num_gpus=gpus)(Host).remote(self._settings.threads)

    def _start(self) -> None:
        self.warm_up()
        assert self._starting is not None
        self._starting.result()

    def _start_now(self) -> None:
        import ray

        if not ray.is_initialized():
            self._stack.enter_context(_ray_session(self._settings))
        self._gpus = int(ray.available_resources().get("GPU", 0))  # another job's are not waited for
        nodes = [int(node["Resources"].get("GPU", 0)) for node in ray.nodes() if node["Alive"]]
        self._gpus_of_a_node = max([1, *nodes])
        self._pool(self._settings.workers or cores())


class _RayGroup:
    """Members in actors of the pool. What they return stays where it is until it has been added up."""

    def __init__(self, actors: Sequence[Any], partitions: Sequence[Partition], name: str) -> None:
        self._actors = actors
        self._name = name
        self._get([actor.join.remote(partition) for actor, partition in zip(actors, partitions, strict=True)])

    def call(self, method: str, *arguments: Any) -> list[Any]:
        return list(self._get(self._ask(method, arguments)))

    def total(self, method: str, *arguments: Any) -> Any:
        answers = list(zip(self._actors, self._ask(method, arguments), strict=True))
        while len(answers) > 1:
            pairs = zip(answers[::2], answers[1::2], strict=False)
            sums = [(actor, actor.add.remote(one, other)) for (actor, one), (_, other) in pairs]
            answers = sums + answers[len(answers) // 2 * 2 :]
        return self._get([answers[0][1]])[0]

    def leave(self) -> None:
        """Let go of the members' data; a dead actor has."""
        import ray

        for actor in self._actors:
            with contextlib.suppress(ray.exceptions.RayError):
                ray.get(actor.leave.remote())

    def _ask(self, method: str, arguments: Sequence[Any]) -> list[Any]:
        import ray

        shared = ray.put(list(arguments))
        return [actor.call.remote(method, shared) for actor in self._actors]

    def _get(self, answers: Sequence[Any]) -> Any:
        import ray

        try:
            return ray.get(list(answers))
        except ray.exceptions.RayTaskError as error:
            raise error.cause if isinstance(error.cause, LvdError) else error from None
        except ray.exceptions.RayActorError as error:
            raise LvdError(
                f"{self._name}: one of its workers was killed, perhaps for lack of memory; "
                "finished iterations are kept, run the same command again to continue"
            ) from error


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
                num_cpus=max(settings.workers, cores()),
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
