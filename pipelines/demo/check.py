"""The self-check: what a run made of the web, beside what was planted in it."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from pipelines.demo.truth import Kind, Planted

__all__ = ["Finding", "Outcome", "check"]

LEAST_NEAR_COPIES = 0.95
MOST_WRONGLY_DROPPED = 0.01
LEAST_PURITY = 0.90


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
    """Compare a run with the truth: one row per planted kind, then the six targets.

    Args:
        outcomes: one per listed URL.
        truth: one per planted URL.
        seeded: concepts of which there were seeds.
    """
    all_outcomes = list(outcomes)
    by_url = {outcome.url: outcome for outcome in all_outcomes}
    rows = [_kind(kind, truth, by_url) for kind in Kind]
    return [
        *(row for row in rows if row.planted),
        _accounted(all_outcomes, truth),
        _copies(truth, by_url, exact=True),
        _copies(truth, by_url, exact=False),
        _leaks(truth, by_url),
        _kept(truth, by_url),
        _purity(all_outcomes, truth, set(seeded)),
    ]


def _kind(kind: Kind, truth: Sequence[Planted], by_url: Mapping[str, Outcome]) -> Finding:
    """How many of a kind came out as they should; which of a group of copies is kept does not matter."""
    mine = [item for item in truth if item.kind is kind]
    if kind.is_copy:
        groups = [_Group(group, by_url) for group in _groups(truth).values() if group[1].kind is kind]
        return Finding(kind, len(mine), sum(group.caught for group in groups), reasons=_reasons(mine, by_url))
    if not kind.reasons:
        mine = [item for item in mine if item.group is None]
    wrong = [item.url for item in mine if not _is_right(item, by_url)]
    return Finding(kind, len(mine), len(mine) - len(wrong), reasons=_reasons(mine, by_url), examples=_first(wrong))


def _accounted(outcomes: Sequence[Outcome], truth: Sequence[Planted]) -> Finding:
    """Each planted URL came out once, and no other URL did."""
    times = Counter(outcome.url for outcome in outcomes)
    planted = {item.url for item in truth}
    wrong = [url for url in planted if times[url] != 1] + [url for url in times if url not in planted]
    right = sum(times[url] == 1 for url in planted)
    return Finding("URLs accounted for", len(planted), right, "all, and no others", not wrong, examples=_first(wrong))


def _copies(truth: Sequence[Planted], by_url: Mapping[str, Outcome], exact: bool) -> Finding:
    groups = [_Group(items, by_url) for items in _groups(truth).values() if (items[1].kind is Kind.EXACT_COPY) is exact]
    planted, caught = sum(group.copies for group in groups), sum(group.caught for group in groups)
    wrong = _first(group.items[0].url for group in groups if group.caught < group.copies)
    if exact:
        return Finding("exact copies caught", planted, caught, "all", caught == planted, examples=wrong)
    passed = caught >= LEAST_NEAR_COPIES * planted
    return Finding("near copies caught", planted, caught, f">= {LEAST_NEAR_COPIES:.0%}", passed, examples=wrong)


def _leaks(truth: Sequence[Planted], by_url: Mapping[str, Outcome]) -> Finding:
    leaks = [item for item in truth if item.kind.is_leak]
    left = [item.url for item in leaks if not _is_right(item, by_url)]
    return Finding(
        "reference leaks removed", len(leaks), len(leaks) - len(left), "all", not left, examples=_first(left)
    )


def _kept(truth: Sequence[Planted], by_url: Mapping[str, Outcome]) -> Finding:
    """Clean images that are kept; a group of copies counts as one image, and is kept if one of it is."""
    groups = [_Group(items, by_url) for items in _groups(truth).values()]
    alone = [item for item in truth if item.group is None and not item.kind.reasons]
    wrong = [item.url for item in alone if _reason(item, by_url) is not None]
    wrong += [group.items[0].url for group in groups if group.kept == 0]
    count = len(groups) + len(alone)
    passed = len(wrong) <= MOST_WRONGLY_DROPPED * count
    target = f"<= {MOST_WRONGLY_DROPPED:.0%} dropped"
    return Finding("clean images kept", count, count - len(wrong), target, passed, examples=_first(wrong))


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
    target = f">= {LEAST_PURITY:.0%}"
    what = "retrieved images of the right concept"
    return Finding(what, count, count - len(wrong), target, passed, examples=_first(wrong))


class _Group:
    """An original and its copies."""

    def __init__(self, items: Sequence[Planted], by_url: Mapping[str, Outcome]) -> None:
        self.items = items
        self.copies = len(items) - 1
        self.kept = sum(_reason(item, by_url) is None for item in items)

    @property
    def caught(self) -> int:
        """Copies that are gone: all but one of the group should be, whichever that is."""
        return len(self.items) - max(self.kept, 1)


def _groups(truth: Sequence[Planted]) -> dict[str, list[Planted]]:
    """Originals with their copies; the original comes first."""
    groups: defaultdict[str, list[Planted]] = defaultdict(list)
    for item in truth:
        if item.group is not None and not item.kind.is_leak:
            groups[item.group].append(item)
    return groups


def _reason(item: Planted, by_url: Mapping[str, Outcome]) -> str | None:
    """Why a URL was dropped; a URL that the run does not list counts as "unaccounted"."""
    outcome = by_url.get(item.url)
    return outcome.drop_reason if outcome is not None else "unaccounted"


def _is_right(item: Planted, by_url: Mapping[str, Outcome]) -> bool:
    reason = _reason(item, by_url)
    return reason in item.kind.reasons if item.kind.reasons else reason is None


def _reasons(items: Iterable[Planted], by_url: Mapping[str, Outcome]) -> dict[str, int]:
    counts = Counter(reason for item in items if (reason := _reason(item, by_url)) is not None)
    return dict(counts.most_common())


def _first(urls: Iterable[str]) -> tuple[str, ...]:
    return tuple(sorted(urls)[:5])
