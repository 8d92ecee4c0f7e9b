"""The score of a checkpoint, and of what it has to beat."""

from dataclasses import dataclass
from pathlib import Path

import torch

from curation.dinov2.config import EvaluateConfig
from curation.dinov2.export import load_checkpoint_backbone
from curation.dinov2.knn import KnnResult, evaluate_features, pixel_features, read_labelled
from curation.dinov2.model import build_backbone

__all__ = ["Scores", "score"]


@dataclass(frozen=True)
class Scores:
    """Results on the same images."""

    trained: KnnResult
    untrained: KnnResult
    """The same network with fresh weights."""
    pixels: KnnResult
    """The images themselves, at 32 x 32."""


def score(checkpoint: str | Path, data: str | Path, *, neighbours: int, image_size: int | None) -> Scores:
    """Evaluate the teacher of `checkpoint` on the labelled folder `data`.

    Raises:
        RunError: the checkpoint is missing, damaged or of another kind.
        DatasetError: the folder has too few classes or images.
    """
    backbone, config = load_checkpoint_backbone(checkpoint)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    settings = EvaluateConfig(neighbours=neighbours, image_size=image_size or config.crops.global_size)
    images = read_labelled(str(data), settings, max_pixels=config.data.max_pixels)
    torch.manual_seed(config.seed)
    fresh = build_backbone(config.model, config.crops.global_size)
    return Scores(
        evaluate_features(backbone.to(device), images, settings, device),
        evaluate_features(fresh.to(device), images, settings, device),
        evaluate_features(pixel_features, images, settings, device),
    )
