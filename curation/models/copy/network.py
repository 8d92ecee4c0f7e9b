"""SSCD's network: a backbone, GeM pooling, one linear layer, length 1.

"A Self-Supervised Descriptor for Image Copy Detection" (arXiv 2202.10261), section 4.1.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torchvision.models import resnet50

__all__ = ["DEVIATION", "MEAN", "GeM", "Sscd", "normalise"]

MEAN = (0.485, 0.456, 0.406)
"""Of ImageNet's pixels, as are the deviations; all networks here take images that are normalised by them."""
DEVIATION = (0.229, 0.224, 0.225)


class GeM(nn.Module):
    """Generalised-mean pooling, the third root of the mean third power: (N, C, H, W) to (N, C)."""

    def __init__(self, power: float = 3.0, eps: float = 1e-6) -> None:
        super().__init__()
        self.power = power
        self.eps = eps

    def forward(self, maps: Tensor) -> Tensor:
        return maps.clamp(min=self.eps).pow(self.power).mean(dim=(2, 3)).pow(1.0 / self.power)


class Sscd(nn.Module):
    """SSCD as published: torchvision's ResNet-50 with GeM for its average pooling and 512 outputs for its classes.

    Its keys are those of the published `*.torchvision.pt` files: `backbone.conv1.weight` to `backbone.fc.bias`.
    """

    def __init__(self, dim: int = 512) -> None:
        super().__init__()
        self.backbone: Any = resnet50(weights=None, num_classes=dim)
        self.backbone.avgpool = GeM()

    def forward(self, images: Tensor) -> Tensor:
        """Descriptors of length 1, (N, 512), of normalised images (N, 3, H, W)."""
        return nn.functional.normalize(self.backbone(images), dim=1)


def normalise(pixels: Tensor) -> Tensor:
    """(N, H, W, 3) uint8 to (N, 3, H, W) float32 of ImageNet's mean and deviation."""
    images = pixels.permute(0, 3, 1, 2).float().div_(255.0)
    mean, deviation = (torch.tensor(values, device=pixels.device).view(3, 1, 1) for values in (MEAN, DEVIATION))
    return (images - mean) / deviation
