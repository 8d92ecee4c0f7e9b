"""Masks."""

import random

import pytest
import torch

from curation.dinov2.masking import block_mask, draw_masks, largest_block


@pytest.mark.parametrize(("image_size", "patch", "largest"), [(98, 14, 21), (224, 16, 98), (224, 14, 128)])
def test_the_largest_block_is_floored_twice_as_in_the_official_code(
    image_size: int, patch: int, largest: float
) -> None:
    assert largest_block(image_size, patch) == largest


@pytest.mark.parametrize("seed", range(20))
def test_a_mask_never_exceeds_its_target_and_mostly_reaches_it(seed: int) -> None:
    rng = random.Random(seed)
    counts = [int(block_mask(14, 80, 98, rng).sum()) for _ in range(20)]
    assert max(counts) <= 80
    assert sum(counts) / len(counts) > 70


def test_exactly_the_asked_share_of_crops_is_masked() -> None:
    masks = draw_masks(9, 14, largest=98, probability=0.5, ratio=(0.1, 0.5), rng=random.Random(0))
    assert masks.shape == (9, 196)
    assert int(masks.any(dim=1).sum()) == 4


def test_target_ratios_come_from_equal_slices_of_the_range() -> None:
    masks = draw_masks(200, 14, largest=98, probability=1.0, ratio=(0.1, 0.5), rng=random.Random(0))
    shares = masks.float().mean(dim=1).sort().values
    expected = torch.linspace(0.1, 0.5, 200)
    assert (shares - expected).abs().max() < 0.05


def test_a_probability_of_zero_masks_nothing() -> None:
    assert not draw_masks(4, 7, largest=21, probability=0.0, ratio=(0.1, 0.5), rng=random.Random(0)).any()


def test_a_grid_too_small_for_any_block_ends_without_one() -> None:
    assert not block_mask(1, 1, 1, random.Random(0)).any()
