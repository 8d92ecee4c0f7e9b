"""InfoNCE with entropy regularisation, and the mixing of views: the objective of SSCD.

"A Self-Supervised Descriptor for Image Copy Detection" (arXiv 2202.10261), sections 3 and 4.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["Losses", "copy_losses", "mixed"]


@dataclass(frozen=True, slots=True)
class Losses:
    """Scalars: `total` is what is minimised; the others are its parts."""

    total: Tensor
    contrast: Tensor
    entropy: Tensor


def copy_losses(descriptors: Tensor, photos: Tensor, temperature: float, entropy_weight: float) -> Losses:
    """The loss of a batch, which must show two photos at least.

    Args:
        descriptors: (N, dim) rows of length 1.
        photos: (N, 2) the photos that each row shows; the second differs from the first where two were mixed. Rows
            that share a photo are copies of each other.
    """
    similarity = descriptors @ descriptors.T
    match = (photos[:, None, :, None] == photos[None, :, None, :]).any(dim=3).any(dim=2)
    positive = match & ~torch.eye(len(match), dtype=torch.bool, device=match.device)
    logits = similarity / temperature
    negatives = logits.masked_fill(match, -torch.inf).logsumexp(dim=1, keepdim=True)
    contrast = torch.nn.functional.softplus(negatives - logits)
    contrast = (contrast * positive).sum(dim=1) / positive.sum(dim=1).clamp(min=1)
    nearest = similarity.masked_fill(match, -1.0).amax(dim=1)
    entropy = -(2.0 - 2.0 * nearest).clamp(min=1e-6).sqrt().log().mean()
    return Losses(contrast.mean() + entropy_weight * entropy, contrast.mean(), entropy)


def mixed(views: Tensor, photos: Tensor, share: float, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """A share of the views mixed with others of the batch: half by mixup, half by cutmix (SSCD, section 4.4).

    Args:
        views: (N, 3, S, S).
        photos: (N,) the photo of each.

    Returns:
        The views, and the photos (N, 2) that each now shows.
    """
    shown = torch.stack([photos, photos], dim=1)
    chosen = torch.nonzero(torch.rand(len(views), generator=generator) < share).flatten().tolist()
    result = views.clone() if chosen else views
    side = views.shape[-1]
    for row in chosen:
        partner = int(torch.randint(len(views), (1,), generator=generator))
        kind, part, x, y = torch.rand(4, generator=generator).tolist()
        part = 0.25 + 0.5 * part
        if kind < 0.5:
            result[row] = views[row] * part + views[partner] * (1 - part)
        else:
            length = round(side * part**0.5)
            left, top = round((side - length) * x), round((side - length) * y)
            area = (slice(None), slice(top, top + length), slice(left, left + length))
            result[row][area] = views[partner][area]
        shown[row, 1] = photos[partner]
    return result, shown
