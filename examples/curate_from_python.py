"""Curate: from a folder of pictures, those that resemble the seeds, each once, as shards."""

import itertools
import tempfile
from pathlib import Path

import skimage.data
from PIL import Image

from curation import read_dataset
from curation.config import Config, ExportConfig, RunnerConfig, SafetyConfig, SeedConfig
from curation.report.funnel import funnel
from pipelines import curate


def make_pictures(folder: Path) -> None:
    """Tiles of four photographs: a few of the cat are the seeds, all others the pool, some of them twice."""
    for name in ("pool", "seeds"):
        (folder / name).mkdir()
    for photo in ("astronaut", "cat", "coffee", "rocket"):
        pixels = getattr(skimage.data, photo)()
        corners = itertools.product(range(0, pixels.shape[0] - 99, 100), range(0, pixels.shape[1] - 99, 100))
        for number, (top, left) in enumerate(corners):
            tile = Image.fromarray(pixels[top : top + 100, left : left + 100])
            is_seed = photo == "cat" and number % 3 == 0
            tile.save(folder / ("seeds" if is_seed else "pool") / f"{photo}-{number:02d}.jpg", quality=92)
            if photo == "astronaut" and number < 10:
                tile.save(folder / "pool" / f"{photo}-{number:02d}-again.jpg", quality=70)


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        make_pictures(Path(folder))
        config = Config(
            pool=[f"{folder}/pool"],
            seeds=[SeedConfig(name="cats", data=f"{folder}/seeds", retrieve="sample", neighbours=4)],
            safety=SafetyConfig(nsfw="off", faces="keep"),
            export=ExportConfig(samples_per_shard=8),
            runner=RunnerConfig(kind="inline"),  # in this process; by default local workers, or a Ray cluster
        )
        run = curate(config, f"{folder}/run")
        for row in funnel(run):
            if row.collection == "pool" and row.ledger.drops:
                print(
                    f"{row.stage}: {row.ledger.live_in} images in, {row.ledger.live_out} out, {dict(row.ledger.drops)}"
                )
        chosen = list(read_dataset(f"{folder}/run/shards"))
        print(f"{len(chosen)} images in shards, the first is {chosen[0].key} of {len(chosen[0].data)} bytes")


if __name__ == "__main__":
    main()
