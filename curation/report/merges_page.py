"""A page of what dedup would merge: sizes of components, pairs around each threshold, and the largest components."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from curation.arrays import Int64Array
from curation.imaging.matching import Match, match
from curation.report.detection import DetectionPower
from curation.report.histogram import Histogram, histogram
from curation.report.merges import SIZES, Group, Merges, Rule, between, merges_text
from curation.report.page import Figure, render
from curation.report.pictures import outline
from curation.report.thumbnails import Looks
from curation.run.directory import Run

__all__ = ["merges_page"]

SHOWN_PAIRS = 6
"""On each side of a threshold."""
SHOWN_MEMBERS = 11
"""Of one group."""


@dataclass(frozen=True, slots=True)
class _Pair:
    """Two images, what is known of them, and "copy" or "other" for short."""

    figures: list[Figure]
    words: str
    kind: str


def merges_page(run: Run, merges: Merges, power: DetectionPower | None = None) -> str:
    """The page as HTML; thumbnails are made from the images as they are stored, faces blurred.

    Args:
        power: what became of copies that were planted, if any were.
    """
    pictures = _Pictures(run, merges)
    return render(
        "merges.html",
        title="thresholds of dedup",
        measure="probability" if merges.looked else "similarity",
        text=merges_text(merges),
        power=power,
        histograms=list(map(_sizes, merges.rules)),
        sections=[(rule.threshold, rule.mark, list(pictures.sides(rule.threshold))) for rule in merges.rules],
        groups=[(len(group.dropped) + 1, group.least, pictures.group(group)) for group in merges.groups],
    )


class _Pictures:
    """Images of the pool as figures, by their position in the evidence."""

    def __init__(self, run: Run, merges: Merges) -> None:
        self._merges = merges
        self._pool = run.pool.path
        self._looks = Looks(run)

    def sides(self, threshold: float) -> Iterator[tuple[str, list[_Pair]]]:
        """The pairs nearest to a threshold, linked and not."""
        pairs = self._merges.pairs
        value = np.float32(threshold)
        linked = int((pairs.value >= value if self._merges.looked else pairs.value > value).sum())
        yield "narrowly linked", list(self._pairs(np.arange(linked)[::-1]))
        yield "narrowly not linked", list(self._pairs(np.arange(linked, len(pairs.value))))

    def _pairs(self, order: Int64Array) -> Iterator[_Pair]:
        """The first pairs of an order, each image once."""
        seen: set[int] = set()
        left = SHOWN_PAIRS
        for at in order.tolist():
            one, other = self._merges.pairs.places[at].tolist()
            if left and not seen & {one, other}:
                seen |= {one, other}
                left -= 1
                yield self._pair(one, other, at)

    def _pair(self, one: int, other: int, at: int) -> _Pair:
        pairs, looks = self._merges.pairs, [self._looks.of(self._place(image)) for image in (one, other)]
        result = match(looks[0].features, looks[1].features) if looks[0] and looks[1] else None
        is_copy = self._merges.looked and float(pairs.value[at]) >= self._merges.settings.probability
        outlines = [(outline(result, inverse=True),), (outline(result),)] if result and is_copy else [(), ()]
        figures = [self._figure(at, outlines=drawn) for at, drawn in zip((one, other), outlines, strict=True)]
        words = f"similarity {pairs.similarity[at]:.3f}" if np.isfinite(pairs.similarity[at]) else ""
        if self._merges.looked:
            words = f"probability {pairs.value[at]:.3f}; {words}".rstrip("; ")
        return _Pair(
            figures, f"{words}; {_words(result)}", "copy" if is_copy else "other" if self._merges.looked else ""
        )

    def group(self, group: Group) -> list[Figure]:
        """A group: what is kept, then what is least like it."""
        dropped = zip(group.dropped[:SHOWN_MEMBERS].tolist(), group.similarity.tolist(), strict=False)
        return [self._figure(group.kept, "kept"), *(self._figure(at, f"{value:.3f}") for at, value in dropped)]

    def _figure(self, at: int, caption: str = "", outlines: tuple[str, ...] = ()) -> Figure:
        look = self._looks.of(self._place(at))
        name = self._merges.evidence.ids[at].hex()
        return Figure(look.jpeg if look else None, name, caption, outlines=outlines)

    def _place(self, at: int) -> tuple[str, int, int]:
        images = self._merges.evidence.images
        return self._pool, int(images.part[at]), int(images.row[at])


def _words(result: Match | None) -> str:
    if result is None:
        return "an image is gone"
    return f"{result.inliers} matched points" + ", mirrored" * result.mirrored


def _sizes(rule: Rule) -> Histogram:
    """How many groups have how many images."""
    counts = [(name, between(rule.sizes, low, high)) for name, low, high in SIZES]
    ticks = [((at + 0.5) / len(SIZES), name) for at, (name, _) in enumerate(counts)]
    return histogram(f"{rule.name}: {rule.copies:,} would be dropped", counts, ticks)
