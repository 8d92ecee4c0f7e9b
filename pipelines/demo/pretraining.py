"""The demo's last step: a few dozen steps of DINOv2 on the shards that it made."""

import contextlib
import hashlib
import json
import math
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

import torch

from curation.config.shipped import FOLDER as CONFIGS
from curation.dinov2.config import load_pretrain_config
from curation.dinov2.train import train
from curation.errors import RunError

__all__ = ["CONFIG", "FOLDER", "LOSSES", "Pretraining", "pretrain_on_shards"]

CONFIG = CONFIGS / "pretrain" / "demo.yaml"
FOLDER = "pretrain-demo"
"""In the run directory."""
LOSSES = ("loss/total", "loss/dino", "loss/ibot")
ENDS = 3
"""Logged steps at either end whose mean losses are compared; one batch's loss is noisy."""


@dataclass(frozen=True, slots=True)
class Pretraining:
    """A finished pretraining."""

    checkpoint: Path
    log: Path
    steps: int
    losses: dict[str, tuple[float, float]]
    """Each of LOSSES: its mean over the first and over the last logged steps."""
    plateau: float
    """The DINO loss of a student that tells no prototypes apart: log(prototypes)."""


def pretrain_on_shards(out: str, overrides: Sequence[str] = ()) -> Pretraining:
    """Train on `<out>/shards`, in `<out>/pretrain-demo`; does nothing if it was done on the same shards and settings.

    Raises:
        UserError: a setting is wrong, or the shards are not there.
    """
    shards, folder = Path(out) / "shards", Path(out) / FOLDER
    places = [f"out={json.dumps(str(folder))}", f"data.sources=[{{path: {json.dumps(str(shards))}}}]"]
    config = load_pretrain_config(CONFIG, [*places, *overrides])
    made_of = {"manifest": _digest(shards / "manifest.json"), "config": config.model_dump(mode="json")}
    stamp = folder / "made-of.json"
    checkpoint = folder / "checkpoints" / f"step-{config.optim.steps:08d}.pt"
    if not (checkpoint.is_file() and stamp.is_file() and json.loads(stamp.read_text(encoding="utf-8")) == made_of):
        shutil.rmtree(folder, ignore_errors=True)
        with _one_thread():
            checkpoint = train(config).checkpoint
        stamp.write_text(json.dumps(made_of), encoding="utf-8")
    log = folder / "log.jsonl"
    return Pretraining(checkpoint, log, config.optim.steps, _losses(log), math.log(config.dino_head.prototypes))


@contextlib.contextmanager
def _one_thread() -> Iterator[None]:
    """Operators of this size take microseconds: on a machine with other work, threads only wait for each other."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _digest(path: Path) -> str:
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise RunError(f"{path}: cannot be read: {error.strerror or error}") from error


def _losses(log: Path) -> dict[str, tuple[float, float]]:
    lines = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]
    lines = [line for line in lines if "loss/total" in line]
    for line in lines:
        line["loss/dino"] = line["loss/dino_local"] + line["loss/dino_global"]
    first, last = lines[:ENDS], lines[-ENDS:]
    return {name: (fmean(line[name] for line in first), fmean(line[name] for line in last)) for name in LOSSES}
