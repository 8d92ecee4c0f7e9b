"""Decontaminate a dataset."""

from typing import Annotated

import typer

from curation.config import parse_overrides
from curation.decontaminate.verdicts import Unreadable
from curation.report.detection import PLANT
from pipelines.commands.rewriting import (
    AgainstOption,
    CopyOption,
    InPlaceOption,
    ListOnlyOption,
    PlantOption,
    UnreadableOption,
    action_of,
    needed_out,
    print_references,
    print_summary,
    print_suspects,
)
from pipelines.commands.shared import WITHOUT_BRAKE, SetOption, VerboseOption, YesOption, app, print_line
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
    against: AgainstOption = None,
    out: Annotated[
        str | None, typer.Option(metavar="DIR", help="For the clean dataset, the certificate, and the work files.")
    ] = None,
    list_only: ListOnlyOption = False,
    in_place: InPlaceOption = False,
    unreadable: UnreadableOption = "keep",
    copy: CopyOption = False,
    plant: PlantOption = PLANT,
    set_: SetOption = None,
    yes: YesOption = False,
    verbose: VerboseOption = False,
) -> None:
    """Remove the images of a dataset that are copies of reference images, and certify it.

    DATASET and REF are folders of images, WebDataset tars (a brace pattern or a folder of them), or Parquet files with
    images. DIR/data is the clean dataset, in the same form. DIR/certificate.html and DIR/certificate.json say what was
    compared, found and removed; DIR/removed.jsonl lists what was. Run the same command again to continue one that was
    stopped. DIR/run holds the work files; with them, another reference costs little. A REF that lvd fingerprints made
    holds no images: what it finds is listed in DIR/suspects.jsonl, and none of it is removed.
    """
    from pipelines.decontaminate import decontaminate

    out = needed_out(out)
    action = action_of(list_only=list_only, in_place=in_place)
    rule: Unreadable = unreadable  # type: ignore[assignment]  # checked there
    certificate = decontaminate(
        dataset,
        against or [],
        out,
        settings=parse_overrides([*(set_ or []), *(WITHOUT_BRAKE * yes)]),
        action=action,
        unreadable=rule,
        link=not copy,
        plant=plant,
        report=Terminal(),
    )
    print_references(certificate)
    print_summary(certificate)
    print_suspects(certificate, out)
    if action == "write":
        print_line(f"clean dataset: {out.rstrip('/')}/data")
    print_line(f"certificate: {out.rstrip('/')}/{certificate.page}")
