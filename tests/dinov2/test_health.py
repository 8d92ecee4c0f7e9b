"""Numbers and words about collapse."""

import math

import pytest
import torch

from curation.dinov2.health import examine

G = torch.Generator().manual_seed(0)
FEATURES, TARGETS = torch.randn(64, 32, generator=G), torch.softmax(3 * torch.randn(64, 40, generator=G), dim=1)


def test_a_healthy_batch_has_no_warnings() -> None:
    health = examine(FEATURES, TARGETS)
    assert health.warnings() == []
    assert health.prototypes_used > 10
    assert 0 < health.prototype_entropy < math.log(40)


def test_equal_features_are_called_a_collapse() -> None:
    (warning, *_) = examine(torch.ones(64, 32), TARGETS).warnings()
    assert warning.startswith("collapse: features of different images are the same")


def test_few_dimensions_are_called_a_collapse() -> None:
    flat = torch.randn(64, 2, generator=G) @ torch.randn(2, 32, generator=G)
    assert any("possible dimensions" in warning for warning in examine(flat, TARGETS).warnings())


def test_a_single_prototype_is_called_a_collapse() -> None:
    targets = torch.zeros(64, 40)
    targets[:, 3] = 1
    assert any("same prototype" in warning for warning in examine(FEATURES, targets).warnings())
    assert examine(FEATURES, targets).prototype_entropy == pytest.approx(0, abs=1e-6)


def test_targets_that_say_nothing_are_told_from_a_collapse() -> None:
    uniform = torch.full((64, 40), 1 / 40)
    health = examine(FEATURES, uniform)
    assert health.target_entropy == pytest.approx(math.log(40))
    assert health.prototype_entropy == pytest.approx(math.log(40))
    hint = examine(FEATURES, uniform + 1e-4 * torch.eye(64, 40)).warnings()
    assert [text.split(" (")[0] for text in hint] == ["targets are all but uniform"]
    assert "lower teacher.temperature" in hint[0]


def test_a_batch_of_one_is_not_called_a_collapse() -> None:
    assert examine(FEATURES[:1], TARGETS[:1]).warnings() == []
