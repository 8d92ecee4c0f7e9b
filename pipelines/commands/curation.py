"""Curate, and look at what was curated."""

import re
from pathlib import Path
from typing import Annotated, Any

import typer

from curation.config import Config, load_config, parse_config, parse_overrides
from curation.errors import ConfigError, LvdError, needs_extra
from curation.report.detection import PLANT, check_plant, detection_text, measure_detection
from curation.report.funnel import funnel
from curation.report.merges import merges_text, read_merges
from curation.report.merges_page import merges_page
from curation.report.notes import notes
from curation.report.thresholds import FILTERS, read_scores, scores_text
from curation.report.thresholds_page import thresholds_page
from curation.report.verify import verify
from curation.report.why import why
from curation.run.directory import Run
from curation.stages.select.selection import read_composition
from pipelines.commands.shared import (
    WITHOUT_BRAKE,
    JsonOption,
    RunArgument,
    SetOption,
    VerboseOption,
    YesOption,
    app,
    console,
    print_json,
    print_line,
)
from pipelines.commands.tables import print_composition, print_funnel, print_trail, trail_fields
from pipelines.curate import curate, steps
from pipelines.names import named
from pipelines.progress import Terminal

__all__: list[str] = []

_THRESHOLD = re.compile(r"(.+)=(-?\d*\.\d+)")
"""A dataset and a number with a point in it; a folder such as `year=2020` is none."""


@app.command(
    "curate",
    epilog="Example: [bold]lvd curate configs/curate/lvd142m.yaml --set dedup.self.threshold=0.65 --out runs/lvd[/]\n\n"
    "Example: [bold]lvd curate --pool photos/ --seed birds/ --against benchmark/ --exclude ads/ --out runs/birds[/]",
)
def curate_command(
    config: Annotated[
        str | None, typer.Argument(metavar="[CONFIG]", help="A YAML file; or use --pool and --seed.")
    ] = None,
    pool: Annotated[list[str] | None, typer.Option(metavar="DATASET", help="What to choose from.")] = None,
    seed: Annotated[list[str] | None, typer.Option(metavar="DATASET", help="What to find more of.")] = None,
    against: Annotated[list[str] | None, typer.Option(metavar="DATASET", help="What must not leak in.")] = None,
    exclude: Annotated[
        list[str] | None,
        typer.Option(
            metavar="DATASET[=0.6]", help="Examples of what is unwanted; the number is the similarity that drops."
        ),
    ] = None,
    out: Annotated[
        str | None, typer.Option(metavar="RUN", help="The run directory. Default: runs/<config name>.")
    ] = None,
    set_: SetOption = None,
    until: Annotated[str | None, typer.Option(metavar="STEP", help=f"Last step to do: {', '.join(steps())}.")] = None,
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed", help="Try again to fetch what failed for a passing reason.")
    ] = False,
    ray_address: Annotated[str | None, typer.Option(metavar="ADDRESS", help="A running Ray cluster.")] = None,
    yes: YesOption = False,
    verbose: VerboseOption = False,
) -> None:
    """Curate a dataset: crawl, filter, remove duplicates, embed, cluster, retrieve by seeds, write shards.

    A dataset is a folder of images (sub-folders are labels), WebDataset tars, Parquet files with images or URLs, text
    files of URLs, or WARC, ARC or WAT files. Run the same command again to continue a run that was stopped.
    """
    overrides = [*(set_ or []), *(WITHOUT_BRAKE * yes), *([f"runner.ray_address={ray_address}"] if ray_address else [])]
    settings = _settings(config, pool, seed, against, exclude, overrides)
    if out is None and config is None:
        raise ConfigError("--out: missing; name the directory for the run, as in --out runs/birds")
    run = curate(
        settings, out or f"runs/{Path(str(config)).stem}", until=until, retry_failed=retry_failed, report=Terminal()
    )
    print_funnel(funnel(run))
    is_finished = until is None or until == steps()[-1]
    if is_finished:
        print_composition(read_composition(run), run.config.selection)
    _print_notes(run)
    if is_finished:
        print_line(f"shards and manifest: {run.store.url('shards')}")


@app.command("demo", epilog="Example: [bold]lvd demo --out runs/demo[/]")
def demo_command(
    out: Annotated[str, typer.Option(metavar="RUN", help="The run directory.")] = "runs/demo",
    set_: SetOption = None,
    pretrain: Annotated[
        bool, typer.Option("--pretrain/--no-pretrain", help="Train on its shards for some seconds at the end.")
    ] = True,
    verbose: VerboseOption = False,
) -> None:
    """Run the main job on a small web made here, and check it: no network, no GPU, no downloads."""
    with needs_extra("crawl", "lvd demo"):
        from pipelines.demo.run import demo
    from pipelines.demo.show import show

    result = demo(out, overrides=set_ or [], report=Terminal())
    print_funnel(funnel(result.run))
    print_composition(read_composition(result.run), result.run.config.selection)
    show(result.findings, console)
    if result.missed:
        raise LvdError(f"demo: {len(result.missed)} target(s) missed; ask `lvd why {out} URL` about the examples above")
    if pretrain:
        _pretrain(out)
    print_line(f"all targets reached; look around with `lvd why {out} 000000000000` or `lvd verify {out}`")


def _pretrain(out: str) -> None:
    from pipelines.demo.pretraining import pretrain_on_shards
    from pipelines.demo.show import show_pretraining

    show_pretraining(pretrain_on_shards(out), console)


@app.command("funnel", epilog="Example: [bold]lvd funnel runs/demo[/]")
def funnel_command(run: RunArgument, as_json: JsonOption = False) -> None:
    """Show how many samples each stage let through, and why the others were dropped."""
    opened = Run.load(run)
    rows = funnel(opened)
    if as_json:
        print_json([row.to_dict() for row in rows])
    else:
        print_funnel(rows)
        _print_notes(opened)


def _print_notes(run: Run) -> None:
    for note in notes(run):
        print_line(note)


@app.command("why", epilog="Example: [bold]lvd why runs/demo http://photos.example/a.jpg[/]")
def why_command(
    run: RunArgument,
    key: Annotated[str, typer.Argument(metavar="KEY", help="A URL, id, SHA-256, path in its dataset, or shard key.")],
    as_json: JsonOption = False,
) -> None:
    """Say what became of one image or URL, stage by stage, and why."""
    trails = why(Run.load(run), key)
    if not trails:
        raise ConfigError(f"{key}: nothing in {run} has this URL, id, SHA-256, path or key; check how it is spelled")
    if as_json:
        print_json([trail_fields(trail) for trail in trails])
    else:
        for trail in trails:
            print_trail(trail)


@app.command("thresholds", epilog="Example: [bold]lvd thresholds runs/birds --filter nsfw[/]")
def thresholds_command(
    run: RunArgument,
    filter_: Annotated[str, typer.Option("--filter", metavar="NAME", help=f"One of {', '.join(FILTERS)}.")],
    collection: Annotated[str, typer.Option(metavar="PATH", help="A collection of the run.")] = "pool",
    clear: Annotated[bool, typer.Option("--clear", help="Show thumbnails of the NSFW filter unblurred.")] = False,
    plant: Annotated[
        int, typer.Option(metavar="N", help="Of dedup: images that copies are planted of, and looked for; 0: none.")
    ] = PLANT,
) -> None:
    """Show how a filter's scores are spread, what each threshold would drop, and the images around it."""
    opened = Run.load(run)
    if filter_ == "dedup":
        _dedup_thresholds(opened, collection, plant)
        return
    scores = read_scores(opened, filter_, collection)
    for item in scores:
        print_line(scores_text(item))
    blur = filter_ == "nsfw" and not clear
    page = thresholds_page(opened, scores, filter_, collection=collection, blur=blur)
    print_line(f"images around the threshold: {_write_page(opened, filter_, page)}")


def _dedup_thresholds(run: Run, collection: str, plant: int) -> None:
    if collection != "pool":
        raise ConfigError(f"--collection {collection}: dedup looks at the pool; leave it out")
    check_plant(plant)
    merges = read_merges(run)
    print_line(merges_text(merges))
    power = measure_detection(run, plant, Terminal())
    print_line(detection_text(power))
    print_line(f"pairs around each threshold: {_write_page(run, 'dedup', merges_page(run, merges, power))}")


def _write_page(run: Run, filter_: str, page: str) -> str:
    """Store a page in the run; returns where it is."""
    file = f"report/thresholds-{filter_}.html"
    run.store.write_bytes(file, page.encode())
    return run.store.url(file)


@app.command("verify", epilog="Example: [bold]lvd verify runs/demo[/]")
def verify_command(run: RunArgument) -> None:
    """Check a run's ledgers, digests, shards and checksums; exit code 1 on any breach."""
    breaches = list(verify(Run.load(run)))
    for breach in breaches:
        print_line(f"{breach.where}: {breach.what}")
    if breaches:
        raise LvdError(f"{run}: {len(breaches)} breach(es)")
    print_line(f"{run}: ledgers, digests, shards and checksums hold")


def _settings(
    config: str | None,
    pool: list[str] | None,
    seeds: list[str] | None,
    against: list[str] | None,
    excludes: list[str] | None,
    overrides: list[str],
) -> Config:
    """The config from a file, or from options alone."""
    if config is not None:
        if pool or seeds or against or excludes:
            raise ConfigError(
                "--pool, --seed, --against and --exclude: cannot be mixed with a config file; set them there"
            )
        return load_config(config, overrides)
    changes = parse_overrides(overrides)
    if not pool or not (seeds or "selection" in changes):  # a hierarchy needs no seeds
        raise ConfigError(
            "lvd curate: name a CONFIG file, or at least one --pool and one --seed dataset; without seeds, lvd dedup "
            "keeps one of each image of a dataset"
        )
    values: dict[str, Any] = {
        "pool": pool,
        "seeds": [{"name": name, "data": data} for name, data in named(seeds or [])],
        "references": [{"name": name, "data": data} for name, data in named(against or [])],
        "exclude": _examples(excludes or []),
    }
    return parse_config({**values, **changes}, where="lvd curate")


def _examples(excludes: list[str]) -> list[dict[str, Any]]:
    """Sets of unwanted examples, each with the threshold given after it, if any."""
    split = [match.groups() if (match := _THRESHOLD.fullmatch(item)) else (item, None) for item in excludes]
    sets = [{"name": name, "data": data} for name, data in named([data for data, _ in split])]
    return [
        item | ({} if threshold is None else {"threshold": float(threshold)})
        for item, (_, threshold) in zip(sets, split, strict=True)
    ]
