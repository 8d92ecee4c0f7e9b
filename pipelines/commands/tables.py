"""Funnels, compositions and trails as tables."""

from collections import Counter
from typing import Any

from rich.markup import escape

from curation.config import SelectionConfig
from curation.report.balance import Balance, occupancy_of
from curation.report.funnel import FunnelRow
from curation.report.why import Trail
from curation.stages.select.selection import CompositionRow
from pipelines.commands.shared import console, new_table

__all__ = [
    "COMPOSITION",
    "print_balance",
    "print_composition",
    "print_funnel",
    "print_trail",
    "print_weights",
    "trail_fields",
]

COMPOSITION = ("seed set", "how", "images", "retrieved", "nominal", "unique")


def print_funnel(rows: list[FunnelRow]) -> None:
    table = new_table("funnel", ("collection", "stage", "in", "out"), left=("collection", "stage"))
    table.add_column("dropped", justify="left", overflow="fold")
    shown = ""
    for row in rows:
        drops = ", ".join(f"{count:,} {reason}" for reason, count in row.ledger.drops.items())
        name = "" if row.collection == shown else row.collection
        shown = row.collection
        table.add_row(escape(name), row.stage, f"{row.ledger.live_in:,}", f"{row.ledger.live_out:,}", escape(drops))
    console.print(table)


def print_composition(rows: list[CompositionRow], settings: SelectionConfig) -> None:
    table = new_table("\ncomposition", COMPOSITION, left=("seed set", "how"))
    for row in rows:
        numbers = (row.images, row.retrieved, row.nominal, row.unique)
        table.add_row(escape(row.seed_set) or "-", row.how, *(f"{number:,}" for number in numbers))
    table.add_row(
        "total", "", "", "", f"{sum(r.nominal for r in rows):,}", f"{sum(r.unique for r in rows):,}", style="bold"
    )
    console.print(table)
    unique: Counter[str] = Counter()
    for row in rows:
        unique[settings.source_of(row.seed_set)] += row.unique
    print_weights(settings, {name: f"{count:,}" for name, count in unique.items()})


def print_weights(settings: SelectionConfig, images: dict[str, str]) -> None:
    """What the trainer is to take of each source; nothing where shards mix them. `images` is what each has."""
    if settings.weights is None:
        return
    table = new_table("\nsources", ("source", "images", "weight", "of batches"), left=("source",))
    for name, share in settings.shares().items():
        table.add_row(escape(name), images[name], f"{settings.weights[name]:g}", f"{share:.1%}")
    console.print(table)


def print_balance(report: Balance) -> None:
    headers = ("level", "clusters", "", "images", "with any", "entropy", "Gini", "in top 1 %", "in top 10 %")
    table = new_table("balance", headers, left=("level", ""))
    for level in report.levels:
        for when, counts in (("before", level.before), ("after", level.after)):
            result = occupancy_of(counts)
            numbers = (f"{result.images:,}", f"{result.occupied:,}", f"{result.entropy:.3f}", f"{result.gini:.3f}")
            names = (level.name, f"{len(counts):,}") if when == "before" else ("", "")
            table.add_row(*names, when, *numbers, f"{result.top_1:.1%}", f"{result.top_10:.1%}")
    console.print(table)
    if not report.coverage:
        return
    table = new_table("\nconcepts", ("seed set", "images", "clusters", "with picks", "share"), left=("seed set",))
    for item in report.coverage:
        cells = (f"{item.images:,}", f"{item.clusters:,}", f"{item.covered:,}", f"{item.share:.1%}")
        table.add_row(escape(item.seed_set), *cells)
    console.print(table)


def print_trail(trail: Trail) -> None:
    console.print(f"[bold]{escape(trail.collection)}[/] part {trail.part} row {trail.row}: {escape(trail.fate)}")
    for event in trail.events:
        facts = ", ".join(f"{name} {value}" for name, value in event.facts.items())
        verdict = f"DROPPED {event.drop_reason} {event.drop_detail or ''}" if event.drop_reason else facts
        console.print(f"  {event.stage:<12} {escape(verdict)}", soft_wrap=True)


def trail_fields(trail: Trail) -> dict[str, Any]:
    events = [
        {"stage": e.stage, **e.facts, "drop_reason": e.drop_reason, "drop_detail": e.drop_detail} for e in trail.events
    ]
    return {"collection": trail.collection, "part": trail.part, "row": trail.row, "fate": trail.fate, "events": events}
