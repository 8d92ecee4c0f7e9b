"""What the commands that write a dataset again have in common: their options, and how they say what was done."""

from typing import Annotated

import typer
from rich.markup import escape

from curation.decontaminate.certificate import SUSPECTS, Action, Certificate
from curation.errors import ConfigError
from pipelines.commands.shared import console, new_table, print_line

__all__ = [
    "AgainstOption",
    "CopyOption",
    "InPlaceOption",
    "ListOnlyOption",
    "PlantOption",
    "UnreadableOption",
    "action_of",
    "needed_out",
    "print_references",
    "print_summary",
    "print_suspects",
]

AgainstOption = Annotated[
    list[str] | None,
    typer.Option(metavar="REF", help="A dataset whose images must not be in it, or its fingerprints; again for more."),
]
InPlaceOption = Annotated[
    bool, typer.Option("--in-place", help="Rewrite the shards that hold copies where they lie (WebDataset).")
]
ListOnlyOption = Annotated[bool, typer.Option("--list-only", help="Say what would be removed, and write no dataset.")]
UnreadableOption = Annotated[
    str, typer.Option(metavar="keep|drop", help="What becomes of files that are no readable image.")
]
CopyOption = Annotated[bool, typer.Option("--copy", help="Copy files that are kept whole, rather than hard-link.")]
PlantOption = Annotated[
    int, typer.Option(metavar="N", help="Images that copies are planted of, to say how many would be found; 0: none.")
]


def needed_out(out: str | None) -> str:
    """The folder for the result; ConfigError where none was given."""
    if out is None:
        raise ConfigError("--out: missing; name a folder for the result, as in --out clean")
    return out


def action_of(*, list_only: bool, in_place: bool) -> Action:
    """What becomes of the dataset, by the options; ConfigError where they contradict each other."""
    if list_only and in_place:
        raise ConfigError("--list-only and --in-place: contradict each other; give one of them")
    return "list" if list_only else "in-place" if in_place else "write"


def print_references(certificate: Certificate) -> None:
    """A table of the reference sets; nothing where there is none."""
    if not certificate.reference_sets:
        return
    headers = ("reference set", "images", "unreadable", "with copies", "removed")
    table = new_table("", headers, left=("reference set",))
    for item in certificate.reference_sets:
        numbers = (item.images, item.unreadable, item.with_copies, item.removed)
        table.add_row(escape(item.name), *(f"{number:,}" for number in numbers))
    console.print(table)


def print_summary(certificate: Certificate) -> None:
    """What was read, kept and removed, and what nothing can be said of."""
    counts = certificate.counts
    print_line(
        f"{counts['read']:,} images read: {counts['kept']:,} kept, {counts['removed']:,} removed, "
        f"{counts['unreadable']:,} unreadable ({counts['unreadable_kept']:,} of them kept)"
    )
    if power := certificate.detection_power:
        print_line(f"detection power: {power.sentence}")
    if blind := sum(item.unreadable for item in certificate.reference_sets):
        print_line(f"warning: {blind:,} reference image(s) could not be read; copies of them were not looked for")
    if passed := sum(certificate.dataset["passed_over"].values()):
        print_line(f"warning: {passed:,} hidden entries, links or special files in the folder were passed over")


def print_suspects(certificate: Certificate, out: str) -> None:
    """How many images may be copies of fingerprinted ones; nothing where there are no fingerprints."""
    if not certificate.fingerprint_sets:
        return
    prints = sum(item.images for item in certificate.fingerprint_sets)
    if not certificate.suspects:
        print_line(f"suspects: none of the dataset's images looks like a copy of the {prints:,} fingerprints")
        return
    images = len({item.image.place for item in certificate.suspects})
    found = len({(item.set, item.fingerprint) for item in certificate.suspects})
    print_line(
        f"suspects: {images:,} image(s) may be copies of {found:,} of {prints:,} fingerprints; none was removed for "
        f"it: look at {out.rstrip('/')}/{SUSPECTS}"
    )
