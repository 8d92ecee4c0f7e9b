"""A step whose loss or gradient is not finite: kept with all that it takes to run it again."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from curation.dinov2.batch import Batch
from curation.dinov2.checkpoint import load_state, save_state
from curation.dinov2.config import PretrainConfig
from curation.errors import RunError

__all__ = ["Failure", "load_failure", "not_finite", "save_failure"]


class Failure:
    """A kept step."""

    def __init__(self, state: Mapping[str, Any]) -> None:
        self.config = PretrainConfig.model_validate(state["config"])
        self.step: int = state["step"]
        self.cause: str = state["cause"]
        self.model: dict[str, Tensor] = state["model"]
        self.heads_only: bool = state["heads_only"]
        self.rank: int = state["rank"]
        self.temperature: float = state["temperature"]
        self.batch = Batch(state["globals"], state["locals"], state["masks"])


def not_finite(losses: Mapping[str, Tensor], norms: Mapping[str, Tensor]) -> str | None:
    """Which loss or gradient norm is not finite, if one is."""
    for kind, values in (("loss", losses), ("gradient norm of", norms)):
        for name, value in values.items():
            if not torch.isfinite(value).all():
                return f"{kind} {name} is {float(value)}"
    return None


def save_failure(
    config: PretrainConfig,
    step: int,
    rank: int,
    cause: str,
    model: nn.Module,
    batch: Batch,
    *,
    temperature: float,
    heads_only: bool,
    centres: Mapping[str, Tensor],
) -> Path:
    """Write the failed step of this rank; `centres` are those from before the step. Returns the file."""
    path = Path(config.out) / "failures" / f"step-{step:08d}-rank-{rank}.pt"
    state = {
        "config": config.model_dump(mode="json"),
        "step": step,
        "rank": rank,
        "cause": cause,
        "temperature": temperature,
        "heads_only": heads_only,
        "model": model.state_dict() | dict(centres),
        "globals": batch.globals_,
        "locals": batch.locals_,
        "masks": batch.masks,
    }
    save_state(path, state)
    return path


def load_failure(path: str | Path) -> Failure:
    """Read what `save_failure` wrote.

    Raises:
        RunError: the file is missing, damaged or not of a failed step.
    """
    state = load_state(Path(path))
    if "cause" not in state:
        raise RunError(f"{path}: a checkpoint, not a failed step; replay needs a file of the failures folder")
    return Failure(state)
