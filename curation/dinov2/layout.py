"""Crops of several sizes as one run of token rows, so that every matrix product sees all of them at once."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["Layout"]


@dataclass(frozen=True)
class Layout:
    """How packed rows `(R, D)` divide into groups of images with equal token counts."""

    groups: tuple[tuple[int, int], ...]
    """(images, tokens per image) of each group, in row order."""

    @property
    def rows(self) -> int:
        """Token rows in all groups together."""
        return sum(images * tokens for images, tokens in self.groups)

    def starts(self) -> list[int]:
        """First row of each group."""
        starts, row = [], 0
        for images, tokens in self.groups:
            starts.append(row)
            row += images * tokens
        return starts

    def split(self, packed: Tensor) -> list[Tensor]:
        """Views of `packed` `(R, C)` as one `(images, tokens, C)` per group."""
        sizes = [images * tokens for images, tokens in self.groups]
        return [
            piece.view(images, tokens, piece.shape[-1])
            for piece, (images, tokens) in zip(torch.split(packed, sizes), self.groups, strict=True)
        ]

    def class_rows(self) -> Tensor:
        """Row of every image's class token, `(images in all groups,)` int64, in row order."""
        return torch.cat(
            [
                start + tokens * torch.arange(images)
                for start, (images, tokens) in zip(self.starts(), self.groups, strict=True)
            ]
        )

    def image_of(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Image number over all groups, and token number inside the image, of each row; `rows` is int64 on the CPU."""
        image = torch.cat(
            [
                torch.arange(images).repeat_interleave(tokens) + first
                for first, (images, tokens) in zip(self._first_images(), self.groups, strict=True)
            ]
        )
        token = torch.cat([torch.arange(tokens).repeat(images) for images, tokens in self.groups])
        return image[rows], token[rows]

    def _first_images(self) -> Sequence[int]:
        firsts, image = [], 0
        for images, _ in self.groups:
            firsts.append(image)
            image += images
        return firsts
