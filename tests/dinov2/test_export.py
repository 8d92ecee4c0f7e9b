"""Exported files load where they are meant for, and give the same features."""

import json
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from timm.data.config import resolve_data_config

from curation.config import EmbedConfig as Settings
from curation.dinov2.checkpoint import save_state
from curation.dinov2.config import ModelConfig, PretrainConfig
from curation.dinov2.export import export_backbone, hf_config, load_checkpoint_backbone, timm_name
from curation.dinov2.model import build_model
from curation.errors import RunError
from curation.models.preprocessing import Preprocessing
from curation.models.timm_model import TimmEmbedder

IMAGES = torch.randn(2, 3, 56, 56, generator=torch.Generator().manual_seed(0))


def checkpoint(tmp_path: Path, **model: object) -> Path:
    config = PretrainConfig(
        model={"arch": "vits", "patch": 14, "layerscale": 0.1} | model,
        crops={"global_size": 56, "local_size": 28},
        dino_head={"prototypes": 20, "hidden": 16, "bottleneck": 8},
    )
    torch.manual_seed(0)
    built = build_model(config)
    with torch.no_grad():
        for parameter in built.parameters():
            parameter.add_(0.05 * torch.randn(parameter.shape))
    path = tmp_path / "checkpoint.pt"
    save_state(path, {"config": config.model_dump(mode="json"), "model": built.state_dict(), "step": 1})
    return path


def expected(path: Path) -> torch.Tensor:
    return load_checkpoint_backbone(path)[0](IMAGES)


@pytest.mark.parametrize("registers", [pytest.param(0, marks=pytest.mark.slow), 4])
def test_timm_loads_the_exported_file_by_model_name(tmp_path: Path, registers: int) -> None:
    path = checkpoint(tmp_path, registers=registers)
    out = export_backbone(path, "timm", tmp_path / "out" / "model.safetensors")
    name = timm_name(load_checkpoint_backbone(path)[1].model)
    assert name is not None
    model = timm.create_model(name, img_size=56, checkpoint_path=str(out)).eval()
    torch.testing.assert_close(model(IMAGES), expected(path), rtol=1e-5, atol=1e-5)


@pytest.mark.slow
def test_the_exported_file_is_an_embedder_of_the_curation_job(tmp_path: Path) -> None:
    """With timm's own preprocessing for the model, at its 518 pixels: features as of the backbone on the same input.

    timm interpolates positions to the size itself and antialiased, so the backbone is told to do so as well.
    """
    path = checkpoint(tmp_path, offset=0, antialias=True)
    out = export_backbone(path, "timm", tmp_path / "model.safetensors")
    embedder = TimmEmbedder(Settings(model="timm/vit_small_patch14_dinov2", weights=str(out), precision="fp32"))
    embedder.setup()
    image = np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8)
    (vector,) = embedder.embed([image])
    published = timm.get_pretrained_cfg("vit_small_patch14_dinov2").to_dict()
    pixels = Preprocessing(resolve_data_config(pretrained_cfg=published))([image], torch.device("cpu"))
    with torch.no_grad():
        wanted = torch.nn.functional.normalize(load_checkpoint_backbone(path)[0](pixels), dim=1)[0]
    assert vector.shape == (384,)
    torch.testing.assert_close(torch.from_numpy(vector), wanted, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("registers", [0, 4])
def test_transformers_loads_the_exported_folder(tmp_path: Path, registers: int) -> None:
    transformers = pytest.importorskip("transformers")
    path = checkpoint(tmp_path, registers=registers)
    out = export_backbone(path, "hf", tmp_path / "model")
    kind = transformers.Dinov2WithRegistersModel if registers else transformers.Dinov2Model
    model, report = kind.from_pretrained(out, output_loading_info=True)
    assert not report["missing_keys"]
    assert not report["unexpected_keys"]
    features = model.eval()(IMAGES).last_hidden_state[:, 0]
    torch.testing.assert_close(features, expected(path), rtol=1e-5, atol=1e-5)


def test_the_official_file_has_the_official_names(tmp_path: Path) -> None:
    path = checkpoint(tmp_path)
    out = export_backbone(path, "dinov2", tmp_path / "model.pth")
    weights = torch.load(out, weights_only=True)
    assert {
        "cls_token",
        "pos_embed",
        "mask_token",
        "patch_embed.proj.weight",
        "blocks.11.ls2.gamma",
        "norm.bias",
    } <= set(weights)
    assert len(weights) == 174 + 1


@pytest.mark.parametrize(
    ("model", "name"),
    [
        ({"arch": "vitb", "patch": 14}, "vit_base_patch14_dinov2"),
        ({"arch": "vitg", "patch": 14, "ffn": "swiglu", "registers": 4}, "vit_giant_patch14_reg4_dinov2"),
        ({"arch": "vitl", "patch": 16}, None),
        ({"arch": "vitl", "patch": 14, "ffn": "swiglu"}, None),
        ({"arch": "vits", "patch": 14, "depth": 3}, None),
        ({"arch": "vits", "patch": 14, "registers": 2}, None),
    ],
    ids=str,
)
def test_only_models_that_timm_has_get_a_timm_name(model: dict[str, object], name: str | None) -> None:
    assert timm_name(ModelConfig.model_validate(model)) == name
    if name is not None:
        assert name in timm.list_models()


def test_the_hugging_face_config_names_what_differs() -> None:
    settings = hf_config(PretrainConfig(model={"registers": 4, "ffn": "swiglu"}))
    assert settings["model_type"] == "dinov2_with_registers"
    assert settings["num_register_tokens"] == 4
    assert settings["use_swiglu_ffn"] is True
    json.dumps(settings)


def test_what_is_no_checkpoint_is_refused(tmp_path: Path) -> None:
    torch.save({"model": {}}, tmp_path / "other.pt")
    with pytest.raises(RunError, match="not a checkpoint of this trainer"):
        export_backbone(tmp_path / "other.pt", "timm", tmp_path / "out")
