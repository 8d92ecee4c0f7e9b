"""Views of all images of a batch, made together where the model is (`augment.device: model`).

Workers decode and draw the plans; the pictures go to the device in one transfer. There each step is done at once for
all views that have it. Plans are those of the CPU's path, and so are pixels but for rounding.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from curation.dinov2.data import batched_colour
from curation.dinov2.data.batched_resize import Crop, Pictures
from curation.dinov2.data.colour import gaussian
from curation.dinov2.data.plan import Change, Plan, Planner

__all__ = ["BatchedAugmentation", "Planned", "change_colours", "reduced"]

CHANGES: dict[Change, Callable[[Tensor, Tensor], Tensor]] = {
    "brightness": batched_colour.brighten,
    "contrast": batched_colour.contrast,
    "saturation": batched_colour.saturate,
    "hue": batched_colour.rotate_hue,
}


@dataclass(frozen=True)
class Planned:
    """One image and what is to be done to it."""

    pixels: Tensor
    """`(H, W, 3)` uint8: the part of the image that any view shows."""
    plans: list[Plan]
    """Of the two global views, then of the local ones; boxes are of `pixels`."""


class BatchedAugmentation:
    """Makes the views of a batch of images on `device`."""

    def __init__(self, planner: Planner, device: torch.device) -> None:
        self.planner = planner
        self.device = device

    def __call__(self, pixels: np.ndarray, rng: np.random.Generator) -> Planned:
        """The plans of `pixels` `(H, W, 3)` uint8, and what of it they need; all randomness is the generator's."""
        side = max(self.planner.crops.global_size, self.planner.crops.local_size)
        pixels = reduced(pixels, area=self.planner.enough**2, side=side)
        return _trimmed(pixels, self.planner(pixels.shape[0], pixels.shape[1], rng))

    def gather(self, images: Sequence[Planned]) -> tuple[Tensor, Tensor]:
        """Views of B images as `(2, B, 3, G, G)` and `(L, B, 3, S, S)`, uint8 on the device."""
        pictures = Pictures([image.pixels for image in images], self.device)
        c, plans = self.planner.crops, [image.plans for image in images]
        globals_ = self._views(pictures, plans, range(2), c.global_size)
        return globals_, self._views(pictures, plans, range(2, 2 + c.local_count), c.local_size)

    def _views(self, pictures: Pictures, plans: list[list[Plan]], views: range, size: int) -> Tensor:
        if not views:
            return torch.empty(0, len(plans), 3, size, size, dtype=torch.uint8, device=self.device)
        chosen = [(number, image[view]) for view in views for number, image in enumerate(plans)]
        x = pictures.crops([Crop(number, plan.box, plan.flip) for number, plan in chosen], size)
        x = change_colours(x, [plan for _, plan in chosen])
        return x.to(torch.uint8).view(len(views), len(plans), 3, size, size)


def reduced(pixels: np.ndarray, *, area: int, side: int) -> np.ndarray:
    """`pixels` `(H, W, 3)` averaged over squares as large as leave at least `area` pixels and `side` of each side."""
    height, width = pixels.shape[:2]
    factor = min(math.isqrt(height * width // area), min(height, width) // side)
    return np.asarray(Image.fromarray(pixels).reduce(factor)) if factor > 1 else pixels


def _trimmed(pixels: np.ndarray, plans: list[Plan]) -> Planned:
    """Without the rows and columns that no view shows, which is most of a very long image."""
    boxes = np.array([plan.box for plan in plans])
    top, left = boxes[:, 0].min(), boxes[:, 1].min()
    bottom, right = (boxes[:, 0] + boxes[:, 2]).max(), (boxes[:, 1] + boxes[:, 3]).max()
    shown = np.array(pixels[top:bottom, left:right], order="C")  # a copy: of a strip, not the whole image behind it
    boxes -= [top, left, 0, 0]
    moved = [replace(plan, box=tuple(box)) for plan, box in zip(plans, boxes.tolist(), strict=True)]
    return Planned(torch.from_numpy(shown), moved)


def change_colours(x: Tensor, plans: Sequence[Plan]) -> Tensor:
    """Views `(N, 3, H, W)` after all steps of their plans but the crop and the flip; `x` is overwritten.

    Float32 with whole values in 0..255.
    """
    for position in range(len(CHANGES)):
        for name, change in CHANGES.items():
            here = {row: plan.jitter[position] for row, plan in enumerate(plans) if plan.jitter}
            _change(x, {row: amount for row, (kind, amount) in here.items() if kind == name}, change)
    grey = [row for row, plan in enumerate(plans) if plan.grey]
    x[grey] = batched_colour.grey(x[grey])
    kernels = {row: gaussian(plan.blur) for row, plan in enumerate(plans) if plan.blur is not None}
    taps = max((len(kernel) for kernel in kernels.values()), default=1)
    padded = {row: np.pad(kernel, (0, taps - len(kernel))) for row, kernel in kernels.items()}
    _change(x, padded, batched_colour.blur)
    solarise = [row for row, plan in enumerate(plans) if plan.solarise]
    x[solarise] = batched_colour.solarise(x[solarise])
    return x


def _change(x: Tensor, amounts: Mapping[int, float | np.ndarray], change: Callable[[Tensor, Tensor], Tensor]) -> None:
    """Replace those rows of `x` that have an amount."""
    if amounts:
        rows = torch.tensor(list(amounts), device=x.device)
        values = torch.from_numpy(np.array(list(amounts.values()), dtype=np.float32)).to(x.device)
        x[rows] = change(x[rows], values)
