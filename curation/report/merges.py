"""What dedup would merge at each threshold: of the probability of copies, or of similarity where nobody looks.

Each rule is tried on what the stages before `dedup` have stored, by the same decision; nothing is written.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from curation.arrays import BoolArray, Float32Array, Int64Array
from curation.config import DedupConfig
from curation.drops import DropReason
from curation.errors import RunError
from curation.run.directory import Run
from curation.stages.dedup.components import Verdicts
from curation.stages.dedup.dedup import judged
from curation.stages.dedup.edges import Edges
from curation.stages.dedup.evidence import Evidence, read_evidence
from curation.stages.dedup.groups import is_checked
from curation.stages.knn.bias import BIAS, Offsets

__all__ = [
    "PROBABILITIES",
    "SIZES",
    "THRESHOLDS",
    "Group",
    "Merges",
    "Pairs",
    "Rule",
    "between",
    "merges_text",
    "read_merges",
]

THRESHOLDS = (0.45, 0.5, 0.6, 0.75)
"""Cosine similarities to try beside those of the config: the paper's for references and for the pool, one between, and
one at which nine in ten of SSCD's links are right."""
PROBABILITIES = (0.5, 0.8, 0.9, 0.95, 0.98)
"""Probabilities to try beside `dedup.probability`, where pairs were looked at."""
BELOW = 0.1
"""How far below the lowest threshold of similarity pairs are read, to be shown."""
LARGEST = 5
"""Components that are shown one by one."""
MEMBERS = 4_096
"""Images of a component that are compared with each other."""
SIZES = (
    ("2", 2, 2),
    ("3", 3, 3),
    ("4 to 7", 4, 7),
    ("8 to 15", 8, 15),
    ("16 to 31", 16, 31),
    ("32 to 63", 32, 63),
    ("64 to 255", 64, 255),
    ("256 or more", 256, 2**62),
)
"""Bars of the histogram: name, and sizes from and to."""


@dataclass(frozen=True, slots=True)
class Pairs:
    """P pairs of pool images, each once, the likeliest copies first.

    Attributes:
        places: (P, 2) positions among the pool's images.
        value: (P,) what decides: the probability that they are copies, or their similarity where nobody looked.
        similarity: (P,).
    """

    places: Int64Array
    value: Float32Array
    similarity: Float32Array


@dataclass(frozen=True, slots=True)
class Group:
    """A component: the image that is kept, and those that are dropped for it.

    Attributes:
        kept: position of that image.
        dropped: positions of the images dropped for it, the least similar first.
        similarity: of each to the one that is kept.
        least: the least similarity of any two of them; of the first 4,096 of a larger component.
    """

    kept: int
    dropped: Int64Array
    similarity: Float32Array
    least: float


@dataclass(frozen=True, slots=True)
class Rule:
    """What one rule would do.

    Attributes:
        name: as a table calls it.
        threshold: what a link has at least.
        mark: the setting of the run's config that has this threshold, or nothing.
        links: pairs from the threshold on.
        sizes: (C,) images of each component of two or more.
        copies: images that would be dropped for another of the pool, those of equal hashes apart.
        leaks: images that would be dropped for references if the threshold of relative dedup were this one.
    """

    name: str
    threshold: float
    mark: str
    links: int
    sizes: Int64Array
    copies: int
    leaks: int


@dataclass(frozen=True)
class Merges:
    """All that is shown.

    Attributes:
        groups: the largest components by the rule that is set.
        hash_duplicates: images that are dropped for equal hashes by any rule.
        looked: whether pairs were looked at, so that thresholds are of probability.
    """

    evidence: Evidence
    settings: DedupConfig
    pairs: Pairs
    rules: Sequence[Rule]
    groups: Sequence[Group]
    hash_duplicates: int

    @property
    def looked(self) -> bool:
        return self.settings.verify != "off"


def read_merges(run: Run) -> Merges:
    """Try each threshold on a run that is finished up to `verify_kept`, or up to `copy_knn` where nobody looks.

    Raises:
        RunError: it has not.
    """
    settings = run.config.dedup
    looked, checked = settings.verify != "off", is_checked(run.config, "pool")
    references = [run.references(item.name) for item in run.config.references]
    offsets = Offsets.of(run.pool, settings.normalise)
    for collection in (run.pool, *references):
        for stage in (*([] if offsets is None else [BIAS]), "copy_knn", *(["verify_copies"] if looked else [])):
            _need(run, collection.path, stage)
    if checked:
        _need(run, "pool", "verify_kept")
    evidence = read_evidence(
        run.pool, references, run.config.references, with_hashes=settings.self_.enabled, offsets=offsets
    )
    assert len(evidence.images), "a run stops before `copy_knn` where no image is left"
    radius = run.config.hash.radius
    verdicts, _ = judged(evidence, settings, radius, checked=checked)
    trial = _ByProbability(evidence, settings, radius, checked) if looked else _BySimilarity(evidence, settings, radius)
    rules = [trial.rule(threshold) for threshold in sorted(trial.thresholds)]
    hash_duplicates = sum(reason is DropReason.HASH_DUPLICATE for reason in verdicts.reason)
    return Merges(evidence, settings, trial.pairs, rules, _largest(evidence, verdicts), hash_duplicates)


def _need(run: Run, path: str, stage: str) -> None:
    """Check that a stage is there for each part, made from the rows that are live now.

    Raises:
        RunError: it is not.
    """
    collection = run.collection(path)
    parts = collection.parts("copy_descriptors")
    for part in parts:
        result, before = collection.footer(stage, part), collection.footer("copy_descriptors", part)
        if result is None or before is None or result.live != before.live:
            raise RunError(f"{run.store.root}: {path} is not finished up to {stage}; run `lvd curate --until {stage}`")
    if not parts:
        raise RunError(f"{run.store.root}: {path} has no copy descriptors; run `lvd curate --until {stage}`")


class _ByProbability:
    """Tries probabilities on what was looked at.

    What `groups` asked for depends on the probability that is set, so at another some images are kept that a run would
    compare with the one that is kept instead.
    """

    def __init__(self, evidence: Evidence, settings: DedupConfig, radius: int, checked: bool) -> None:
        self._evidence = evidence
        self._settings = settings
        self._radius = radius
        self._checked = checked
        self.thresholds = {*PROBABILITIES, settings.probability}
        between = evidence.looked(checked=checked).between_images(len(evidence.images))
        self.pairs = _each_once(between, np.nan_to_num(between.probability, nan=1.0))

    def rule(self, threshold: float) -> Rule:
        verdicts, _ = judged(self._evidence, self._settings, self._radius, checked=self._checked, probability=threshold)
        mark = "dedup.probability" if threshold == self._settings.probability else ""
        return _rule(threshold, mark, self.pairs.value >= np.float32(threshold), verdicts, verdicts)


class _BySimilarity:
    """Tries similarities, of the plain rule.

    Attributes:
        thresholds: those to try, and by which settings they are set.
        pairs: down to a little below the lowest threshold.
    """

    def __init__(self, evidence: Evidence, settings: DedupConfig, radius: int) -> None:
        self._evidence = evidence
        self._settings = settings
        self._radius = radius
        self.thresholds: dict[float, list[str]] = {threshold: [] for threshold in THRESHOLDS}
        for name, part in (("self", settings.self_), ("relative", settings.relative)):
            if part.threshold is not None:
                self.thresholds.setdefault(part.threshold, []).append(f"dedup.{name}.threshold")
        low = min(self.thresholds)
        self._links = evidence.candidates(looked=False).above(low - BELOW)
        self.pairs = _each_once(self._links, self._links.similarity)

    def rule(self, threshold: float) -> Rule:
        """The plain rule at a threshold; references as they are set, and in turn the other way round."""
        own = self._settings.self_.model_copy(update={"threshold": threshold})
        relative = self._settings.relative.model_copy(update={"threshold": threshold})
        alone = own.model_copy(update={"threshold": 1.0})
        verdicts = self._judged({"self_": own}, self._evidence)
        sets = [item.model_copy(update={"threshold": None}) for item in self._evidence.sets]
        leaking = self._judged({"self_": alone, "relative": relative}, replace(self._evidence, sets=sets))
        mark = ", ".join(self.thresholds[threshold])
        return _rule(threshold, mark, self.pairs.value > np.float32(threshold), verdicts, leaking)

    def _judged(self, changes: dict[str, Any], evidence: Evidence) -> Verdicts:
        settings = self._settings.model_copy(update=changes)
        return judged(evidence, settings, self._radius, checked=False)[0]


def _each_once(edges: Edges, value: Float32Array) -> Pairs:
    """Each pair with its largest value."""
    ordered = np.sort(edges.pairs, axis=1)
    order = np.lexsort((-value, ordered[:, 1], ordered[:, 0]))
    first = np.ones(len(order), dtype=bool)
    first[1:] = (ordered[order][1:] != ordered[order][:-1]).any(axis=1)
    chosen = order[first]
    chosen = chosen[np.lexsort((chosen, -value[chosen]))]
    return Pairs(edges.pairs[chosen], value[chosen], edges.similarity[chosen])


def _rule(threshold: float, mark: str, linked: BoolArray, verdicts: Verdicts, leaking: Verdicts) -> Rule:
    sizes = np.sort(np.unique(verdicts.representative[_copies(verdicts)], return_counts=True)[1] + 1)
    leaks = sum(reason is DropReason.REFERENCE_LEAK for reason in leaking.reason)
    return Rule(f"{threshold:g}", threshold, mark, int(linked.sum()), sizes, int(_copies(verdicts).sum()), leaks)


def _copies(verdicts: Verdicts) -> BoolArray:
    return np.array([reason is DropReason.COPY for reason in verdicts.reason], dtype=bool)


def _largest(evidence: Evidence, verdicts: Verdicts) -> list[Group]:
    copies = np.flatnonzero(_copies(verdicts))
    kept, counts = np.unique(verdicts.representative[copies], return_counts=True)
    groups = []
    for at in np.lexsort((kept, -counts))[:LARGEST].tolist():
        dropped = copies[verdicts.representative[copies] == kept[at]]
        dropped = dropped[np.lexsort((dropped, verdicts.similarity[dropped]))]
        least = _least(evidence, np.concatenate([[kept[at]], dropped])[:MEMBERS])
        groups.append(Group(int(kept[at]), dropped, verdicts.similarity[dropped], least))
    return groups


def _least(evidence: Evidence, images: Int64Array) -> float:
    """The smallest similarity of any two."""
    members = evidence.vectors[images].astype(np.float32)
    lowered = np.zeros(len(images), np.float32) if evidence.offsets is None else evidence.offsets[images]
    return min(
        float((members[rows] @ members.T - lowered[rows, None] - lowered).min())
        for rows in (slice(start, start + 512) for start in range(0, len(members), 512))
    )


def merges_text(merges: Merges) -> str:
    """Tables of what each rule would do, for the terminal."""
    images = len(merges.evidence.images)
    measure = "probability" if merges.looked else "similarity"
    equal = f", {merges.hash_duplicates:,} of them dropped for equal hashes by any rule" * (not merges.looked)
    lines = [
        f"dedup: {images:,} images{equal}",
        f"  {measure:>11}     links    groups  largest   would drop            leaks",
    ]
    for rule in merges.rules:
        lines.append(
            f"  {rule.name:>11} {rule.links:>9,} {len(rule.sizes):>9,} {rule.sizes.max(initial=0):>8,} "
            f"{rule.copies:>12,} {rule.copies / max(1, images):>7.2%} {rule.leaks:>8,}"
            + (f"  <- {rule.mark}" if rule.mark else "")
        )
    lines.append("  images in a group    " + "".join(f"{rule.name:>10}" for rule in merges.rules))
    for name, low, high in SIZES:
        counts = [between(rule.sizes, low, high) for rule in merges.rules]
        lines.append(f"  {name:<21}" + "".join(f"{count:>10,}" for count in counts))
    for group in merges.groups:
        lines.append(
            f"  {merges.evidence.ids[group.kept].hex()} stands for {len(group.dropped):,}: the least similar to it has "
            f"{group.similarity[0]:.3f}, the two least alike of all {group.least:.3f}"
        )
    return "\n".join(lines)


def between(sizes: Int64Array, low: int, high: int) -> int:
    """How many components have from `low` to `high` images."""
    return int(((sizes >= low) & (sizes <= high)).sum())
