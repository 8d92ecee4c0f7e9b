"""Views of an image, made by the process that decoded it.

Equal in distribution to the official transforms, at a fraction of their time: crops are resized by torchvision's
vectorised 8-bit kernel, colours are changed on planes in place, the blur is separable, and pixels stay 8-bit until
they are normalised on the training device.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from curation.dinov2.data import colour
from curation.dinov2.data.plan import Box, Change, Plan, Planner

__all__ = ["Augmentation", "Views", "resized_crop"]

CHANGES: dict[Change, Callable[[np.ndarray, float], None]] = {
    "brightness": colour.brighten,
    "contrast": colour.contrast,
    "saturation": colour.saturate,
    "hue": colour.rotate_hue,
}


class Views(NamedTuple):
    """The views of one image, uint8."""

    globals_: Tensor
    """`(2, 3, G, G)`"""
    locals_: Tensor
    """`(L, 3, S, S)`"""


class Augmentation:
    """Makes the views of an image; all randomness comes from the generator that is passed in."""

    def __init__(self, planner: Planner) -> None:
        self.planner = planner

    def __call__(self, pixels: np.ndarray, rng: np.random.Generator) -> Views:
        """Views of `pixels` `(H, W, 3)` uint8."""
        image = torch.from_numpy(pixels if pixels.flags.writeable else pixels.copy()).permute(2, 0, 1)
        plans = self.planner(image.shape[1], image.shape[2], rng)
        c = self.planner.crops
        globals_ = [_view(image, plan, c.global_size) for plan in plans[:2]]
        locals_ = [_view(image, plan, c.local_size) for plan in plans[2:]]
        empty = torch.empty(0, 3, c.local_size, c.local_size, dtype=torch.uint8)
        return Views(torch.stack(globals_), torch.stack(locals_) if locals_ else empty)

    def gather(self, images: Sequence[Views]) -> tuple[Tensor, Tensor]:
        """Views of B images as `(2, B, 3, G, G)` and `(L, B, 3, S, S)`, uint8."""
        globals_, locals_ = (torch.stack(views, dim=1) for views in zip(*images, strict=True))
        return globals_, locals_


def _view(image: Tensor, plan: Plan, size: int) -> Tensor:
    crop = resized_crop(image, plan.box, size)
    if plan.flip:
        crop = crop.flip(-1)
    planes = crop.to(torch.float32, memory_format=torch.contiguous_format).numpy()
    for name, amount in plan.jitter:
        CHANGES[name](planes, amount)
    if plan.grey:
        colour.grey(planes)
    if plan.blur is not None:
        colour.blur(planes, plan.blur)
    if plan.solarise:
        colour.solarise(planes)
    return torch.from_numpy(planes).to(torch.uint8)


def resized_crop(image: Tensor, box: Box, size: int) -> Tensor:
    """`(3, size, size)` uint8 of the box of `image` `(3, H, W)` uint8: bicubic with antialiasing."""
    top, left, height, width = box
    crop = image[None, :, top : top + height, left : left + width]
    out = functional.interpolate(crop, size=(size, size), mode="bicubic", antialias=True, align_corners=False)
    return out[0]
