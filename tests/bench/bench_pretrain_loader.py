"""Images that are read, decoded and augmented in a second of one core's time, by size of the stored JPEG.

    OMP_NUM_THREADS=1 python -m tests.bench.bench_pretrain_loader [--global-size 224 --local-size 98]

Shards of scikit-image's coffee photograph at several sizes, 2 global and 8 local views, in the training process itself.
"""

import argparse
import io
import json
import statistics
import tarfile
import tempfile
import time
from pathlib import Path

import torch
from PIL import Image
from skimage import data

from curation.dinov2.config import PretrainConfig
from curation.dinov2.data.loader import open_loader

SIZES = ((340, 256), (500, 375), (1024, 768), (2048, 1536))
BATCH = 16


def write_shard(folder: Path, size: tuple[int, int]) -> None:
    """64 equal images."""
    buffer = io.BytesIO()
    Image.fromarray(data.coffee()).resize(size, Image.Resampling.BICUBIC).save(buffer, "JPEG", quality=90)
    content = buffer.getvalue()
    with tarfile.open(folder / "shard-000000.tar", "w", format=tarfile.USTAR_FORMAT) as tar:
        for number in range(64):
            member = tarfile.TarInfo(f"{number:06d}.jpg")
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    manifest = {"format": "lvd-shards/1", "shards": [{"name": "shard-000000.tar", "samples": 64}], "samples": 64}
    (folder / "manifest.json").write_text(json.dumps(manifest))


def main() -> None:
    """Print a rate per size."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--global-size", type=int, default=224)
    parser.add_argument("--local-size", type=int, default=98)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    for size in SIZES:
        with tempfile.TemporaryDirectory() as folder:
            write_shard(Path(folder), size)
            config = PretrainConfig.model_validate(
                {
                    "model": {"patch": 14},
                    "crops": {"global_size": arguments.global_size, "local_size": arguments.local_size},
                    "optim": {"batch_size": BATCH},
                    "data": {"sources": [{"path": folder}], "workers": 0},
                }
            )
            loader = open_loader(config)
            rates = []
            for step in range(arguments.rounds):
                start = time.process_time()
                loader.batch(step)
                rates.append(BATCH / (time.process_time() - start))
            print(f"  {size[0]}x{size[1]:<6d} {statistics.median(rates):8.1f} images per CPU second")


if __name__ == "__main__":
    main()
