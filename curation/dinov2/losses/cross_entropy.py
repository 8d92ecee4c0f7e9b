"""Cross-entropy between the teacher's assignment and the student's, for DINO and iBOT.

    H(t, s) = -sum over prototypes of t * log softmax(s / temperature)
            = logsumexp(s / temperature) - <t, s> / temperature

since t sums to one. DINO averages it over pairs of views of an image (arXiv 2104.14294 section 3.1), iBOT over the
masked patches of an image, then over images (arXiv 2111.07832 section 3.2).
"""

import torch
from torch import Tensor

__all__ = ["cross_entropy", "dino_global_loss", "dino_local_loss", "ibot_loss"]


def cross_entropy(student: Tensor, target: Tensor, temperature: float) -> Tensor:
    """H for each row, `(R,)` float32; `student` `(R, K)` logits, `target` `(R, K)` whose rows sum to 1."""
    scaled = student.float() / temperature
    return torch.logsumexp(scaled, dim=-1) - (target * scaled).sum(dim=-1)


def dino_local_loss(student: Tensor, targets: Tensor, temperature: float) -> Tensor:
    """Sum over (local view, global view) pairs of the mean H over images.

    `student` is `(L, B, K)` logits of local crops, `targets` `(2, B, K)`. Both targets are met at once: H is linear
    in the target.
    """
    scaled = student.float() / temperature
    against = (scaled * targets.sum(dim=0)).sum(dim=-1)
    return (len(targets) * torch.logsumexp(scaled, dim=-1) - against).mean(dim=1).sum()


def dino_global_loss(student: Tensor, targets: Tensor, temperature: float) -> Tensor:
    """Sum over the two pairs of a global view with the other one of the mean H over images; all `(2, B, K)`."""
    pairs = cross_entropy(student.flatten(0, 1), targets.flip(0).flatten(0, 1), temperature)
    return 2 * pairs.mean()


def ibot_loss(student: Tensor, targets: Tensor, weight: Tensor, crops: int, temperature: float) -> Tensor:
    """Weighted sum of H over masked patches divided by the number of global crops, masked or not.

    `student` and `targets` are `(M, K)`, `weight` `(M,)` is 1 / masked patches of the same crop. M may be 0.
    """
    return (cross_entropy(student, targets, temperature) * weight).sum() / crops
