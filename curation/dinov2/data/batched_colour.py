"""Colour operations on a batch `(N, 3, H, W)` float32 with whole values in 0..255, each image by its own amount.

The counterparts of `curation.dinov2.data.colour`, with the same formulas and whole values after each; new tensors. They
run where `x` is, and amounts `(N,)` are of its device too.
"""

import numpy as np
import torch
from torch import Tensor

from curation.dinov2.data.colour import LUMA

__all__ = ["blur", "brighten", "contrast", "grey", "rotate_hue", "saturate", "solarise"]


def brighten(x: Tensor, factor: Tensor) -> Tensor:
    """Multiply by `factor`."""
    return _settle(x * _each(factor))


def contrast(x: Tensor, factor: Tensor) -> Tensor:
    """Scale the distance from the image's mean luma by `factor`."""
    mean = _luma(x).mean(dim=(1, 2, 3), keepdim=True).add_(0.5).floor_()
    return _settle(x * _each(factor) + (1 - _each(factor)) * mean)


def saturate(x: Tensor, factor: Tensor) -> Tensor:
    """Scale the distance from each pixel's luma by `factor`."""
    return _settle(x * _each(factor) + _luma(x) * (1 - _each(factor)))


def grey(x: Tensor) -> Tensor:
    """Replace the channels by the luma."""
    return _luma(x).expand_as(x)


def solarise(x: Tensor) -> Tensor:
    """Invert values from 128 on."""
    return torch.where(x >= 128, 255 - x, x)


def rotate_hue(x: Tensor, turn: Tensor) -> Tensor:
    """Turn the hue by `turn` (1 is a full circle); largest and smallest channel of a pixel keep their values."""
    red, green, blue = x.unbind(1)
    top = x.amax(dim=1)
    chroma = top - x.amin(dim=1)
    scale = 1 / chroma.clamp(min=1e-6)
    hue = torch.where(
        top == red,
        (green - blue) * scale,
        torch.where(top == green, (blue - red) * scale + 2, (red - green) * scale + 4),
    )
    hue = hue + (6 * turn + 6)[:, None, None]
    offsets = torch.tensor([5.0, 3.0, 1.0], device=x.device)[:, None, None]
    k = hue[:, None] + offsets
    k = k - 6 * (k * (1 / 6)).floor()
    k = torch.minimum(k, 4 - k).clamp_(0, 1)
    return _settle(top[:, None] - k * chroma[:, None] + 0.5)


def blur(x: Tensor, weights: Tensor) -> Tensor:
    """Separable symmetric filter with mirrored edges; `weights` `(N, R + 1)` are an image's by distance."""
    for axis in (2, 3):
        x = _filter(x, weights, axis)
    return _settle(x + 0.5)


def _filter(x: Tensor, weights: Tensor, axis: int) -> Tensor:
    radius, length = weights.shape[1] - 1, x.shape[axis]
    mirrored = torch.from_numpy(np.pad(np.arange(length), radius, mode="reflect")).to(x.device)
    padded = x.index_select(axis, mirrored)
    out = x * _each(weights[:, 0])
    for distance in range(1, radius + 1):
        before, after = (padded.narrow(axis, radius + by, length) for by in (-distance, distance))
        out += (before + after).mul_(_each(weights[:, distance]))
    return out


def _luma(x: Tensor) -> Tensor:
    weights = torch.from_numpy(LUMA).to(x.device)[:, None, None]
    return (x * weights).sum(dim=1, keepdim=True).add_(0.5).floor_()


def _each(amounts: Tensor) -> Tensor:
    return amounts[:, None, None, None]


def _settle(x: Tensor) -> Tensor:
    return x.clamp_(0, 255).floor_()
