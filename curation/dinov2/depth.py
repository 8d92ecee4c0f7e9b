"""Stochastic depth by batch subset: a residual branch is computed for the kept images only, and scaled up for them.

Every draw of a step is made beforehand, on the CPU, and handed to the forward pass. The pass itself is then a pure
function: it can be repeated (gradient accumulation, replay of a failed step) and compared (packed against separate).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from curation.dinov2.layout import Layout

__all__ = ["BlockPlan", "BranchImages", "DropPathPlan", "draw", "narrow"]


@dataclass(frozen=True)
class BranchImages:
    """The images that one residual branch of one block is computed for."""

    images: tuple[Tensor, ...]
    """Per group of the layout, the kept image numbers within the group, int64."""
    scales: tuple[float, ...]
    """Per group, images / kept images: what keeps the expectation of the residual."""

    def gather(self, groups: Sequence[Tensor]) -> tuple[Tensor, Layout]:
        """The kept images' tokens as packed rows, and their layout."""
        pieces = [group.index_select(0, kept) for group, kept in zip(groups, self.images, strict=True)]
        layout = Layout(tuple((piece.shape[0], piece.shape[1]) for piece in pieces))
        return torch.cat([piece.flatten(0, 1) for piece in pieces]), layout

    def add(self, groups: Sequence[Tensor], residual: Tensor, layout: Layout) -> list[Tensor]:
        """`groups` plus the scaled `residual` of the kept images; `layout` is the one that `gather` gave."""
        return [
            torch.index_add(group.flatten(1), 0, kept, piece.flatten(1).to(group.dtype), alpha=scale).view_as(group)
            for group, kept, piece, scale in zip(groups, self.images, layout.split(residual), self.scales, strict=True)
        ]

    def match(self, layout: Layout, rows: Tensor) -> "BranchRows":
        """Which of `rows` belong to kept images, and where `gather` puts them."""
        image, token = layout.image_of(rows)
        place = torch.full((sum(images for images, _ in layout.groups),), -1)
        scale = torch.zeros(len(place))
        first, start = 0, 0
        for (images, tokens), kept, factor in zip(layout.groups, self.images, self.scales, strict=True):
            place[first + kept] = start + tokens * torch.arange(len(kept))
            scale[first + kept] = factor
            first, start = first + images, start + tokens * len(kept)
        hit = (place[image] >= 0).nonzero().flatten()
        return BranchRows(hit, place[image[hit]] + token[hit], scale[image[hit]].unsqueeze(1))

    def to(self, device: torch.device) -> "BranchImages":
        """The same on `device`."""
        return BranchImages(tuple(kept.to(device, non_blocking=True) for kept in self.images), self.scales)


@dataclass(frozen=True)
class BranchRows:
    """A `BranchImages` narrowed to chosen rows, for the last block."""

    hit: Tensor
    """Positions among the chosen rows that get the residual."""
    source: Tensor
    """For each of them, its row among the gathered rows."""
    scale: Tensor
    """`(hits, 1)` float32."""

    def to(self, device: torch.device) -> "BranchRows":
        """The same on `device`."""
        return BranchRows(
            *(tensor.to(device, non_blocking=True) for tensor in (self.hit, self.source, self.scale))  # one per field
        )


@dataclass(frozen=True)
class BlockPlan:
    """The draws of one block."""

    attn: BranchImages
    mlp: BranchImages
    attn_rows: BranchRows
    mlp_rows: BranchRows

    def to(self, device: torch.device) -> "BlockPlan":
        """The same on `device`."""
        return BlockPlan(self.attn.to(device), self.mlp.to(device), self.attn_rows.to(device), self.mlp_rows.to(device))


DropPathPlan = tuple[BlockPlan | None, ...]
"""One entry per block; None where a block drops nothing."""


def draw(rates: Sequence[float], layout: Layout, rows: Tensor, generator: torch.Generator) -> DropPathPlan:
    """Choose the kept images of every block: int(images x (1 - rate)) of each group, at least one.

    `rates` has the drop rate in [0, 1) of each block, `rows` the packed rows that the last block is wanted for.
    """
    none = torch.zeros(0, dtype=torch.long)
    result: list[BlockPlan | None] = []
    for block, rate in enumerate(rates):
        if rate == 0:
            result.append(None)
            continue
        attn, mlp = (_keep(rate, layout, generator) for _ in range(2))
        wanted = rows if block == len(rates) - 1 else none
        result.append(BlockPlan(attn, mlp, attn.match(layout, wanted), mlp.match(layout, wanted)))
    return tuple(result)


def narrow(draws: DropPathPlan, layout: Layout, rows: Tensor) -> DropPathPlan:
    """The same draws for the first group alone, whose `layout` is given; `rows` as in `draw`."""
    none = torch.zeros(0, dtype=torch.long)
    result: list[BlockPlan | None] = []
    for block, entry in enumerate(draws):
        if entry is None:
            result.append(None)
            continue
        device = entry.attn.images[0].device
        attn, mlp = (BranchImages((kept.images[0].cpu(),), kept.scales[:1]) for kept in (entry.attn, entry.mlp))
        wanted = rows if block == len(draws) - 1 else none
        result.append(BlockPlan(attn, mlp, attn.match(layout, wanted), mlp.match(layout, wanted)).to(device))
    return tuple(result)


def _keep(rate: float, layout: Layout, generator: torch.Generator) -> BranchImages:
    images, scales = [], []
    for count, _ in layout.groups:
        keep = min(count, max(1, int(count * (1 - rate))))
        images.append(torch.randperm(count, generator=generator)[:keep])
        scales.append(count / max(1, keep))
    return BranchImages(tuple(images), tuple(scales))
