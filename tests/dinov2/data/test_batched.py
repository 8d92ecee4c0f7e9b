"""The views of a batch made together against those that workers make: the same plans, the same pixels to rounding."""

from collections import Counter
from dataclasses import replace
from typing import Literal

import numpy as np
import pytest
import torch
from PIL import Image
from skimage import data

from curation.dinov2.config import AugmentConfig, CropConfig
from curation.dinov2.data.augment import Augmentation
from curation.dinov2.data.batched import BatchedAugmentation, change_colours, reduced
from curation.dinov2.data.plan import Plan, Planner

CPU = torch.device("cpu")
CROPS = CropConfig(global_size=56, local_size=28, local_count=2)
PLANNER = Planner(CROPS, "official", AugmentConfig())
SIZES = ((80, 60), (60, 90), (120, 100), (41, 57))
PHOTOS = [np.asarray(Image.fromarray(data.chelsea()).resize(size, Image.Resampling.BICUBIC)) for size in SIZES]


def rng(number: int) -> np.random.Generator:
    return np.random.default_rng((7, number))


def both(
    photos: list[np.ndarray],
    recipe: Literal["official", "paper"],
    crops: CropConfig = CROPS,
    changes: AugmentConfig | None = None,
) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Global, then local views of both paths, as floats."""
    pairs = []
    planner = Planner(crops, recipe, changes or AugmentConfig())
    for maker in (Augmentation(planner), BatchedAugmentation(planner, CPU)):
        made = [maker(photo, rng(number)) for number, photo in enumerate(photos)]
        pairs.append(maker.gather(made))
    assert all(one.dtype == two.dtype == torch.uint8 for one, two in zip(*pairs, strict=True))
    return [(one.float(), two.float()) for one, two in zip(*pairs, strict=True)]


@pytest.mark.parametrize("recipe", ["official", "paper"])
def test_views_are_those_of_the_workers_but_for_rounding(recipe: Literal["official", "paper"]) -> None:
    for workers, together in both(PHOTOS * 4, recipe):
        difference = (workers - together).abs()
        assert difference.max() <= 6  # one level each of resizing, four changes and the blur, and what contrast adds
        assert difference.mean() < 0.02
        assert (difference > 1).float().mean() < 0.002


def test_without_other_changes_crops_differ_by_one_level_at_most() -> None:
    plain = AugmentConfig(jitter=0, grey=0, blur=0, solarise=0)
    for workers, together in both(PHOTOS, "official", changes=plain):
        assert (workers - together).abs().max() <= 1


def test_the_plans_of_an_image_do_not_depend_on_the_batch() -> None:
    maker = BatchedAugmentation(PLANNER, CPU)
    alone = maker(PHOTOS[0], rng(0))
    assert alone.plans == maker(PHOTOS[0], rng(0)).plans
    other = maker(PHOTOS[1], rng(1))
    (globals_, locals_), (first, local) = maker.gather([alone, other]), maker.gather([alone])
    for one, two in ((globals_[:, :1], first), (locals_[:, :1], local)):
        assert (one.float() - two.float()).abs().max() <= 4
        assert (one != two).float().mean() < 0.01


def test_views_are_ordered_by_view_then_image() -> None:
    levels = [20, 90, 200]
    photos = [np.full((60, 60, 3), level, dtype=np.uint8) for level in levels]
    plain = AugmentConfig(jitter=0, grey=0, blur=0, solarise=1)  # the second global view alone
    (_, globals_), (_, locals_) = both(photos, "official", changes=plain)
    assert globals_.mean(dim=(2, 3, 4)).tolist() == [[20, 90, 200], [20, 90, 55]]
    assert locals_.mean(dim=(2, 3, 4)).tolist() == [[20, 90, 200]] * 2


def test_changes_are_made_in_the_order_of_each_plan() -> None:
    brighter, fuller = ("brightness", 1.4), ("contrast", 1.4)
    rest = (("saturation", 1.0), ("hue", 0.0))
    plan = Plan(box=(0, 0, 2, 2), flip=False, jitter=(), grey=False, blur=None, solarise=False)
    plans = [replace(plan, jitter=(brighter, fuller, *rest)), replace(plan, jitter=(fuller, brighter, *rest)), plan]
    x = torch.tensor([60.0, 100.0]).repeat_interleave(6).reshape(1, 2, 3, 2).transpose(1, 2).repeat(3, 1, 1, 1)
    result = change_colours(x, plans)[:, 0, :, 0]
    # 60, 100 -> 84, 140 -> about the mean 112: 72.8, 151.2; about the mean 80: 52, 108 -> 72.8, 151.2
    assert result[2].tolist() == [60, 100]
    assert result[0].tolist() == [72, 151]
    assert result[1].tolist() == [72, 151]
    spread = (
        replace(plan, jitter=(brighter, ("contrast", 0.6), *rest)),
        replace(plan, jitter=(("contrast", 0.6), brighter, *rest)),
    )
    x = torch.tensor([100.0, 250.0]).repeat_interleave(6).reshape(1, 2, 3, 2).transpose(1, 2).repeat(2, 1, 1, 1)
    # brighter first is cut at 255: mean 198, then 163, 232; contrast first: mean 175: 130, 220 -> 182, 255
    result = change_colours(x, list(spread))[:, 0, :, 0]
    assert result[0].tolist() == [163, 232]
    assert result[1].tolist() == [182, 255]


def test_no_local_crops_give_an_empty_tensor() -> None:
    crops = CROPS.model_copy(update={"local_count": 0})
    (_, globals_), (workers, locals_) = both(PHOTOS, "official", crops)
    assert globals_.shape == (2, 4, 3, 56, 56)
    assert locals_.shape == workers.shape == (0, 4, 3, 28, 28)


def test_an_image_of_one_pixel_has_views() -> None:
    photo = np.full((1, 1, 3), 9, dtype=np.uint8)
    plain = AugmentConfig(jitter=0, grey=0, blur=0, solarise=0)
    assert all((together == 9).all() for _, together in both([photo], "official", changes=plain))


def test_large_images_are_reduced_but_no_crop_is_enlarged() -> None:
    maker = BatchedAugmentation(PLANNER, CPU)
    photo = np.asarray(Image.fromarray(data.chelsea()).resize((700, 620), Image.Resampling.BICUBIC))
    factors = Counter()
    for number in range(12):
        made = maker(photo, rng(number))
        assert made.pixels.numel() <= 3 * 4 * PLANNER.enough**2
        for view, plan in enumerate(made.plans):
            size = CROPS.global_size if view < 2 else CROPS.local_size
            factors[min(plan.box[2:]) >= size - 1] += 1  # sides of boxes are rounded
    assert set(factors) == {True}


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        ((100, 150), (100, 150)),
        ((199, 200), (199, 200)),
        ((200, 200), (100, 100)),
        ((200, 500), (67, 167)),  # area for a third, which leaves the shorter side above 60
        ((119, 4000), (119, 4000)),
        ((121, 4000), (61, 2000)),
    ],
)
def test_reduction_leaves_the_area_and_the_sides_that_are_asked_for(
    shape: tuple[int, int], expected: tuple[int, int]
) -> None:
    assert reduced(np.zeros((*shape, 3), dtype=np.uint8), area=100 * 100, side=60).shape == (*expected, 3)


def test_reduction_is_the_mean_of_squares() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (8, 12, 3), dtype=np.uint8)
    means = pixels.reshape(4, 2, 6, 2, 3).mean(axis=(1, 3))
    assert np.abs(reduced(pixels, area=20, side=4) - means).max() <= 0.5


def test_a_very_long_image_is_sent_without_what_no_view_shows() -> None:
    strip = np.random.default_rng(0).integers(0, 256, (60, 5000, 3), dtype=np.uint8)
    maker = BatchedAugmentation(PLANNER, CPU)
    made = maker(strip, rng(0))
    assert made.pixels.shape == (60, 80, 3)
    assert made.pixels.untyped_storage().nbytes() == made.pixels.numel()
    for workers, together in both([strip], "official", changes=AugmentConfig(jitter=0, grey=0, blur=0, solarise=0)):
        assert (workers - together).abs().max() <= 1
