"""Keep one of each image of a dataset."""

from typing import Annotated

import typer

from curation.config import parse_overrides
from curation.decontaminate.certificate import Certificate
from curation.decontaminate.verdicts import Unreadable
from curation.report.detection import PLANT
from curation.report.notes import notes
from curation.run.directory import Run
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
    "dedup",
    epilog="Example: [bold]lvd dedup photos/ --out unique/[/]\n\n"
    "Example: [bold]lvd dedup 'shards/{000..127}.tar' --against benchmark/test/ --out unique/[/]\n\n"
    "Example: [bold]lvd dedup photos.parquet --list-only --out report/[/]",
)
def dedup_command(
    dataset: Annotated[str, typer.Argument(metavar="DATASET", help="The dataset to keep one of each image of.")],
    against: AgainstOption = None,
    out: Annotated[
        str | None, typer.Option(metavar="DIR", help="For the new dataset, the report, and the work files.")
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
    """Keep one of each image of a dataset, and report its copies; no seeds needed.

    DATASET and REF are folders of images (sub-folders are labels), WebDataset tars (a brace pattern or a folder of
    them), or Parquet files with images. DIR/data is the dataset without copies, in the same form. DIR/dedup.html and
    DIR/dedup.json show the copies, and those under different labels; DIR/removed.jsonl lists what was removed. With
    --against, copies of its images are removed too. Run the same command again to continue one that was stopped.
    """
    from pipelines.dedup import dedup

    out = needed_out(out)
    action = action_of(list_only=list_only, in_place=in_place)
    rule: Unreadable = unreadable  # type: ignore[assignment]  # checked there
    certificate = dedup(
        dataset,
        out,
        against=against or (),
        settings=parse_overrides([*(set_ or []), *(WITHOUT_BRAKE * yes)]),
        action=action,
        unreadable=rule,
        link=not copy,
        plant=plant,
        report=Terminal(),
    )
    _print(certificate, out.rstrip("/"))


def _print(certificate: Certificate, out: str) -> None:
    counts, action = certificate.counts, certificate.clean["action"]
    print_references(certificate)
    print_summary(certificate)
    print_suspects(certificate, out)
    for note in notes(Run.load(f"{out}/run")):
        print_line(note)
    leaks = counts["removed_as_copies_of_references"]
    would_be = "would be removed" if action == "list" else "removed"
    parts = [f"{counts['removed_as_copies'] - leaks:,} as copies of images that are kept"]
    parts += [f"{leaks:,} as copies of reference images"] if certificate.reference_sets else []
    mates = counts["removed_with_their_sample"]
    parts += [f"{mates:,} with the WebDataset sample that held one"] if mates else []
    print_line(f"{would_be}: {', '.join(parts)}")
    if stay := counts["copies_kept"]:
        print_line(f"kept: {stay:,} copies, since what is no copy would go with them, or their image does")
    if conflicts := counts["label_conflicts"]:
        print_line(f"warning: {conflicts:,} group(s) of copies have more than one label; see {out}/{certificate.page}")
    if action == "write":
        print_line(f"dataset without copies: {out}/data")
    print_line(f"what was removed and why: {out}/{certificate.page}; of one image: lvd why {out}/run NAME")
