"""Parameter groups and clipping."""

import pytest
import torch
from torch import nn

from curation.dinov2.config import PretrainConfig
from curation.dinov2.model import build_model
from curation.dinov2.optimizer import apply_settings, build_optimizer, clip_norm, parameter_groups
from curation.dinov2.schedules import Settings

CONFIG = PretrainConfig(
    model={"width": 32, "depth": 3, "heads": 2, "patch": 7, "registers": 1},
    crops={"global_size": 28, "local_size": 14},
    dino_head={"prototypes": 20, "hidden": 16, "bottleneck": 8},
)


def multipliers() -> dict[str, tuple[float, float, bool]]:
    student = build_model(CONFIG).student
    names = {id(parameter): name for name, parameter in student.named_parameters()}
    return {
        names[id(parameter)]: (group["lr_multiplier"], group["wd_multiplier"], group["is_last_layer"])
        for group in parameter_groups(student, layerwise_decay=0.5, patch_embed_lr=0.2)
        for parameter in group["params"]
    }


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("backbone.cls_token", (0.5**4, 1, False)),
        ("backbone.pos_embed", (0.5**4, 1, False)),
        ("backbone.register_tokens", (0.5**4, 1, False)),
        ("backbone.mask_token", (0.5**4, 1, False)),
        ("backbone.patch_embed.proj.weight", (0.2 * 0.5**4, 1, False)),
        ("backbone.patch_embed.proj.bias", (0.2 * 0.5**4, 0, False)),
        ("backbone.blocks.0.attn.qkv.weight", (0.5**3, 1, False)),
        ("backbone.blocks.2.ls1.gamma", (0.5**1, 0, False)),
        ("backbone.blocks.2.norm2.weight", (0.5**1, 0, False)),
        ("backbone.norm.weight", (1, 0, False)),
        ("dino_head.mlp.0.weight", (1, 1, False)),
        ("dino_head.mlp.0.bias", (1, 0, False)),
        ("dino_head.last_layer.weight_g", (1, 1, True)),
        ("dino_head.last_layer.weight_v", (1, 1, True)),
    ],
)
def test_each_parameter_gets_its_multipliers(name: str, expected: tuple[float, float, bool]) -> None:
    assert multipliers()[name] == pytest.approx(expected)


def test_every_parameter_is_in_exactly_one_group() -> None:
    student = build_model(CONFIG).student
    groups = parameter_groups(student, layerwise_decay=0.9, patch_embed_lr=0.2)
    assert sorted(id(p) for group in groups for p in group["params"]) == sorted(id(p) for p in student.parameters())


def test_settings_reach_the_groups() -> None:
    student = build_model(CONFIG).student
    optimizer = build_optimizer(parameter_groups(student, layerwise_decay=1.0, patch_embed_lr=0.2), (0.9, 0.999))
    apply_settings(optimizer, Settings(1e-3, 0.0, 0.04, 0.99, 0.07))
    result = {(g["is_last_layer"], g["wd_multiplier"], g["lr_multiplier"]): g for g in optimizer.param_groups}
    assert result[True, 1.0, 1.0]["lr"] == 0
    assert result[False, 1.0, 0.2]["lr"] == pytest.approx(2e-4)
    assert result[False, 0.0, 1.0]["weight_decay"] == 0


def test_clipping_scales_one_module_and_returns_the_norm_before() -> None:
    layer = nn.Linear(3, 2)
    layer.weight.grad, layer.bias.grad = torch.full((2, 3), 2.0), torch.full((2,), 1.0)
    assert float(clip_norm(layer.parameters(), 1.0)) == pytest.approx(26**0.5)
    assert float(clip_norm(layer.parameters(), 0)) == pytest.approx(1, abs=1e-5)
