"""How many copies are found, by edit: the descriptor alone, its candidates, and candidates confirmed by geometry.

    python -m tests.bench.bench_copy_quality SET [--model NAME] [--weights FILE] [--sources 300] [--top 32]

SET is what `make_copy_edits.py` makes. Every copy is a query; the base is all sources and distractors. A link is a pair
of a copy and an image of the base, true where that is the copy's source. Recall is over all (copy, source) pairs, at
the lowest threshold whose precision is at least 0.99. `--top 0` leaves geometry out, which takes most of the time;
`--sources` takes the copies of so many sources only, the base stays whole. imagededup's PHash is ranked by Hamming
distance over the same pairs.

The last lines are the rule that dedup applies: linked where the similarity is `dedup.sure` or more, or the score of
geometry is `dedup.score` or more among the `--top` most similar above `dedup.floor`. `--pairs FILE` keeps what was
found, as npz; `--from FILE` reads it instead of looking again.

Some pictures of the set are copies of each other as they were collected: `SAME_PICTURE` has those that were found among
the wrong links and recognised by eye. Such pairs count neither as right nor as wrong, for any of the methods. Pairs of
different poses of one figure on one ground (snoopy 10 to 14) were left as wrong.

Links between two copies are left out of this table: two screenshots of one application with different photos in them
agree in most of their pixels, and are linked.
"""

import argparse
import csv
import multiprocessing
import random
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import faiss
import numpy as np
from imagededup.methods import PHash

from curation.config import CopyConfig, ImageConfig, parse_config
from curation.geometry import extract, match
from curation.images import decode
from curation.models import ClassicalDescriptor, Whitening, open_embedder
from curation.stages.features import FEATURES_SIDE
from curation.stages.fit import whitening

PRECISION = 0.99
LIMITS = ImageConfig(min_side=1)
FITTED_ON = 2048
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
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("set", type=Path)
    parser.add_argument("--model", default=CopyConfig().model)
    parser.add_argument("--weights")
    parser.add_argument("--sources", type=int, default=300)
    parser.add_argument("--top", type=int, default=32)
    parser.add_argument("--workers", type=int, default=2, help="Processes for geometry.")
    parser.add_argument("--pairs", type=Path)
    parser.add_argument("--from", dest="given", type=Path)
    arguments = parser.parse_args()
    cv2.setNumThreads(1)
    with open(arguments.set / "truth.tsv", newline="") as file:
        truth = list(csv.DictReader(file, delimiter="\t"))
    sources = sorted({row["source"] for row in truth})
    chosen = set(random.Random(0).sample(sources, min(arguments.sources, len(sources))))
    truth = [row for row in truth if row["source"] in chosen]
    base = sources + sorted(f"distractors/{path.name}" for path in (arguments.set / "distractors").iterdir())
    files = [*base, *(row["copy"] for row in truth)]
    source = np.array([base.index(row["source"]) for row in truth])
    edits = np.array([row["edit"] for row in truth])
    print(f"{len(truth)} copies of {len(chosen)} sources, base of {len(base)}, {arguments.model}")

    vectors = described(arguments, files, len(base))
    similar = vectors[len(base) :] @ vectors[: len(base)].T
    doubtful = same_picture(base, source)
    similar[doubtful] = NOT_LOOKED_AT
    order = np.argsort(-similar, axis=1, kind="stable")
    place = np.argmax(order == source[:, None], axis=1)
    rows = {"descriptor alone": at_precision(similar, source), "among 64 nearest": place < 64}
    distances = hashed(arguments.set, files, len(base))
    distances[doubtful] = NOT_LOOKED_AT
    rows["imagededup PHash"] = at_precision(distances, source)
    said = confirmed(arguments, files, similar, order, source, rows) if arguments.top else []

    names = sorted(set(edits))
    for name, hit in rows.items():
        by_edit = "  ".join(f"{edit} {hit[edits == edit].mean():.2f}" for edit in names)
        print(f"{name:<28} {hit.mean():.3f}   {by_edit}")
    print("\n".join(said))


def confirmed(
    arguments: argparse.Namespace,
    files: list[str],
    similar: np.ndarray,
    order: np.ndarray,
    source: np.ndarray,
    rows: dict[str, np.ndarray],
) -> list[str]:
    """Adds the rows of the whole path, and says what it took."""
    said, scores, inliers = (
        looked_at(arguments, files, order) if arguments.given is None else ([], *read(arguments.given))
    )
    if arguments.pairs is not None:
        np.savez_compressed(arguments.pairs, scores=scores, inliers=inliers)
    scores[similar == NOT_LOOKED_AT] = inliers[similar == NOT_LOOKED_AT] = NOT_LOOKED_AT
    rows["whole path"] = at_precision(scores, source)
    rows["whole path, inliers alone"] = at_precision(inliers, source)
    place = np.argsort(np.argsort(-similar, axis=1, kind="stable"), axis=1)
    settings = parse_config({"pool": ["-"], "seeds": [], "copies": {"model": arguments.model}}, where="bench").dedup
    for top, floor in ((arguments.top, settings.floor), (16, 0.2), (8, 0.2), (32, 0.3), (32, 0.4), (32, 0.5)):
        seen = (place < top) & (similar >= floor)
        linked = (similar >= settings.sure) | (seen & (scores >= settings.score))
        own = linked[np.arange(len(source)), source]
        said.append(
            f"sure {settings.sure:g}, score {settings.score:g}, top {top}, floor {floor:g}: recall {own.mean():.3f}, "
            f"precision {own.sum() / max(1, linked.sum()):.4f}, {seen.sum() / len(source):.1f} pairs a copy"
        )
    return said


def looked_at(
    arguments: argparse.Namespace, files: list[str], order: np.ndarray
) -> tuple[list[str], np.ndarray, np.ndarray]:
    """Scores and inliers (Q, B), and what it took."""
    queries, base = order.shape
    needed = sorted({*order[:, : arguments.top].ravel().tolist(), *range(base, len(files))})
    found, extraction = in_parallel(arguments.workers, extracted, [arguments.set / files[at] for at in needed])
    FEATURES.update(zip(needed, found, strict=True))
    pairs = [(base + query, at) for query in range(queries) for at in order[query, : arguments.top].tolist()]
    matches, per_pair = in_parallel(arguments.workers, matched, pairs)
    scores, inliers = (np.full(order.shape, NOT_LOOKED_AT) for _ in range(2))
    where = np.array(pairs) - (base, 0)
    scores[tuple(where.T)], inliers[tuple(where.T)] = np.array(matches).T
    share = len(pairs) / (queries * base)
    said = [
        f"{per_pair * 1e3:.1f} ms CPU a pair, {extraction * 1e3:.1f} ms CPU an image; {len(pairs):,} pairs looked at, "
        f"{share:.1%} of all"
    ]
    return said, scores, inliers


def read(path: Path) -> tuple[np.ndarray, np.ndarray]:
    with np.load(path) as found:
        return found["scores"], found["inliers"]


FEATURES: dict[int, Any] = {}
"""Of each file by its number; the workers inherit them."""


def extracted(path: Path) -> Any:
    return extract(pixels(path, FEATURES_SIDE))


def matched(pair: tuple[int, int]) -> tuple[float, int]:
    found = match(FEATURES[pair[0]], FEATURES[pair[1]])
    return found.score, found.inliers


def timed(work: tuple[Callable[[Any], Any], Any]) -> tuple[Any, float]:
    started = time.process_time()
    result = work[0](work[1])
    return result, time.process_time() - started


def in_parallel(workers: int, function: Callable[[Any], Any], items: list[Any]) -> tuple[list[Any], float]:
    """Results in order, and the mean of the CPU seconds that one took."""
    with multiprocessing.get_context("fork").Pool(workers) as pool:
        done = pool.map(timed, [(function, item) for item in items], chunksize=64)
    return [result for result, _ in done], sum(seconds for _, seconds in done) / len(done)


def described(arguments: argparse.Namespace, files: list[str], base: int) -> np.ndarray:
    """(N, D) float32 copy descriptors; a classical one is fitted on the base alone."""
    model = open_embedder(CopyConfig(model=arguments.model, weights=arguments.weights))
    images = [pixels(arguments.set / file, model.side) for file in files]
    if isinstance(model, ClassicalDescriptor) and model.needs_fit:
        model = model.with_whitening(Whitening(**whitening(model)(images[:base][:FITTED_ON])))
    model.setup()
    vectors = np.concatenate([model.embed(images[at : at + 64]) for at in range(0, len(images), 64)])
    vectors = np.ascontiguousarray(vectors, dtype=np.float32)
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
