"""Progress of a run on the terminal: one line per stage, with a rate and the time left."""

import contextlib
import datetime
import sys
import time
from collections.abc import Iterator

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from curation.run.parts import Ledger

__all__ = ["Terminal"]

TOP_REASONS = 3
SETTLED = 5.0
"""Seconds before a time left is worth showing."""


class Terminal:
    """Bars on standard error where that is a terminal, and one line per finished stage otherwise."""

    def __init__(self) -> None:
        self._console = Console(file=sys.stderr, highlight=False)
        self._whole = _Whole()

    @contextlib.contextmanager
    def stage(self, name: str, rows: int) -> Iterator["_ProgressBar"]:
        progress = Progress(
            SpinnerColumn(finished_text="[green]✓"),
            TextColumn(f"{name:<24}"),
            BarColumn(),
            TextColumn("{task.completed:,.0f}" + (f" / {rows:,}" if rows else "")),
            TextColumn("{task.fields[rate]}"),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[whole]}", style="bold"),
            TextColumn("{task.fields[verdicts]}", style="dim"),
            console=self._console,
            disable=not self._console.is_terminal,
        )
        with progress:
            bar = _ProgressBar(progress, rows, self._whole)
            yield bar
            bar.finish()
        if not self._console.is_terminal:
            self._console.print(f"{name:<24} {bar.summary()}", markup=False, soft_wrap=True)

    def span(self, start: float, end: float) -> None:
        self._whole.span(start, end)

    def say(self, text: str) -> None:
        self._console.print(text, markup=False, soft_wrap=True)


class _Whole:
    """How far the whole job is, and how long it may still take."""

    def __init__(self) -> None:
        self._span = (0.0, 1.0)
        self._began: tuple[float, float] | None = None

    def span(self, start: float, end: float) -> None:
        self._span = start, end

    def text(self, share: float) -> str:
        """Once a share of the present stage is done."""
        start, end = self._span
        done = start + (end - start) * share
        now = time.monotonic()
        if self._began is None:
            self._began = now, done
        since, first = self._began
        if done <= first or now - since < SETTLED:
            return ""
        left = (now - since) * (1 - done) / (done - first)
        return f"all steps {done:.0%}, {datetime.timedelta(seconds=round(left))} left"


class _ProgressBar:
    def __init__(self, progress: Progress, rows: int, whole: _Whole) -> None:
        self._whole = whole
        self._progress = progress
        self._rows = rows
        self._task = progress.add_task("", total=rows or None, rate="", verdicts="", whole=whole.text(0.0))
        self._done = 0
        self._ledger = Ledger(0, 0)
        self._clock = progress.get_time
        self._start = progress.get_time()

    def advance(self, rows: int, done: Ledger) -> None:
        self._done += rows
        self._ledger += done
        whole = self._whole.text(min(1.0, self._done / self._rows) if self._rows else 0.0)
        self._progress.update(self._task, advance=rows, rate=self._rate(), verdicts=self._verdicts(), whole=whole)

    def finish(self) -> None:
        self._progress.update(self._task, total=self._rows or self._done or 1, completed=self._rows or self._done or 1)

    def summary(self) -> str:
        seconds = self._clock() - self._start
        if not self._rows:
            return f"{seconds:>24.1f} s"
        return f"{self._done:>10,} rows {seconds:>8.1f} s  {self._rate():<10} {self._verdicts()}".rstrip()

    def _rate(self) -> str:
        seconds = self._clock() - self._start
        return f"{self._done / seconds:,.0f}/s" if seconds > 0 and self._done else ""

    def _verdicts(self) -> str:
        """Share that stays in play, and the most frequent reasons against."""
        drops = sorted(self._ledger.drops.items(), key=lambda item: -item[1])[:TOP_REASONS]
        if not drops:
            return ""
        kept = 100 * self._ledger.live_out / max(1, self._ledger.live_in)
        return f"{kept:.0f} % ok; " + ", ".join(f"{count:,} {reason}" for reason, count in drops)
