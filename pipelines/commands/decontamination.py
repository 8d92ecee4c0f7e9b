"""Decontaminate a dataset."""

from typing import Annotated

import typer
from rich.markup import escape

from curation.config import parse_overrides
from curation.decontaminate.certificate import Action, Certificate
from curation.decontaminate.verdicts import Unreadable
from curation.errors import ConfigError
from pipelines.commands.shared import SetOption, VerboseOption, app, console, new_table, print_line
from pipelines.progress import Terminal

__all__: list[str] = []


@app.command(
    "decontaminate",
    epilog="Example: [bold]lvd decontaminate photos/ --against benchmark/test/ --out clean/[/]\n\n"
    "Example: [bold]lvd decontaminate 'shards/{000..127}.tar' --against a/ --against b.parquet --out clean/[/]\n\n"
    "Example: [bold]lvd decontaminate shards/ --against test/ --list-only --out report/[/]",
)
def decontaminate_command(
    dataset: Annotated[str, typer.Argument(metavar="DATASET", help="The dataset that copies are to be removed from.")],
    against: Annotated[
        list[str] | None, typer.Option(metavar="REF", help="A dataset whose images must not be in it; again for more.")
    ] = None,
    out: Annotated[
        str | None, typer.Option(metavar="DIR", help="For the clean dataset, the certificate, and the work files.")
    ] = None,
    list_only: Annotated[bool, typer.Option("--list-only", help="Write the certificate, and no dataset.")] = False,
    in_place: Annotated[
        bool, typer.Option("--in-place", help="Rewrite the shards that hold copies where they lie (WebDataset).")
    ] = False,
    unreadable: Annotated[
        str, typer.Option(metavar="keep|drop", help="What becomes of files that are no readable image.")
    ] = "keep",
    copy: Annotated[
        bool, typer.Option("--copy", help="Copy files that are kept whole, rather than hard-link.")
    ] = False,
    set_: SetOption = None,
    verbose: VerboseOption = False,
) -> None:
    """Remove the images of a dataset that are copies of reference images, and certify it.

    DATASET and REF are folders of images, WebDataset tars (a brace pattern or a folder of them), or Parquet files with
    images. DIR/data is the clean dataset, in the same form. DIR/certificate.html and DIR/certificate.json say what was
    compared, found and removed; DIR/removed.jsonl lists what was. Run the same command again to continue one that was
    stopped. DIR/run holds the work files; with them, another reference costs little.
    """
    from pipelines.decontaminate import decontaminate

    if out is None:
        raise ConfigError("--out: missing; name a folder for the result, as in --out clean")
    if list_only and in_place:
        raise ConfigError("--list-only and --in-place: contradict each other; give one of them")
    action: Action = "list" if list_only else "in-place" if in_place else "write"
    rule: Unreadable = unreadable  # type: ignore[assignment]  # checked there
    certificate = decontaminate(
        dataset,
        against or [],
        out,
        settings=parse_overrides(set_ or []),
        action=action,
        unreadable=rule,
        link=not copy,
        report=Terminal(),
    )
    _print(certificate, out.rstrip("/"))


def _print(certificate: Certificate, out: str) -> None:
    counts = certificate.counts
    headers = ("reference set", "images", "unreadable", "with copies", "removed")
    table = new_table("", headers, left=("reference set",))
    for item in certificate.reference_sets:
        numbers = (item.images, item.unreadable, item.with_copies, item.removed)
        table.add_row(escape(item.name), *(f"{number:,}" for number in numbers))
    console.print(table)
    print_line(
        f"{counts['read']:,} images read: {counts['kept']:,} kept, {counts['removed']:,} removed, "
        f"{counts['unreadable']:,} unreadable ({counts['unreadable_kept']:,} of them kept)"
    )
    if blind := sum(item.unreadable for item in certificate.reference_sets):
        print_line(f"warning: {blind:,} reference image(s) could not be read; copies of them were not looked for")
    if passed := sum(certificate.dataset["passed_over"].values()):
        print_line(f"warning: {passed:,} hidden entries, links or special files in the folder were passed over")
    if certificate.clean["action"] == "write":
        print_line(f"clean dataset: {out}/data")
    print_line(f"certificate: {out}/certificate.html")
