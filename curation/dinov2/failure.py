"""A step whose loss or gradient is not finite: kept with all that it takes to run it again."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from curation.dinov2.batch import Batch
from curation.dinov2.checkpoint import load_state, save_state
from curation.dinov2.config import PretrainConfig
from curation.errors import RunError

__all__ = ["Failure", "load_failure", "not_finite"]


@dataclass(frozen=True)
class Failure:
    """A failed step of one rank."""

    config: PretrainConfig
    step: int
    rank: int
    cause: str
    temperature: float
    """The teacher's."""
    heads_only: bool
    model: dict[str, Tensor]
    """The state from before the step."""
    batch: Batch

    def save(self) -> Path:
        """Write the step to the run's folder of failures; returns the file."""
        path = Path(self.config.out) / "failures" / f"step-{self.step:08d}-rank-{self.rank}.pt"
        batch = {"globals": self.batch.globals_, "locals": self.batch.locals_, "masks": self.batch.masks}
        plain = {name: value for name, value in vars(self).items() if name != "batch"}
        save_state(path, plain | {"config": self.config.model_dump(mode="json")} | batch)
        return path


def not_finite(losses: Mapping[str, Tensor], norms: Mapping[str, Tensor]) -> str | None:
    """Which loss or gradient norm is not finite, if one is."""
    for kind, values in (("loss", losses), ("gradient norm of", norms)):
        for name, value in values.items():
            if not torch.isfinite(value).all():
                return f"{kind} {name} is {float(value)}"
    return None


def load_failure(path: str | Path) -> Failure:
    """Read what `Failure.save` wrote; RunError where the file is missing, damaged or not of a failed step."""
    state = load_state(Path(path))
    if "cause" not in state:
        raise RunError(f"{path}: a checkpoint, not a failed step; replay needs a file of the failures folder")
    del state["format"]
    batch = Batch(state.pop("globals"), state.pop("locals"), state.pop("masks"))
    return Failure(PretrainConfig.model_validate(state.pop("config")), batch=batch, **state)
