"""What all commands share: the app, common options, and how to print."""

import json
import logging
from collections.abc import Collection, Sequence
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Column, Table

from curation.run.log import STAGES

__all__ = [
    "WITHOUT_BRAKE",
    "JsonOption",
    "RunArgument",
    "SetOption",
    "VerboseOption",
    "YesOption",
    "app",
    "console",
    "new_table",
    "print_json",
    "print_line",
    "terminal_log",
]

app = typer.Typer(
    help="Curate image datasets for self-supervised learning the way LVD-142M was made, and pretrain on them.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
console = Console(highlight=False)

RunArgument = Annotated[str, typer.Argument(metavar="RUN", help="A run directory, or its URL.")]
SetOption = Annotated[
    list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Change a setting; may be given again.")
]
terminal_log = logging.StreamHandler()
"""Shows what is logged: errors, or with `--verbose` what goes into the run's log, but for what is shown otherwise."""
SHOWN_OTHERWISE = ("curation.dinov2.record", "curation.run.log", STAGES)
terminal_log.addFilter(lambda record: record.name not in SHOWN_OTHERWISE)


def _show_more(verbose: bool) -> None:
    if verbose:
        terminal_log.setLevel(min(terminal_log.level, logging.INFO))


VerboseOption = Annotated[
    bool,
    typer.Option(
        "--verbose", callback=_show_more, expose_value=False, help="Show warnings and tracebacks, as log.txt has them."
    ),
]
YesOption = Annotated[
    bool,
    typer.Option(
        "--yes", help="Go on though dedup would drop much: no dedup.max_share and max_group."
    ),
]
WITHOUT_BRAKE = ["dedup.max_share=1.0", "dedup.max_group=1.0"]
"""What `--yes` sets."""
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]


def print_line(text: str) -> None:
    """Print text as it is, on one line however long."""
    console.print(text, markup=False, soft_wrap=True)


def new_table(title: str, headers: Sequence[str], *, left: Collection[str]) -> Table:
    """An empty table; what is in other columns than those of `left`, numbers mostly, is set to the right."""
    columns = [Column(header, justify="left" if header in left else "right") for header in headers]
    return Table(*columns, title=title or None, box=None, header_style="bold", title_style="bold", pad_edge=False)


def print_json(value: object) -> None:
    """Print a JSON value."""
    print(json.dumps(value, indent=1, ensure_ascii=False))
