"""The views of a batch of images, as the objective takes them."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["Batch", "normalise"]

MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class Batch:
    """Views of B images. Pixels are uint8, or float tensors that are normalised already."""

    globals_: Tensor
    """`(2, B, 3, G, G)`"""
    locals_: Tensor
    """`(L, B, 3, S, S)`; L may be 0."""
    masks: Tensor
    """`(2, B, N)` bool on the CPU: patches of the global crops that the student does not see."""

    @property
    def images(self) -> int:
        """B."""
        return self.globals_.shape[1]

    def pieces(self, count: int) -> Iterator["Batch"]:
        """`count` batches of consecutive images, equal in size but for the last ones, which may have one image less."""
        for part in torch.arange(self.images).tensor_split(count):
            sel = slice(int(part[0]), int(part[-1]) + 1)
            yield Batch(self.globals_[:, sel], self.locals_[:, sel], self.masks[:, sel])

    def crops(self, device: torch.device) -> list[Tensor]:
        """Normalised global and local crops on `device`: `(2B, 3, G, G)` and, if there are any, `(LB, 3, S, S)`."""
        views = [self.globals_] if len(self.locals_) == 0 else [self.globals_, self.locals_]
        return [normalise(view.flatten(0, 1).to(device, non_blocking=True)) for view in views]


def normalise(pixels: Tensor) -> Tensor:
    """uint8 images `(B, 3, H, W)` as float32 with ImageNet mean 0 and deviation 1; float images are left alone."""
    if pixels.dtype != torch.uint8:
        return pixels
    mean = torch.tensor(MEAN, device=pixels.device).view(3, 1, 1)
    std = torch.tensor(STD, device=pixels.device).view(3, 1, 1)
    return (pixels.float() / 255 - mean) / std
