"""Which of NudeNet's alarms are taken for nudity: those with more of a person in the image, or that hold at a second
look, and none of fruit or animals where no person is seen."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from curation.imaging.decode import Pixels
from curation.models.detectors.boxes import Box
from curation.models.detectors.nudenet import NudeNet
from curation.models.lite0.network import Lite0
from curation.stages.filters.second_look import Likeness, likenesses

__all__ = ["Alarm", "NsfwConfirmation"]

VERSION = 1
"""Of the rules."""
PART = 0.4
"""Score from which on another part of a body counts as a person seen."""
PERSON = frozenset(
    {
        *("FACE_FEMALE", "FACE_MALE", "FEET_EXPOSED", "FEET_COVERED", "ARMPITS_EXPOSED", "ARMPITS_COVERED"),
        *("BELLY_EXPOSED", "BELLY_COVERED", "MALE_BREAST_EXPOSED", "FEMALE_BREAST_COVERED", "BUTTOCKS_COVERED"),
        *("FEMALE_GENITALIA_COVERED", "ANUS_COVERED"),
    }
)
"""NudeNet's classes that a real nude shows beside what drops it."""
ROUND = frozenset({"BELLY_EXPOSED"})
"""Of these, what fruit is taken for as well: no person where animal or food is as likely as `EVIDENT`."""
EVIDENT = 0.75
LIKELY = 0.4
"""Probability of animals and food from which on an alarm without a person is not taken for nudity."""
SURE, NEARLY = 0.75, 0.85
"""From the score `SURE` on that probability must be `NEARLY`."""
NEVER = 0.9
"""From this score on an alarm is never vetoed."""
LONE = 0.6
"""What an alarm needs, on the mean of three looks, where it is one part alone and nothing else of a person is seen."""
PAIR = "FEMALE_BREAST_EXPOSED"
"""Two of these are not one part alone; for them the class's own threshold holds, on the mean of three looks."""
MARGIN = 0.175
"""Of an image's sides, added around it for the third look."""
GREY = 114


@dataclass(frozen=True, slots=True)
class Alarm:
    """What a second look makes of an image with scores over a threshold.

    Attributes:
        evidence: what else was found, for the detail of the drop.
        veto: why it is not taken for nudity; None where it is.
    """

    evidence: str
    veto: str | None


class NsfwConfirmation:
    """Looks again where NudeNet reports nudity: what else of a person there is, what Lite0 sees, and whether NudeNet
    says the same of the image mirrored and smaller.

    Args:
        network: EfficientNet-Lite0, which others may use too.
    """

    def __init__(self, model: NudeNet, thresholds: Mapping[str, float], network: Lite0) -> None:
        self._model, self._thresholds, self._network = model, thresholds, network

    def fingerprint(self) -> list[str]:
        """The model of the veto and the version of the rules; ModelError where it cannot be had."""
        return [self._network.fingerprint(), f"rules v{VERSION}"]

    def setup(self) -> None:
        """Load the network of the veto; ModelError where it cannot be had. NudeNet is the caller's to load."""
        self._network.setup()

    def look(self, images: Sequence[Pixels], over: Sequence[Mapping[str, float]]) -> list[Alarm]:
        """What to make of images, each with its classes that are over their thresholds, and their scores."""
        views = [view for image in images for view in (image, image[:, ::-1], _smaller(image))]
        boxes = self._model.detect(views)
        shown = likenesses(self._network, images)
        return [self._judge(scores, boxes[3 * at : 3 * at + 3], shown[at]) for at, scores in enumerate(over)]

    def _judge(self, over: Mapping[str, float], looks: Sequence[Sequence[Box]], shows: Likeness) -> Alarm:
        worst = max(over, key=lambda label: over[label])
        score = over[worst]
        person = {box.label: box.score for box in reversed(looks[0]) if box.label in PERSON and box.score >= PART}
        if shows.probability >= EVIDENT:
            person = {label: score for label, score in person.items() if label not in ROUND}
        if person:
            return Alarm("with " + ", ".join(f"{label} {value:.3f}" for label, value in person.items()), None)
        if score >= NEVER:
            return Alarm("sure", None)
        if shows.probability >= (LIKELY if score < SURE else NEARLY):
            return Alarm("", f"{worst} {score:.3f} vetoed: {shows}, nothing else of a person")
        if len(over) > 1:
            others = (f"{label} {value:.3f}" for label, value in over.items() if label != worst)
            return Alarm("with " + ", ".join(others), None)
        mean = float(np.mean([_best(boxes, worst) for boxes in looks]))
        in_pair = sum(box.label == worst == PAIR and box.score >= self._thresholds[PAIR] for box in looks[0]) > 1
        needed = self._thresholds[worst] if in_pair else LONE
        if mean < needed:
            said = f"alone, mean of three looks {mean:.3f}, needs {needed:g}"
            return Alarm("", f"{worst} {score:.3f} vetoed: {said}, nothing else of a person")
        return Alarm(f"alone, mean of three looks {mean:.3f}", None)


def _best(boxes: Sequence[Box], label: str) -> float:
    return max((box.score for box in boxes if box.label == label), default=0.0)


def _smaller(image: Pixels) -> Pixels:
    """The image with a grey margin, so that the model sees it smaller."""
    down, across = (int(length * MARGIN) for length in image.shape[:2])
    return np.pad(image, ((down, down), (across, across), (0, 0)), constant_values=GREY)
