"""What is done to an image to make its views, drawn before any pixel is touched (arXiv 2304.07193 appendix B.1).

Plans depend on the image's size and the generator alone. So the views of an image can be made anywhere, by a worker or
together with those of a whole batch on the model's device, and are the same ones.
"""

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np

from curation.dinov2.config import AugmentConfig, CropConfig

__all__ = ["Box", "Change", "Plan", "Planner", "crop_box"]

RATIO = (math.log(3 / 4), math.log(4 / 3))
BLUR_PROBABILITY = {"official": (0.0, 0.9, 0.5), "paper": (1.0, 0.1, 0.5)}
Box = tuple[int, int, int, int]
"""(top, left, height, width)"""
Change = Literal["brightness", "contrast", "saturation", "hue"]


@dataclass(frozen=True)
class Plan:
    """How one view is made: the steps are in the order of the fields."""

    box: Box
    flip: bool
    jitter: tuple[tuple[Change, float], ...]
    """All four changes in the order they are made, with their amounts, or none."""
    grey: bool
    blur: float | None
    """Standard deviation in pixels of the view."""
    solarise: bool


class Planner:
    """Draws the plans of an image's views; all randomness comes from the generator that is passed in."""

    def __init__(self, crops: CropConfig, recipe: Literal["official", "paper"], changes: AugmentConfig) -> None:
        self.crops = crops
        self.changes = changes
        self.blur = tuple(changes.blur * probability for probability in BLUR_PROBABILITY[recipe])

    @property
    def enough(self) -> int:
        """Shorter side of an image in pixels from which no crop is ever enlarged, whatever its place and shape."""
        c = self.crops
        smallest = [(c.global_size, c.global_scale[0])] + [(c.local_size, c.local_scale[0])] * (c.local_count > 0)
        return math.ceil(max(size / math.sqrt(max(scale, 1e-3) * 3 / 4) for size, scale in smallest))

    def __call__(self, height: int, width: int, rng: np.random.Generator) -> list[Plan]:
        """Plans of the two global views, then of the local ones, of an image of `height` x `width`."""
        c = self.crops
        views = [(c.global_scale, self.blur[view], self.changes.solarise * view) for view in range(2)]
        views += [(c.local_scale, self.blur[2], 0.0)] * c.local_count
        return [self._plan(crop_box(height, width, scale, rng), blur, solarise, rng) for scale, blur, solarise in views]

    def _plan(self, box: Box, blur: float, solarise: float, rng: np.random.Generator) -> Plan:
        # keyword arguments are evaluated in the order they stand in: that of the draws
        return Plan(
            box=box,
            flip=rng.random() < self.changes.flip,
            jitter=_jitter(rng) if rng.random() < self.changes.jitter else (),
            grey=rng.random() < self.changes.grey,
            blur=rng.uniform(0.1, 2.0) if rng.random() < blur else None,
            solarise=rng.random() < solarise,
        )


def _jitter(rng: np.random.Generator) -> tuple[tuple[Change, float], ...]:
    brightness, contrast = rng.uniform(0.6, 1.4, 2)
    saturation, turn = rng.uniform(0.8, 1.2), rng.uniform(-0.1, 0.1)
    steps: tuple[tuple[Change, float], ...] = (
        ("brightness", float(brightness)),
        ("contrast", float(contrast)),
        ("saturation", saturation),
        ("hue", turn),
    )
    return tuple(steps[number] for number in rng.permutation(4))


def crop_box(height: int, width: int, scale: tuple[float, float], rng: np.random.Generator) -> Box:
    """A box with a uniform share of the area and a log-uniform aspect of 3/4 to 4/3.

    After ten boxes that do not fit, the largest centred one with an allowed aspect.
    """
    for _ in range(10):
        area = height * width * rng.uniform(*scale)
        aspect = math.exp(rng.uniform(*RATIO))
        w, h = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
        if 0 < w <= width and 0 < h <= height:
            return int(rng.integers(height - h + 1)), int(rng.integers(width - w + 1)), h, w
    h, w = height, width
    if width / height < 3 / 4:
        h = min(height, max(1, round(width * 4 / 3)))
    elif width / height > 4 / 3:
        w = min(width, max(1, round(height * 4 / 3)))
    return (height - h) // 2, (width - w) // 2, h, w
