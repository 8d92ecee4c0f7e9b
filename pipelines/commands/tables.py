"""Funnels, compositions and trails as tables."""

from typing import Any

from rich.markup import escape
from rich.table import Table

from curation.report.funnel import FunnelRow
from curation.report.why import Trail
from curation.stages.compose import CompositionRow
from pipelines.commands.shared import console

__all__ = ["print_composition", "print_funnel", "print_trail", "trail_fields"]


def print_funnel(rows: list[FunnelRow]) -> None:
    table = Table(title="funnel", box=None, header_style="bold", title_style="bold", pad_edge=False)
    for header, side in (("collection", "left"), ("stage", "left"), ("in", "right"), ("out", "right")):
        table.add_column(header, justify=side)  # type: ignore[arg-type]
    table.add_column("dropped", justify="left", overflow="fold")
    shown = ""
    for row in rows:
        drops = ", ".join(f"{count:,} {reason}" for reason, count in row.ledger.drops.items())
        name = "" if row.collection == shown else row.collection
        shown = row.collection
        table.add_row(escape(name), row.stage, f"{row.ledger.live_in:,}", f"{row.ledger.live_out:,}", escape(drops))
    console.print(table)


def print_composition(rows: list[CompositionRow]) -> None:
    table = Table(title="\ncomposition", box=None, header_style="bold", title_style="bold", pad_edge=False)
    for header in ("seed set", "how", "images", "retrieved", "nominal", "unique"):
        table.add_column(header, justify="left" if header in ("seed set", "how") else "right")
    for row in rows:
        numbers = (row.images, row.retrieved, row.nominal, row.unique)
        table.add_row(escape(row.seed_set), row.how, *(f"{number:,}" for number in numbers))
    table.add_row(
        "total", "", "", "", f"{sum(r.nominal for r in rows):,}", f"{sum(r.unique for r in rows):,}", style="bold"
    )
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
