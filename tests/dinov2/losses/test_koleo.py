"""KoLeo against a loop over pairs."""

import math

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from curation.dinov2.losses import koleo_loss


def by_pairs(x: Tensor) -> float:
    x = functional.normalize(x.double(), dim=-1)
    nearest = [min(float((a - b).norm()) for j, b in enumerate(x) if j != i) for i, a in enumerate(x)]
    return -sum(math.log(distance) for distance in nearest) / len(nearest)


X = torch.randn(12, 8, generator=torch.Generator().manual_seed(0))


def test_it_is_the_mean_log_distance_to_the_nearest_neighbour() -> None:
    assert float(koleo_loss(X)) == pytest.approx(by_pairs(X), rel=1e-5)


def test_groups_are_searched_apart() -> None:
    expected = (5 * by_pairs(X[:5]) + 5 * by_pairs(X[5:10]) + 2 * by_pairs(X[10:])) / 12
    assert float(koleo_loss(X, group=5)) == pytest.approx(expected, rel=1e-5)


def test_a_lone_image_in_the_last_group_adds_nothing() -> None:
    assert float(koleo_loss(X[:11], group=5)) == pytest.approx((by_pairs(X[:5]) + by_pairs(X[5:10])) / 2, rel=1e-5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_duplicate_images_give_finite_loss_and_gradient(dtype: torch.dtype) -> None:
    x = X.repeat(2, 1).to(dtype).requires_grad_()
    with torch.autocast("cpu", torch.bfloat16):
        loss = koleo_loss(x)
    torch.autograd.backward(loss)
    assert loss.dtype == torch.float32
    assert torch.isfinite(loss)
    assert x.grad is not None
    assert torch.isfinite(x.grad.float()).all()


def test_a_single_image_has_no_neighbour_and_costs_nothing() -> None:
    x = X[:1].clone().requires_grad_()
    loss = koleo_loss(x)
    torch.autograd.backward(loss)
    assert loss == 0
