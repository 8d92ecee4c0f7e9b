"""Train a copy descriptor."""

from typing import Annotated

import typer

from pipelines.commands.shared import app, print_line
from pipelines.progress import Terminal

__all__: list[str] = []


@app.command(
    "train-copy-descriptor",
    epilog="Example: [bold]lvd train-copy-descriptor photos/ --out copy.safetensors[/]\n\n"
    "Then: [bold]lvd curate config.yaml --set copy_descriptors.model=lvd/copy-small-v1 "
    "--set copy_descriptors.weights=copy.safetensors[/]",
)
def train_copy_descriptor_command(
    datasets: Annotated[
        list[str], typer.Argument(metavar="DATASET...", help="Folders of images, WebDataset tars or Parquet files.")
    ],
    out: Annotated[str, typer.Option(metavar="FILE", help="The weights to write, as safetensors.")],
    steps: Annotated[int, typer.Option(min=1, help="Steps in all.")] = 1600,
    batch: Annotated[int, typer.Option(min=2, help="Photos in a step, each in two views.")] = 64,
    side: Annotated[
        list[int] | None,
        typer.Option(metavar="PIXELS", help="Side of the views; given again, the views grow. Without it: 80, 96, 128."),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="What all that is random depends on.")] = 0,
    leave_out: Annotated[
        list[str] | None, typer.Option(metavar="PATH", help="A folder or file within a dataset; may be given again.")
    ] = None,
    start: Annotated[
        str | None, typer.Option(metavar="FILE", help="Weights of an earlier run to begin with; use a lower --rate.")
    ] = None,
    rate: Annotated[float, typer.Option(min=0.0, help="Learning rate after warm-up.")] = 1.5e-3,
    limit: Annotated[int, typer.Option(min=2, help="Most photos; of more, an even selection is taken.")] = 20_000,
    workers: Annotated[int, typer.Option(min=0, help="Processes that make views.")] = 1,
) -> None:
    """Train the small copy descriptor on photos of your own. Run it again to continue a run that was stopped."""
    from curation.models.copy.training import TrainSettings
    from pipelines.train_copy_descriptor import train_copy_descriptor

    settings = TrainSettings(steps=steps, batch=batch, sides=tuple(side or (80, 96, 128)), rate=rate, seed=seed)
    done = train_copy_descriptor(
        datasets,
        out,
        settings=settings,
        leave_out=leave_out or (),
        start=start,
        limit=limit,
        workers=workers,
        report=Terminal(),
    )
    refused = f" ({done.refused} files were no usable image)" if done.refused else ""
    print_line(f"{done.weights}: {done.steps} steps over {done.photos} photos{refused}, loss {done.loss:.3f}")
