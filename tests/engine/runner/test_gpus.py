"""One worker for each GPU. How many torch finds is said by the tests; what workers are then told is looked at."""

import os
import sys
import time
from pathlib import Path

import pytest

from curation.config import RunnerConfig
from curation.engine.runner import Task, gpus, open_runner
from curation.engine.runner.gpus import Gpu, Queue, cores
from curation.models import device
from curation.run.parts import Collection
from curation.run.store import Store


class Work:
    """Writes down who did a part, and with which GPU."""

    stages = ("stage",)

    def __init__(self, root, wants_gpu, together=1):
        self.collection = Collection(Store(str(root)), "pool")
        self.notes = Path(root)
        self.wants_gpu = wants_gpu
        self.together = together
        self.threads = 1
        self.set_up_on = None

    def decode_with(self, threads):
        self.threads = threads

    def setup(self):
        self.set_up_on = device._number

    def is_current(self, part):
        return False

    def run(self, part):
        (self.notes / f"worker-{os.getpid()}").touch()
        deadline = time.monotonic() + 120
        while len(list(self.notes.glob("worker-*"))) < self.together and time.monotonic() < deadline:
            time.sleep(0.01)  # until every worker has some, however late a busy machine starts the last
        ray_gpu = os.environ.get("CUDA_VISIBLE_DEVICES", "all")
        kind = "gpu" if self.wants_gpu else "cpu"
        note = f"{os.getpid()} {self.set_up_on} {device._number} {self.threads} {ray_gpu}"
        (self.notes / f"{kind}-{part}").write_text(note)


@pytest.fixture(autouse=True)
def as_it_was():
    yield
    device._number, device._threads = -1, 1


def run(root, settings, parts=12, together=1):
    """What was written down of work that wants a GPU, and of other work; `together` workers must each have some."""
    root.mkdir()
    works = [Work(root, True, together), Work(root, False, together)]
    with open_runner(settings) as runner:
        done = list(runner.run_tasks([Task(work, part) for part in range(parts) for work in works]))
    assert sorted((task.work.wants_gpu, task.part) for task in done) == [
        (wants, part) for wants in (False, True) for part in range(parts)
    ]
    return [[(root / f"{kind}-{part}").read_text().split() for part in range(parts)] for kind in ("gpu", "cpu")]


def test_work_that_wants_a_gpu_waits_for_a_worker_that_has_one(tmp_path):
    works = [Work(tmp_path, wants_gpu=True), Work(tmp_path, wants_gpu=False)]
    waiting = Queue(works, [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1)], gpus=2)
    free = [0, 1, 2]
    assert waiting.take(free) == (0, (0, 0), True)
    assert waiting.take(free) == (1, (0, 1), True)
    assert waiting.take(free) == (2, (1, 0), False)
    assert waiting.take(free) is None
    free = [2]
    assert waiting.take(free) == (2, (1, 1), False)
    free = [2]
    assert waiting.take(free) is None
    assert len(waiting) == 1
    free = [2, 1]
    assert waiting.take(free) == (1, (0, 2), True)
    assert (len(waiting), free) == (0, [2])


def test_workers_with_a_gpu_do_other_work_when_nobody_else_is_free(tmp_path):
    works = [Work(tmp_path, wants_gpu=False)]
    waiting, free = Queue(works, [(0, 0), (0, 1), (0, 2)], gpus=1), [0, 1]
    assert [waiting.take(free), waiting.take(free), waiting.take(free)] == [
        (1, (0, 0), False),
        (0, (0, 1), False),
        None,
    ]


def test_without_gpus_any_worker_does_any_work_in_order(tmp_path):
    works = [Work(tmp_path, wants_gpu=True), Work(tmp_path, wants_gpu=False)]
    waiting, free = Queue(works, [(1, 0), (0, 0), (1, 1)], gpus=0), [0, 1, 2]
    assert [waiting.take(free) for _ in range(3)] == [(2, (1, 0), False), (1, (0, 0), False), (0, (1, 1), False)]


def test_workers_of_a_machine_share_its_cores(monkeypatch):
    monkeypatch.setattr(gpus, "cores", lambda: 64)
    assert [Gpu(0, sharers).threads for sharers in (1, 8, 100)] == [64, 8, 1]


def test_torch_is_not_asked_where_no_work_wants_a_gpu(tmp_path, monkeypatch):
    monkeypatch.setattr(device, "gpus", lambda: pytest.fail("asked"))
    assert gpus.gpus_for([Work(tmp_path, wants_gpu=False)]) == 0


@pytest.mark.parametrize(("visible", "number", "expected"), [(0, 3, "cpu"), (1, 3, "cuda:0"), (4, 3, "cuda:3")])
def test_a_worker_is_on_its_gpu_of_those_that_it_sees(monkeypatch, visible, number, expected):
    monkeypatch.setattr(device, "gpus", lambda: visible)
    device.take_gpu(number, 7)
    assert (str(device.device()), device.threads()) == (expected, 7 if visible else 1)


def test_a_worker_that_was_given_none_takes_one_in_turn(monkeypatch):
    monkeypatch.setattr(device, "gpus", lambda: 4)
    assert str(device.device()) == f"cuda:{os.getpid() % 4}"


@pytest.mark.slow
def test_of_the_processes_as_many_have_a_gpu_as_there_are(tmp_path, monkeypatch):
    monkeypatch.setattr(device, "gpus", lambda: 2)
    on_gpu, others = run(tmp_path / "two", RunnerConfig(kind="processes", workers=3), together=3)
    assert {(set_up, number) for _, set_up, number, _, _ in on_gpu} == {("0", "0"), ("1", "1")}
    assert len({process for process, *_ in on_gpu}) == 2
    assert {threads for *_, threads, _ in on_gpu} == {str(max(1, cores() // 2))}
    assert {process for process, *_ in others} - {process for process, *_ in on_gpu}  # the third took of the rest
    assert {threads for *_, threads, _ in others} == {"1"}


@pytest.mark.slow
def test_fewer_workers_than_gpus_have_one_each_and_a_machine_without_has_none(tmp_path, monkeypatch):
    monkeypatch.setattr(device, "gpus", lambda: 8)
    on_gpu, _ = run(tmp_path / "eight", RunnerConfig(kind="processes", workers=1), parts=2)
    assert {(number, threads) for _, _, number, threads, _ in on_gpu} == {("0", str(cores()))}
    monkeypatch.setattr(device, "gpus", lambda: 0)
    on_gpu, _ = run(tmp_path / "none", RunnerConfig(kind="processes", workers=2), parts=4)
    assert {(number, threads) for _, _, number, threads, _ in on_gpu} == {("-1", "1")}


def test_this_process_alone_has_the_first_gpu_and_all_cores(tmp_path, monkeypatch):
    monkeypatch.setattr(device, "gpus", lambda: 2)
    on_gpu, others = run(tmp_path / "run", RunnerConfig(kind="inline"), parts=2)
    assert {(number, threads) for _, _, number, threads, _ in on_gpu} == {("0", str(cores()))}
    assert {threads for *_, threads, _ in others} == {"1"}


@pytest.mark.slow
def test_ray_keeps_a_gpu_for_each_of_as_many_actors_as_there_are(tmp_path):
    import ray

    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])
    ray.init(address="local", num_cpus=3, num_gpus=2, include_dashboard=False, log_to_driver=False)
    try:
        on_gpu, others = run(tmp_path / "run", RunnerConfig(kind="ray", workers=3), together=3)
    finally:
        ray.shutdown()
    assert {(number, gpu) for _, _, number, _, gpu in on_gpu} == {("0", "0"), ("0", "1")}
    assert len({process for process, *_ in on_gpu}) == 2
    assert {threads for *_, threads, _ in on_gpu} == {str(max(1, cores() // 2))}
    assert "all" in {gpu for *_, gpu in others}
