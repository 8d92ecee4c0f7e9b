"""A model's preprocessing as timm defines it, with nothing computed that is then cut away.

timm resizes a whole image, cuts the middle out, makes floats of it and normalises them, one image at a time. Here only
the middle is resized, bytes are stacked, and one product normalises a batch where the model is. Pixels are the same
but for a resize's last rounding; images longer than 5:1 may differ more where a filter overshoots, since Pillow takes
lengths and widths of what it resizes into account when it chooses which goes first.
"""

import math
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from functools import partial
from typing import Any

import numpy as np
import torch
from PIL import Image
from timm.data.transforms_factory import create_transform

from curation.arrays import UInt8Array

__all__ = ["Preprocessing"]

Box = tuple[float, float, float, float]
RESAMPLING = {
    "bicubic": Image.Resampling.BICUBIC,
    "bilinear": Image.Resampling.BILINEAR,
    "lanczos": Image.Resampling.LANCZOS,
}


class Preprocessing:
    """Images of any size to a model's input.

    Args:
        data: what `timm.data.resolve_data_config` says of the model. Square inputs cut from the middle (`crop_mode:
            center`), which nearly all models take, are made here; for others timm's own transform is called.
    """

    def __init__(self, data: Mapping[str, Any]) -> None:
        _, height, width = data["input_size"]
        self._side = int(width)
        self._scaled = math.floor(width / data["crop_pct"])
        self._filter = RESAMPLING.get(data["interpolation"])
        if height != width or data.get("crop_mode", "center") != "center" or self._scaled < width:
            self._filter = None
        self._transform = create_transform(**data)
        scale = 255.0 * torch.tensor(data["std"])
        self._scale = (1.0 / scale).view(1, 3, 1, 1)
        self._shift = (-torch.tensor(data["mean"]) * 255.0 / scale).view(1, 3, 1, 1)

    def __call__(self, images: Sequence[UInt8Array], device: torch.device, threads: int = 1) -> torch.Tensor:
        """N (H, W, 3) uint8 RGB images as (N, 3, S, S) float32 on a device, in channels-last memory; resized by so many
        threads, which Pillow lets run beside one another."""
        if self._filter is None:
            pixels = torch.stack([self._transform(Image.fromarray(image)) for image in images])
            return pixels.to(device, memory_format=torch.channels_last)
        squares = np.empty((len(images), self._side, self._side, 3), np.uint8)
        resized = partial(self._square, resampling=self._filter)
        with ThreadPoolExecutor(threads) if threads > 1 else nullcontext() as pool:
            for at, square in enumerate(pool.map(resized, images) if pool else map(resized, images)):
                squares[at] = np.asarray(square)
        pixels = torch.from_numpy(squares).to(device).permute(0, 3, 1, 2).float()
        return pixels.mul_(self._scale.to(device)).add_(self._shift.to(device))

    def _square(self, image: UInt8Array, resampling: Image.Resampling) -> Image.Image:
        """(H, W, 3) to (S, S, 3): the middle of the image, resized so that its shorter side is the scaled one."""
        height, width = image.shape[:2]
        short = min(height, width)
        size = (self._scaled * width // short, self._scaled * height // short)  # as torchvision rounds it: down
        box = (*_middle(width, size[0], self._side), *_middle(height, size[1], self._side))
        whole: Box = (box[0], box[2], box[1], box[3])
        return Image.fromarray(image).resize((self._side, self._side), resampling, box=whole)


def _middle(length: int, scaled: int, side: int) -> tuple[float, float]:
    """Where the middle `side` pixels of a side scaled from `length` to `scaled` come from."""
    start = round((scaled - side) / 2.0)  # as torchvision's centre crop
    return start * length / scaled, min(float(length), (start + side) * length / scaled)
