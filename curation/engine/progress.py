"""Where progress goes: what a command shows of its work is its own affair."""

import contextlib
from collections.abc import Iterator
from typing import Protocol

from curation.run.parts import Ledger

__all__ = ["Bar", "Progress", "Quiet"]


class Bar(Protocol):
    """The progress of one stage."""

    def advance(self, rows: int, done: Ledger) -> None:
        """Count rows that are done, and what became of them."""


class Progress(Protocol):
    """The progress of a job."""

    def stage(self, name: str, rows: int) -> contextlib.AbstractContextManager[Bar]:
        """Open the progress of a stage over so many rows; 0 where the number is not known."""

    def span(self, start: float, end: float) -> None:
        """Which share of the whole job the next stages are, from 0 to 1."""

    def say(self, text: str) -> None:
        """Print a line."""


class Quiet:
    """Prints nothing."""

    @contextlib.contextmanager
    def stage(self, name: str, rows: int) -> Iterator[Bar]:
        yield _Silent()

    def span(self, start: float, end: float) -> None:
        pass

    def say(self, text: str) -> None:
        pass


class _Silent:
    def advance(self, rows: int, done: Ledger) -> None:
        pass
