"""What a runner is given, and what it promises."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from curation.engine.work import PartWork, Step
from curation.search.worker_group import Partition, WorkerGroup

__all__ = ["GroupStep", "Runner", "Step", "Task"]


@dataclass(frozen=True, slots=True)
class Task:
    """One part to be brought up to date, and the work that does it."""

    work: PartWork
    part: int


class GroupStep(Protocol):
    """A step that iterates over data that a group of workers holds."""

    @property
    def name(self) -> str:
        """What errors call it."""

    def partitions(self, most: int) -> Sequence[Partition]:
        """What holds the data, at most so many. Partitions must pickle before `setup`."""

    def run(self, group: WorkerGroup | None = None) -> None:
        """Do what there is to do with the group's help, and commit it."""


class Runner(Protocol):
    """Runs work on parts, and single calls."""

    def warm_up(self) -> None:
        """Begin to start what work will need, beside what the caller does meanwhile; for when there will be work."""

    def run_tasks(self, tasks: Sequence[Task]) -> Iterator[Task]:
        """Run all tasks, in any order, and yield each as it is done. Parts of several collections go in together, so
        that a small one costs no start-up of its own and leaves no core idle.

        Raises:
            PartsFailed: some parts failed twice; raised after all the others are done.
            UserError: a worker met something that only the user can fix.
        """

    def run_step(self, step: Step) -> None:
        """Run a step that needs all parts at once, as one task with all cores to itself."""

    def run_group(self, step: GroupStep) -> None:
        """Run a step that iterates, in this process, with its data held by as many workers as there are."""
