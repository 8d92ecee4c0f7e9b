"""What a certificate shows of a run's images: small pictures, and how one image lies in another."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from curation.imaging.local_features import Features, extract
from curation.imaging.matching import Match, match
from curation.report.pictures import Pictures, Place, thumbnail
from curation.run.directory import Run

__all__ = ["DECODED_SIDE", "SIDE", "Look", "Looks", "Thumbnails", "make_thumbnails"]

SIDE = 128
"""Longer side of a thumbnail."""
DECODED_SIDE = 320
"""Shorter side that images are decoded for: local features are extracted at this scale."""
KEPT_LOOKS = 256


@dataclass(frozen=True)
class Thumbnails:
    """JPEGs of at most 128 x 128 pixels, and the geometry of (reference, image) pairs; none of images that are gone."""

    thumbnails: Mapping[Place, bytes]
    matches: Mapping[tuple[Place, Place], Match]


@dataclass(frozen=True, slots=True)
class Look:
    """One decoded image: its thumbnail and its local features."""

    jpeg: bytes
    features: Features


class Looks:
    """Decodes images of a run, and keeps what it made of the last 256."""

    def __init__(self, run: Run) -> None:
        self._pictures = Pictures(run)
        self.of = lru_cache(maxsize=KEPT_LOOKS)(self._look)
        """Thumbnail and local features of the image at a place; None where it can no longer be read."""

    def _look(self, place: Place) -> Look | None:
        image = self._pictures.image(place, DECODED_SIDE)
        if image is None:
            return None
        features = extract(np.asarray(image))
        return Look(thumbnail(image, SIDE), features)


def make_thumbnails(
    run: Run, pairs: Mapping[Place, Sequence[Place]], known: Thumbnails, done: Callable[[int], None]
) -> Thumbnails:
    """What is known, and what is missing of it; in the order of places. Nothing is stored.

    Args:
        pairs: reference images, and the images that are shown with each.
        known: what was made before.
        done: called with the number of images of each reference image that is done.
    """
    thumbnails, matches = dict(known.thumbnails), dict(known.matches)
    looks = Looks(run)
    for reference, others in pairs.items():
        for place in (reference, *others):
            if place not in thumbnails and (look := looks.of(place)) is not None:
                thumbnails[place] = look.jpeg
        for other in others:
            if (reference, other) not in matches:
                first, second = looks.of(reference), looks.of(other)
                if first is not None and second is not None:
                    matches[reference, other] = match(first.features, second.features)
        done(1 + len(others))
    return Thumbnails(dict(sorted(thumbnails.items())), dict(sorted(matches.items())))
