"""Learning is real: without labels, features of small pictures get better than an untrained network's."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_digits

from curation.dinov2.config import PretrainConfig
from curation.dinov2.score import score
from curation.dinov2.train import train

PER_CLASS = 60


def digits(folder: Path) -> tuple[Path, Path]:
    """Labelled images of digits, and the half of them that is trained on, without labels."""
    data = load_digits()
    for label in range(10):
        for number, pixels in enumerate(data.images[data.target == label][:PER_CLASS]):
            image = Image.fromarray((pixels * 15).astype(np.uint8)).resize((32, 32), Image.Resampling.BICUBIC)
            paths = [folder / "labelled" / str(label) / f"{number:03d}.png"]
            if number % 2 == 0:
                paths.append(folder / "training" / f"{label}-{number:03d}.png")
            for path in paths:
                path.parent.mkdir(parents=True, exist_ok=True)
                image.save(path)
    return folder / "labelled", folder / "training"


@pytest.mark.slow
def test_nearest_neighbours_of_trained_features_beat_untrained_ones_on_digits(tmp_path: Path) -> None:
    labelled, training = digits(tmp_path)
    config = PretrainConfig.model_validate(
        {
            "out": str(tmp_path / "run"),
            "device": "cpu",
            "precision": "fp32",
            "model": {"width": 96, "depth": 4, "heads": 3, "patch": 7, "drop_path": 0.0, "layerscale": 0.1},
            "crops": {"global_size": 28, "local_size": 14, "local_count": 4, "global_scale": [0.5, 1.0]},
            "dino_head": {"prototypes": 256, "hidden": 128, "bottleneck": 64},
            "loss": {"centering": "sinkhorn_knopp"},
            "teacher": {"momentum": 0.97, "warmup_epochs": 2},
            "optim": {
                "epochs": 12,
                "epoch_length": 25,
                "batch_size": 32,
                "base_lr": 6e-3,
                "warmup_epochs": 1,
                "freeze_last_layer_epochs": 0,
                "patch_embed_lr": 1.0,
                "layerwise_decay": 1.0,
            },
            "data": {"sources": [{"path": str(training)}], "workers": 0},
            "log": {"health_every": 0, "every": 50},
            "checkpoint": {"every": 1000},
        }
    )
    scores = score(train(config).checkpoint, labelled, neighbours=20, image_size=28)
    print(scores)
    assert scores.trained.accuracy > scores.untrained.accuracy + 0.1
