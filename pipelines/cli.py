"""The command `lvd`: each command is a thin shell over a public function of the same name."""

import json
import logging
import os
import re
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from curation import __version__
from curation.config import Config, load_config, parse_config, parse_overrides
from curation.errors import ConfigError, LvdError
from curation.report.funnel import FunnelRow, funnel
from curation.report.verify import verify
from curation.report.why import Trail, why
from curation.rundir import Run
from curation.stages.compose import CompositionRow, read_composition
from pipelines.curate import STEPS, curate
from pipelines.progress import Terminal

__all__ = ["app", "main"]

UsageError: Any = typer.BadParameter.__base__  # Typer carries its own copy of Click, and exports only the leaves

app = typer.Typer(
    help="Curate image datasets for self-supervised learning the way LVD-142M was made.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
)
out = Console(highlight=False)

RunArgument = Annotated[str, typer.Argument(metavar="RUN", help="A run directory, or its URL.")]
SetOption = Annotated[
    list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Change a setting; may be given again.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]


@app.command(
    "curate",
    epilog="Example: [bold]lvd curate configs/curate/lvd142m.yaml --set dedup.self.threshold=0.65 --out runs/lvd[/]\n\n"
    "Example: [bold]lvd curate --pool photos/ --seed birds/ --against benchmark/ --out runs/birds[/]",
)
def curate_command(
    config: Annotated[
        str | None, typer.Argument(metavar="[CONFIG]", help="A YAML file; or use --pool and --seed.")
    ] = None,
    pool: Annotated[list[str] | None, typer.Option(metavar="DATASET", help="What to choose from.")] = None,
    seed: Annotated[list[str] | None, typer.Option(metavar="DATASET", help="What to find more of.")] = None,
    against: Annotated[list[str] | None, typer.Option(metavar="DATASET", help="What must not leak in.")] = None,
    out: Annotated[
        str | None, typer.Option(metavar="RUN", help="The run directory. Default: runs/<config name>.")
    ] = None,
    set_: SetOption = None,
    until: Annotated[str | None, typer.Option(metavar="STEP", help=f"Last step to do: {', '.join(STEPS)}.")] = None,
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed", help="Try again to fetch what failed for a passing reason.")
    ] = False,
    ray_address: Annotated[str | None, typer.Option(metavar="ADDRESS", help="A running Ray cluster.")] = None,
) -> None:
    """Curate a dataset: crawl, filter, remove duplicates, embed, cluster, retrieve by seeds, write shards.

    A dataset is a folder of images (sub-folders are labels), WebDataset tars, Parquet files with images or URLs, text
    files of URLs, or WARC, ARC or WAT files. Run the same command again to continue a run that was stopped.
    """
    overrides = [*(set_ or []), *([f"runner.ray_address={ray_address}"] if ray_address else [])]
    settings = _settings(config, pool, seed, against, overrides)
    if out is None and config is None:
        raise ConfigError("--out: missing; name the directory for the run, as in --out runs/birds")
    run = curate(
        settings, out or f"runs/{Path(str(config)).stem}", until=until, retry_failed=retry_failed, report=Terminal()
    )
    _print_funnel(funnel(run))
    if until is None or until == STEPS[-1]:
        _print_composition(read_composition(run))
        _print(f"shards and manifest: {run.store.url('shards')}")


@app.command("demo", epilog="Example: [bold]lvd demo --out runs/demo[/]")
def demo_command(
    out: Annotated[str, typer.Option(metavar="RUN", help="The run directory.")] = "runs/demo",
    set_: SetOption = None,
) -> None:
    """Run the main job on a small web made here, and check it: no network, no GPU, no downloads."""
    from pipelines.demo.run import demo

    demo(out, overrides=set_ or [], report=Terminal())


@app.command("funnel", epilog="Example: [bold]lvd funnel runs/demo[/]")
def funnel_command(run: RunArgument, as_json: JsonOption = False) -> None:
    """Show how many samples each stage let through, and why the others were dropped."""
    rows = funnel(Run.load(run))
    if as_json:
        _print_json([row.to_dict() for row in rows])
    else:
        _print_funnel(rows)


@app.command("why", epilog="Example: [bold]lvd why runs/demo http://photos.example/a.jpg[/]")
def why_command(
    run: RunArgument,
    key: Annotated[str, typer.Argument(metavar="KEY", help="A URL, id, SHA-256, path in its dataset, or shard key.")],
    as_json: JsonOption = False,
) -> None:
    """Say what became of one image or URL, stage by stage, and why."""
    trails = why(Run.load(run), key)
    if as_json:
        _print_json([_trail_fields(trail) for trail in trails])
    elif not trails:
        raise ConfigError(f"{key}: nothing in {run} has this URL, id, SHA-256, path or key; check how it is spelled")
    else:
        for trail in trails:
            _print_trail(trail)


@app.command("verify", epilog="Example: [bold]lvd verify runs/demo[/]")
def verify_command(run: RunArgument) -> None:
    """Check a run's ledgers, digests, shards and checksums; exit code 1 on any breach."""
    breaches = list(verify(Run.load(run)))
    for breach in breaches:
        _print(f"{breach.where}: {breach.what}")
    if breaches:
        raise LvdError(f"{run}: {len(breaches)} breach(es)")
    _print(f"{run}: ledgers, digests, shards and checksums hold")


def main() -> None:
    """Entry point: errors become one line and an exit code, never a traceback."""
    logging.basicConfig(level=logging.DEBUG if os.environ.get("LVD_DEBUG") else logging.ERROR)
    try:
        code = app(standalone_mode=False)
    except UsageError as error:
        print(f"lvd: {error.format_message()}; see `lvd {' '.join(sys.argv[1:2])} --help`", file=sys.stderr)
        code = 2
    except LvdError as error:
        print(f"lvd: {error}", file=sys.stderr)
        code = error.exit_code
    except (KeyboardInterrupt, typer.Abort):
        print("lvd: stopped; finished parts are kept, run the same command again to continue", file=sys.stderr)
        code = 130
    sys.exit(code if isinstance(code, int) else 0)


def _settings(
    config: str | None,
    pool: list[str] | None,
    seeds: list[str] | None,
    against: list[str] | None,
    overrides: list[str],
) -> Config:
    """The config from a file, or from options alone."""
    if config is not None:
        if pool or seeds or against:
            raise ConfigError("--pool, --seed and --against: cannot be mixed with a config file; set them there")
        return load_config(config, overrides)
    if not pool or not seeds:
        raise ConfigError("lvd curate: name a CONFIG file, or at least one --pool and one --seed dataset")
    values: dict[str, Any] = {
        "pool": pool,
        "seeds": [{"name": name, "data": data} for name, data in _named(seeds)],
        "references": [{"name": name, "data": data} for name, data in _named(against or [])],
    }
    return parse_config({**values, **parse_overrides(overrides)}, where="lvd curate")


def _named(datasets: list[str]) -> list[tuple[str, str]]:
    """Each dataset with a name from its last path component, made unique by a number."""
    named: dict[str, str] = {}
    for data in datasets:
        stem = re.sub("[^A-Za-z0-9]+", "-", Path(data.rstrip("/")).stem)[:90].strip("-") or "set"
        name = next(name for name in (stem, *(f"{stem}-{n}" for n in range(2, 10_000))) if name not in named)
        named[name] = data
    return list(named.items())


def _print_funnel(rows: list[FunnelRow]) -> None:
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
    out.print(table)


def _print_composition(rows: list[CompositionRow]) -> None:
    table = Table(title="\ncomposition", box=None, header_style="bold", title_style="bold", pad_edge=False)
    for header in ("seed set", "how", "images", "retrieved", "nominal", "unique"):
        table.add_column(header, justify="left" if header in ("seed set", "how") else "right")
    for row in rows:
        numbers = (row.images, row.retrieved, row.nominal, row.unique)
        table.add_row(escape(row.seed_set), row.how, *(f"{number:,}" for number in numbers))
    table.add_row(
        "total", "", "", "", f"{sum(r.nominal for r in rows):,}", f"{sum(r.unique for r in rows):,}", style="bold"
    )
    out.print(table)


def _print_trail(trail: Trail) -> None:
    out.print(f"[bold]{escape(trail.collection)}[/] part {trail.part} row {trail.row}: {escape(trail.fate)}")
    for event in trail.events:
        facts = ", ".join(f"{name} {value}" for name, value in event.facts.items())
        verdict = f"DROPPED {event.drop_reason} {event.drop_detail or ''}" if event.drop_reason else facts
        out.print(f"  {event.stage:<12} {escape(verdict)}", soft_wrap=True)


def _trail_fields(trail: Trail) -> dict[str, Any]:
    events = [
        {"stage": e.stage, **e.facts, "drop_reason": e.drop_reason, "drop_detail": e.drop_detail} for e in trail.events
    ]
    return {"collection": trail.collection, "part": trail.part, "row": trail.row, "fate": trail.fate, "events": events}


def _print(text: str) -> None:
    out.print(text, markup=False, soft_wrap=True)


def _print_json(value: object) -> None:
    print(json.dumps(value, indent=1, ensure_ascii=False))


def _version(value: bool) -> None:
    if value:
        _print(f"lvd {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    pass
