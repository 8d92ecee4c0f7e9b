"""KoLeo: a differential entropy estimate that pushes each feature away from its nearest neighbour.

    L = -mean over i of log(min over j != i of |x_i - x_j|),  x of unit length

(arXiv 1806.03198 section 3.2; arXiv 2304.07193 section 4)
"""

import torch
from torch import Tensor
from torch.nn import functional

from curation.dinov2 import ranks

__all__ = ["koleo_loss"]

EPSILON = 1e-8


def koleo_loss(features: Tensor, *, all_ranks: bool = False, group: int = 0) -> Tensor:
    """Scalar float32 loss of `features` `(B, D)`, computed in float32 whatever their type.

    Neighbours are sought in the rank's batch or, with `all_ranks`, in the batches of all ranks; in blocks of `group`
    rows if that is not 0 (what is left over forms a smaller block). A block of one row has no neighbour and adds
    nothing. With `all_ranks` the gradient is scaled by the number of ranks, so that the mean over ranks which
    data-parallel training takes is the gradient of the one shared loss.
    """
    with torch.autocast(features.device.type, enabled=False):
        x = functional.normalize(features.float(), dim=-1, eps=EPSILON)
        if all_ranks and ranks.world() > 1:
            x = _with_other_ranks(x)
        blocks = [block for block in torch.split(x, group or max(1, len(x))) if len(block) > 1]
        terms = [_log_distances(block) for block in blocks]
        return -torch.cat(terms).mean() if terms else x.sum() * 0


def _log_distances(x: Tensor) -> Tensor:
    with torch.no_grad():
        similarity = x @ x.T
        nearest = similarity.fill_diagonal_(-1).argmax(dim=1)
    return torch.log(functional.pairwise_distance(x, x[nearest], eps=EPSILON) + EPSILON)


def _with_other_ranks(x: Tensor) -> Tensor:
    rows, start = ranks.gather_rows(x)
    own = x * ranks.world() - x.detach() * (ranks.world() - 1)
    return torch.cat([rows[:start], own, rows[start + len(x) :]])
