"""Labelled images, and what features of them are worth by the labels of their nearest neighbours."""

from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional

from curation.config import ImageConfig
from curation.dinov2.batch import normalise
from curation.dinov2.config import EvaluateConfig
from curation.dinov2.data.folder import is_image_name
from curation.drops import Dropped
from curation.errors import DatasetError
from curation.evaluation.knn import knn_accuracy
from curation.evaluation.rank import rankme
from curation.imaging.decode import decode

__all__ = ["KnnResult", "LabelledImages", "centre_crop", "evaluate_features", "pixel_features", "read_labelled"]

Extract = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class LabelledImages:
    """Centre crops `(B, 3, S, S)` uint8 and labels `(B,)` int64; the first `bank` are searched for the others."""

    pixels: Tensor
    labels: Tensor
    bank: int
    classes: int


@dataclass(frozen=True)
class KnnResult:
    """Share of images whose weighted nearest neighbours name their class, and the features' effective rank."""

    accuracy: float
    rankme: float
    bank: int
    queries: int
    classes: int


def read_labelled(folder: str, settings: EvaluateConfig, *, max_pixels: int) -> LabelledImages:
    """Read a folder whose sub-folders are labels; of each class, every second image (by name) becomes a query.

    Broken images are left out; DatasetError where there are not at least two classes with two images each.
    """
    root = Path(folder)
    if not root.is_dir():
        raise DatasetError(f"{folder}: no such folder; evaluation needs one with a sub-folder per class")
    limits = ImageConfig(min_side=1, max_pixels=max_pixels)
    folders = sorted(path for path in root.iterdir() if path.is_dir())
    classes = [crops for path in folders if len(crops := list(_crops(path, settings.image_size, limits))) > 1]
    if len(classes) < 2:
        raise DatasetError(f"{folder}: evaluation needs at least two sub-folders (classes) with two images each")
    bank = [(crop, label) for label, crops in enumerate(classes) for crop in crops[::2]]
    queries = [(crop, label) for label, crops in enumerate(classes) for crop in crops[1::2]]
    pixels, labels = zip(*bank, *queries, strict=True)
    return LabelledImages(torch.stack(pixels), torch.tensor(labels), len(bank), len(classes))


def _crops(folder: Path, size: int, limits: ImageConfig) -> Iterator[Tensor]:
    for path in sorted(path for path in folder.rglob("*") if is_image_name(path.name)):
        with suppress(OSError):
            pixels = decode(path.read_bytes(), limits, round(size * 256 / 224))
            if not isinstance(pixels, Dropped):
                yield centre_crop(pixels, size)


def centre_crop(pixels: np.ndarray, size: int) -> Tensor:
    """`(3, size, size)` uint8: the shorter side is resized to 256/224 of `size`, then the centre is cut out."""
    image = Image.fromarray(pixels)
    scale = round(size * 256 / 224) / min(image.size)
    width, height = (max(size, round(side * scale)) for side in image.size)
    image = image.resize((width, height), Image.Resampling.BICUBIC)
    left, top = (width - size) // 2, (height - size) // 2
    return torch.from_numpy(np.array(image.crop((left, top, left + size, top + size)))).permute(2, 0, 1)


@torch.no_grad()
def evaluate_features(
    extract: Extract, images: LabelledImages, settings: EvaluateConfig, device: torch.device
) -> KnnResult:
    """kNN accuracy and effective rank of what `extract` makes of normalised images `(B, 3, S, S)`."""
    pieces = torch.split(images.pixels, settings.batch_size)
    features = torch.cat([extract(normalise(piece.to(device))).float().cpu() for piece in pieces])
    accuracy = knn_accuracy(
        features, images.labels, images.bank, neighbours=settings.neighbours, temperature=settings.temperature
    )
    queries = len(features) - images.bank
    return KnnResult(accuracy, rankme(features), images.bank, queries, images.classes)


def pixel_features(images: Tensor) -> Tensor:
    """The baseline that any features must beat: the images themselves, at 32 x 32."""
    return functional.interpolate(images, size=(32, 32), mode="area").flatten(1)
