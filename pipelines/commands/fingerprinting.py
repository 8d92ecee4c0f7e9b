"""Fingerprints of a reference set."""

from typing import Annotated

import typer

from curation.config import CopyConfig, parse_config, parse_overrides
from curation.errors import ConfigError
from pipelines.commands.shared import SetOption, VerboseOption, app, print_line
from pipelines.progress import Terminal

__all__: list[str] = []


@app.command(
    "fingerprints",
    epilog="Example: [bold]lvd fingerprints benchmark/test/ --out benchmark.fingerprints[/]\n\n"
    "Example: [bold]lvd fingerprints 'test-{000..003}.tar' --no-names --out test.fingerprints[/]\n\n"
    "Example: [bold]lvd decontaminate photos/ --against benchmark.fingerprints --out clean/[/]",
)
def fingerprints_command(
    dataset: Annotated[str, typer.Argument(metavar="DATASET", help="The images to make fingerprints of.")],
    out: Annotated[str | None, typer.Option(metavar="FILE", help="The file to write.")] = None,
    names: Annotated[bool, typer.Option("--names/--no-names", help="Whether it holds the names of images.")] = True,
    set_: SetOption = None,
    verbose: VerboseOption = False,
) -> None:
    """Make fingerprints of images: a file that finds copies of them, to be shared without the images.

    DATASET is a folder of images, WebDataset tars (a brace pattern or a folder of them), or Parquet files with images.
    FILE holds no picture, but of each image its SHA-256, size, copy descriptor and points; from these a rough
    picture could be guessed. Given to lvd decontaminate or lvd dedup as --against, it lists what may be a copy, and
    removes nothing.
    """
    from pipelines.fingerprints import fingerprints

    if out is None:
        raise ConfigError("--out: missing; name a file for the fingerprints, as in --out benchmark.fingerprints")
    made = fingerprints(dataset, out, names=names, model=_model(dataset, set_ or []), report=Terminal())
    print_line(f"{made.images:,} fingerprints: {made.path}")
    if made.unreadable:
        more = f" and {len(made.unreadable) - 3:,} more" if len(made.unreadable) > 3 else ""
        print_line(
            f"warning: {len(made.unreadable):,} file(s) could not be read and have no fingerprint: "
            f"{', '.join(made.unreadable[:3])}{more}"
        )


def _model(dataset: str, changes: list[str]) -> CopyConfig:
    """The copy descriptor by the settings; ConfigError where one is about anything else."""
    values = parse_overrides(changes)
    if others := [name for name in values if name != "copy_descriptors"]:
        raise ConfigError(f"{others[0]}: no setting of lvd fingerprints; those begin with copy_descriptors")
    return parse_config({"pool": [dataset], "seeds": [], **values}, where="lvd fingerprints").copy_descriptors
