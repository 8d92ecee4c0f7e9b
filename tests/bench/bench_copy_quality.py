"""How many copies the copy descriptor finds by itself, by edit, beside imagededup's PHash: what is looked at, no more.

    python -m tests.bench.bench_copy_quality SET [--model NAME] [--weights FILE] [--sources 300] [--nearest 8 16 64]

SET is what `make_copy_edits.py` makes. Every copy is a query; the base is all sources and distractors. A link is a pair
of a copy and an image of the base, true where that is the copy's source. Recall is over all (copy, source) pairs, at
the lowest threshold whose precision is at least 0.99, for the descriptor's cosine and for the Hamming distance of
PHash. *Among k nearest* is the share of copies whose source is among so many most similar images of the base: only such
pairs can be looked at. What the look makes of them, and the whole rule, is for `bench_evidence.py` and
`bench_copies_in_pool.py`. `--sources` takes the copies of so many sources only, the base stays whole.

Some pictures of Caltech-101 are copies of each other as they were collected: `SAME_PICTURE` has those that were found
among the wrong links and recognised by eye. Such pairs count neither as right nor as wrong.
"""

import argparse
import csv
import random
from pathlib import Path

import faiss
import numpy as np
from imagededup.methods import PHash

from curation.config import CopyConfig, ImageConfig
from curation.imaging.decode import decode
from curation.models import ClassicalDescriptor, open_embedder

PRECISION = 0.99
LIMITS = ImageConfig(min_side=1)
FITTED_ON = 2048
AT_ONCE = 64
NOT_LOOKED_AT = -1e6
SAME_PICTURE = (
    ("dalmatian", 18, 26),
    ("garfield", 22, 23, 24, 27, 33),
    ("hawksbill", 50, 51),
    ("lobster", 1, 4),
    ("menorah", 15, 32),
    ("snoopy", 8, 15),
    ("snoopy", 29, 32),
    ("stegosaurus", 28, 32),
    ("tick", 13, 27),
    ("wrench", 3, 20),
    ("wrench", 12, 16),
)
"""Classes and numbers of Caltech-101."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("set", type=Path)
    parser.add_argument("--model", default=CopyConfig().model)
    parser.add_argument("--weights")
    parser.add_argument("--sources", type=int, default=300)
    parser.add_argument("--nearest", type=int, nargs="+", default=[8, 16, 64])
    arguments = parser.parse_args()
    with open(arguments.set / "truth.tsv", newline="") as file:
        truth = list(csv.DictReader(file, delimiter="\t"))
    sources = sorted({row["source"] for row in truth})
    chosen = set(random.Random(0).sample(sources, min(arguments.sources, len(sources))))
    truth = [row for row in truth if row["source"] in chosen]
    base = sources + sorted(f"distractors/{path.name}" for path in (arguments.set / "distractors").iterdir())
    files = [*base, *(row["copy"] for row in truth)]
    source = np.array([base.index(row["source"]) for row in truth])
    edits = np.array([row["edit"] for row in truth])
    print(f"{len(truth):,} copies of {len(chosen)} sources, base of {len(base):,}, {arguments.model}\n")

    vectors = described(arguments, files, len(base))
    similar = vectors[len(base) :] @ vectors[: len(base)].T
    distances = hashed(arguments.set, files, len(base))
    doubtful = same_picture(base, source)
    similar[doubtful] = distances[doubtful] = NOT_LOOKED_AT
    rows = {"descriptor alone": at_precision(similar, source), "imagededup PHash": at_precision(distances, source)}
    place = np.argmax(np.argsort(-similar, axis=1, kind="stable") == source[:, None], axis=1)
    rows |= {f"among {nearest} nearest": place < nearest for nearest in arguments.nearest}
    print(f"| edit | {' | '.join(rows)} |\n|---|{'---|' * len(rows)}")
    for edit in sorted(set(edits)):
        print(f"| {edit} | {' | '.join(f'{hit[edits == edit].mean():.3f}' for hit in rows.values())} |")
    print(f"| **all** | {' | '.join(f'{hit.mean():.3f}' for hit in rows.values())} |")


def described(arguments: argparse.Namespace, files: list[str], base: int) -> np.ndarray:
    """(N, D) float32 copy descriptors; a classical one is fitted on the base alone."""
    model = open_embedder(CopyConfig(model=arguments.model, weights=arguments.weights))
    paths = [arguments.set / file for file in files]
    if isinstance(model, ClassicalDescriptor) and model.needs_fit:
        model = model.with_whitening(model.fit([pixels(path, model.side) for path in paths[: min(base, FITTED_ON)]]))
    model.setup()
    vectors = np.concatenate(
        [
            model.embed([pixels(path, model.side) for path in paths[at : at + AT_ONCE]])
            for at in range(0, len(paths), AT_ONCE)
        ]
    )
    faiss.normalize_L2(vectors)
    return vectors


def same_picture(base: list[str], source: np.ndarray) -> np.ndarray:
    """(Q, B) bool: pairs of a copy and an image that is no more than another copy of its source."""
    numbers = {
        f"caltech101__{name}__image_{number:04d}": at
        for at, (name, *group) in enumerate(SAME_PICTURE)
        for number in group
    }
    group = np.array([numbers.get(Path(file).stem, -1) for file in base])
    mine = group[source][:, None]
    return (mine == group) & (mine >= 0) & (source[:, None] != np.arange(len(base)))


def hashed(folder: Path, files: list[str], base: int) -> np.ndarray:
    """(Q, B) negated Hamming distances of imagededup's PHash."""
    method = PHash(verbose=False)
    hashes = [method.encode_image(image_file=str(folder / file)) for file in files]
    bits = np.array([[int(digit, 16) >> bit & 1 for digit in text for bit in range(4)] for text in hashes], np.int16)
    return -(bits[base:, None] != bits[None, :base]).sum(axis=2).astype(float)


def at_precision(scores: np.ndarray, source: np.ndarray) -> np.ndarray:
    """Which copies are linked to their source at the lowest threshold that keeps the precision; ties go together."""
    own = scores[np.arange(len(source)), source]
    values = np.sort(scores.ravel())[::-1]
    true = np.sort(own)[::-1]
    thresholds = np.unique(own[own > NOT_LOOKED_AT])
    total = len(values) - np.searchsorted(values[::-1], thresholds, "left")
    right = len(true) - np.searchsorted(true[::-1], thresholds, "left")
    good = right / np.maximum(total, 1) >= PRECISION
    return own >= thresholds[good].min() if good.any() else np.zeros(len(own), bool)


def pixels(path: Path, side: int) -> np.ndarray:
    image = decode(path.read_bytes(), LIMITS, side)
    assert isinstance(image, np.ndarray), f"{path}: {image}"
    return image


if __name__ == "__main__":
    main()
