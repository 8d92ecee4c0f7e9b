"""The online check by nearest neighbours, and the guard that stops a continued run which gets worse than it began."""

from dataclasses import asdict
from typing import Any

import torch

from curation.dinov2 import ranks
from curation.dinov2.config import PretrainConfig
from curation.dinov2.knn import KnnResult, LabelledImages, evaluate_features, read_labelled
from curation.dinov2.model import SelfDistillation
from curation.dinov2.record import Recorder
from curation.errors import ConfigError, LvdError

__all__ = ["Guard"]


class Guard:
    """Evaluates the teacher every `evaluate.every` steps, if there is labelled data."""

    def __init__(self, config: PretrainConfig, device: torch.device) -> None:
        if config.start.head_warmup_steps and config.start.backbone is None:
            raise ConfigError("start.head_warmup_steps needs start.backbone: without one the backbone has to learn too")
        self.config = config
        self.device = device
        self.first: float | None = None
        self.latest: float | None = None
        self._images: LabelledImages | None = None

    def begin(self, model: SelfDistillation, step: int, record: Recorder) -> None:
        """Measure what the run starts with."""
        if self.config.evaluate.data is not None and step == 0:
            self.first = self._measure(model, step, record).accuracy

    def check(self, model: SelfDistillation, step: int, record: Recorder) -> None:
        """Measure if it is time; LvdError where accuracy fell below the start's by more than `start.guard_drop`."""
        settings = self.config.evaluate
        if settings.data is None or not settings.every or (step % settings.every and step != self.config.optim.steps):
            return
        accuracy = self._measure(model, step, record).accuracy
        start, allowed = self.config.start, self.config.start.guard_drop
        if start.backbone is not None and self.first is not None and accuracy < self.first - allowed:
            raise LvdError(
                f"step {step}: kNN accuracy fell from {self.first:.3f} to {accuracy:.3f}, more than start.guard_drop "
                f"({allowed:g}) allows: lower optim.base_lr or lengthen start.head_warmup_steps"
            )

    def state(self) -> dict[str, float | None]:
        """What `restore` needs."""
        return {"first": self.first, "latest": self.latest}

    def restore(self, state: dict[str, Any]) -> None:
        """Continue from a `state`."""
        self.first, self.latest = state["first"], state["latest"]

    def _measure(self, model: SelfDistillation, step: int, record: Recorder) -> KnnResult:
        settings = self.config.evaluate
        assert settings.data is not None
        if self._images is None:
            self._images = read_labelled(settings.data, settings, max_pixels=self.config.data.max_pixels)
        result = evaluate_features(model.teacher.backbone, self._images, settings, self.device)
        self.latest = result.accuracy
        if ranks.rank() == 0:
            record.line(max(0, step - 1), {f"evaluate/{name}": value for name, value in asdict(result).items()})
            record.say(f"step {step}: kNN accuracy {result.accuracy:.3f}, effective rank {result.rankme:.1f}")
        return result
