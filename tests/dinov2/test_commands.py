"""The public functions behind the commands, one after the other as a user would call them."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from curation.dinov2.config import load_pretrain_config
from curation.dinov2.vit import Shape, VisionTransformer
from curation.errors import ArgumentError, ConfigError
from pipelines.evaluate import evaluate
from pipelines.export import export
from pipelines.pretrain import pretrain

from .data.made import jpeg, shards


def test_pretrain_evaluate_and_export_work_on_each_others_results(tmp_path: Path) -> None:
    settings = {
        "device": "cpu",
        "precision": "fp32",
        "model": {"width": 32, "depth": 2, "heads": 2, "patch": 7},
        "crops": {"global_size": 28, "local_size": 14, "local_count": 2},
        "dino_head": {"prototypes": 24, "hidden": 16, "bottleneck": 8},
        "optim": {"epochs": 1, "epoch_length": 3, "batch_size": 4, "warmup_epochs": 0},
        "data": {"workers": 0},
    }
    path = tmp_path / "tiny.yaml"
    path.write_text(json.dumps(settings))
    folder = shards(tmp_path / "shards", [8])
    config = load_pretrain_config(path, [f"data.sources=[{{path: {folder}}}]"])
    result = pretrain(config, out=tmp_path / "run")
    assert (result.steps, result.knn) == (3, None)

    for number in range(8):
        image = tmp_path / "labelled" / f"class{number % 2}" / f"{number}.jpg"
        image.parent.mkdir(parents=True, exist_ok=True)
        image.write_bytes(jpeg(number % 2))
    scores = evaluate(result.checkpoint, tmp_path / "labelled", neighbours=2)
    assert scores.pixels.accuracy == 1
    assert 0 <= scores.trained.accuracy <= 1

    written = export(result.checkpoint, "dinov2", tmp_path / "out" / "model.pth")
    backbone = VisionTransformer(Shape(32, 2, 2), image_size=28, patch=7)
    backbone.load_state_dict(torch.load(written, weights_only=True))


def test_a_library_that_there_is_not_is_called_by_the_argument_or_the_option(tmp_path: Path, lvd: Any) -> None:
    with pytest.raises(ArgumentError, match=r"^to onnx: no such library; use timm, hf, dinov2$"):
        export(tmp_path / "checkpoint.pt", "onnx", tmp_path / "out")  # type: ignore[arg-type]
    answer = lvd("export", tmp_path / "checkpoint.pt", "--to", "onnx", "--out", tmp_path / "out")
    assert (answer.code, answer.err) == (2, "lvd: --to onnx: no such library; use timm, hf, dinov2\n")


def test_a_mistake_in_an_override_is_found_before_anything_is_written(tmp_path: Path) -> None:
    path = tmp_path / "empty.yaml"
    path.write_text("")
    with pytest.raises(ConfigError, match=r"optim\.speed: unknown key; valid keys here: epochs, "):
        load_pretrain_config(path, ["optim.speed=3"])
    with pytest.raises(ConfigError, match=r"optim\.speed: unknown key; valid keys here: epochs, "):
        pretrain({"optim": {"speed": 3}}, out=tmp_path / "run")
    assert not (tmp_path / "run").exists()
