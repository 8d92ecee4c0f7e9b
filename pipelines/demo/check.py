"""The self-check: what a run made of the web, beside what was planted in it."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from pipelines.demo.truth import Kind, Planted

__all__ = ["Finding", "Outcome", "check"]

LEAST_NEAR_COPIES = 0.95
LEAST_LEAKS = 0.97
"""Not all: where evidence is not sure, an image is kept."""
MOST_WRONGLY_DROPPED = 0.01
LEAST_PURITY = 0.90
Fate = tuple[Planted, str | None]
"""What was planted, and why it was dropped: None where it was kept, "unaccounted" where the run does not list it."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one URL."""

    url: str
    drop_stage: str | None = None
    drop_reason: str | None = None
    selected_by: str | None = None
    """`sample` or `cluster`, where it was retrieved."""
    seed_label: str | None = None
    """Label of the seed image that brought it in; None in cluster mode, where no single one did."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One row of the check."""

    what: str
    planted: int
    """How many there were."""
    right: int
    """How many of them came out as they should."""
    target: str = ""
    """What is asked for; empty for a row that only informs."""
    passed: bool = True
    reasons: Mapping[str, int] = field(default_factory=dict)
    """Drops by reason."""
    examples: tuple[str, ...] = ()
    """At most five URLs that came out wrong."""

    @property
    def share(self) -> float:
        """Right over planted; 1 for none planted."""
        return self.right / self.planted if self.planted else 1.0


def check(outcomes: Iterable[Outcome], truth: Sequence[Planted], seeded: Iterable[str]) -> list[Finding]:
    """Compare a run with the truth: one row per planted kind, then the targets.

    Args:
        outcomes: one per listed URL.
        truth: one per planted URL.
        seeded: concepts of which there were seeds.
    """
    outcomes = list(outcomes)
    reasons = {outcome.url: outcome.drop_reason for outcome in outcomes}
    fates = [(item, reasons.get(item.url, "unaccounted")) for item in truth]
    rows = [_kind(kind, fates) for kind in Kind]
    return [
        *(row for row in rows if row.planted),
        _accounted(outcomes, truth),
        _exact_copies(fates),
        _near_copies(fates),
        _leaks(fates),
        _hard_negatives(fates),
        _kept(fates),
        _purity(outcomes, truth, set(seeded)),
    ]


def _kind(kind: Kind, fates: Sequence[Fate]) -> Finding:
    """How many of a kind came out as they should; which of a group of copies is kept does not matter."""
    mine = [(item, reason) for item, reason in fates if item.kind is kind]
    if not (kind.is_copy or kind.reasons):
        mine = [(item, reason) for item, reason in mine if item.group is None]
    reasons = dict(Counter(reason for _, reason in mine if reason is not None).most_common())
    if kind.is_copy:
        caught = sum(_caught(group) for group in _groups(fates) if group[1][0].kind is kind)
        return Finding(kind, len(mine), caught, reasons=reasons)
    wrong = _wrong(mine)
    return Finding(kind, len(mine), len(mine) - len(wrong), reasons=reasons, examples=_first(wrong))


def _accounted(outcomes: Sequence[Outcome], truth: Sequence[Planted]) -> Finding:
    """Each planted URL came out once, and no other URL did."""
    times = Counter(outcome.url for outcome in outcomes)
    planted = {item.url for item in truth}
    wrong = [url for url in planted if times[url] != 1] + [url for url in times if url not in planted]
    right = sum(times[url] == 1 for url in planted)
    return Finding("URLs accounted for", len(planted), right, "all, and no others", not wrong, examples=_first(wrong))


def _exact_copies(fates: Sequence[Fate]) -> Finding:
    groups = [group for group in _groups(fates) if group[1][0].kind is Kind.EXACT_COPY]
    return _copies("exact copies caught", groups, 1.0, "all")


def _near_copies(fates: Sequence[Fate]) -> Finding:
    groups = [group for group in _groups(fates) if group[1][0].kind not in (Kind.EXACT_COPY, Kind.TRIMMED_COPY)]
    return _copies("near copies caught", groups, LEAST_NEAR_COPIES, f">= {LEAST_NEAR_COPIES:.0%}")


def _copies(what: str, groups: Sequence[Sequence[Fate]], least: float, target: str) -> Finding:
    copies, caught = sum(len(group) - 1 for group in groups), sum(map(_caught, groups))
    wrong = _first(group[0][0].url for group in groups if _caught(group) < len(group) - 1)
    return Finding(what, copies, caught, target, caught >= least * copies, examples=wrong)


def _leaks(fates: Sequence[Fate]) -> Finding:
    leaks = [(item, reason) for item, reason in fates if item.kind.is_leak]
    return _target(
        "reference leaks removed", len(leaks), _wrong(leaks), f">= {LEAST_LEAKS:.0%}", (1 - LEAST_LEAKS) * len(leaks)
    )


def _hard_negatives(fates: Sequence[Fate]) -> Finding:
    """Of those that are in a group of copies, one or the other is dropped."""
    alone = [(item, reason) for item, reason in fates if item.kind.is_hard_negative and item.group is None]
    return _target("hard negatives kept", len(alone), _wrong(alone), "all", 0)


def _kept(fates: Sequence[Fate]) -> Finding:
    """Clean images that are kept; a group of copies counts as one image, and is kept if one of it is."""
    groups = _groups(fates)
    alone = [(item, reason) for item, reason in fates if item.group is None and not item.kind.reasons]
    wrong = _wrong(alone) + [group[0][0].url for group in groups if all(reason is not None for _, reason in group)]
    count, target = len(groups) + len(alone), f"<= {MOST_WRONGLY_DROPPED:.0%} dropped"
    return _target("clean images kept", count, wrong, target, MOST_WRONGLY_DROPPED * count)


def _purity(outcomes: Sequence[Outcome], truth: Sequence[Planted], seeded: set[str]) -> Finding:
    """Retrieved images that show what their seed image shows, or, where a cluster chose them, any seeded concept."""
    concepts = {item.url: item.concept for item in truth}
    retrieved = [outcome for outcome in outcomes if outcome.selected_by is not None]
    wrong = []
    for outcome in retrieved:
        wanted = {outcome.seed_label} if outcome.seed_label is not None else seeded
        if concepts.get(outcome.url) not in wanted:
            wrong.append(outcome.url)
    count = len(retrieved)
    passed = count > 0 and count - len(wrong) >= LEAST_PURITY * count
    target, what = f">= {LEAST_PURITY:.0%}", "retrieved images of the right concept"
    return Finding(what, count, count - len(wrong), target, passed, examples=_first(wrong))


def _target(what: str, planted: int, wrong: Sequence[str], target: str, most_wrong: float) -> Finding:
    passed = len(wrong) <= most_wrong
    return Finding(what, planted, planted - len(wrong), target, passed, examples=_first(wrong))


def _groups(fates: Sequence[Fate]) -> list[list[Fate]]:
    """Originals with their copies; the original comes first."""
    groups: defaultdict[str, list[Fate]] = defaultdict(list)
    for item, reason in fates:
        if item.group is not None and not item.kind.is_leak:
            groups[item.group].append((item, reason))
    return list(groups.values())


def _caught(group: Sequence[Fate]) -> int:
    """Copies that are gone: all but one of the group should be, whichever that is."""
    return len(group) - max(sum(reason is None for _, reason in group), 1)


def _wrong(fates: Iterable[Fate]) -> list[str]:
    """URLs that were dropped and should not have been, or were kept or dropped for another reason than they should."""
    return [item.url for item, reason in fates if reason not in (item.kind.reasons or (None,))]


def _first(urls: Iterable[str]) -> tuple[str, ...]:
    return tuple(sorted(urls)[:5])
