"""Look at how evenly a selection is spread over concepts."""

from pathlib import Path
from typing import Annotated

import typer

from curation.errors import ConfigError, cause_of
from curation.report.balance import balance
from curation.report.balance_page import balance_page
from curation.run.directory import Run
from pipelines.commands.shared import JsonOption, RunArgument, app, print_json, print_line
from pipelines.commands.tables import print_balance

__all__: list[str] = []


@app.command(
    "balance",
    epilog="Example: [bold]lvd balance runs/demo[/]\n\nExample: [bold]lvd balance runs/demo --html balance.html[/]",
)
def balance_command(
    run: RunArgument,
    as_json: JsonOption = False,
    page: Annotated[
        str | None, typer.Option("--html", metavar="FILE", help="Also write a page with curves and pictures.")
    ] = None,
) -> None:
    """Show how evenly a pool was spread over its clusters before and after selection, and what seed sets reached.

    Entropy is 1 and Gini 0 when all clusters hold equally many images. Concepts of a seed set are the clusters that its
    images fall into; covered are those of which any pool image was selected.
    """
    opened = Run.load(run)
    report = balance(opened)
    if page is not None:
        try:
            Path(page).write_text(balance_page(opened, report), encoding="utf-8")
        except OSError as error:
            raise ConfigError(f"--html {page}: cannot be written ({cause_of(error)}); name another file") from error
    if as_json:
        print_json(report.to_dict())
        return
    print_balance(report)
    if page is not None:
        print_line(f"curves and pictures: {page}")
