"""Which of CenterFace's boxes are faces: those that a second look confirms, none that covers most of the frame."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from curation.config import SafetyConfig
from curation.imaging.decode import Pixels
from curation.models.detectors.boxes import Box
from curation.models.detectors.centerface import CenterFace
from curation.models.detectors.nudenet import NudeNet
from curation.models.lite0.network import Lite0
from curation.stages.filters.second_look import Likeness, cut_out, enlarged, likenesses, overlap

__all__ = ["FACE_FLOOR", "Face", "FaceFinder"]

VERSION = 1
"""Of the rules."""
FACE_FLOOR = 0.05
"""Boxes with a lower score are not kept. Those under the threshold are, to see what another threshold would do."""
MOST = 0.6
"""A box that covers more of the frame than this is no face. A head and shoulders cover a quarter of it."""
SURE = 0.8
"""A box with this score needs no second look: of 6,400 photos no animal, fruit or thing had it."""
NEEDED = 0.9
"""What the scores of both looks must add up to."""
UNLIKELY = ((0.85, 1.5), (0.7, 1.2))
"""The same where all around the box is an animal or food, by the probability of that: a person who stands beside an
animal has both scores high."""
VIEWS = (2.5, 4.0)
"""Sides of the squares that are cut out for the second look, over the box's longer side."""
VIEW_SIDE = 256
"""They are enlarged to this: a face of 10 pixels is looked at again with 64 or more."""
SAME = 0.3
"""Intersection over union from which on two boxes are of one face."""
CHUNK = 32

FACE_CLASSES = ("FACE_FEMALE", "FACE_MALE")


@dataclass(frozen=True, slots=True)
class Face:
    """A box of CenterFace, in pixels of the image given, and what was made of it.

    Attributes:
        verdict: `face`; or why it is none: `low score`, `covers the frame`, `animal or food`, `not confirmed`.
        second: the best score that the second look gave it; None where there was no need to look.
        shows: how far all around it is an animal or food; None likewise.
    """

    box: Box
    verdict: str
    second: float | None = None
    shows: Likeness | None = None

    @property
    def is_face(self) -> bool:
        return self.verdict == "face"


class FaceFinder:
    """Finds faces, and says of each box why it is one or none.

    A box counts if its score is very high, or if its score and that of a second look add up to enough. The second look
    is CenterFace's own at the box, cut out and enlarged, or NudeNet's face at the same place, whichever is surer; more
    is needed where Lite0 sees an animal or food around the box.

    Args:
        network: EfficientNet-Lite0, which others may use too.
    """

    def __init__(self, settings: SafetyConfig, network: Lite0, threads: int = 1) -> None:
        self._threshold, self._confirms = settings.face_threshold, settings.confirm
        self._detector = CenterFace(settings.face_side, FACE_FLOOR, threads)
        self._bodies = NudeNet(threads)
        self._network = network

    def fingerprint(self) -> list[str]:
        """The models, and the version of the rules; ModelError where a model cannot be had."""
        if not self._confirms:
            return [self._detector.fingerprint()]
        second = [self._bodies.fingerprint(), self._network.fingerprint(), f"rules v{VERSION}"]
        return [self._detector.fingerprint(), *second]

    def setup(self) -> None:
        """Load the models; ModelError where they cannot be had."""
        self._detector.setup()
        if self._confirms:
            self._bodies.setup()
            self._network.setup()

    def find(self, images: Sequence[Pixels]) -> list[list[Face]]:
        """All boxes of each image, best score first."""
        faces = [
            [Face(box, self._first_verdict(box, image)) for box in boxes]
            for boxes, image in zip(self._detector.detect(images), images, strict=True)
        ]
        doubtful = [at for at, found in enumerate(faces) if any(face.verdict == "not confirmed" for face in found)]
        for at, bodies in (
            zip(doubtful, self._bodies.detect([images[at] for at in doubtful]), strict=True) if doubtful else ()
        ):
            faces[at] = self._looked_at_again(images[at], faces[at], [b for b in bodies if b.label in FACE_CLASSES])
        return faces

    def _first_verdict(self, box: Box, image: Pixels) -> str:
        if box.score < self._threshold:
            return "low score"
        if not self._confirms:
            return "face"
        if box.width * box.height > MOST * image.shape[0] * image.shape[1]:
            return "covers the frame"
        is_empty = not math.isfinite(box.x + box.y + box.width + box.height) or min(box.width, box.height) < 1
        return "face" if box.score >= SURE or is_empty else "not confirmed"

    def _looked_at_again(self, image: Pixels, faces: list[Face], bodies: list[Box]) -> list[Face]:
        doubtful = [number for number, face in enumerate(faces) if face.verdict == "not confirmed"]
        result = list(faces)
        for start in range(0, len(doubtful), CHUNK):
            some = doubtful[start : start + CHUNK]
            views = [cut_out(image, faces[number].box, times) for number in some for times in VIEWS]
            large = [enlarged(cut, box, VIEW_SIDE) for cut, box in views]
            again = self._detector.detect([cut for cut, _ in large])
            shown = likenesses(self._network, [cut for cut, _ in views])
            scores = [_best(box, boxes) for (_, box), boxes in zip(large, again, strict=True)]
            for position, number in enumerate(some):
                face, mine = faces[number], slice(position * len(VIEWS), (position + 1) * len(VIEWS))
                second = max(*scores[mine], _best(face.box, bodies))
                shows = min(shown[mine], key=lambda likeness: likeness.probability)
                result[number] = replace(
                    face, verdict=_verdict(face.box.score + second, shows.probability), second=second, shows=shows
                )
        return result


def _best(box: Box, others: Sequence[Box]) -> float:
    """The best score of boxes at the same place."""
    return max((other.score for other in others if overlap(box, other) >= SAME), default=0.0)


def _verdict(both: float, unlikely: float) -> str:
    """What the scores of both looks make of a box around which is an animal or food with a probability."""
    if both < NEEDED:
        return "not confirmed"
    needed = next((needed for probability, needed in UNLIKELY if unlikely >= probability), NEEDED)
    return "face" if both >= needed else "animal or food"
