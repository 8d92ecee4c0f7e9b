"""What a run tells while it runs: log.jsonl, a progress line, TensorBoard and W&B if they are wanted and installed."""

import importlib
import json
import logging
import os
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from curation.dinov2.config import LogConfig
from curation.errors import needs_extra
from curation.run.log import logged_stage

__all__ = ["Recorder"]

Line = dict[str, Any]

logger = logging.getLogger(__name__)


class Recorder:
    """Writes lines of numbers by step; ranks other than the first record nothing."""

    def __init__(self, out: str, settings: LogConfig, *, total: int, start: int, active: bool) -> None:
        self.path = Path(out) / "log.jsonl"
        self.settings = settings
        self.start = start
        self.active = active
        self.console = Console(stderr=True, quiet=not active)
        self.progress = Progress(
            TextColumn("pretrain"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[note]}"),
            console=self.console,
            disable=not (active and self.console.is_terminal),
        )
        self.task = self.progress.add_task("pretrain", total=total, completed=start, note="")
        self._stage = logged_stage("pretrain", total - start, "steps")
        self._board: Any = None
        self._wandb: Any = None

    def __enter__(self) -> Self:
        if self.active:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._forget_later_lines()
            self._stage.__enter__()
            self._open_boards()
        self.progress.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.progress.stop()
        if self.active:
            self._stage.__exit__(kind, error, tb)
        if self._board is not None:
            self._board.close()
        if self._wandb is not None:
            self._wandb.finish()

    def step(self, step: int, note: str) -> None:
        """Move the progress line to after `step`; without a terminal, print it."""
        self.progress.update(self.task, completed=step + 1, note=note)
        if self.progress.disable:
            self.say(f"step {step}: {note}")

    def line(self, step: int, values: Line) -> None:
        """Append numbers of `step` to log.jsonl and the boards."""
        if not self.active:
            return
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"step": step} | values) + "\n")
        numbers = {name: value for name, value in values.items() if isinstance(value, int | float)}
        if self._board is not None:
            for name, value in numbers.items():
                self._board.add_scalar(name, value, step)
        if self._wandb is not None:
            self._wandb.log(numbers, step=step)

    def say(self, text: str) -> None:
        """Show a line of text to the user, and keep it in the log."""
        if self.active:
            logger.info("%s", text)
        self.console.print(text, highlight=False, markup=False, soft_wrap=True)

    def _forget_later_lines(self) -> None:
        """A resumed run writes the steps after its checkpoint again: drop what a killed one had written of them."""
        if not self.path.exists():
            return
        kept = []
        for text in self.path.read_text(encoding="utf-8").splitlines():
            try:
                if json.loads(text)["step"] < self.start:
                    kept.append(text + "\n")
            except (ValueError, KeyError, TypeError):
                continue  # the half line of a process that was killed
        partial = self.path.with_name(".log.jsonl.partial")
        partial.write_text("".join(kept), encoding="utf-8")
        os.replace(partial, self.path)

    def _open_boards(self) -> None:
        if self.settings.tensorboard:
            with needs_extra("train", "log.tensorboard"):
                board = importlib.import_module("torch.utils.tensorboard")
            self._board = board.SummaryWriter(str(self.path.parent / "tensorboard"))
        if self.settings.wandb is not None:
            with needs_extra("train", "log.wandb"):
                wandb = importlib.import_module("wandb")
            self._wandb = wandb.init(project=self.settings.wandb, dir=str(self.path.parent))
