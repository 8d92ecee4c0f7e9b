"""Checkpoints: the whole state in one file, written under another name and renamed when complete."""

import os
import re
from pathlib import Path
from typing import Any

import torch

from curation.dinov2.config import PretrainConfig
from curation.errors import RunError

__all__ = ["CheckpointStore", "load_state", "save_state"]

FORMAT = "lvd-pretrain/1"
SHAPING = ("model", "dino_head", "ibot_head", "crops")


def save_state(path: Path, state: dict[str, Any]) -> None:
    """Write `state` to `path` so that the file is there either whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    with partial.open("wb") as file:
        torch.save({"format": FORMAT} | state, file)
        file.flush()
        os.fsync(file.fileno())
    os.replace(partial, path)


def load_state(path: Path, *, mapped: bool = False) -> dict[str, Any]:
    """What `save_state` wrote, on the CPU; nothing in the file is executed.

    Args:
        mapped: tensors are read from the file when they are used, so that those which are not used cost nothing.

    Raises:
        RunError: the file is missing, damaged or of another kind.
    """
    try:
        state = torch.load(path, map_location="cpu", weights_only=True, mmap=mapped)
    except FileNotFoundError as error:
        raise RunError(f"{path}: no such checkpoint") from error
    except Exception as error:  # the unpickler raises nearly anything on damaged files
        raise RunError(f"{path}: damaged or not a checkpoint; remove it to go on from the one before") from error
    if not isinstance(state, dict) or state.get("format") != FORMAT:
        raise RunError(f"{path}: not a checkpoint of this trainer; to start from its weights set start.backbone")
    return state


class CheckpointStore:
    """The checkpoints of one run: `checkpoints/step-00001250.pt` holds the state before step 1250."""

    def __init__(self, out: str, *, keep: int, milestone: int) -> None:
        self.folder = Path(out) / "checkpoints"
        self.keep = keep
        self.milestone = milestone

    def steps(self) -> list[int]:
        """Steps that there are checkpoints of, ascending."""
        names = (re.fullmatch(r"step-(\d+)\.pt", path.name) for path in self.folder.glob("step-*.pt"))
        return sorted(int(name[1]) for name in names if name)

    def path(self, step: int) -> Path:
        """File of the checkpoint before `step`."""
        return self.folder / f"step-{step:08d}.pt"

    def save(self, step: int, state: dict[str, Any]) -> Path:
        """Write a checkpoint, then remove all but the newest `keep` and the milestones."""
        for left in self.folder.glob(".step-*"):  # of a process that was killed while it wrote
            left.unlink(missing_ok=True)
        save_state(self.path(step), state | {"step": step})
        for old in self.steps()[: -self.keep]:
            if not (self.milestone and old % self.milestone == 0):
                self.path(old).unlink(missing_ok=True)
        return self.path(step)

    def newest(self, config: PretrainConfig) -> dict[str, Any] | None:
        """The newest state, if there is one; RunError where it is damaged, or belongs to a model of another shape."""
        if not (steps := self.steps()):
            return None
        path = self.path(steps[-1])
        state = load_state(path)
        now = config.model_dump(mode="json")
        for section in SHAPING:
            if (before := state["config"].get(section)) != now[section]:
                raise RunError(
                    f"{path}: made with {section} = {before}, the config says {now[section]}; "
                    "set another `out`, or the settings that the run was started with"
                )
        return state
