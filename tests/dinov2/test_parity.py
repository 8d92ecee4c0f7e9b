"""The trainer against numbers of the official code (golden/make.py says how they were made)."""

import json
import random
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from curation.dinov2.batch import Batch
from curation.dinov2.config import OptimConfig, PretrainConfig, TeacherConfig
from curation.dinov2.masking import draw_masks, largest_block
from curation.dinov2.model import SelfDistillation, build_model
from curation.dinov2.objective import Objective
from curation.dinov2.optimizer import apply_settings, build_optimizer, clip_norm, parameter_groups
from curation.dinov2.schedules import Settings, schedule

from .golden import problem

OFFICIAL = json.loads((Path(__file__).parent / "golden" / "official.json").read_text())

# The numbers are of float64, where two codes that say the same differ by 1e-14 on any CPU. Float32, which training
# uses, is rounded in an order that is each CPU's own: forward and back there are about 110 operations one after
# another, and each may add one unit in the last place to what it hands on.
TOLERANCE = {torch.float64: 1e-11, torch.float32: 110 * torch.finfo(torch.float32).eps}
PRECISIONS = pytest.mark.parametrize("dtype", TOLERANCE, ids=["float64", "float32"])


def build(case: problem.Case) -> SelfDistillation:
    config = PretrainConfig(
        model={
            "width": problem.WIDTH,
            "depth": problem.DEPTH,
            "heads": problem.HEADS,
            "patch": problem.PATCH,
            "ffn": case.ffn,
            "registers": case.registers,
            "drop_path": 0,
            "layerscale": 0.5,
        },
        crops={
            "global_size": problem.GLOBAL,
            "local_size": problem.LOCAL,
            "local_count": problem.LOCAL_VIEWS,
        },
        dino_head=problem.DINO_HEAD,
        ibot_head=None if case.tied else problem.IBOT_HEAD,
        loss={
            "centering": case.centering,
            "ibot_weight": problem.LOSS_WEIGHTS["ibot"],
            "koleo_weight": problem.LOSS_WEIGHTS["koleo"],
        },
    )
    model = build_model(config)
    for owner in ("student", "teacher"):
        module = getattr(model, owner)
        module.load_state_dict({k: problem.weight(owner, k, v) for k, v in module.state_dict().items()})
    model.objective = Objective(model, config.loss, drop_rates=[0.0] * problem.DEPTH)
    return model


def batch(step: int) -> Batch:
    globals_, locals_ = problem.crops(step)
    return Batch(
        globals_.view(2, problem.IMAGES, *globals_.shape[1:]),
        locals_.view(problem.LOCAL_VIEWS, problem.IMAGES, *locals_.shape[1:]),
        problem.masks(step).view(2, problem.IMAGES, -1),
    )


def norm(module: nn.Module) -> float:
    return float(torch.cat([p.detach().double().flatten() for p in module.parameters()]).norm())


def run(case: problem.Case) -> list[dict[str, float]]:
    model = build(case)
    groups = parameter_groups(
        model.student, layerwise_decay=problem.LAYERWISE_DECAY, patch_embed_lr=problem.PATCH_EMBED_LR
    )
    optimizer = build_optimizer(groups, (0.9, 0.999))
    lines = []
    for step in range(problem.STEPS):
        settings = Settings(**problem.settings(step))
        apply_settings(optimizer, settings)
        optimizer.zero_grad()
        losses = model.objective.forward_backward(batch(step), settings.temperature, torch.Generator())
        line = {
            "dino_local_crops_loss": float(losses.dino_local),
            "dino_global_crops_loss": float(losses.dino_global),
            "koleo_loss": float(losses.koleo) * problem.LOSS_WEIGHTS["koleo"] / 2,
            "ibot_loss": float(losses.ibot) / 2,
        }
        for name, part in model.student.named_children():
            line[f"grad_norm.{name}"] = float(clip_norm(part.parameters(), problem.CLIP))
        optimizer.step()
        model.update_teacher(settings.momentum)
        for name, part in model.student.named_children():
            line[f"student_norm.{name}"] = norm(part)
            line[f"teacher_norm.{name}"] = norm(getattr(model.teacher, name))
        lines.append(line)
    return lines


@PRECISIONS
@pytest.mark.parametrize("case", problem.CASES, ids=lambda case: case.name)
def test_losses_gradients_and_five_steps_are_the_official_ones(case: problem.Case, dtype: torch.dtype) -> None:
    with problem.precision(dtype):
        lines = run(case)
    near = TOLERANCE[dtype]
    # KoLeo is a mean of logarithms that may cancel: it is as exact as its terms are, whose size is about 1.
    koleo = near * problem.LOSS_WEIGHTS["koleo"] / 2
    for ours, official in zip(lines, OFFICIAL["steps"][case.name], strict=True):
        assert ours == {
            name: pytest.approx(value, rel=near, abs=koleo if name == "koleo_loss" else 0)
            for name, value in official.items()
        }


@PRECISIONS
@pytest.mark.parametrize("case", problem.CASES, ids=lambda case: case.name)
def test_features_are_the_official_ones_on_own_and_other_grids(case: problem.Case, dtype: torch.dtype) -> None:
    with problem.precision(dtype), torch.no_grad():
        backbone = build(case).teacher.backbone
        for name, images in zip(("own_grid", "other_grid"), problem.crops(0), strict=True):
            ours = backbone(images[:2])[:, :4].flatten().tolist()
            # The last norm gives every feature the rounding of the whole vector, whose entries are of size 1.
            assert ours == pytest.approx(OFFICIAL["features"][case.name][name], rel=0, abs=TOLERANCE[dtype])


def test_masks_of_a_seed_are_the_official_ones() -> None:
    masks = draw_masks(16, 7, largest=largest_block(98, 14), probability=0.5, ratio=(0.1, 0.5), rng=random.Random(0))
    assert [np.packbits(mask.numpy()).tobytes().hex() for mask in masks] == OFFICIAL["masks"]


def test_schedules_are_the_official_ones() -> None:
    optim = OptimConfig(epochs=10, epoch_length=4, warmup_epochs=2, base_lr=2e-3, min_lr=1e-6)
    teacher = TeacherConfig(warmup_epochs=3)
    ours = [schedule(step, optim, teacher, images=1024) for step in range(42)]
    for name in ("lr", "temperature", "momentum"):
        assert [getattr(values, name) for values in ours] == pytest.approx(OFFICIAL["schedules"][name], rel=1e-12)
