"""Runners: parts that fail are tried again and named, and the others go on."""

import os
import signal
import subprocess
import sys
import time

import pytest

from curation.config import RunnerConfig
from curation.engine.runner import Task, open_runner
from curation.errors import LvdError, PartsFailed, RunError, UserError
from curation.run.parts import Collection
from curation.run.store import Store

INLINE = RunnerConfig(kind="inline")


class Work:
    """Does nothing but what is planned for a part."""

    stages = ("stage",)

    def __init__(self, root: str, plan: dict[int, object]) -> None:
        self.collection = Collection(Store(root), "pool")
        self.plan = plan
        self.attempts: list[int] = []
        self.set_up = 0

    def setup(self) -> None:
        self.set_up += 1

    def is_current(self, part: int) -> bool:
        return False

    def run(self, part: int) -> None:
        self.attempts.append(part)
        planned = self.plan.get(part)
        if planned == "die":
            os.kill(os.getpid(), signal.SIGKILL)
        if planned == "once" and self.attempts.count(part) == 1:
            raise OSError("a passing trouble")
        if isinstance(planned, Exception):
            raise planned


def run(settings: RunnerConfig, work: Work, parts: range, done: list[int] | None = None) -> list[int]:
    """The parts that were done, in order; `done` has them also when something is raised."""
    done = [] if done is None else done
    with open_runner(settings) as runner:
        for task in runner.run_tasks([Task(work, part) for part in parts]):
            done.append(task.part)
    return done


def test_every_part_is_done_once_and_work_is_set_up_once(tmp_path):
    work = Work(str(tmp_path), {})
    assert run(INLINE, work, range(5)) == [0, 1, 2, 3, 4]
    assert (work.attempts, work.set_up) == ([0, 1, 2, 3, 4], 1)


def test_a_passing_trouble_is_got_over(tmp_path):
    work = Work(str(tmp_path), {2: "once"})
    assert sorted(run(INLINE, work, range(4))) == [0, 1, 2, 3]
    assert work.attempts.count(2) == 2


def test_a_lasting_trouble_is_named_after_all_the_others_are_done(tmp_path):
    work = Work(str(tmp_path), {1: ValueError("no\ngood")})
    done: list[int] = []
    with pytest.raises(PartsFailed) as failed:
        run(INLINE, work, range(4), done)
    assert done == [0, 2, 3]
    assert failed.value.failures == {"pool/stage/part-00001.parquet": "ValueError: no good"}
    assert failed.value.exit_code == 1


def test_a_users_mistake_stops_at_once_and_is_not_tried_again(tmp_path):
    work = Work(str(tmp_path), {1: RunError("the file is gone; bring it back")})
    with pytest.raises(UserError, match="the file is gone; bring it back"):
        run(INLINE, work, range(4))
    assert work.attempts == [0, 1]


@pytest.mark.slow
def test_a_killed_worker_costs_its_own_part_and_no_other(tmp_path):
    import ray

    ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])  # workers do not have the tests on their path
    work = Work(str(tmp_path), {2: "die"})
    done: list[int] = []
    with pytest.raises(PartsFailed) as failed:
        run(RunnerConfig(kind="ray", workers=2), work, range(6), done)
    assert sorted(done) == [0, 1, 3, 4, 5]
    assert set(failed.value.failures) == {"pool/stage/part-00002.parquet"}
    assert "killed" in failed.value.failures["pool/stage/part-00002.parquet"]


POOL = RunnerConfig(kind="processes", workers=2)


@pytest.mark.slow
def test_processes_do_every_part_once(tmp_path):
    assert sorted(run(POOL, Work(str(tmp_path), {}), range(7))) == list(range(7))


def test_a_process_that_is_killed_costs_its_own_part_and_no_other(tmp_path):
    done: list[int] = []
    with pytest.raises(PartsFailed) as failed:
        run(POOL, Work(str(tmp_path), {2: "die", 4: ValueError("no\ngood")}), range(6), done)
    assert sorted(done) == [0, 1, 3, 5]
    assert failed.value.failures == {
        "pool/stage/part-00002.parquet": "its worker was killed, perhaps for lack of memory",
        "pool/stage/part-00004.parquet": "ValueError: no good",
    }


def test_a_users_mistake_in_a_process_stops_all(tmp_path):
    with pytest.raises(UserError, match="the file is gone; bring it back"):
        run(POOL, Work(str(tmp_path), {1: RunError("the file is gone; bring it back")}), range(4))


class Sums:
    """A partition that a worker group holds, and a step over it."""

    def __init__(self, numbers: list[int]) -> None:
        self.numbers = numbers

    def setup(self, threads: int) -> None:
        self.sum = sum(self.numbers)

    def times(self, factor: int) -> int:
        return self.sum * factor

    def fail(self) -> None:
        raise UserError("one number is missing; bring it back")

    def die(self) -> None:
        os.kill(os.getpid(), signal.SIGKILL)


class SumStep:
    name = "SumStep"

    def __init__(self, method: str, *arguments: object) -> None:
        self.call = (method, *arguments)

    def partitions(self, most: int) -> list[Sums]:
        return [Sums([1, 2]), Sums([10])][:most]

    def run(self, group) -> None:
        self.answers, self.total = group.call("times", 2), group.total(*self.call)


def test_a_group_of_processes_adds_up_what_its_partitions_answer():
    step = SumStep("times", 3)
    with open_runner(POOL) as runner:
        runner.run_group(step)
    assert (step.answers, step.total) == ([6, 20], 39)


@pytest.mark.parametrize(
    ("method", "message"),
    [
        ("fail", "one number is missing; bring it back"),
        ("die", "SumStep: its worker was killed, perhaps for lack of memory; finished iterations are kept"),
    ],
)
def test_what_ends_a_group_of_processes_is_reported(method, message):
    with open_runner(POOL) as runner, pytest.raises(LvdError, match=message):
        runner.run_group(SumStep(method))


ENDLESS = """
import os, signal, sys, time
from curation.config import RunnerConfig
from curation.engine.runner import open_runner

class Endless:
    def run(self):
        print(os.getpid(), flush=True)
        time.sleep(600)

if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.default_int_handler)  # tests that run in the background ignore it
    with open_runner(RunnerConfig(kind="processes", workers=1)) as runner:
        runner.run_step(Endless())
"""


@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGKILL])
def test_no_process_outlives_the_command(tmp_path, ending):
    script = tmp_path / "endless.py"
    script.write_text(ENDLESS)
    with subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as command:
        worker = int(command.stdout.readline())
        command.send_signal(ending)
        assert command.wait(20) != 0
    deadline = time.monotonic() + 20
    while os.path.exists(f"/proc/{worker}") and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not os.path.exists(f"/proc/{worker}")
