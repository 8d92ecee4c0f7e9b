"""Where the work runs: in this process, in several of this machine, or on Ray.

A runner is given part numbers and work; pixels and embeddings stay in files and never pass through it. All runners
give identical bytes, since a part's output depends on nothing but its input, the settings and the seed.
"""

import contextlib
from collections.abc import Iterator

from curation.config import RunnerConfig
from curation.engine.runner.contract import GroupStep, Runner, Step, Task
from curation.engine.runner.inline import InlineRunner
from curation.engine.runner.on_ray import RayRunner
from curation.engine.runner.processes import ProcessRunner

__all__ = ["GroupStep", "Runner", "Step", "Task", "open_runner"]


@contextlib.contextmanager
def open_runner(settings: RunnerConfig) -> Iterator[Runner]:
    """The runner that the settings ask for; its workers end with the block, also on Ctrl-C."""
    if settings.kind == "inline":
        yield InlineRunner(settings)
        return
    with contextlib.ExitStack() as stack:
        yield RayRunner(settings, stack) if settings.kind == "ray" else ProcessRunner(settings, stack)
