"""Sinkhorn-Knopp against the plain iteration on exponentials in float64."""

import pytest
import torch
from torch import Tensor

from curation.dinov2.losses import sinkhorn_knopp


def plain(logits: Tensor, temperature: float, iterations: int = 3) -> Tensor:
    q = (logits.double() / temperature).exp().T
    q = q / q.sum()
    prototypes, samples = q.shape
    for _ in range(iterations):
        q = q / q.sum(dim=1, keepdim=True) / prototypes
        q = q / q.sum(dim=0, keepdim=True) / samples
    return (q * samples).T.float()


@pytest.mark.parametrize("iterations", [1, 3, 10])
def test_it_equals_the_iteration_on_exponentials(iterations: int) -> None:
    logits = torch.randn(24, 40, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(
        sinkhorn_knopp(logits, 0.07, iterations), plain(logits, 0.07, iterations), rtol=1e-4, atol=1e-7
    )


def test_logits_that_overflow_an_exponential_give_finite_rows_of_sum_one() -> None:
    logits = 40 * torch.randn(16, 12, generator=torch.Generator().manual_seed(1))
    targets = sinkhorn_knopp(logits, 0.04)
    assert torch.isfinite(targets).all()
    torch.testing.assert_close(targets.sum(dim=1), torch.ones(16))


def test_a_common_offset_of_all_logits_changes_nothing() -> None:
    logits = torch.randn(8, 6, generator=torch.Generator().manual_seed(2))
    torch.testing.assert_close(sinkhorn_knopp(logits + 3, 0.07), sinkhorn_knopp(logits, 0.07), rtol=1e-4, atol=1e-6)


def test_many_iterations_use_all_prototypes_equally() -> None:
    logits = torch.randn(60, 5, generator=torch.Generator().manual_seed(3))
    share = sinkhorn_knopp(logits, 0.5, 200).mean(dim=0)
    torch.testing.assert_close(share, torch.full((5,), 0.2), rtol=1e-3, atol=0)


def test_half_precision_logits_are_worked_on_in_float32() -> None:
    logits = torch.randn(8, 6, generator=torch.Generator().manual_seed(2)).bfloat16()
    targets = sinkhorn_knopp(logits, 0.04)
    assert targets.dtype == torch.float32
    torch.testing.assert_close(targets, plain(logits, 0.04), rtol=1e-4, atol=1e-7)


def test_no_samples_give_no_targets() -> None:
    assert sinkhorn_knopp(torch.zeros(0, 5), 0.04).shape == (0, 5)
