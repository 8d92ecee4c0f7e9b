"""The transformer block, over packed rows. Parameter names are those of the official state dict."""

import torch
from timm.layers.layer_scale import LayerScale
from timm.layers.mlp import Mlp
from torch import Tensor, nn
from torch.nn import functional

from curation.dinov2.depth import BlockPlan
from curation.dinov2.layout import Layout

__all__ = ["Attention", "Block", "SwiGLU"]


class Attention(nn.Module):
    """Multi-head self-attention in which an image attends to itself alone."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        if dim % heads:
            raise ValueError(f"dim must be a multiple of heads, got {dim} and {heads}")
        self.heads = heads
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)

    def mix(self, x: Tensor, layout: Layout) -> Tensor:
        """Attention without the output projection; `(R, D)` to `(R, D)`, one kernel call per group."""
        mixed = []
        for group in layout.split(self.qkv(x)):
            images, tokens, width = group.shape
            q, k, v = group.view(images, tokens, 3, self.heads, width // (3 * self.heads)).permute(2, 0, 3, 1, 4)
            out = functional.scaled_dot_product_attention(q, k, v)
            mixed.append(out.transpose(1, 2).reshape(images * tokens, width // 3))
        return mixed[0] if len(mixed) == 1 else torch.cat(mixed)

    def forward(self, x: Tensor, layout: Layout) -> Tensor:
        """`(R, D)` to `(R, D)`."""
        out: Tensor = self.proj(self.mix(x, layout))
        return out


class SwiGLU(nn.Module):
    """Gated feed-forward `w3(silu(a) * b)` with `a, b = w12(x)`; hidden width 2/3, rounded up to a multiple of 8."""

    def __init__(self, dim: int, hidden: int) -> None:
        super().__init__()
        hidden = (int(hidden * 2 / 3) + 7) // 8 * 8
        self.w12 = nn.Linear(dim, 2 * hidden)
        self.w3 = nn.Linear(hidden, dim)

    def forward(self, x: Tensor) -> Tensor:
        """`(..., D)` to `(..., D)`."""
        gate, value = self.w12(x).chunk(2, dim=-1)
        out: Tensor = self.w3(functional.silu(gate) * value)
        return out


class Block(nn.Module):
    """Pre-norm attention and feed-forward, each scaled per channel and added to its input."""

    def __init__(self, dim: int, heads: int, *, swiglu: bool, layerscale: float) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(dim, eps=1e-6)
        self.attn = Attention(dim, heads)
        self.ls1 = LayerScale(dim, layerscale) if layerscale else nn.Identity()
        self.norm2 = nn.LayerNorm(dim, eps=1e-6)
        self.mlp = SwiGLU(dim, 4 * dim) if swiglu else Mlp(dim, 4 * dim)
        self.ls2 = LayerScale(dim, layerscale) if layerscale else nn.Identity()

    def attend(self, x: Tensor, layout: Layout) -> Tensor:
        """The first residual branch."""
        branch: Tensor = self.ls1(self.attn(self.norm1(x), layout))
        return branch

    def feed(self, x: Tensor) -> Tensor:
        """The second residual branch; rows do not see each other."""
        branch: Tensor = self.ls2(self.mlp(self.norm2(x)))
        return branch

    def forward(self, x: Tensor, layout: Layout) -> Tensor:
        """Packed rows `(R, D)` to `(R, D)`."""
        x = x + self.attend(x, layout)
        return x + self.feed(x)

    def forward_some(self, x: Tensor, layout: Layout, draw: BlockPlan) -> Tensor:
        """The same with stochastic depth: each branch only for the images that `draw` kept."""
        groups = layout.split(x)
        rows, kept = draw.attn.gather(groups)
        groups = draw.attn.add(groups, self.attend(rows, kept), kept)
        rows, kept = draw.mlp.gather(groups)
        groups = draw.mlp.add(groups, self.feed(rows), kept)
        return torch.cat([group.flatten(0, 1) for group in groups])

    def forward_last(self, x: Tensor, layout: Layout, rows: Tensor, draw: BlockPlan | None) -> Tensor:
        """Only `rows` of the output, `(len(rows), D)`: the other rows serve as keys and values and end there."""
        if draw is None:
            x_rows: Tensor = x[rows] + self.ls1(self.attn.proj(self.attn.mix(self.norm1(x), layout)[rows]))
            return x_rows + self.feed(x_rows)
        some, kept = draw.attn.gather(layout.split(x))
        mixed = self.attn.mix(self.norm1(some), kept)[draw.attn_rows.source]
        branch = self.ls1(self.attn.proj(mixed)) * draw.attn_rows.scale
        x_rows = x[rows].index_add(0, draw.attn_rows.hit, branch.to(x.dtype))
        branch = self.feed(x_rows[draw.mlp_rows.hit]) * draw.mlp_rows.scale
        return x_rows.index_add(0, draw.mlp_rows.hit, branch.to(x.dtype))
