"""The step as a whole: accumulation, corner cases of the batch, and what must not depend on how it is computed."""

from typing import Any

import pytest
import torch
from torch import Tensor

from curation.dinov2.batch import Batch, normalise
from curation.dinov2.config import PretrainConfig
from curation.dinov2.model import SelfDistillation, build_model
from curation.dinov2.objective import Objective

IMAGES = 6


def config(**changes: Any) -> PretrainConfig:
    raw: dict[str, Any] = {
        "model": {"width": 32, "depth": 2, "heads": 2, "patch": 7, "layerscale": 0.5, "drop_path": 0.0},
        "crops": {"global_size": 28, "local_size": 14, "local_count": 3},
        "dino_head": {"prototypes": 20, "hidden": 16, "bottleneck": 8},
    }
    return PretrainConfig(**(raw | changes))


def build(settings: PretrainConfig) -> SelfDistillation:
    torch.manual_seed(0)
    model = build_model(settings)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.2 * torch.randn(parameter.shape))
    return model


def batch(images: int = IMAGES, masked: bool = True) -> Batch:
    g = torch.Generator().manual_seed(1)
    masks = torch.rand(2, images, 16, generator=g) < 0.3
    masks[0, ::2] = False
    return Batch(
        torch.randn(2, images, 3, 28, 28, generator=g),
        torch.randn(3, images, 3, 14, 14, generator=g),
        masks if masked else torch.zeros_like(masks),
    )


def step(settings: PretrainConfig, data: Batch, accumulate: int, drop: float = 0.0) -> tuple[dict[str, float], Tensor]:
    model = build(settings)
    objective = Objective(model, settings.loss, drop_rates=[drop] * 2, accumulate=accumulate)
    for _ in range(2):  # the second step sees a moved centre
        model.student.zero_grad()
        losses = objective.forward_backward(data, 0.05, torch.Generator().manual_seed(2))
    gradient = torch.cat([p.grad.flatten() for p in model.student.parameters() if p.grad is not None])
    return {name: float(value) for name, value in losses.as_dict().items()}, gradient


@pytest.mark.parametrize("accumulate", [2, 3, 4])
@pytest.mark.parametrize("centering", ["centering", "sinkhorn_knopp"])
@pytest.mark.parametrize("ibot_head", [None, {"prototypes": 12, "hidden": 16, "bottleneck": 8}], ids=["tied", "untied"])
def test_a_batch_in_pieces_gives_the_losses_and_gradients_of_the_whole(
    accumulate: int, centering: str, ibot_head: dict[str, int] | None
) -> None:
    settings = config(loss={"centering": centering}, ibot_head=ibot_head)
    whole, gradient = step(settings, batch(), 1)
    pieces, summed = step(settings, batch(), accumulate)
    assert pieces == pytest.approx(whole, rel=1e-5)
    torch.testing.assert_close(summed, gradient, rtol=1e-4, atol=1e-6)


def test_pieces_see_the_same_stochastic_depth_in_both_passes() -> None:
    first, _ = step(config(), batch(), 2, drop=0.4)
    second, _ = step(config(), batch(), 2, drop=0.4)
    assert first == second


@pytest.mark.parametrize("centering", ["centering", "sinkhorn_knopp"])
def test_a_batch_without_any_mask_trains_on_the_class_tokens(centering: str) -> None:
    losses, gradient = step(config(loss={"centering": centering}), batch(masked=False), 1)
    assert losses["ibot"] == 0
    assert torch.isfinite(gradient).all()


def test_no_local_crops_are_allowed() -> None:
    data = batch()
    losses, _ = step(config(), Batch(data.globals_, data.locals_[:0], data.masks), 1)
    assert losses["dino_local"] == 0
    assert losses["dino_global"] > 0


def test_the_total_is_the_weighted_sum() -> None:
    weights = {"dino_weight": 0.5, "ibot_weight": 2.0, "koleo_weight": 0.3}
    losses, _ = step(config(loss=weights), batch(), 1)
    dino = losses["dino_local"] + losses["dino_global"]
    assert losses["total"] == pytest.approx(0.5 * dino + 2 * losses["ibot"] + 0.3 * losses["koleo"], rel=1e-6)


def test_the_teacher_gets_no_gradient_and_starts_as_the_student() -> None:
    model = build_model(config())
    for (name, mine), (_, other) in zip(
        model.student.named_parameters(), model.teacher.named_parameters(), strict=True
    ):
        assert torch.equal(mine, other), name
    Objective(model, config().loss, drop_rates=[0.0] * 2).forward_backward(batch(), 0.05, torch.Generator())
    assert all(p.grad is None for p in model.teacher.parameters())


def test_the_teacher_moves_by_one_minus_momentum() -> None:
    model = build(config())
    before = [p.clone() for p in model.teacher.parameters()]
    model.update_teacher(0.75)
    for old, new, student in zip(before, model.teacher.parameters(), model.student.parameters(), strict=True):
        torch.testing.assert_close(new, 0.75 * old + 0.25 * student)


def test_every_part_of_the_student_gets_a_gradient() -> None:
    model = build(config())
    Objective(model, config().loss, drop_rates=[0.0] * 2).forward_backward(batch(), 0.05, torch.Generator())
    assert [name for name, p in model.student.named_parameters() if p.grad is None] == []


def test_bytes_become_pixels_of_mean_zero() -> None:
    grey = torch.full((1, 3, 2, 2), 118, dtype=torch.uint8)
    expected = (118 / 255 - torch.tensor([0.485, 0.456, 0.406])) / torch.tensor([0.229, 0.224, 0.225])
    torch.testing.assert_close(normalise(grey)[0, :, 0, 0], expected)
    assert normalise(grey.float()).mean() == 118
