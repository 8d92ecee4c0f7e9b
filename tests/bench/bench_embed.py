"""The embedding stage, decoding included, against a plain timm loop on the same images, model, weights and threads.

    python -m tests.bench.bench_embed FOLDER [--model vit_small_patch16_224] [--images 256] [--side 1500] [--rounds 1]

The plain loop is a DataLoader with the model's own timm transform, then the model under `inference_mode`. It has its
best of the batches and DataLoader workers below, tried out first; the comparison is also made with batches of 64, which
is what one would write. Ours is the whole stage, with loading of the weights, reads and writes: one worker process for
each thread, started before. All in turn, A B C C B A, medians, by wall clock and by CPU time of all processes, which
other work on the machine disturbs less. Weights are random. `--side` scales all photos to this shorter side first, so
that decoding has more to do.
"""

import argparse
import io
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import timm
import torch
from numpy.typing import NDArray
from PIL import Image
from safetensors.torch import load_file, save_file
from torch.utils.data import DataLoader, Dataset

from curation.config import CrawlConfig, ImageConfig, ModelConfig, RunnerConfig
from curation.engine.image_pass import ImageWork
from curation.engine.runner import Runner, Task, open_runner
from curation.engine.work import TableWork
from curation.formats.dataset import list_rows
from curation.formats.row import tables_of
from curation.models import open_embedder
from curation.models.timm_model import TimmEmbedder
from curation.run.parts import Collection
from curation.run.store import Store
from curation.stages.concepts.embed import Embed
from curation.stages.filters.decode import Decode
from curation.stages.ingest.fetch import Fetch
from curation.stages.ingest.list import append_parts
from curation.stages.knn.vectors import VECTOR

BATCHES = (8, 64)
LOADER_WORKERS = (0, 1, 2)
PILOT = 64
"""Images of each trial of the plain loop's settings."""
Vectors = dict[str, NDArray[np.float32]]


class Files(Dataset):
    def __init__(self, paths: list[Path], transform: Callable[[Image.Image], torch.Tensor]) -> None:
        self.paths, self.transform = paths, transform

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, at: int) -> torch.Tensor:
        with Image.open(self.paths[at]) as image:
            return self.transform(image.convert("RGB"))


class Plain:
    """The loop that one would write."""

    def __init__(self, name: str, weights: Path, threads: int) -> None:
        self.model = timm.create_model(name, num_classes=0).eval()
        own = self.model.state_dict()
        self.model.load_state_dict({key: value for key, value in load_file(weights).items() if key in own})
        self.data = timm.data.resolve_model_data_config(self.model)
        self.transform = timm.data.create_transform(**self.data)
        self.threads = threads

    def run(self, paths: list[Path], batch: int, workers: int) -> tuple[float, Vectors]:
        torch.set_num_threads(self.threads)
        started = time.perf_counter()
        loader = DataLoader(Files(paths, self.transform), batch_size=batch, num_workers=workers)
        with torch.inference_mode():
            rows = torch.cat([self.model(pixels) for pixels in loader])
            rows = torch.nn.functional.normalize(rows, dim=1)
        seconds = time.perf_counter() - started
        return seconds, {path.name: row for path, row in zip(paths, rows.numpy(), strict=True)}


def rate(model: torch.nn.Module, pixels: torch.Tensor) -> float:
    """Images per CPU second of a model alone, on pixels that are ready."""
    seconds = []
    with torch.inference_mode():
        for _ in range(4):
            started = time.process_time()
            model(pixels)
            seconds.append(time.process_time() - started)
    return len(pixels) / statistics.median(seconds[1:])


def cpu_seconds() -> float:
    """CPU time of this process and of all that it started, ended or not, by Linux's /proc."""
    parents, ticks = {}, {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rpartition(")")[2].split()
        except OSError:  # it has just ended
            continue
        number = int(path.parent.name)
        parents[number], ticks[number] = int(fields[1]), sum(map(int, fields[11:15]))
    ours = {os.getpid()}
    while new := {number for number, parent in parents.items() if parent in ours} - ours:
        ours |= new
    return sum(ticks.get(number, 0) for number in ours) / os.sysconf("SC_CLK_TCK")


def ours(runner: Runner, folder: Path, scratch: Path, settings: ModelConfig, workers: int) -> tuple[float, Vectors]:
    """Seconds of the stage alone: listing the folder and reading sizes comes before."""
    collection, limits = Collection(Store(str(scratch)), "pool"), ImageConfig()
    rows = list(list_rows(str(folder)))
    append_parts(collection, tables_of(iter(rows)), -(-len(rows) // (2 * workers)), seed=0)
    before = TableWork(collection, Fetch(CrawlConfig(), limits), 0)
    for part in collection.parts("list"):
        before.run(part)
    embedder = open_embedder(settings)
    stage = Embed("embeddings", "decode", embedder, None, embedder.side, embedder.fingerprint())
    work = ImageWork(collection, [Decode(limits), stage], limits, side=embedder.side)
    started = time.perf_counter()
    done = list(runner.run_tasks([Task(work, part) for part in collection.parts("list")]))
    seconds = time.perf_counter() - started
    assert len(done) == len(collection.parts("list"))
    vectors: Vectors = {}
    for part in collection.parts("embeddings"):
        names = [Path(path).name for path in collection.read("fetch", part, ["path"])["path"].to_pylist()]
        column = collection.read("embeddings", part, [VECTOR])[VECTOR].combine_chunks()
        result = column.flatten().to_numpy(zero_copy_only=False).reshape(len(names), -1).astype(np.float32)
        vectors |= dict(zip(names, result, strict=True))
    return seconds, vectors


def prepare(folder: Path, out: Path, count: int, side: int | None) -> list[Path]:
    """Every so many-th photo of a folder under one name each, as it is or scaled."""
    files = sorted(path for path in folder.rglob("*") if path.suffix.lower() in (".jpg", ".jpeg"))
    paths = []
    for number, path in enumerate(files[:: max(1, len(files) // count)][:count]):
        target = out / f"{number:05d}.jpg"
        data = path.read_bytes()
        if side is not None:
            image = Image.open(path).convert("RGB")
            scale = side / min(image.size)
            buffer = io.BytesIO()
            image.resize((round(image.width * scale), round(image.height * scale))).save(buffer, "JPEG", quality=90)
            data = buffer.getvalue()
        target.write_bytes(data)
        paths.append(target)
    return paths


def agreement(one: Vectors, other: Vectors) -> tuple[float, float]:
    """Lowest cosine similarity of the two vectors of an image; and with the mean vector taken off both, the mean."""
    assert one.keys() == other.keys(), "not the same images"
    first, second = (np.stack([vectors[name] for name in sorted(one)]) for vectors in (one, other))
    centre = second.mean(axis=0)
    return float(_cosines(first, second).min()), float(_cosines(first - centre, second - centre).mean())


def _cosines(one: NDArray[np.float32], other: NDArray[np.float32]) -> NDArray[np.float32]:
    return (one * other).sum(axis=1) / np.linalg.norm(one, axis=1) / np.linalg.norm(other, axis=1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--model", default="vit_small_patch16_224", help="a timm architecture")
    parser.add_argument("--images", type=int, default=256)
    parser.add_argument("--side", type=int, help="scale all photos to this shorter side first")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument(
        "--sizes", type=int, nargs="+", default=[8, 64], help="batches of the model alone, on one thread"
    )
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        compare(options, Path(scratch))


def compare(options: argparse.Namespace, scratch: Path) -> None:
    photos = scratch / "photos"
    photos.mkdir()
    paths = prepare(options.folder, photos, options.images, options.side)
    weights = scratch / "weights.safetensors"
    torch.manual_seed(0)
    save_file(timm.create_model(options.model, pretrained=False).state_dict(), weights)
    settings = ModelConfig(model=f"timm/{options.model}", weights=str(weights))
    plain = Plain(options.model, weights, options.threads)
    sizes = [Image.open(path).size for path in paths]
    print(
        f"{len(paths)} photos, median {np.median([w * h for w, h in sizes]) / 1e6:.2f} megapixels; {options.model}",
        end=", ",
    )
    print(f"{options.threads} threads, torch {torch.__version__}\n", flush=True)
    trials = {}
    for batch in BATCHES:
        for workers in LOADER_WORKERS:
            pilot = paths[:PILOT]
            speed = trials[batch, workers] = len(pilot) / plain.run(pilot, batch, workers)[0]
            print(f"trial: plain loop, batch {batch}, {workers} DataLoader workers: {speed:.1f} images/s", flush=True)
    ways = {"plain, its best settings": max(trials, key=lambda key: trials[key])}
    of_64 = max((key for key in trials if key[0] == 64), key=lambda key: trials[key])
    if of_64 not in ways.values():
        ways["plain, batch 64"] = of_64
    times: dict[str, list[float]] = {name: [] for name in ("ours", *ways)}
    cpu: dict[str, list[float]] = {name: [] for name in times}
    result: dict[str, Vectors] = {}
    runner_settings = RunnerConfig(kind="processes", workers=options.threads, threads=1)
    with open_runner(runner_settings) as runner:
        few = scratch / "few"
        few.mkdir()
        prepare(photos, few, 2 * options.threads, None)
        ours(runner, few, scratch / "warm-up", settings, options.threads)  # as the trials were for the plain loop
        for turn, name in enumerate([*times, *reversed(times)] * options.rounds):
            used = cpu_seconds()
            if name == "ours":
                seconds, result[name] = ours(runner, photos, scratch / f"run{turn}", settings, options.threads)
            else:
                seconds, result[name] = plain.run(paths, *ways[name])
            times[name].append(seconds)
            cpu[name].append(cpu_seconds() - used)
    rates = {name: len(paths) / statistics.median(seconds) for name, seconds in times.items()}
    by_cpu = {name: len(paths) / statistics.median(seconds) for name, seconds in cpu.items()}
    print(f"\n{'way':<44}{'images/s':>10}{'ours / it':>11}{'per CPU s':>11}{'ours / it':>11}")
    for name, value in rates.items():
        detail = "" if name == "ours" else f" (batch {ways[name][0]}, {ways[name][1]} workers)"
        line = f"{name + detail:<44}{value:>10.2f}{rates['ours'] / value:>11.2f}"
        print(line + f"{by_cpu[name]:>11.2f}{by_cpu['ours'] / by_cpu[name]:>11.2f}")
    embedder = open_embedder(settings)
    embedder.setup()
    torch.set_num_threads(1)
    size = plain.data["input_size"]
    assert isinstance(embedder, TimmEmbedder)
    assert embedder._network is not None
    limits = {"our model alone, pixels ready, batch 8": rate(embedder._network.model, torch.randn(8, *size))}
    for batch in options.sizes:
        limits[f"timm's model alone, batch {batch}"] = rate(plain.model, torch.randn(batch, *size))
    for name, value in limits.items():
        print(f"{name:<44}{'':>21}{value:>11.2f}{by_cpu['ours'] / value:>11.2f}")
    for name in ways:
        lowest, centred = agreement(result["ours"], result[name])
        print(f"ours and {name}: lowest cosine {lowest:.5f}; mean cosine without the common mean vector {centred:.4f}")


if __name__ == "__main__":
    main()
