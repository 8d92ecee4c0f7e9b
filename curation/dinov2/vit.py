"""The vision transformer, with parameters named as in the official DINOv2 backbones so that those load as they are."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import torch
from timm.layers.patch_embed import PatchEmbed
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.init import normal_, trunc_normal_, zeros_

from curation.dinov2.blocks import Block
from curation.dinov2.depth import DropPathPlan
from curation.dinov2.layout import Layout

__all__ = ["ARCHITECTURES", "Features", "Shape", "VisionTransformer"]


@dataclass(frozen=True)
class Shape:
    """Width, depth and heads of an architecture."""

    width: int
    depth: int
    heads: int


ARCHITECTURES = {
    "vits": Shape(384, 12, 6),
    "vitb": Shape(768, 12, 12),
    "vitl": Shape(1024, 24, 16),
    "vith": Shape(1280, 32, 16),
    "vitg": Shape(1536, 40, 24),
}


@dataclass(frozen=True)
class Features:
    """Normalised output tokens of a batch of images of one size."""

    cls: Tensor
    """`(B, D)`"""
    registers: Tensor
    """`(B, registers, D)`"""
    patches: Tensor
    """`(B, N, D)`, row by row"""


class VisionTransformer(nn.Module):
    """ViT with LayerScale, an optional SwiGLU and registers (arXiv 2304.07193 appendix C, arXiv 2309.16588)."""

    def __init__(
        self,
        shape: Shape,
        *,
        image_size: int = 224,
        patch: int = 14,
        swiglu: bool = False,
        registers: int = 0,
        layerscale: float = 1e-5,
        antialias: bool = False,
        offset: float = 0.1,
    ) -> None:
        super().__init__()
        self.shape = shape
        self.patch = patch
        self.registers = registers
        self.antialias = antialias
        self.offset = offset
        width = shape.width
        self.patch_embed = PatchEmbed(image_size, patch, 3, width, strict_img_size=False)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, width))
        self.pos_embed = nn.Parameter(torch.zeros(1, 1 + (image_size // patch) ** 2, width))
        self.register_tokens = nn.Parameter(torch.zeros(1, registers, width)) if registers else None
        self.mask_token = nn.Parameter(torch.zeros(1, width))
        self.blocks = nn.ModuleList(
            Block(width, shape.heads, swiglu=swiglu, layerscale=layerscale) for _ in range(shape.depth)
        )
        self.norm = nn.LayerNorm(width, eps=1e-6)
        self.reset()

    def reset(self) -> None:
        """Draw fresh weights: linear layers and positions truncated normal of 0.02, biases and the mask token zero."""
        for module in self.blocks.modules():
            if isinstance(module, nn.Linear):
                trunc_normal_(module.weight, std=0.02)
                zeros_(module.bias)
        trunc_normal_(self.pos_embed, std=0.02)
        normal_(self.cls_token, std=1e-6)
        if self.register_tokens is not None:
            normal_(self.register_tokens, std=1e-6)

    @property
    def prefix(self) -> int:
        """Tokens before the first patch: the class token and the registers."""
        return 1 + self.registers

    def positions(self, height: int, width: int) -> Tensor:
        """Position embedding of a grid of `height` x `width` patches, `(1, 1 + height * width, D)`.

        Other grids than the own are interpolated bicubically by the scale factor (size + offset) / own size, the
        official arithmetic; `offset=0` asks for the size itself, as models with registers do.
        """
        own = math.isqrt(self.pos_embed.shape[1] - 1)
        if (height, width) == (own, own):
            return self.pos_embed
        table = self.pos_embed.float()
        grid = table[:, 1:].reshape(1, own, own, -1).permute(0, 3, 1, 2)
        if self.offset:
            factors = ((height + self.offset) / own, (width + self.offset) / own)
            grid = functional.interpolate(grid, scale_factor=factors, mode="bicubic", antialias=self.antialias)
        else:
            grid = functional.interpolate(grid, size=(height, width), mode="bicubic", antialias=self.antialias)
        assert grid.shape[-2:] == (height, width)
        return torch.cat([table[:, :1], grid.permute(0, 2, 3, 1).flatten(1, 2)], dim=1)

    def embed(self, images: Tensor, mask: Tensor | None = None) -> Tensor:
        """Tokens `(B, T, D)` of images `(B, 3, H, W)`; patches where `mask` `(B, N)` is true become the mask token."""
        batch, _, height, width = images.shape
        if height % self.patch or width % self.patch:
            raise ValueError(f"image sides must be multiples of the patch ({self.patch}), got {height}x{width}")
        x = self.patch_embed(images)
        if mask is not None:
            x = torch.where(mask.unsqueeze(-1), self.mask_token.to(x.dtype).unsqueeze(0), x)
        x = torch.cat([self.cls_token.expand(batch, -1, -1), x], dim=1)
        x = x + self.positions(height // self.patch, width // self.patch)
        if self.register_tokens is not None:
            x = torch.cat([x[:, :1], self.register_tokens.expand(batch, -1, -1), x[:, 1:]], dim=1)
        return x

    def layout(self, crops: Sequence[Tensor]) -> Layout:
        """Layout of the packed tokens of `crops`, each `(B, 3, H, W)`."""
        return Layout(
            tuple((len(x), self.prefix + (x.shape[-2] // self.patch) * (x.shape[-1] // self.patch)) for x in crops)
        )

    def forward_rows(
        self, crops: Sequence[Tensor], mask: Tensor | None, rows: Tensor, draw: DropPathPlan | None = None
    ) -> Tensor:
        """Normalised output of chosen token rows, `(len(rows), D)`, all crops in one packed pass.

        `mask` applies to the first of `crops`; `rows` (int64) counts packed rows of `layout(crops)`; `draw` has the
        kept images of stochastic depth. The last block is computed for `rows` alone: its other outputs have no use.
        """
        layout = self.layout(crops)
        tokens = [self.embed(images, mask if i == 0 else None) for i, images in enumerate(crops)]
        x = torch.cat([group.flatten(0, 1) for group in tokens])
        draws = draw if draw is not None else (None,) * len(self.blocks)
        *blocks, last = cast(list[Block], list(self.blocks))
        for block, kept in zip(blocks, draws[:-1], strict=True):
            x = block(x, layout) if kept is None else block.forward_some(x, layout, kept)
        out: Tensor = self.norm(last.forward_last(x, layout, rows, draws[-1]))
        return out

    def features(self, images: Tensor) -> Features:
        """All normalised tokens of `images` `(B, 3, H, W)`, without masks or stochastic depth."""
        layout = self.layout([images])
        x = self.embed(images).flatten(0, 1)
        for block in self.blocks:
            x = block(x, layout)
        x = self.norm(x).view(len(images), -1, self.shape.width)
        return Features(x[:, 0], x[:, 1 : self.prefix], x[:, self.prefix :])

    def forward(self, images: Tensor) -> Tensor:
        """Normalised class tokens `(B, D)`."""
        return self.features(images).cls
