"""How many dimensions features use."""

import torch
from torch import Tensor

__all__ = ["rankme"]


def rankme(features: Tensor) -> float:
    """exp of the entropy of the normalised singular values of `(B, D)` features (arXiv 2210.02885 section 3)."""
    values = torch.linalg.svdvals(features.double().cpu())
    shares = values / values.sum().clamp(min=1e-12) + 1e-12
    return float(torch.exp(-(shares * shares.log()).sum()))
