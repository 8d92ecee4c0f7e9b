"""Softmax with a moving centre, the alternative to Sinkhorn-Knopp (arXiv 2104.14294 section 3.1).

target = softmax((logits - centre) / temperature);   centre <- m * centre + (1 - m) * mean of the logits
"""

import torch
from torch import Tensor, nn

from curation.dinov2 import ranks

__all__ = ["Centre"]


class Centre(nn.Module):
    """Mean teacher logit per prototype, over samples of all ranks and, with momentum, over steps."""

    center: Tensor

    def __init__(self, shape: tuple[int, ...], momentum: float = 0.9) -> None:
        super().__init__()
        self.momentum = momentum
        self.register_buffer("center", torch.zeros(shape))

    @torch.no_grad()
    def assign(self, logits: Tensor, temperature: float) -> Tensor:
        """Targets `(B, K)` float32; the batch itself moves the centre only for the next step."""
        logits = logits.float()
        targets = self.targets(logits, temperature)
        total = ranks.sum_(torch.cat([logits.sum(dim=0), logits.new_tensor([float(len(logits))])]))
        if total[-1] > 0:
            mean = (total[:-1] / total[-1]).view_as(self.center)
            self.center.mul_(self.momentum).add_(mean, alpha=1 - self.momentum)
        return targets

    @torch.no_grad()
    def targets(self, logits: Tensor, temperature: float) -> Tensor:
        """The same, and the centre stays where it is."""
        return torch.softmax((logits.float() - self.center.view(1, -1)) / temperature, dim=-1)
