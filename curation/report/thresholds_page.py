"""A page of the images around a filter's threshold: what it drops, and what it narrowly keeps.

Thumbnails are made from the images as they are stored, faces blurred. Those of the NSFW filter can be blurred as well,
beyond recognition.
"""

import itertools
from collections.abc import Iterator, Sequence

import numpy as np
from PIL import Image

from curation.arrays import Int64Array
from curation.imaging.decode import encode_jpeg
from curation.report.histogram import Histogram, histogram
from curation.report.page import Figure, render
from curation.report.pictures import Pictures, thumbnail
from curation.report.thresholds import Scores, scores_text
from curation.run.directory import Run

__all__ = ["scores_histogram", "thresholds_page"]

SHOWN = 12
"""Images on each side of the threshold."""
SIDE = 132
BLURRED_SIDE = 6


def thresholds_page(run: Run, scores: Sequence[Scores], name: str, *, collection: str = "pool", blur: bool) -> str:
    """The page as HTML: histograms, and thumbnails of the images nearest to each threshold.

    Args:
        scores: as `read_scores` gives them.
        name: the filter, for the title.
        collection: the scores' collection, a path in the run.
        blur: make thumbnails unrecognisable.
    """
    pictures = Pictures(run)
    return render(
        "thresholds.html",
        title=f"thresholds of {name}",
        text="\n".join(map(scores_text, scores)),
        histograms=list(map(scores_histogram, scores)),
        sections=[
            (item, list(_groups(pictures, item, item.limit, collection, blur)))
            for item in scores
            if item.limit is not None
        ],
    )


def _groups(
    pictures: Pictures, scores: Scores, limit: float, collection: str, blur: bool
) -> Iterator[tuple[str, int, list[Figure]]]:
    """Heading, number of images, and the nearest of them, on each side of a threshold."""
    order = np.argsort(np.abs(scores.values - limit), kind="stable")
    over = scores.values[order] >= limit
    dropped, kept = order[over if scores.above else ~over], order[~over if scores.above else over]
    for heading, chosen in (("narrowly dropped", dropped), ("narrowly kept", kept)):
        figures = list(_figures(pictures, scores, chosen[:SHOWN], collection, blur))
        yield heading, len(chosen), figures


def _figures(pictures: Pictures, scores: Scores, chosen: Int64Array, collection: str, blur: bool) -> Iterator[Figure]:
    for at in chosen.tolist():
        part, row = scores.places[at].tolist()
        place = (collection, part, row)
        image = pictures.image(place, SIDE)
        jpeg = None if image is None else _blurred(image) if blur else thumbnail(image, SIDE)
        yield Figure(jpeg, pictures.key(place), caption=f"{scores.values[at]:.3g}")


def _blurred(image: Image.Image) -> bytes:
    image.thumbnail((BLURRED_SIDE, BLURRED_SIDE), Image.Resampling.BOX)
    height = max(1, SIDE * image.height // image.width)
    return encode_jpeg(image.resize((SIDE, height), Image.Resampling.BILINEAR), 80)


def scores_histogram(scores: Scores) -> Histogram:
    """How many images have scores in each of 20 steps, and where the threshold is."""
    counts, edges = scores.histogram()
    low, high = float(edges[0]), float(edges[-1])
    names = (f"{start:.4g} to {end:.4g}" for start, end in itertools.pairwise(edges))
    bars = list(zip(names, counts.tolist(), strict=True))
    ticks = [(share, f"{low + share * (high - low):.4g}") for share in (0.0, 0.25, 0.5, 0.75, 1.0)]
    limit = None
    if scores.limit is not None:
        share = min(1.0, max(0.0, (scores.limit - low) / (high - low)))
        limit = (share, f"threshold {scores.limit:g} drops {scores.dropped(scores.limit):,}")
    return histogram(scores.name, bars, ticks, limit)
