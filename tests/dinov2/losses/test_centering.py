"""The moving centre."""

import torch

from curation.dinov2.losses import Centre


def test_a_batch_moves_the_centre_for_the_next_batch_only() -> None:
    centre = Centre((1, 4), momentum=0.9)
    logits = torch.randn(6, 4, generator=torch.Generator().manual_seed(0))
    first = centre.assign(logits, 0.1)
    torch.testing.assert_close(first, torch.softmax(logits / 0.1, dim=1))
    second = centre.assign(logits, 0.1)
    torch.testing.assert_close(second, torch.softmax((logits - 0.1 * logits.mean(dim=0)) / 0.1, dim=1))


def test_an_empty_batch_leaves_the_centre_alone() -> None:
    centre = Centre((1, 1, 4))
    centre.center.fill_(2.0)
    assert centre.assign(torch.zeros(0, 4), 0.1).shape == (0, 4)
    assert (centre.center == 2).all()


def test_the_centre_keeps_the_shape_of_the_official_buffer() -> None:
    centre = Centre((1, 1, 4))
    centre.assign(torch.ones(2, 4), 0.1)
    assert centre.state_dict()["center"].shape == (1, 1, 4)
