"""What is drawn for a view: ranges, shares and orders."""

from collections import Counter
from math import log

import numpy as np
import pytest

from curation.dinov2.config import AugmentConfig, CropConfig
from curation.dinov2.data.plan import Plan, Planner, crop_box

CROPS = CropConfig(local_count=2)


def drawn(count: int, changes: AugmentConfig | None = None) -> list[list[Plan]]:
    planner, rng = Planner(CROPS, "official", changes or AugmentConfig()), np.random.default_rng(3)
    return [planner(300, 400, rng) for _ in range(count)]


@pytest.mark.parametrize(("height", "width"), [(120, 160), (500, 20), (7, 900), (1, 1)])
def test_boxes_lie_inside_the_image(height: int, width: int) -> None:
    rng = np.random.default_rng(0)
    for _ in range(100):
        top, left, h, w = crop_box(height, width, (0.05, 1.0), rng)
        assert 0 <= top <= top + h <= height
        assert 0 <= left <= left + w <= width
        assert h > 0
        assert w > 0


def test_changes_have_the_shares_of_the_recipe_by_view() -> None:
    plans = drawn(600)
    views = [[image[view] for image in plans] for view in range(4)]
    for view, blur, solarise in zip(views, (0, 0.9, 0.5, 0.5), (0, 0.2, 0, 0), strict=True):
        shares = [
            np.mean([plan.flip for plan in view]) - 0.5,
            np.mean([plan.jitter != () for plan in view]) - 0.8,
            np.mean([plan.grey for plan in view]) - 0.2,
            np.mean([plan.blur is not None for plan in view]) - blur,
            np.mean([plan.solarise for plan in view]) - solarise,
        ]
        assert np.abs(shares).max() < 0.08  # four standard deviations of a half


def test_every_order_of_the_four_changes_is_as_likely() -> None:
    plans = [plan for image in drawn(300) for plan in image if plan.jitter]
    orders = Counter(tuple(name for name, _ in plan.jitter) for plan in plans)
    assert len(orders) == 24
    assert max(abs(count / len(plans) - 1 / 24) for count in orders.values()) < 0.02


def test_amounts_fill_their_ranges() -> None:
    plans = [plan for image in drawn(200) for plan in image]
    amounts: dict[str, list[float]] = {"blur": [plan.blur for plan in plans if plan.blur is not None]}
    for plan in plans:
        for name, amount in plan.jitter:
            amounts.setdefault(name, []).append(amount)
    ranges = {
        "brightness": (0.6, 1.4),
        "contrast": (0.6, 1.4),
        "saturation": (0.8, 1.2),
        "hue": (-0.1, 0.1),
        "blur": (0.1, 2.0),
    }
    for name, (low, high) in ranges.items():
        assert min(amounts[name]) == pytest.approx(low, abs=0.02 * (high - low))
        assert max(amounts[name]) == pytest.approx(high, abs=0.02 * (high - low))
        assert low <= min(amounts[name]) <= max(amounts[name]) <= high


def test_boxes_have_the_areas_and_aspects_of_the_recipe() -> None:
    plans = drawn(300)
    for view, (low, high) in ((0, (0.32, 1.0)), (3, (0.05, 0.32))):
        boxes = np.array([image[view].box for image in plans])
        areas, aspects = boxes[:, 2] * boxes[:, 3] / (300 * 400), np.log(boxes[:, 3] / boxes[:, 2])
        assert low - 0.01 < areas.min() < low + 0.05
        assert high * 0.9 < areas.max() < high + 0.01
        assert np.abs(aspects).max() < log(4 / 3) + 0.03
