"""Train the small copy descriptor on your own photos."""

import signal
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image
from torch import Tensor

from curation.config import ImageConfig
from curation.engine.progress import Progress, Quiet
from curation.errors import ArgumentError, DatasetError
from curation.formats.dataset import detect, list_rows
from curation.formats.row import ListedRow
from curation.formats.samples import read_bytes
from curation.imaging.decode import Pixels, decode_image
from curation.models.copy.files import read_weights
from curation.models.copy.network import SmallCopyNet
from curation.models.copy.training import Trainer, TrainSettings
from curation.run.parts import Ledger

__all__ = ["Trained", "train_copy_descriptor"]

PHOTO_SIDE = 224
"""Shorter side in pixels at which photos are kept: 4,000 of them take 0.75 GB."""
SAVE_EVERY = 50
SAY_EVERY = 100


@dataclass(frozen=True, slots=True)
class Trained:
    """What came of a run: the weights file, photos used and files that are no usable image, and the last loss."""

    weights: Path
    photos: int
    refused: int
    steps: int
    loss: float


def train_copy_descriptor(
    datasets: Sequence[str],
    out: str,
    *,
    settings: TrainSettings | None = None,
    leave_out: Sequence[str] = (),
    start: str | None = None,
    limit: int = 20_000,
    workers: int = 1,
    report: Progress | None = None,
) -> Trained:
    """Train to the end, going on from the state beside `out` if there is one.

    The state (`<out>.state`) is written every 50 steps and when the run is interrupted, and removed at the end; the
    weights so far are in `out` whenever it is.

    Args:
        datasets: folders of images, WebDataset tars or Parquet files with images.
        out: the weights file to write, `*.safetensors`.
        leave_out: folders or files, by their path within a dataset, that are not trained on.
        start: weights of an earlier run to begin with.
        limit: most photos; of more, an even selection is taken.
        workers: processes that make views; the weights do not depend on their number.

    Raises:
        LvdError: see its subclasses.
    """
    settings, report, path = settings or TrainSettings(), report or Quiet(), Path(out)
    state = path.with_name(path.name + ".state")
    if path.suffix != ".safetensors":
        raise ArgumentError("out", out, "weights are written as safetensors; name a file that ends in .safetensors")
    if path.exists() and not state.exists():
        raise ArgumentError("out", out, "is there already, from a finished run; remove it or name another file")
    if not path.parent.is_dir():
        raise ArgumentError("out", out, f"{path.parent} is no folder; create it first")
    photos, refused = _load(datasets, leave_out, limit, report)
    if len(photos) < settings.batch:
        raise DatasetError(
            f"{', '.join(datasets)}: {len(photos)} usable photos, fewer than the {settings.batch} of one step; "
            "name more datasets or a smaller batch"
        )
    trainer = Trainer(photos, settings, workers, _start(start, settings))
    if state.exists():
        trainer.resume(state)
        report.say(f"going on after step {trainer.step} of {settings.steps}")
    loss = _run(trainer, path, state, report)
    trainer.save_weights(path)
    state.unlink(missing_ok=True)
    return Trained(path, len(photos), refused, settings.steps, loss)


def _start(path: str | None, settings: TrainSettings) -> Mapping[str, Tensor] | None:
    if path is None:
        return None
    if not Path(path).is_file():
        raise ArgumentError("start", path, "is no file; give the weights of an earlier run")
    return read_weights("start", Path(path), SmallCopyNet(settings.backbone, settings.dim)).state_dict()


def _run(trainer: Trainer, path: Path, state: Path, report: Progress) -> float:
    """Take the steps that are left, saving now and then; on Ctrl-C the step at hand is finished and saved first."""
    loss, batch = float("nan"), trainer.settings.batch
    left = trainer.settings.steps - trainer.step
    with _interrupts() as interrupted, report.stage("training", left * batch) as bar:
        for step in trainer.run():
            loss = step.loss
            bar.advance(batch, Ledger(0, 0))
            if step.step % SAY_EVERY == 0:
                report.say(
                    f"step {step.step}: loss {loss:.3f}, contrast {step.contrast:.3f}, entropy {step.entropy:.3f}"
                )
            if interrupted or (step.step % SAVE_EVERY == 0 and step.step < trainer.settings.steps):
                trainer.save(state)
                trainer.save_weights(path)
            if interrupted:
                raise KeyboardInterrupt
    return loss


@contextmanager
def _interrupts() -> Iterator[list[int]]:
    """A list to which Ctrl-C adds, in place of the exception that could come in the middle of an update."""
    seen: list[int] = []
    before = signal.signal(signal.SIGINT, lambda number, _frame: seen.append(number))
    try:
        yield seen
    finally:
        signal.signal(signal.SIGINT, before)


def _load(datasets: Sequence[str], leave_out: Sequence[str], limit: int, report: Progress) -> tuple[list[Pixels], int]:
    """Photos as (H, W, 3) uint8, scaled down where larger, and how many files were no usable image."""
    rows: list[ListedRow] = []
    for data in datasets:
        if detect(data).has_urls:
            raise DatasetError(f"{data}: holds URLs, not images; fetch them with `lvd curate` and name its shards")
        rows += (row for row in list_rows(data) if not _is_left_out(row.path or row.key, leave_out))
    if len(rows) > limit:
        rows = [rows[index] for index in np.linspace(0, len(rows) - 1, limit).round().astype(int)]
    photos: list[Pixels] = []
    with report.stage("reading photos", len(rows)) as bar:
        for _, content in read_bytes(rows):
            image = decode_image(content, ImageConfig(), PHOTO_SIDE)
            if isinstance(image, Image.Image):
                photos.append(np.asarray(_scaled_down(image)))
            bar.advance(1, Ledger(0, 0))
    return photos, len(rows) - len(photos)


def _is_left_out(path: str, leave_out: Sequence[str]) -> bool:
    return any(path == name or path.startswith(f"{name.rstrip('/')}/") for name in leave_out)


def _scaled_down(image: Image.Image) -> Image.Image:
    scale = PHOTO_SIDE / min(image.size)
    if scale >= 1:
        return image
    width, height = (round(length * scale) for length in image.size)
    return image.resize((width, height), Image.Resampling.LANCZOS)
