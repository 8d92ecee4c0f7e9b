"""The cross-entropies against their textbook forms."""

import pytest
import torch
from torch.nn import functional

from curation.dinov2.losses import cross_entropy, dino_global_loss, dino_local_loss, ibot_loss

GENERATOR = torch.Generator().manual_seed(0)
TARGETS = torch.softmax(3 * torch.randn(2, 5, 7, generator=GENERATOR), dim=-1)
LOCALS = torch.randn(4, 5, 7, generator=GENERATOR)
GLOBALS = torch.randn(2, 5, 7, generator=GENERATOR)


def textbook(target: torch.Tensor, student: torch.Tensor, temperature: float) -> torch.Tensor:
    return -(target * functional.log_softmax(student / temperature, dim=-1)).sum(dim=-1)


def test_it_is_minus_the_expected_log_probability() -> None:
    torch.testing.assert_close(cross_entropy(GLOBALS[0], TARGETS[0], 0.1), textbook(TARGETS[0], GLOBALS[0], 0.1))


def test_gradients_are_the_textbook_ones() -> None:
    one, two = (GLOBALS[0].clone().requires_grad_() for _ in range(2))
    torch.autograd.backward(cross_entropy(one, TARGETS[0], 0.1).sum())
    torch.autograd.backward(textbook(TARGETS[0], two, 0.1).sum())
    torch.testing.assert_close(one.grad, two.grad, rtol=1e-4, atol=1e-5)


def test_every_local_view_meets_both_global_targets() -> None:
    pairs = [textbook(target, view, 0.1).mean() for view in LOCALS for target in TARGETS]
    torch.testing.assert_close(dino_local_loss(LOCALS, TARGETS, 0.1), torch.stack(pairs).sum())


def test_every_global_view_meets_the_other_one_only() -> None:
    expected = textbook(TARGETS[1], GLOBALS[0], 0.1).mean() + textbook(TARGETS[0], GLOBALS[1], 0.1).mean()
    torch.testing.assert_close(dino_global_loss(GLOBALS, TARGETS, 0.1), expected)


def test_no_local_views_add_nothing() -> None:
    assert dino_local_loss(torch.zeros(0, 5, 7), TARGETS, 0.1) == 0


def test_each_masked_crop_counts_alike_however_many_patches_it_lost() -> None:
    student, target = LOCALS[0][:3], TARGETS[0][:3]
    losses = textbook(target, student, 0.1)
    expected = (losses[0] + losses[1:].mean()) / 6
    assert ibot_loss(student, target, torch.tensor([1, 0.5, 0.5]), 6, 0.1) == pytest.approx(float(expected))


def test_no_masked_patches_give_zero_and_a_gradient() -> None:
    student = torch.zeros(0, 7, requires_grad=True)
    loss = ibot_loss(student, torch.zeros(0, 7), torch.zeros(0), 6, 0.1)
    torch.autograd.backward(loss)
    assert loss == 0


def test_bfloat16_logits_are_summed_in_float32() -> None:
    assert cross_entropy(GLOBALS[0].bfloat16(), TARGETS[0], 0.1).dtype == torch.float32
