"""How learning rates, weight decay, teacher momentum and temperature change over a run."""

import math
from dataclasses import dataclass

from curation.dinov2.config import OptimConfig, TeacherConfig

__all__ = ["Schedule", "Settings", "schedule"]


@dataclass(frozen=True)
class Settings:
    """The scheduled values of one optimizer step."""

    lr: float
    last_layer_lr: float
    weight_decay: float
    momentum: float
    temperature: float


@dataclass(frozen=True)
class Schedule:
    """Linear from `first` to `start` over `warmup` steps (both ends included), then half a cosine towards `end`.

    Step `total` and later give `end`.
    """

    start: float
    end: float
    total: int
    warmup: int = 0
    first: float = 0.0

    def at(self, step: int) -> float:
        """Value at `step`, counted from 0."""
        if step >= self.total:
            return self.end
        if step < self.warmup:
            share = step / (self.warmup - 1) if self.warmup > 1 else 0.0
            return self.first + share * (self.start - self.first)
        progress = (step - self.warmup) / (self.total - self.warmup)
        return self.end + 0.5 * (self.start - self.end) * (1 + math.cos(math.pi * progress))


def schedule(step: int, optim: OptimConfig, teacher: TeacherConfig, images: int) -> Settings:
    """Values at `step` for `images` per optimizer step over all ranks.

    The learning rate scales with sqrt(images / 1024); the prototypes' is 0 while they are frozen.
    """
    length, total = optim.epoch_length, optim.steps
    peak = optim.base_lr * math.sqrt(images / 1024)
    lr = Schedule(peak, optim.min_lr, total, warmup=optim.warmup_steps).at(step)
    warm = round(teacher.warmup_epochs * length)
    return Settings(
        lr=lr,
        last_layer_lr=0.0 if step < round(optim.freeze_last_layer_epochs * length) else lr,
        weight_decay=Schedule(optim.weight_decay, optim.weight_decay_end, total).at(step),
        momentum=Schedule(teacher.momentum, teacher.final_momentum, total).at(step),
        temperature=Schedule(
            teacher.temperature, teacher.temperature, warm, warmup=warm, first=teacher.warmup_temperature
        ).at(step),
    )
