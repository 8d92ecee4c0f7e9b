"""How a filter's scores are spread over a run, and what each threshold would drop."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from curation.arrays import Float64Array, Int64Array
from curation.errors import ArgumentError, RunError
from curation.run.directory import Run
from curation.run.parts import Collection

__all__ = ["FILTERS", "Scores", "read_scores", "scores_text"]

# measure of `quality` -> its setting, and whether images above the limit are dropped
QUALITY = {
    "aspect": ("max_aspect", True),
    "bytes_per_pixel": ("min_bytes_per_pixel", False),
    "jpeg_quality": ("min_jpeg_quality", False),
    "uniform": ("max_uniform", True),
    "entropy": ("min_entropy", False),
    "sharpness": ("min_sharpness", False),
    "score": ("min_score", False),
}
FILTERS = ("nsfw", "faces", *QUALITY, "dedup")
"""What has a threshold: scores of single images, and for `dedup` similarities of pairs, see `merges`."""

COUNTED = ("face", "low score")
"""Verdicts on boxes that a threshold decides on; the others were none at a second look, and count as no box."""
BINS = 20
BAR = 40
SHOWN = 10

Place = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Scores:
    """One score of every image that has it.

    Attributes:
        name: the filter, and for several classes the class: `nsfw ANUS_EXPOSED`.
        values: (N,) float64, in the order of parts and rows.
        places: (N, 2) part and row of each.
        limit: the threshold of the run's config; None where the rule is off.
        above: whether images from the threshold upwards are dropped, rather than those below it.
    """

    name: str
    values: Float64Array
    places: Int64Array
    limit: float | None
    above: bool

    def dropped(self, threshold: float) -> int:
        """How many images a threshold would drop."""
        return int((self.values >= threshold).sum() if self.above else (self.values < threshold).sum())

    def histogram(self) -> tuple[Int64Array, Float64Array]:
        """Images in each of 20 steps of the score, and the 21 edges of these."""
        low, high = self._range()
        if low == high:
            low, high = low - 0.5, high + 0.5
        counts, edges = np.histogram(self.values, BINS, (low, high))
        return counts, edges

    def candidates(self) -> list[float]:
        """Thresholds worth a look, in order: ten over the range of scores, and the one that is set."""
        low, high = self._range()
        steps = {float(f"{step:.3g}") for step in np.linspace(low, high, SHOWN + 1)}
        return sorted(steps | ({self.limit} if self.limit is not None else set()))

    def _range(self) -> tuple[float, float]:
        """Probabilities are shown from 0 to 1, other scores from the least to the most there is."""
        if self.name.startswith(("nsfw", "faces")):
            return 0.0, 1.0
        return float(self.values.min()), float(self.values.max())


def read_scores(run: Run, filter: str, collection: str = "pool") -> list[Scores]:
    """The scores of one filter, one `Scores` for each class.

    Args:
        filter: one of `FILTERS` but `dedup`. Of `faces`, an image has the score of its best box, 0 where there is none.
        collection: a path in the run, such as `seeds/birds`.

    Raises:
        UserError: there is no such filter.
        RunError: the run holds no scores of it there.
    """
    if filter not in FILTERS:
        raise ArgumentError("filter", filter, f"no such filter; the filters are {', '.join(FILTERS)}")
    assert filter != "dedup", "has no scores of single images"
    stage = "quality" if filter in QUALITY else "safety"
    where = run.collection(collection)
    if not where.parts(stage):
        raise RunError(f"{run.store.root}: {collection} has no {stage} scores; run `lvd curate` with that filter on")
    if filter == "nsfw":
        result = _nsfw(where, run)
    elif filter == "faces":
        result = [Scores("faces", *_faces(where), run.config.safety.face_threshold, above=True)]
    else:
        setting, above = QUALITY[filter]
        settings = run.config.quality.head if filter == "score" else run.config.quality
        result = [Scores(filter, *_measures(where, filter), getattr(settings, setting, None), above)]
    if not any(len(scores.values) for scores in result):
        raise RunError(f"{run.store.root}: {collection} has no {filter} scores; run `lvd curate` with that filter on")
    return [scores for scores in result if len(scores.values)]


def _nsfw(where: Collection, run: Run) -> list[Scores]:
    """What a second look vetoed counts as 0: no threshold between there and the one that is set drops it."""
    limits = run.config.safety.nsfw_thresholds
    by_label: dict[str, list[tuple[float, Place]]] = {}
    for part in where.parts("safety"):
        table = where.read("safety", part, ["nsfw", "nsfw_veto"])
        for row, (items, veto) in enumerate(zip(*(column.to_pylist() for column in table.columns), strict=True)):
            for item in items or ():
                if veto is not None and item["score"] >= limits.get(item["label"], 2.0):
                    item["score"] = 0.0
                by_label.setdefault(item["label"], []).append((item["score"], (part, row)))
    return [
        Scores(f"nsfw {label}", *_arrays(by_label[label]), limits.get(label), above=True) for label in sorted(by_label)
    ]


def _faces(where: Collection) -> tuple[Float64Array, Int64Array]:
    best = []
    for part in where.parts("safety"):
        rows = where.read("safety", part, ["faces"])["faces"].to_pylist()
        scores = [
            (max((box["score"] for box in boxes or () if box["verdict"] in COUNTED), default=0.0), boxes)
            for boxes in rows
        ]
        best += [(score, (part, row)) for row, (score, boxes) in enumerate(scores) if boxes is not None]
    return _arrays(best)


def _measures(where: Collection, measure: str) -> tuple[Float64Array, Int64Array]:
    result = []
    for part in where.parts("quality"):
        values = where.read("quality", part, [measure])[measure].to_pylist()
        result += [(value, (part, row)) for row, value in enumerate(values) if value is not None]
    return _arrays(result)


def _arrays(result: Sequence[tuple[float, Place]]) -> tuple[Float64Array, Int64Array]:
    values = np.array([value for value, _ in result], dtype=np.float64)
    return values, np.array([place for _, place in result], dtype=np.int64).reshape(-1, 2)


def scores_text(scores: Scores) -> str:
    """A histogram and a table of thresholds, for the terminal."""
    counts, edges = scores.histogram()
    lines = [f"{scores.name}: {len(scores.values):,} images"]
    for count, low, high in zip(counts, edges[:-1], edges[1:], strict=True):
        bar = "#" * int(np.ceil(BAR * count / max(1, counts.max())))
        lines.append(f"  {low:>9.4g} to {high:<9.4g} {count:>10,} {bar}".rstrip())
    lines.append("  threshold    would drop")
    for threshold in scores.candidates():
        dropped = scores.dropped(threshold)
        mark = "  <- as set" if threshold == scores.limit else ""
        lines.append(f"  {threshold:>9.4g} {dropped:>13,} {dropped / len(scores.values):>8.2%}{mark}")
    return "\n".join(lines)
