"""Stochastic depth by batch subset: a residual branch is computed for the kept images only, and scaled up for them.

Every draw of a step is made beforehand, on the CPU, and handed to the forward pass. The pass itself is then a pure
function: it can be repeated (gradient accumulation, replay of a failed step) and compared (packed against separate).
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from curation.dinov2.layout import Layout

__all__ = ["BlockPlan", "BranchImages", "DropPathPlan", "draw", "narrow"]


class BranchImages(NamedTuple):
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


class BranchRows(NamedTuple):
    """A `BranchImages` narrowed to chosen rows, for the last block."""

    hit: Tensor
    """Positions among the chosen rows that get the residual."""
    source: Tensor
    """For each of them, its row among the gathered rows."""
    scale: Tensor
    """`(hits, 1)` float32."""


class BlockPlan(NamedTuple):
    """The draws of one block."""

    attn: BranchImages
    mlp: BranchImages
    attn_rows: BranchRows
    mlp_rows: BranchRows


DropPathPlan = tuple[BlockPlan | None, ...]
"""One entry per block; None where a block drops nothing."""


def draw(rates: Sequence[float], layout: Layout, rows: Tensor, generator: torch.Generator) -> DropPathPlan:
    """Choose the kept images of every block: int(images x (1 - rate)) of each group, at least one.

    `rates` has the drop rate in [0, 1) of each block, `rows` the packed rows that the last block is wanted for.
    """
    branches = [
        (_keep(rate, layout, generator), _keep(rate, layout, generator)) if rate else None  # attention, feed-forward
        for rate in rates
    ]
    return _planned(branches, layout, rows)


def narrow(draws: DropPathPlan, layout: Layout, rows: Tensor) -> DropPathPlan:
    """The same draws for the first group alone, on the CPU; `layout` is that group's, `rows` as in `draw`."""

    def first(kept: BranchImages) -> BranchImages:
        return BranchImages((kept.images[0].cpu(),), kept.scales[:1])

    return _planned([block and (first(block.attn), first(block.mlp)) for block in draws], layout, rows)


def _planned(
    branches: Sequence[tuple[BranchImages, BranchImages] | None], layout: Layout, rows: Tensor
) -> DropPathPlan:
    """Plans of all blocks: of the last one, for `rows`."""
    wanted = [rows[:0]] * (len(branches) - 1) + [rows]
    return tuple(
        kept and BlockPlan(*kept, kept[0].match(layout, chosen), kept[1].match(layout, chosen))
        for kept, chosen in zip(branches, wanted, strict=True)
    )


def _keep(rate: float, layout: Layout, generator: torch.Generator) -> BranchImages:
    images, scales = [], []
    for count, _ in layout.groups:
        keep = min(count, max(1, int(count * (1 - rate))))
        images.append(torch.randperm(count, generator=generator)[:keep])
        scales.append(count / max(1, keep))
    return BranchImages(tuple(images), tuple(scales))
