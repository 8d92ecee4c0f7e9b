"""Sinkhorn-Knopp assignment of samples to prototypes (arXiv 2304.07193 section 4, after SwAV).

With M = logits / temperature, three times: every prototype's total weight is made equal, then every sample's one.
A sample's normalisation is a softmax, so all that has to be known is one offset per prototype:

    v = 0;  three times:  u = -logsumexp over samples(M + v),  v = -logsumexp over prototypes(M + u)
    result = softmax over prototypes(M + u)

Everything stays in the log domain: exp(logit / 0.04) overflows float32 for logits from 3.5 on. The number of samples
and of prototypes only shift u by a constant, which the softmax does not see; so ranks need not agree on counts.
"""

import torch
from torch import Tensor

from curation.dinov2 import ranks

__all__ = ["sinkhorn_knopp"]


@torch.no_grad()
def sinkhorn_knopp(logits: Tensor, temperature: float, iterations: int = 3) -> Tensor:
    """Assignment `(B, K)` float32 with rows of sum 1, balanced over all samples of all ranks.

    `logits` is `(B, K)` of any float type; B may differ between ranks and may be 0.
    """
    scores = logits.float() / temperature
    sample = scores.new_zeros(len(scores), 1)
    prototype = scores.new_zeros(scores.shape[1])
    for iteration in range(iterations):
        prototype = -_logsumexp_samples(scores + sample if iteration else scores)
        if iteration < iterations - 1:
            sample = -torch.logsumexp(scores + prototype, dim=1, keepdim=True)
    return torch.softmax(scores + prototype, dim=1)


def _logsumexp_samples(scores: Tensor) -> Tensor:
    if ranks.world() == 1:
        return torch.logsumexp(scores, dim=0) if len(scores) else scores.new_zeros(scores.shape[1])
    floor = scores.new_full((1, scores.shape[1]), torch.finfo(scores.dtype).min)
    top = ranks.max_(torch.cat([scores, floor]).amax(dim=0))
    return ranks.sum_((scores - top).exp().sum(dim=0)).log() + top
