"""Is the run learning or collapsing: numbers about the teacher's output, and what they mean in words."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from curation.evaluation.rank import rankme

__all__ = ["Health", "examine"]

EMPTY = 0.999
"""Share of the highest entropy above which targets are called uniform."""


@dataclass(frozen=True)
class Health:
    """The state of the teacher's features and assignments on one batch."""

    rankme: float
    """Effective rank of the features; at most images in the batch and feature width."""
    rank_limit: int
    prototype_entropy: float
    """Entropy in nats of the mean assignment; log(prototypes) if all are used alike."""
    target_entropy: float
    """Mean entropy in nats of an image's assignment: log(prototypes) if the targets say nothing, which is also what
    the losses then stay at."""
    prototype_limit: float
    """log(prototypes), the limit of both."""
    prototypes_used: int
    """Prototypes that are some image's first choice."""
    images: int
    neighbour_distance: float
    """Mean distance of a unit-length feature to its nearest neighbour: what KoLeo widens."""

    def warnings(self) -> list[str]:
        """What looks wrong, in words; empty if nothing does."""
        result = []
        if self.neighbour_distance < 1e-3:
            result.append("collapse: features of different images are the same; lower the learning rate or raise KoLeo")
        elif self.rank_limit >= 16 and self.rankme < 0.1 * self.rank_limit:
            result.append(
                f"features use {self.rankme:.1f} of {self.rank_limit} possible dimensions: the run is collapsing"
            )
        if self.images >= 16 and self.prototypes_used == 1:
            result.append("collapse: every image is assigned to the same prototype; raise the teacher's warm-up")
        elif self.target_entropy > EMPTY * self.prototype_limit:
            result.append(
                f"targets are all but uniform (entropy {self.target_entropy:.3f} of {self.prototype_limit:.3f}): views "
                "are too hard to tell apart; lower teacher.temperature, or make the crops more alike"
            )
        return result


@torch.no_grad()
def examine(features: Tensor, targets: Tensor) -> Health:
    """Health of the teacher on `features` `(B, D)` and class-token assignments `(B, K)` of B different images."""
    unit = functional.normalize(features.float(), dim=-1)
    distances = torch.cdist(unit, unit).fill_diagonal_(torch.inf).amin(dim=1) if len(unit) > 1 else torch.ones(1)
    return Health(
        rankme=rankme(features),
        rank_limit=min(features.shape),
        prototype_entropy=float(_entropy(targets.mean(dim=0))),
        target_entropy=float(_entropy(targets).mean()),
        prototype_limit=math.log(targets.shape[1]),
        prototypes_used=len(torch.unique(targets.argmax(dim=1))),
        images=len(features),
        neighbour_distance=float(distances.mean()),
    )


def _entropy(shares: Tensor) -> Tensor:
    return -(shares * shares.clamp(min=1e-12).log()).sum(dim=-1)
