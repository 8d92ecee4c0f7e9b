"""Which patches are masked: blocks of random size and shape, as many as make up a target count (arXiv 2106.08254).

Draws are made in the order of the official generator, so that a seeded `random.Random` gives the same masks.
"""

import itertools
import math
import random

import numpy as np
import torch
from torch import Tensor

__all__ = ["block_mask", "draw_masks", "largest_block"]

SMALLEST_BLOCK = 4
ASPECTS = (math.log(0.3), math.log(1 / 0.3))
ATTEMPTS = 10


def largest_block(image_size: int, patch: int) -> float:
    """Largest block area in patches. Half the grid, with the official code's two floor divisions: 21 on a 7x7 grid."""
    return 0.5 * image_size // patch * image_size // patch


def block_mask(side: int, target: int, largest: float, rng: random.Random) -> np.ndarray:
    """Boolean `(side, side)` with at most `target` patches set; fewer if no block fits within ten attempts."""
    mask = np.zeros((side, side), dtype=bool)
    missing = target
    while missing > 0:
        added = _add_block(mask, min(missing, largest), rng)
        if added == 0:
            break
        missing -= added
    return mask


def _add_block(mask: np.ndarray, limit: float, rng: random.Random) -> int:
    side = len(mask)
    for _ in range(ATTEMPTS):
        area = rng.uniform(SMALLEST_BLOCK, limit)
        aspect = math.exp(rng.uniform(*ASPECTS))
        height, width = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
        if width >= side or height >= side:
            continue
        top, left = rng.randint(0, side - height), rng.randint(0, side - width)
        block = mask[top : top + height, left : left + width]
        added = height * width - int(block.sum())
        if 0 < added <= limit:
            block[:] = True
            return added
    return 0


def draw_masks(
    crops: int, side: int, *, largest: float, probability: float, ratio: tuple[float, float], rng: random.Random
) -> Tensor:
    """Masks `(crops, side * side)` bool: exactly int(crops * probability) crops are masked.

    Their target ratios come one from each of equal slices of `ratio`; which crop gets which is shuffled.
    """
    masked = int(crops * probability)
    edges = torch.linspace(*ratio, masked + 1).tolist()
    masks = [
        block_mask(side, int(side * side * rng.uniform(low, high)), largest, rng)
        for low, high in itertools.pairwise(edges)
    ]
    masks += [np.zeros((side, side), dtype=bool)] * (crops - masked)
    rng.shuffle(masks)
    return torch.from_numpy(np.stack(masks)).flatten(1)
