"""Members that hold data in memory and answer calls, in one process or on many: what iterative steps talk to."""

import itertools
from collections.abc import Sequence
from typing import Any, Protocol

__all__ = ["LocalGroup", "Partition", "WorkerGroup", "added_up", "deal"]


class Partition(Protocol):
    """The data of one worker, made small so that it travels, loaded where it stays; its methods are what is called."""

    def setup(self, threads: int) -> None:
        """Load what it holds; `threads` is how many cores it may use."""


class WorkerGroup(Protocol):
    """Members that live as long as the step."""

    def call(self, method: str, *arguments: Any) -> list[Any]:
        """Call a method of all members at once, and return their answers in the members' order."""

    def total(self, method: str, *arguments: Any) -> Any:
        """Call a method of all members at once, and return the sum of their answers, added in pairs as a tree."""


class LocalGroup:
    """Members in this process, called one after the other."""

    def __init__(self, partitions: Sequence[Partition], threads: int) -> None:
        self._partitions = partitions
        for partition in partitions:
            partition.setup(threads)

    def call(self, method: str, *arguments: Any) -> list[Any]:
        return [getattr(partition, method)(*arguments) for partition in self._partitions]

    def total(self, method: str, *arguments: Any) -> Any:
        return added_up(self.call(method, *arguments))


def added_up(answers: list[Any]) -> Any:
    """The sum of answers, in pairs as a tree, so that it is the same bits wherever they are added."""
    while len(answers) > 1:
        pairs = zip(answers[::2], answers[1::2], strict=False)
        answers = [one + other for one, other in pairs] + answers[len(answers) // 2 * 2 :]
    return answers[0]


def deal(parts: Sequence[int], partitions: int) -> list[list[int]]:
    """Parts for each of at most so many members: runs of equal length, but for one part."""
    partitions = max(1, min(partitions, len(parts)))
    edges = [at * len(parts) // partitions for at in range(partitions + 1)]
    return [list(parts[start:stop]) for start, stop in itertools.pairwise(edges)]
