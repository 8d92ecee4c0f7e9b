"""The self-check as two tables: what was planted, and what was asked for."""

from collections.abc import Sequence

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from pipelines.demo.check import Finding
from pipelines.demo.pretraining import Pretraining
from pipelines.demo.truth import Kind

__all__ = ["show", "show_pretraining"]


def show(findings: Sequence[Finding], console: Console) -> None:
    """Print the tables; a target that is missed comes with URLs to ask `lvd why` about."""
    planted = _table("planted", ("kind", "planted", "right", "dropped as", "what it is"))
    targets = _table("targets", ("target", "asked for", "reached", "", ""))
    for finding in findings:
        if finding.target:
            verdict = "[green]passed[/]" if finding.passed else "[bold red]MISSED[/]"
            share = f"{finding.share:.2%}"
            counts = f"{finding.right:,} of {finding.planted:,}"
            targets.add_row(escape(finding.what), escape(finding.target), share, counts, verdict)
        else:
            reasons = ", ".join(f"{count:,} {reason}" for reason, count in finding.reasons.items()) or "-"
            meaning = Kind.named(finding.what).meaning
            planted.add_row(
                finding.what, f"{finding.planted:,}", f"{finding.right:,}", escape(reasons), escape(meaning)
            )
    console.print(planted)
    console.print(targets)
    for finding in findings:
        if not finding.passed:
            console.print(f"{finding.what}, for example: {', '.join(finding.examples)}", markup=False, soft_wrap=True)


def show_pretraining(done: Pretraining, console: Console) -> None:
    """Print the losses at both ends, the value that the DINO loss has while nothing is learnt, and the files."""
    table = _table("pretraining", ("loss", "first steps", "last steps", "if nothing is learnt"))
    for name, (first, last) in done.losses.items():
        floor = f"{done.plateau:.2f}" if name == "loss/dino" else ""
        table.add_row(name.removeprefix("loss/"), f"{first:.2f}", f"{last:.2f}", floor)
    console.print(table)
    console.print(f"{done.steps} steps of DINOv2: {done.checkpoint}, {done.log}", markup=False, soft_wrap=True)


def _table(title: str, headers: Sequence[str]) -> Table:
    table = Table(title=f"\n{title}", box=None, header_style="bold", title_style="bold", pad_edge=False)
    for number, header in enumerate(headers):
        table.add_column(header, justify="right" if number in (1, 2) else "left", overflow="fold")
    return table
