"""What dedup would merge at each similarity threshold, and what geometry says of it.

Each rule is tried on what the stages before `dedup` have stored, by the same decision; nothing is written.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from curation.arrays import BoolArray, Float32Array, Int64Array
from curation.config import DedupConfig
from curation.drops import DropReason
from curation.errors import RunError
from curation.run.directory import Run
from curation.stages.dedup.dedup import Verdicts, verdicts_of
from curation.stages.dedup.edges import Edges
from curation.stages.dedup.evidence import Evidence, read_evidence
from curation.stages.knn.bias import BIAS, Offsets

__all__ = ["SIZES", "THRESHOLDS", "Group", "Merges", "Pairs", "Rule", "between", "merges_text", "read_merges"]

THRESHOLDS = (0.45, 0.5, 0.6, 0.75)
"""Cosine similarities to try beside those of the config: the paper's for references and for the pool, one between, and
one at which nine in ten of SSCD's links are right."""
BELOW = 0.1
"""How far below the lowest threshold pairs are read, to be shown."""
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
    """P pairs of pool images, each once, the most similar first.

    Attributes:
        places: (P, 2) positions among the pool's images.
        similarity: (P,).
        looked: (P,) whether geometry compared them.
        verified: (P,) whether geometry took the pair for copies.
    """

    places: Int64Array
    similarity: Float32Array
    looked: BoolArray
    verified: BoolArray


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
        threshold: links are more similar than this; None where geometry decides.
        mark: the setting of the run's config that has this threshold, or nothing.
        links, verified, refused: pairs above the threshold, and those of them that geometry took for copies or not.
        sizes: (C,) images of each component of two or more.
        copies: images that would be dropped for another of the pool, those of equal hashes apart.
        leaks: images that would be dropped for references if the threshold of relative dedup were this one.
    """

    name: str
    threshold: float | None
    mark: str
    links: int
    verified: int
    refused: int
    sizes: Int64Array
    copies: int
    leaks: int


@dataclass(frozen=True)
class Merges:
    """All that is shown.

    Attributes:
        groups: the largest components by the rule that is set.
        hash_duplicates: images that are dropped for equal hashes by any rule.
        looked: whether geometry compared pairs.
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
    """Try each threshold on a run that is finished up to `verify_copies`, or up to `copy_knn` without geometry.

    Raises:
        RunError: it has not.
    """
    settings = run.config.dedup
    looked = settings.verify != "off"
    references = [run.references(item.name) for item in run.config.references]
    offsets = Offsets.of(run.pool, settings.normalise)
    for collection in (run.pool, *references):
        for stage in (*([] if offsets is None else [BIAS]), "copy_knn", *(["verify_copies"] if looked else [])):
            _need(run, collection.path, stage)
    evidence = read_evidence(
        run.pool, references, run.config.references, with_hashes=settings.self_.enabled, offsets=offsets
    )
    assert len(evidence.images), "a run stops before `copy_knn` where no image is left"
    trial = _Trial(evidence, settings, run.config.hash.radius)
    rules = [trial.by_similarity(threshold) for threshold in sorted({*THRESHOLDS, *trial.thresholds})]
    verdicts = trial.as_set()
    if looked:
        linked = (trial.pairs.similarity > settings.accept_above) | trial.pairs.verified
        rules.append(_rule("geometry", None, "dedup.verify", trial.pairs, linked, verdicts, verdicts))
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


class _Trial:
    """Tries rules on what was read once.

    Attributes:
        thresholds: those that are set, and by which settings; none where geometry decides.
        pairs: down to a little below the lowest threshold.
    """

    def __init__(self, evidence: Evidence, settings: DedupConfig, radius: int) -> None:
        self._evidence = evidence
        self._settings = settings
        self._radius = radius
        self.thresholds: dict[float, list[str]] = {}
        for name, part in (("self", settings.self_), ("relative", settings.relative)):
            if settings.verify == "off":
                self.thresholds.setdefault(part.threshold, []).append(f"dedup.{name}.threshold")
        low = min((*THRESHOLDS, *self.thresholds))
        self.pairs = _each_once(evidence.links(_down_to(settings, low - BELOW)), settings.score)
        plain = _down_to(settings.model_copy(update={"verify": "off"}), low)
        self._links = evidence.links(plain)
        self._relative = evidence.relative_links(plain, own_thresholds=False)
        self._relative_as_set = evidence.relative_links(settings)

    def as_set(self) -> Verdicts:
        return self._decide(self._evidence.links(self._settings), self._relative_as_set)

    def by_similarity(self, threshold: float) -> Rule:
        """The paper's rule at a threshold; references as they are set, and in turn the other way round."""
        verdicts = self._decide(self._links.chosen(self._links.similarity > threshold), self._relative_as_set)
        relative = self._relative.chosen(self._relative.similarity > threshold)
        leaking = self._decide(self._links.chosen(np.zeros(len(self._links), dtype=bool)), relative)
        mark = ", ".join(self.thresholds.get(threshold, ()))
        above = self.pairs.similarity > threshold
        return _rule(f"{threshold:g}", threshold, mark, self.pairs, above, verdicts, leaking)

    def _decide(self, links: Edges, relative: Edges) -> Verdicts:
        return verdicts_of(self._evidence, links, relative, self._settings, self._radius)


def _down_to(settings: DedupConfig, low: float) -> DedupConfig:
    """Settings by which every pair more similar than `low` is linked."""
    lower = {"threshold": low}
    own, relative = (part.model_copy(update=lower) for part in (settings.self_, settings.relative))
    return settings.model_copy(update={"accept_above": low, "self_": own, "relative": relative})


def _each_once(edges: Edges, score: float) -> Pairs:
    """Of a pair in both images' lists the one that geometry looked at."""
    looked = edges.inliers >= 0
    ordered = np.sort(edges.pairs, axis=1)
    order = np.lexsort((~looked, ordered[:, 1], ordered[:, 0]))
    first = np.ones(len(order), dtype=bool)
    first[1:] = (ordered[order][1:] != ordered[order][:-1]).any(axis=1)
    chosen = order[first]
    chosen = chosen[np.lexsort((chosen, -edges.similarity[chosen]))]
    verified = looked & (edges.agreement * np.log(8 + np.maximum(edges.inliers, 0)) >= score)
    return Pairs(edges.pairs[chosen], edges.similarity[chosen], looked[chosen], verified[chosen])


def _rule(
    name: str,
    threshold: float | None,
    mark: str,
    pairs: Pairs,
    linked: BoolArray,
    verdicts: Verdicts,
    leaking: Verdicts,
) -> Rule:
    sizes = np.sort(np.unique(verdicts.representative[_copies(verdicts)], return_counts=True)[1] + 1)
    return Rule(
        name,
        threshold,
        mark,
        links=int(linked.sum()),
        verified=int((linked & pairs.verified).sum()),
        refused=int((linked & pairs.looked & ~pairs.verified).sum()),
        sizes=sizes,
        copies=int(_copies(verdicts).sum()),
        leaks=sum(reason is DropReason.REFERENCE_LEAK for reason in leaking.reason),
    )


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
    looked = " verified  refused" if merges.looked else ""
    lines = [
        f"dedup: {images:,} images, {merges.hash_duplicates:,} of them dropped for equal hashes by any rule",
        f"  similarity      links{looked} components  largest   would drop            leaks",
    ]
    for rule in merges.rules:
        facts = f" {rule.verified:>8,} {rule.refused:>8,}" if merges.looked else ""
        lines.append(
            f"  {rule.name:>10} {rule.links:>10,}{facts} {len(rule.sizes):>10,} {rule.sizes.max(initial=0):>8,} "
            f"{rule.copies:>12,} {rule.copies / max(1, images):>7.2%} {rule.leaks:>8,}"
            + (f"  <- {rule.mark}" if rule.mark else "")
        )
    lines.append("  images in a component" + "".join(f"{rule.name:>10}" for rule in merges.rules))
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
