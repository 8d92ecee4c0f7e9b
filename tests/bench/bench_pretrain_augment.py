"""Images per second of the augmentation: against the official transforms, and of a whole batch on a device.

    OMP_NUM_THREADS=1 python -m tests.bench.bench_pretrain_augment CHECKOUT [--global-size 224 --local-size 98]
    OMP_NUM_THREADS=1 python -m tests.bench.bench_pretrain_augment --device cuda [--batch 64]

All sides get the same decoded 500x375 photograph (scikit-image's coffee) and make 2 global and 8 local views.

CHECKOUT is a clone of github.com/facebookresearch/dinov2: a worker's augmentation and the official one in turn (A B B
A), one thread; decoding and normalisation on the training device are not in the figures, the official side's
conversion to normalised tensors is.

--device (cpu or cuda) measures `augment.device: model`, in turn with a worker's augmentation of as many images: what
is left to a worker, by itself, and what the device does, from pictures in the host's memory to normalised views.
"""

import argparse
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
from PIL import Image
from skimage import data

from curation.dinov2.batch import Batch
from curation.dinov2.config import AugmentConfig, CropConfig
from curation.dinov2.data.augment import Augmentation
from curation.dinov2.data.batched import BatchedAugmentation
from curation.dinov2.data.plan import Planner

Run = tuple[Callable[[], object], int]
"""What is timed, and the images in it."""


def rates(runs: Mapping[str, Run], order: Sequence[str], rounds: int) -> dict[str, float]:
    """Median images per second of each run, after one turn that does not count."""
    result: dict[str, list[float]] = {name: [] for name in runs}
    for turn in range(rounds + 1):
        for name in order:
            run, images = runs[name]
            start = time.perf_counter()
            run()
            if turn:
                result[name].append(images / (time.perf_counter() - start))
    return {name: statistics.median(values) for name, values in result.items()}


def repeated(make: Callable[[], object], images: int) -> Run:
    """`make` once for each image."""
    return lambda: [make() for _ in range(images)], images


def against_official(checkout: str, image: Image.Image, crops: CropConfig, images: int, rounds: int) -> None:
    """Print both rates and their ratio."""
    sys.path.insert(0, checkout)
    from dinov2.data.augmentations import DataAugmentationDINO

    pixels, rng = np.asarray(image), np.random.default_rng(0)
    ours = Augmentation(Planner(crops, "official", AugmentConfig()))
    official = DataAugmentationDINO(
        crops.global_scale, crops.local_scale, crops.local_count, crops.global_size, crops.local_size
    )
    runs = {
        "lvd": repeated(lambda: ours(pixels, rng), images),
        "official": repeated(lambda: official(image), images),
    }
    medians = rates(runs, ("lvd", "official", "official", "lvd"), rounds)
    for name, rate in medians.items():
        print(f"  {name:30s} {rate:8.1f} images/s per core")
    print(f"  {'ratio':30s} {medians['lvd'] / medians['official']:8.2f}")


def on_device(device: torch.device, image: Image.Image, crops: CropConfig, batch: int, rounds: int) -> None:
    """Print what a worker does by itself, what is left to it, and the device's rate."""
    pixels, rng = np.asarray(image), np.random.default_rng(0)
    planner = Planner(crops, "official", AugmentConfig())
    worker, together = Augmentation(planner), BatchedAugmentation(planner, device)
    planned = [together(pixels, rng) for _ in range(batch)]

    def views() -> None:
        Batch(*together.gather(planned), torch.empty(0)).crops(device)
        if device.type == "cuda":
            torch.cuda.synchronize(device)

    names = ("augment.device: cpu, worker", "augment.device: model, worker", f"augment.device: model, {device}")
    runs: dict[str, Run] = {
        names[0]: repeated(lambda: worker(pixels, rng), batch),
        names[1]: repeated(lambda: together(pixels, rng), batch),
        names[2]: (views, batch),
    }
    medians = rates(runs, names + names[::-1], rounds)
    for name, unit in zip(names, (" per core", " per core", f" in batches of {batch}"), strict=True):
        print(f"  {name:30s} {medians[name]:8.1f} images/s{unit}")
    if device.type == "cuda":
        print(
            f"  {torch.cuda.max_memory_allocated(device) / 2**30:.2f} GiB peak memory on {torch.cuda.get_device_name()}"
        )


def main() -> None:
    """Print what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkout", nargs="?")
    parser.add_argument("--device", choices=["cpu", "cuda"])
    parser.add_argument("--global-size", type=int, default=224)
    parser.add_argument("--local-size", type=int, default=98)
    parser.add_argument("--images", type=int, default=15, help="of a turn against the official transforms")
    parser.add_argument("--batch", type=int, default=64, help="images that are made together with --device")
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    if arguments.checkout is None and arguments.device is None:
        parser.error("give CHECKOUT, --device or both")
    torch.set_num_threads(1)
    image = Image.fromarray(data.coffee()).resize((500, 375), Image.Resampling.BICUBIC)
    crops = CropConfig(global_size=arguments.global_size, local_size=arguments.local_size)
    if arguments.checkout is not None:
        against_official(arguments.checkout, image, crops, arguments.images, arguments.rounds)
    if arguments.device is not None:
        on_device(torch.device(arguments.device), image, crops, arguments.batch, arguments.rounds)


if __name__ == "__main__":
    main()
