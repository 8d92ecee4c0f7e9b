"""Pretrain a very small DINOv2 for a few steps, measure its features, and export it for timm."""

import tempfile
from pathlib import Path

import numpy as np
import skimage.data
from PIL import Image

from pipelines import evaluate, export, pretrain

CONFIG = {
    "device": "cpu",
    "precision": "fp32",
    "model": {"width": 48, "depth": 2, "heads": 2, "patch": 8, "drop_path": 0.0},
    "crops": {"global_size": 32, "local_size": 16, "local_count": 2},
    "dino_head": {"prototypes": 64, "hidden": 64, "bottleneck": 32},
    "optim": {"epochs": 1, "epoch_length": 20, "batch_size": 16, "warmup_epochs": 0.1},
    "checkpoint": {"every": 20},
}
"""As in a YAML file; `curation.dinov2.config.PretrainConfig` has the same as types."""


def make_photos(folder: Path) -> None:
    """Crops of three photographs, a sub-folder for each."""
    rng = np.random.default_rng(0)
    for name in ("astronaut", "cat", "coffee"):
        (folder / name).mkdir(parents=True)
        pixels = getattr(skimage.data, name)()
        for number in range(24):
            top, left = rng.integers(pixels.shape[0] - 96), rng.integers(pixels.shape[1] - 96)
            Image.fromarray(pixels[top : top + 96, left : left + 96]).save(folder / name / f"{number:02d}.jpg")


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        photos = Path(folder) / "photos"
        make_photos(photos)
        data = {"sources": [{"path": str(photos)}], "workers": 0}
        result = pretrain({**CONFIG, "data": data}, out=f"{folder}/run")
        print(f"{result.steps} steps at {result.images_per_second:.0f} images/s")

        scores = evaluate(result.checkpoint, photos, neighbours=5)
        print(f"kNN accuracy {scores.trained.accuracy:.0%}; of raw pixels {scores.pixels.accuracy:.0%}")

        written = export(result.checkpoint, "timm", f"{folder}/tiny.safetensors")
        print(f"{written.name}: {written.stat().st_size // 1024} KiB for timm")


if __name__ == "__main__":
    main()
