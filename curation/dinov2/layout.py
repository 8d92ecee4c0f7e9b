"""Crops of several sizes as one run of token rows, so that every matrix product sees all of them at once."""

from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["Layout"]


@dataclass(frozen=True)
class Layout:
    """How packed rows `(R, D)` divide into groups of images with equal token counts."""

    groups: tuple[tuple[int, int], ...]
    """(images, tokens per image) of each group, in row order."""

    def split(self, packed: Tensor) -> list[Tensor]:
        """Views of `packed` `(R, C)` as one `(images, tokens, C)` per group."""
        sizes = [images * tokens for images, tokens in self.groups]
        return [
            piece.view(images, tokens, piece.shape[-1])
            for piece, (images, tokens) in zip(torch.split(packed, sizes), self.groups, strict=True)
        ]

    def class_rows(self) -> Tensor:
        """Row of every image's class token, `(images in all groups,)` int64, in row order."""
        tokens = torch.cat([torch.full((images,), tokens) for images, tokens in self.groups])
        return tokens.cumsum(0) - tokens

    def image_of(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Image number over all groups, and token number inside the image, of each row; `rows` is int64 on the CPU."""
        starts = self.class_rows()
        image = torch.searchsorted(starts, rows.contiguous(), right=True) - 1
        return image, rows - starts[image]
