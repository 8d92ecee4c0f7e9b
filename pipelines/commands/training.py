"""Pretrain, evaluate, export."""

import json
from dataclasses import asdict
from typing import Annotated

import typer

from curation.errors import ConfigError
from pipelines.commands.shared import (
    JsonOption,
    SetOption,
    VerboseOption,
    app,
    console,
    new_table,
    print_json,
    print_line,
)

__all__: list[str] = []

CheckpointArgument = Annotated[str, typer.Argument(metavar="CHECKPOINT", help="A checkpoint of `lvd pretrain`.")]


@app.command(
    "pretrain",
    epilog="Example: [bold]lvd pretrain configs/pretrain/vits14_demo.yaml --out runs/vits14[/]\n\n"
    "Example: [bold]torchrun --nproc-per-node 8 -m pipelines.cli pretrain configs/pretrain/vitl14.yaml[/]",
)
def pretrain_command(
    config: Annotated[str | None, typer.Argument(metavar="[CONFIG]", help="A YAML file.")] = None,
    out: Annotated[str | None, typer.Option(metavar="DIR", help="Where checkpoints and logs go.")] = None,
    set_: SetOption = None,
    replay: Annotated[str | None, typer.Option(metavar="FILE", help="Run a step again that failed.")] = None,
    verbose: VerboseOption = False,
) -> None:
    """Pretrain DINOv2 on shards, an image folder or Parquet files. Run it again to continue a run that was stopped."""
    from curation.dinov2.config import load_pretrain_config
    from pipelines.pretrain import pretrain
    from pipelines.pretrain import replay as replay_step

    if replay is not None:
        again = replay_step(replay)
        print_line(f"step {again.step} failed on: {again.kept_cause}; this time: {again.cause or 'all is finite'}")
        print_line(json.dumps(again.losses))
        return
    if config is None:
        raise ConfigError("lvd pretrain: name a CONFIG file, as in configs/pretrain/vits14_demo.yaml")
    result = pretrain(load_pretrain_config(config, set_ or []), out=out)
    knn = "" if result.knn is None else f", kNN accuracy {result.knn:.1%}"
    print_line(f"{result.checkpoint}: {result.steps} steps at {result.images_per_second:.1f} images/s{knn}")


@app.command("evaluate", epilog="Example: [bold]lvd evaluate runs/vits14/checkpoint.pt --data photos/[/]")
def evaluate_command(
    checkpoint: CheckpointArgument,
    data: Annotated[str, typer.Option(metavar="DIR", help="A folder with a sub-folder per class.")],
    neighbours: Annotated[int, typer.Option(min=1, help="Neighbours that vote.")] = 20,
    image_size: Annotated[int | None, typer.Option(min=14, help="Side of the centre crop in pixels.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Score features by kNN, beside those of the same network untrained and of raw pixels."""
    from pipelines.evaluate import evaluate

    scores = evaluate(checkpoint, data, neighbours=neighbours, image_size=image_size)
    if as_json:
        print_json(asdict(scores))
        return
    table = new_table("", ("features", "kNN accuracy"), left=("features",))
    for name, result in vars(scores).items():
        table.add_row(name, f"{result.accuracy:.1%}")
    console.print(table)


@app.command(
    "export", epilog="Example: [bold]lvd export runs/vits14/checkpoint.pt --to timm --out vits14.safetensors[/]"
)
def export_command(
    checkpoint: CheckpointArgument,
    to: Annotated[str, typer.Option(metavar="timm|hf|dinov2", help="The library that is to load it.")],
    out: Annotated[str, typer.Option(metavar="FILE", help="Where to write it; a folder for hf.")],
) -> None:
    """Hand a trained backbone over to timm, Hugging Face transformers, or the official DINOv2 code."""
    from pipelines.export import export

    print_line(str(export(checkpoint, to, out)))  # type: ignore[arg-type]  # checked there
