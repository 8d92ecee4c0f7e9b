"""What thresholds for unwanted examples drop: of photos that show something else, and of the same class.

    python -m tests.bench.bench_unwanted DATA [--each 16] [--examples 8] [--set embed.model=...]

DATA is a folder of labelled photos. Of every class some are the examples in turn, and all others are the pool.
"""

import argparse
import random
from pathlib import Path

import numpy as np

from curation.config import parse_config, parse_overrides
from curation.imaging.decode import Dropped, decode
from curation.models import ClassicalDescriptor, open_embedder

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("data", type=Path)
parser.add_argument("--each", type=int, default=16, help="photos of a class")
parser.add_argument("--examples", type=int, default=8)
parser.add_argument("--set", action="append", default=[])
options = parser.parse_args()


def main() -> None:
    config = parse_config({"pool": ["-"], "seeds": [], **parse_overrides(options.set)})
    embedder = open_embedder(config.embed)
    images, labels = [], []
    for folder in sorted(path for path in options.data.iterdir() if path.is_dir()):
        files = sorted(folder.iterdir())
        random.Random(0).shuffle(files)
        for file in files[: options.each]:
            image = decode(file.read_bytes(), config.image, embedder.side)
            if not isinstance(image, Dropped):
                images.append(image)
                labels.append(folder.name)
    if isinstance(embedder, ClassicalDescriptor):
        embedder = embedder.with_whitening(embedder.fit(images[::2]))
    embedder.setup()
    vectors = np.concatenate([embedder.embed(images[at : at + 64]) for at in range(0, len(images), 64)])
    scores = vectors @ vectors.T
    names = np.array(labels)
    print(f"{embedder.name}, {len(images):,} photos of {len(set(labels))} classes, {options.examples} examples each")
    print("| threshold | photos of other classes dropped | of the same class |")
    print("|---|---|---|")
    for threshold in (0.6, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95):
        others, same = [], []
        for name in sorted(set(labels)):
            own = np.flatnonzero(names == name)
            examples, rest = own[: options.examples], own[options.examples :]
            above = scores[:, examples].max(axis=1) > threshold
            others.append(above[names != name].mean())
            same += [above[rest].mean()] if len(rest) else []
        print(f"| {threshold} | {np.mean(others):.2%} | {np.mean(same):.1%} |")


if __name__ == "__main__":
    main()
