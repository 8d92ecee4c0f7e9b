"""Effective rank."""

import pytest
import torch

from curation.evaluation.rank import rankme


def test_rankme_is_the_number_of_equal_directions() -> None:
    assert rankme(torch.eye(16)) == pytest.approx(16, rel=1e-6)
    assert rankme(torch.ones(16, 8)) == pytest.approx(1, rel=1e-6)
