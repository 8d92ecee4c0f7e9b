"""Runners: parts that fail are tried again and named, and the others go on."""

import os
import signal
import sys

import pytest

from curation.config import RunnerConfig
from curation.errors import PartsFailed, RunError, UserError
from curation.parts import Collection
from curation.runner import Task, open_runner
from curation.storage import Store

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
