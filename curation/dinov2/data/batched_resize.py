"""Crops of pictures of any sizes, all resized to one size together.

A separable resampling filter is a matrix for each side of a crop. So the resized crop is two matrix products, and
crops are a batch of them, padded with zero weights to the largest. The filter is Pillow's and torchvision's: Keys's
cubic with a = -1/2, widened by the factor of reduction against aliasing, renormalised where the crop ends.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from curation.dinov2.data.plan import Box

__all__ = ["Crop", "Pictures", "filters"]

AT_ONCE = 2**23
"""Pixels of crops, with their padding, that are worked on together: about 300 MiB."""


@dataclass(frozen=True)
class Crop:
    """A box of one picture, mirrored or not."""

    picture: int
    box: Box
    flip: bool


class Pictures:
    """Pictures of any sizes on a device, laid end to end, and their crops."""

    def __init__(self, pictures: Sequence[Tensor], device: torch.device) -> None:
        """`pictures` are `(H, W, 3)` uint8, on the CPU. They reach the device in one transfer."""
        areas = [picture.shape[0] * picture.shape[1] for picture in pictures]
        flat = torch.empty(sum(areas), 3, dtype=torch.uint8, pin_memory=device.type == "cuda")
        self.starts = [sum(areas[:number]) for number in range(len(areas))]
        for start, area, picture in zip(self.starts, areas, pictures, strict=True):
            flat[start : start + area] = picture.reshape(-1, 3)
        self.pixels = flat.to(device, non_blocking=True)
        self.widths = [picture.shape[1] for picture in pictures]

    def crops(self, crops: Sequence[Crop], size: int) -> Tensor:
        """`(N, 3, size, size)` float32 with whole values in 0..255 of N crops."""
        largest = max(c.box[2] for c in crops) * max(c.box[3] for c in crops)
        step = max(1, AT_ONCE // largest)
        return torch.cat([self._resized(crops[at : at + step], size) for at in range(0, len(crops), step)])

    def _resized(self, crops: Sequence[Crop], size: int) -> Tensor:
        device = self.pixels.device
        numbers = [(self.starts[c.picture], self.widths[c.picture], *c.box, c.flip) for c in crops]
        start, width, top, left, h, w, flip = torch.tensor(numbers).T.to(device)
        high, wide = max(c.box[2] for c in crops), max(c.box[3] for c in crops)
        # beyond its end a crop's last pixel is repeated, with weight 0
        rows = top[:, None] + torch.arange(high, device=device).minimum(h[:, None] - 1)
        columns = left[:, None] + torch.arange(wide, device=device).minimum(w[:, None] - 1)
        places = (start[:, None] + rows * width[:, None])[:, :, None] + columns[:, None]
        x = self.pixels[places].float()
        # as the 8-bit kernel on the CPU: along the rows first, whole values in between
        x = _settle(torch.einsum("nhwc,nsw->nchs", x, filters(w, size, wide, flip.bool())))
        return _settle(torch.einsum("nths,nrh->ntrs", x, filters(h, size, high)))


def filters(lengths: Tensor, size: int, longest: int, flip: Tensor | None = None) -> Tensor:
    """Weights `(N, size, longest)` float32 that resize N signals of `lengths` to `size` samples; rows sum to 1.

    Signals with `flip` are mirrored.
    """
    places = torch.arange(size, device=lengths.device) + 0.5
    centres = (lengths / size)[:, None] * places
    if flip is not None:
        centres = torch.where(flip[:, None], centres.flip(1), centres)
    samples = torch.arange(longest, device=lengths.device)
    widening = (lengths / size).clamp(min=1)[:, None, None]
    weights = _cubic((samples + 0.5 - centres[:, :, None]) / widening)
    weights = weights * (samples < lengths[:, None])[:, None]
    return weights / weights.sum(dim=2, keepdim=True)


def _cubic(t: Tensor) -> Tensor:
    t = t.abs()
    near = (1.5 * t - 2.5) * t * t + 1
    far = ((2.5 - 0.5 * t) * t - 4) * t + 2
    return torch.where(t < 1, near, torch.where(t < 2, far, torch.zeros_like(t)))


def _settle(x: Tensor) -> Tensor:
    return x.add(0.5).floor_().clamp_(0, 255)
