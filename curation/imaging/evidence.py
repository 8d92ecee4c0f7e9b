"""A second, careful look at two pictures that points say are the same: is the one a copy of the other, and of which?

Matched points and their rough agreement (`matching`) propose a pair in 3 ms; they also propose two photographs of one
place, two things before one background, two posts of one application. So the pixels are laid upon each other exactly,
and what is then seen is judged by boosted trees that were fitted on pairs of both kinds. Some pairs are refused before
they are asked: where not sure, both pictures are kept.
"""

import functools
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from curation.arrays import UInt8Array
from curation.imaging.cues import Cues, cues_of, places_of
from curation.imaging.matching import Match
from curation.imaging.original import Sides, sides_of
from curation.imaging.registration import lay, working_size
from curation.imaging.trees import Trees, read_trees

__all__ = ["EVIDENCE_SIDE", "EVIDENCE_VERSION", "PROPOSED_FROM", "SURE_FROM", "Evidence", "Seen", "look", "see"]

EVIDENCE_VERSION = 2
"""Raised whenever the same pixels would give other evidence."""
EVIDENCE_SIDE = 320
"""Shorter side in pixels that images are decoded for."""
PROPOSED_FROM = 1.2
"""`Match.score` from which the careful look is worth its time."""
SURE_FROM = 0.9
"""Probability from which a pair is taken for a copy."""

WEIGHTS = Path(__file__).parent / "weights" / "copy-evidence-v1.safetensors"

FEWEST_MATCHED = 10
"""Points that have to match before: walls and lattices fit onto themselves, and few of their points then do."""
FEWEST_POINTS = 10
FEWEST_CELLS = 3
"""Corners that have to be found again, and in how many of 4 x 4 cells of what is in common."""
FEWEST_TEXTURED = 5
"""Windows' areas that have to agree and to show texture as photographs have it: a frame, a text, a plain ground are no
picture."""
LEAST_IN_COMMON = 0.5
"""Share of the one or of the other that is in common: of two crops of a picture that share less, each has its own."""
MOST_FOREIGN = 0.02
"""Share of what is in common where both show a connected piece of the world and not the same one: other cars before a
camera that stands still. On the choosing halves it refuses all 4 such pairs of frames, and of 319 copies by AugLy 7."""

SAME_SMOOTHED, SAME_LOWEST, SAME_DIRECTIONS, SAME_LEVELS = 0.99, 0.99, 0.985, 0.985
MOST_OFF, FEWEST_FOUND, LEAST_FOREIGN, WITHIN = 0.3, 0.7, 0.005, 0.99
SURE = 0.99
"""Where all windows agree once noise is smoothed away, corners are found to a third of a pixel, all slopes have one
direction, grey levels are a function of each other and the one lies within the other, it is a copy: a second photograph
is seldom so near, and shows something else at an edge. Trees that saw few such pairs doubt it."""


@dataclass(frozen=True, slots=True)
class Seen:
    """What was seen before it was judged: the cues, each picture's sides, why it is no copy whatever the cues say."""

    cues: Cues
    sides: tuple[Sides, Sides]
    refused: str | None

    def sided(self, reverse: bool = False) -> tuple[float, ...]:
        """What the judge of the original is given, of the first picture or, in reverse, of the second."""
        one, other = self.sides[::-1] if reverse else self.sides
        difference = (a - b for a, b in zip(one, other, strict=True))
        return (*difference, *one, *other, self.cues.either_differs)


@dataclass(frozen=True, slots=True)
class Evidence:
    """What the careful look says of two images.

    Attributes:
        probability: in [0, 1], that one is a copy of the other; 0 where a rule refuses the pair.
        original: in [0, 1], that the first is the original of the second, if they are copies.
        refused: which rule refused it, or None: `apart`, `points`, `texture` or `foreign`.
        cues: what was seen; None where the pictures could not be laid upon each other.
    """

    probability: float
    original: float
    refused: str | None
    cues: Cues | None


NOTHING = Evidence(0.0, 0.5, "apart", None)


def look(first: UInt8Array, second: UInt8Array, match: Match) -> Evidence:
    """Look at two images that `match` says something of.

    The same pixels and match give the same evidence, whatever ran before; callers set OpenCV to one thread.

    Args:
        first, second: (H, W, 3) uint8 RGB, of any size; looked at with the longer side reduced to 320.
        match: of `match(features of first, features of second)`.
    """
    seen = see(first, second, match)
    if seen is None:
        return NOTHING
    copy, original = _judges()
    probability = 0.0 if seen.refused else copy.probability(seen.cues)
    if not seen.refused and _is_all_the_same(seen.cues):
        probability = max(probability, SURE)
    return Evidence(probability, first_is_original(original, seen), seen.refused, seen.cues)


def see(first: UInt8Array, second: UInt8Array, match: Match) -> Seen | None:
    """What there is to judge; None where the two have too little in common to be compared."""
    one, other = working_size(first), working_size(second)
    laid = lay(one, other, match)
    if laid is None:
        return None
    places = places_of(laid)
    cues = cues_of(laid, places, match)
    return Seen(cues, sides_of(laid, places, one, other, (first.shape, second.shape)), _refusal(cues, len(laid.points)))


def first_is_original(judge: Trees, seen: Seen) -> float:
    """Asked both ways, so that the answer for the pair turned round is the rest to 1."""
    difference = judge.raw(seen.sided()) - judge.raw(seen.sided(reverse=True))
    return 1 / (1 + math.exp(-float(np.clip(difference / 2, -50, 50))))


def _is_all_the_same(cues: Cues) -> bool:
    return (
        cues.smooth_above_95 >= SAME_SMOOTHED
        and cues.smooth_low >= SAME_LOWEST
        and cues.directions >= SAME_DIRECTIONS
        and cues.mapped_all >= SAME_LEVELS
        and cues.offset_high <= MOST_OFF
        and cues.found >= FEWEST_FOUND
        and cues.overlap_most >= WITHIN
        and cues.largest_both <= LEAST_FOREIGN
    )


def _refusal(cues: Cues, points: int) -> str | None:
    if cues.matched == 0 or points < FEWEST_POINTS or cues.spread * 16 < FEWEST_CELLS:
        return "points"
    if math.expm1(cues.natural) < FEWEST_TEXTURED:
        return "texture"
    if cues.overlap_most < LEAST_IN_COMMON:
        return "apart"
    if cues.largest_both > MOST_FOREIGN:
        return "foreign"
    return None


@functools.cache
def _judges() -> tuple[Trees, Trees]:
    models = read_trees(WEIGHTS)
    copy, original = models["copy"], models["original"]
    assert copy.names == Cues._fields
    return copy, original
