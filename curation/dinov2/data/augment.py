"""Views of an image: random resized crops, colour jitter, blur, solarisation (arXiv 2304.07193 appendix B.1).

Equal in distribution to the official transforms, at a fraction of their time: crops are resized by torchvision's
vectorised 8-bit kernel, colours are changed on planes in place, the blur is separable, and pixels stay 8-bit until
they are normalised on the training device.
"""

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from curation.dinov2.config import AugmentConfig, CropConfig
from curation.dinov2.data import colour

__all__ = ["Augmentation", "Views", "crop_box", "resized_crop"]

RATIO = (math.log(3 / 4), math.log(4 / 3))
BLUR_PROBABILITY = {"official": (0.0, 0.9, 0.5), "paper": (1.0, 0.1, 0.5)}
Box = tuple[int, int, int, int]


@dataclass(frozen=True)
class Views:
    """The views of one image, uint8."""

    globals_: Tensor
    """`(2, 3, G, G)`"""
    locals_: Tensor
    """`(L, 3, S, S)`"""


class Augmentation:
    """Makes the views of an image; all randomness comes from the generator that is passed in."""

    def __init__(
        self, crops: CropConfig, recipe: Literal["official", "paper"], changes: AugmentConfig | None = None
    ) -> None:
        self.crops = crops
        self.changes = changes or AugmentConfig()
        self.blur = tuple(self.changes.blur * probability for probability in BLUR_PROBABILITY[recipe])

    @property
    def enough(self) -> int:
        """Shorter side of an image in pixels from which no crop is ever enlarged, whatever its place and shape."""
        c = self.crops
        smallest = [(c.global_size, c.global_scale[0])] + [(c.local_size, c.local_scale[0])] * (c.local_count > 0)
        return math.ceil(max(size / math.sqrt(max(scale, 1e-3) * 3 / 4) for size, scale in smallest))

    def __call__(self, pixels: np.ndarray, rng: np.random.Generator) -> Views:
        """Views of `pixels` `(H, W, 3)` uint8."""
        image = torch.from_numpy(pixels if pixels.flags.writeable else pixels.copy()).permute(2, 0, 1)
        c = self.crops
        globals_ = [
            self._view(image, c.global_size, c.global_scale, self.blur[view], self.changes.solarise * view, rng)
            for view in range(2)
        ]
        locals_ = [self._view(image, c.local_size, c.local_scale, self.blur[2], 0.0, rng) for _ in range(c.local_count)]
        empty = torch.empty(0, 3, c.local_size, c.local_size, dtype=torch.uint8)
        return Views(torch.stack(globals_), torch.stack(locals_) if locals_ else empty)

    def _view(
        self,
        image: Tensor,
        size: int,
        scale: tuple[float, float],
        blur: float,
        solarise: float,
        rng: np.random.Generator,
    ) -> Tensor:
        crop = resized_crop(image, crop_box(image.shape[1], image.shape[2], scale, rng), size)
        if rng.random() < self.changes.flip:
            crop = crop.flip(-1)
        planes = crop.to(torch.float32, memory_format=torch.contiguous_format).numpy()
        if rng.random() < self.changes.jitter:
            _jitter(planes, rng)
        if rng.random() < self.changes.grey:
            colour.grey(planes)
        if rng.random() < blur:
            colour.blur(planes, rng.uniform(0.1, 2.0))
        if rng.random() < solarise:
            colour.solarise(planes)
        return torch.from_numpy(planes).to(torch.uint8)


def _jitter(planes: np.ndarray, rng: np.random.Generator) -> None:
    brightness, contrast = rng.uniform(0.6, 1.4, 2)
    saturation, turn = rng.uniform(0.8, 1.2), rng.uniform(-0.1, 0.1)
    steps = (
        (colour.brighten, brightness),
        (colour.contrast, contrast),
        (colour.saturate, saturation),
        (colour.rotate_hue, turn),
    )
    for number in rng.permutation(4):
        change, amount = steps[number]
        change(planes, float(amount))


def crop_box(height: int, width: int, scale: tuple[float, float], rng: np.random.Generator) -> Box:
    """(top, left, height, width) of a box with a uniform share of the area and a log-uniform aspect of 3/4 to 4/3.

    After ten boxes that do not fit, the largest centred one with an allowed aspect.
    """
    for _ in range(10):
        area = height * width * rng.uniform(*scale)
        aspect = math.exp(rng.uniform(*RATIO))
        w, h = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
        if 0 < w <= width and 0 < h <= height:
            return int(rng.integers(height - h + 1)), int(rng.integers(width - w + 1)), h, w
    h, w = height, width
    if width / height < 3 / 4:
        h = min(height, max(1, round(width * 4 / 3)))
    elif width / height > 4 / 3:
        w = min(width, max(1, round(height * 4 / 3)))
    return (height - h) // 2, (width - w) // 2, h, w


def resized_crop(image: Tensor, box: Box, size: int) -> Tensor:
    """`(3, size, size)` uint8 of the box of `image` `(3, H, W)` uint8: bicubic with antialiasing."""
    top, left, height, width = box
    crop = image[None, :, top : top + height, left : left + width]
    out = functional.interpolate(crop, size=(size, size), mode="bicubic", antialias=True, align_corners=False)
    return out[0]
