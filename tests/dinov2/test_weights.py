"""Names of others: every translation gives the same features there and back."""

from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import save_file
from torch import Tensor

from curation.dinov2.config import PretrainConfig
from curation.dinov2.model import SelfDistillation, build_model
from curation.dinov2.vit import Shape, VisionTransformer
from curation.dinov2.weights import from_timm, load_backbone, load_training_checkpoint, official_names, to_hf, to_timm
from curation.errors import ModelError

IMAGES = torch.randn(2, 3, 56, 56, generator=torch.Generator().manual_seed(0))


def shake(module: torch.nn.Module, seed: int = 0) -> None:
    torch.manual_seed(seed)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape))


def small(**options: object) -> VisionTransformer:
    model = VisionTransformer(Shape(64, 3, 2), image_size=56, patch=14, layerscale=0.1, **options)
    shake(model)
    return model.eval()


def tiny_timm(registers: int, swiglu: bool) -> torch.nn.Module:
    """A timm model of the DINOv2 family, small in depth."""
    options = {"reg_tokens": registers, "no_embed_class": bool(registers), "init_values": 0.1}
    if swiglu:
        options |= {"mlp_layer": timm.layers.SwiGLUPacked, "act_layer": torch.nn.SiLU, "mlp_ratio": 2 * 176 / 64}
    model = timm.models.vision_transformer.VisionTransformer(
        img_size=56, patch_size=14, embed_dim=64, depth=3, num_heads=2, num_classes=0, **options
    )
    return model.eval()


def close(one: Tensor, two: Tensor) -> None:
    torch.testing.assert_close(one, two, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("registers", "swiglu"), [(0, False), (4, False), (0, True), (4, True)])
def test_timm_gives_the_same_features_and_back(registers: int, swiglu: bool, tmp_path: Path) -> None:
    model = small(registers=registers, swiglu=swiglu)
    other = tiny_timm(registers, swiglu)
    other.load_state_dict(to_timm(model.state_dict()))
    tokens = other.forward_features(IMAGES)
    features = model.features(IMAGES)
    close(tokens[:, 0], features.cls)
    close(tokens[:, 1 : 1 + registers], features.registers)
    close(tokens[:, 1 + registers :], features.patches)
    save_file(other.state_dict(), tmp_path / "timm.safetensors")
    again = VisionTransformer(model.shape, image_size=56, patch=14, registers=registers, swiglu=swiglu).eval()
    load_backbone(again, tmp_path / "timm.safetensors")
    close(again(IMAGES), features.cls)


def test_official_names_are_left_alone() -> None:
    weights = small(swiglu=True).state_dict()
    assert from_timm(weights).keys() == weights.keys() == official_names(weights).keys()


def test_names_lose_what_wrappers_added() -> None:
    wrapped = {
        "student.backbone._fsdp_wrapped_module.blocks.2.17._fsdp_wrapped_module.norm1.weight": torch.zeros(1),
        "module.blocks.3.mlp.fc1.bias": torch.zeros(1),
    }
    assert list(official_names(wrapped)) == ["student.backbone.blocks.17.norm1.weight", "blocks.3.mlp.fc1.bias"]


@pytest.mark.parametrize("swiglu", [False, True])
def test_hugging_face_names_are_complete(swiglu: bool) -> None:
    weights = to_hf(small(registers=4, swiglu=swiglu).state_dict())
    assert {name.split(".")[0] for name in weights} == {"embeddings", "encoder", "layernorm"}
    layer = {name.removeprefix("encoder.layer.2.") for name in weights if name.startswith("encoder.layer.2.")}
    mlp = {"mlp.weights_in", "mlp.weights_out"} if swiglu else {"mlp.fc1", "mlp.fc2"}
    attention = {f"attention.attention.{part}" for part in ("query", "key", "value")} | {"attention.output.dense"}
    linear = {f"{module}.{kind}" for module in mlp | attention | {"norm1", "norm2"} for kind in ("weight", "bias")}
    assert layer == linear | {"layer_scale1.lambda1", "layer_scale2.lambda1"}


def test_positions_of_a_larger_grid_are_interpolated_to_the_own_one(tmp_path: Path) -> None:
    large = VisionTransformer(Shape(64, 2, 2), image_size=112, patch=14)
    shake(large)
    torch.save(large.state_dict(), tmp_path / "large.pth")
    little = VisionTransformer(Shape(64, 2, 2), image_size=56, patch=14)
    load_backbone(little, tmp_path / "large.pth")
    close(little(IMAGES), large(IMAGES))


def distillation() -> SelfDistillation:
    config = PretrainConfig(
        model={"width": 32, "depth": 4, "heads": 2, "patch": 14},
        crops={"global_size": 56, "local_size": 28},
        dino_head={"prototypes": 20, "hidden": 16, "bottleneck": 8},
        ibot_head={"prototypes": 12, "hidden": 16, "bottleneck": 8},
    )
    return build_model(config)


def chunked(weights: dict[str, Tensor], per_chunk: int = 2) -> dict[str, Tensor]:
    """Names as the official trainer has them with block_chunks."""
    result = {}
    for name, value in weights.items():
        head, block, rest = name.partition("backbone.blocks.")
        if block:
            number, _, tail = rest.partition(".")
            name = f"{head}backbone.blocks.{int(number) // per_chunk}.{number}.{tail}"
        result[name] = value
    return result


@pytest.mark.parametrize("chunks", [False, True])
def test_an_official_training_checkpoint_loads_whole(tmp_path: Path, chunks: bool) -> None:
    one, two = distillation(), distillation()
    shake(one, 1)
    weights = chunked(one.state_dict()) if chunks else one.state_dict()
    torch.save({"model": weights, "iteration": 7}, tmp_path / "model.pth")
    load_training_checkpoint(two, tmp_path / "model.pth")
    for (name, mine), (_, other) in zip(one.state_dict().items(), two.state_dict().items(), strict=True):
        assert torch.equal(mine, other), name


def test_the_teacher_of_an_official_evaluation_file_loads_as_backbone(tmp_path: Path) -> None:
    one, two = distillation(), distillation()
    shake(one, 1)
    torch.save({"teacher": one.teacher.state_dict()}, tmp_path / "teacher_checkpoint.pth")
    load_backbone(two.student.backbone, tmp_path / "teacher_checkpoint.pth")
    assert torch.equal(two.student.backbone(IMAGES), one.teacher.backbone(IMAGES))


def test_weights_of_another_model_are_refused_with_the_first_difference(tmp_path: Path) -> None:
    torch.save(small().state_dict(), tmp_path / "small.pth")
    narrow = VisionTransformer(Shape(32, 3, 2), image_size=56, patch=14)
    with pytest.raises(ModelError, match=r"has shape \(.*64.*\), this model's has \(.*32.*\): a checkpoint of another"):
        load_backbone(narrow, tmp_path / "small.pth")
    with pytest.raises(ModelError, match=r"no weight student\.backbone\.\S+ \(\d+ missing\)"):
        load_training_checkpoint(distillation(), tmp_path / "small.pth")


def test_files_that_hold_no_weights_are_refused(tmp_path: Path) -> None:
    backbone = small()
    (tmp_path / "noise.pth").write_bytes(b"noise")
    (tmp_path / "noise.safetensors").write_bytes(b"noise")
    torch.save({"step": 3}, tmp_path / "empty.pth")
    torch.save({"code": print}, tmp_path / "code.pth")
    for name, message in [
        ("nowhere.pth", "no such weights file"),
        ("nowhere.safetensors", "no such weights file"),
        ("noise.pth", "damaged"),
        ("noise.safetensors", "cannot be read"),
        ("empty.pth", "holds no tensors"),
        ("code.pth", "damaged, or not a file of plain tensors"),
    ]:
        with pytest.raises(ModelError, match=message):
            load_backbone(backbone, tmp_path / name)
