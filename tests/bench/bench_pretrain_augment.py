"""Images per second and core of the augmentation against the official transforms, in turn (A B B A), one thread.

    OMP_NUM_THREADS=1 python -m tests.bench.bench_pretrain_augment CHECKOUT [--global-size 224 --local-size 98]

CHECKOUT is a clone of github.com/facebookresearch/dinov2. Both sides get the same decoded 500x375 photograph
(scikit-image's coffee) and make 2 global and 8 local views; decoding and normalisation on the training device are
not in the figures, the official side's conversion to normalised tensors is.
"""

import argparse
import statistics
import sys
import time

import numpy as np
import torch
from PIL import Image
from skimage import data

from curation.dinov2.config import CropConfig
from curation.dinov2.data.augment import Augmentation


def main() -> None:
    """Print both rates and their ratio."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkout")
    parser.add_argument("--global-size", type=int, default=224)
    parser.add_argument("--local-size", type=int, default=98)
    parser.add_argument("--images", type=int, default=15)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    sys.path.insert(0, arguments.checkout)
    from dinov2.data.augmentations import DataAugmentationDINO

    torch.set_num_threads(1)
    image = Image.fromarray(data.coffee()).resize((500, 375), Image.Resampling.BICUBIC)
    pixels = np.asarray(image)
    crops = CropConfig(global_size=arguments.global_size, local_size=arguments.local_size)
    ours = Augmentation(crops, "official")
    official = DataAugmentationDINO(
        crops.global_scale, crops.local_scale, crops.local_count, crops.global_size, crops.local_size
    )
    rng = np.random.default_rng(0)
    runs = {"lvd": lambda: ours(pixels, rng), "official": lambda: official(image)}
    rates: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(arguments.rounds):
        for name in ("lvd", "official", "official", "lvd"):
            start = time.perf_counter()
            for _ in range(arguments.images):
                runs[name]()
            rates[name].append(arguments.images / (time.perf_counter() - start))
    medians = {name: statistics.median(values) for name, values in rates.items()}
    for name, rate in medians.items():
        print(f"  {name:10s} {rate:8.1f} images/s per core")
    print(f"  ratio      {medians['lvd'] / medians['official']:8.2f}")


if __name__ == "__main__":
    main()
