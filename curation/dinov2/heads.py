"""The projection head: an MLP, unit length, then scores against prototypes (arXiv 2304.07193 section 4)."""

import itertools

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.init import kaiming_uniform_, trunc_normal_, zeros_

__all__ = ["Head", "Prototypes"]


class Prototypes(nn.Module):
    """A linear layer without bias whose rows are `g * v / |v|`; `g` starts at 1 and is trained."""

    def __init__(self, dim: int, count: int) -> None:
        super().__init__()
        self.weight_g = nn.Parameter(torch.ones(count, 1))
        self.weight_v = nn.Parameter(torch.empty(count, dim))
        kaiming_uniform_(self.weight_v, a=5**0.5)

    def forward(self, x: Tensor) -> Tensor:
        """Scores `(..., count)` of `x` `(..., dim)`."""
        return functional.linear(x, torch._weight_norm(self.weight_v, self.weight_g, 0))


class Head(nn.Module):
    """`(R, D)` features to `(R, prototypes)` logits."""

    def __init__(self, dim: int, prototypes: int, *, hidden: int, bottleneck: int, layers: int) -> None:
        super().__init__()
        sizes = [dim, *[hidden] * (layers - 1), bottleneck]
        linears = [nn.Linear(a, b) for a, b in itertools.pairwise(sizes)]
        for linear in linears:
            trunc_normal_(linear.weight, std=0.02)
            zeros_(linear.bias)
        modules = [module for linear in linears for module in (linear, nn.GELU())][:-1]
        self.mlp = linears[0] if layers == 1 else nn.Sequential(*modules)
        self.last_layer = Prototypes(bottleneck, prototypes)

    def forward(self, x: Tensor) -> Tensor:
        """Cosine-like scores: inputs of the last layer have unit length."""
        logits: Tensor = self.last_layer(functional.normalize(self.mlp(x), dim=-1, eps=1e-12))
        return logits
