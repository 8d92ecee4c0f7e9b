"""A run that is killed at any moment and started again ends as if nothing had happened."""

import multiprocessing
import os
import random
import signal
import threading
import time

import pytest

from curation.report.verify import verify
from pipelines.curate import curate

pytestmark = pytest.mark.slow

MOMENTS = 10


@pytest.fixture(scope="module")
def processes():
    """Processes that start in milliseconds, forked from one that has everything imported."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["pipelines.curate"])
    return context


def files_of(root):
    return [path for path in root.rglob("*") if path.is_file() and ".tmp-" not in path.name] if root.exists() else []


def run_until(config, root, files, delay):
    """A run whose process dies once there are so many files and a moment has passed.

    It is killed from within: a process beside it might see the files too late on a busy machine.
    """
    replace, armed = os.replace, threading.Event()

    def die():
        time.sleep(delay)
        os.kill(os.getpid(), signal.SIGKILL)

    def counted(*arguments, **options):
        replace(*arguments, **options)
        arm()

    def arm():
        if not armed.is_set() and len(files_of(root)) >= files:
            armed.set()
            threading.Thread(target=die, daemon=True).start()

    os.replace = counted
    arm()
    curate(config, str(root))


def kill_at(processes, config, root, files, delay):
    """Run in a process of its own that is killed once there are so many files and a moment has passed."""
    process = processes.Process(target=run_until, args=(config, root, files, delay))
    process.start()
    process.join()
    killed = process.exitcode == -9
    process.close()
    return killed


def test_a_run_killed_at_ten_moments_ends_in_the_same_bytes(processes, configure, tmp_path, finished, shards_of):
    undisturbed, total = shards_of(finished), len(files_of(finished))
    rng = random.Random(0)
    killed = 0
    for moment in range(MOMENTS):
        root = tmp_path / f"run-{moment}"
        killed += kill_at(processes, configure(), root, 1 + moment * (total - 2) // MOMENTS, rng.uniform(0, 0.02))
        run = curate(configure(), str(root))
        assert shards_of(root) == undisturbed, f"killed at moment {moment}"
        assert list(verify(run)) == []
        assert not list(root.rglob(".tmp-*"))
    assert killed >= MOMENTS - 2  # the last ones may come too late


def test_a_run_killed_again_and_again_gets_on_and_ends_in_the_same_bytes(
    processes, configure, tmp_path, finished, shards_of
):
    root = tmp_path / "again"
    kills = 0
    while kill_at(processes, configure(), root, len(files_of(root)) + 10, 0.0):
        kills += 1
    assert kills >= 3
    assert shards_of(root) == shards_of(finished)


def test_a_run_killed_after_a_changed_setting_ends_as_one_made_with_it(
    processes, configure, tmp_path, finished, shards_of
):
    """The old shards and part files are still there when the new ones are begun."""
    changed = configure(dedup={"self": {"enabled": False}}, export={"samples_per_shard": 10, "quality": 40})
    kill_at(processes, changed, finished, 0, 0.4)
    curate(changed, str(finished))
    curate(changed, str(tmp_path / "new"))
    assert shards_of(finished) == shards_of(tmp_path / "new")
    before = shards_of(finished)
    back = configure(dedup={"self": {"enabled": False}}, export={"samples_per_shard": 10, "quality": 95})
    for delay in (0.15, 0.2, 0.25, 0.3):
        kill_at(processes, back, finished, 0, delay)
        curate(changed, str(finished))
        assert shards_of(finished) == before
