"""Learning is real: without labels, the objective is met better than by chance, and features get better by it."""

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_digits
from torch import Tensor

from curation.dinov2 import objective
from curation.dinov2.config import PretrainConfig
from curation.dinov2.model import SelfDistillation
from curation.dinov2.score import Scores, score
from curation.dinov2.train import train
from tests.matrix import first_of

PER_CLASS = 60
STEPS = 80
PROTOTYPES = 256
PLATEAU = math.log(PROTOTYPES)
"""The DINO loss of a student that tells no prototypes apart."""


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`labelled`: images of digits; `training`: the half of them that is trained on, without labels."""
    folder = tmp_path_factory.mktemp("digits")
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
    return folder


def run(digits: Path, out: Path) -> tuple[Scores, dict[str, float]]:
    """Scores after a short run, and the last logged losses with the last health."""
    settings: dict[str, Any] = {
        "out": str(out),
        "device": "cpu",
        "precision": "fp32",
        "model": {"width": 96, "depth": 4, "heads": 3, "patch": 7, "drop_path": 0.0, "layerscale": 1.0},
        "crops": {
            "global_size": 28,
            "global_scale": [0.6, 1.0],
            "local_size": 14,
            "local_scale": [0.3, 0.7],
            "local_count": 2,
        },
        "augment": {"flip": 0, "jitter": 0, "grey": 0, "blur": 0, "solarise": 0},
        "dino_head": {"prototypes": PROTOTYPES, "hidden": 256, "bottleneck": 64},
        "loss": {"centering": "sinkhorn_knopp"},
        "teacher": {"momentum": 0.95, "temperature": 0.02, "warmup_temperature": 0.02, "warmup_epochs": 0},
        "optim": {
            "epochs": 1,
            "epoch_length": STEPS,
            "batch_size": 64,
            "base_lr": 8e-3,
            "warmup_epochs": 0.15,
            "freeze_last_layer_epochs": 0,
            "patch_embed_lr": 1.0,
            "layerwise_decay": 1.0,
        },
        "data": {"sources": [{"path": str(digits / "training")}], "workers": 0},
        "log": {"health_every": STEPS - 1, "every": 5},
        "checkpoint": {"every": 10_000},
    }
    result = train(PretrainConfig.model_validate(settings))
    lines = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
    last: dict[str, float] = {}
    for line in lines:
        last |= line
    last["dino"] = last["loss/dino_local"] + last["loss/dino_global"]
    return score(result.checkpoint, digits / "labelled", neighbours=20, image_size=28), last


def of_others(loss: Callable[[Tensor, Tensor, float], Tensor]) -> Callable[[Tensor, Tensor, float], Tensor]:
    """The loss, with each image's targets given to the next image."""
    return lambda student, targets, temperature: loss(student, targets.roll(1, dims=1), temperature)


def on_plateau(last: dict[str, float]) -> bool:
    """Whether the student still tells no prototypes apart, or the teacher gives it nothing to tell."""
    return last["dino"] > PLATEAU - 0.15 or last["health/target_entropy"] > PLATEAU - 0.5


@pytest.mark.slow
def test_the_loss_falls_without_collapse_and_nearest_neighbours_get_better(digits: Path, tmp_path: Path) -> None:
    scores, last = run(digits, tmp_path / "run")
    print(scores, last)
    assert not on_plateau(last)
    assert last["health/prototype_entropy"] > PLATEAU - 0.5
    assert scores.trained.accuracy > scores.untrained.accuracy + 0.1


@pytest.mark.slow
@pytest.mark.parametrize("broken", first_of("a teacher that never moves", "targets of other images"))
def test_a_broken_objective_stays_on_the_plateau(
    digits: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, broken: str
) -> None:
    """Features alone would not show it: KoLeo by itself makes nearest neighbours better too."""
    if broken == "a teacher that never moves":
        monkeypatch.setattr(SelfDistillation, "update_teacher", lambda self, momentum: None)
    else:
        for name in ("dino_local_loss", "dino_global_loss"):
            monkeypatch.setattr(objective, name, of_others(getattr(objective, name)))
    _, last = run(digits, tmp_path / "run")
    print(broken, last)
    assert on_plateau(last)
