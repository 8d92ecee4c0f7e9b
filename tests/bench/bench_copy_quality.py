r"""How many copies are found, by edit: the descriptor alone, its candidates, and candidates confirmed by geometry.

    python -m tests.bench.bench_copy_quality SET [--model NAME] [--weights FILE] [--sources 300] [--top 32] \
        [--background PHOTOS]

SET is what `make_copy_edits.py` makes. Every copy is a query; the base is all sources and distractors. A link is a pair
of a copy and an image of the base, true where that is the copy's source. Recall is over all (copy, source) pairs, at
the lowest threshold whose precision is at least 0.99. `--top 0` leaves geometry out, which takes most of the time;
`--sources` takes the copies of so many sources only, the base stays whole. imagededup's PHash is ranked by Hamming
distance over the same pairs.

The last lines are the rule that dedup applies: linked where the similarity is `dedup.accept_above` or more, or the
score of geometry is `dedup.score` or more among the `--top` most similar above `dedup.candidate_above`. `--pairs FILE`
keeps the result, as npz; `--from FILE` reads it instead of looking again.

`--background PHOTOS` adds what whitening and similarity normalisation make of the descriptor, by the settings
`copies.whiten` and `dedup.normalise` (`--weight`, `--ranks`). PHOTOS is the folder that SET was made of; the whitening
is fitted on `--sample` photos of those classes that SET has no photo of, and the same are the background, so neither
has seen a query or an image of the base. (The default descriptor was trained on these classes.) The rule is then also
applied with normalised similarities. `--vectors FILE` keeps the descriptors of all images, as npz, and reads them where
they are.

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

from curation.config import CopyConfig, ImageConfig, NormaliseConfig, parse_config
from curation.engine.fit import SAMPLE
from curation.imaging.decode import decode
from curation.imaging.local_features import FEATURES_SIDE, extract
from curation.imaging.matching import match
from curation.models import ClassicalDescriptor, Whitening, fit_whitening, open_embedder
from curation.stages.concepts.embed import whitening
from tests.bench.copy_split import held_out_classes

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
    parser.add_argument("--background", type=Path)
    parser.add_argument("--sample", type=int, default=SAMPLE, help="Images of the background, at most.")
    parser.add_argument("--weight", type=float, default=1.0)
    parser.add_argument("--ranks", type=int, nargs=2, default=[NormaliseConfig().first, NormaliseConfig().last])
    parser.add_argument("--vectors", type=Path)
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

    vectors, background = described(arguments, files, len(base))
    similar = vectors[len(base) :] @ vectors[: len(base)].T
    doubtful = same_picture(base, source)
    similar[doubtful] = NOT_LOOKED_AT
    order = np.argsort(-similar, axis=1, kind="stable")
    place = np.argmax(order == source[:, None], axis=1)
    rows = {"descriptor alone": at_precision(similar, source), "among 64 nearest": place < 64}
    reported = {"": similar}
    if len(background):
        whitened, behind = map(fit_whitening(background, vectors.shape[1]).apply, (vectors, background))
        plain = whitened[len(base) :] @ whitened[: len(base)].T
        plain[doubtful] = NOT_LOOKED_AT
        at = np.argmax(np.argsort(-plain, axis=1, kind="stable") == source[:, None], axis=1)
        rows["whitened, among 64 nearest"] = at < 64
        reported[", whitened"] = plain
        reported[", normalised"] = similar - offsets(arguments, vectors, background, len(base))
        reported[", whitened and normalised"] = plain - offsets(arguments, whitened, behind, len(base))
        for name in list(reported)[1:]:
            rows[f"descriptor{name}"] = at_precision(reported[name], source)
    distances = hashed(arguments.set, files, len(base))
    distances[doubtful] = NOT_LOOKED_AT
    rows["imagededup PHash"] = at_precision(distances, source)
    said = [line for name, values in reported.items() for line in by_threshold(name, values, source)]
    if arguments.top:
        said += confirmed(arguments, files, similar, reported.get(", normalised"), order, source, rows)

    names = sorted(set(edits))
    for name, hit in rows.items():
        by_edit = "  ".join(f"{edit} {hit[edits == edit].mean():.2f}" for edit in names)
        print(f"{name:<28} {hit.mean():.3f}   {by_edit}")
    print("\n".join(said))


def confirmed(
    arguments: argparse.Namespace,
    files: list[str],
    similar: np.ndarray,
    lowered: np.ndarray | None,
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
    settings = parse_config(
        {"pool": ["-"], "seeds": [], "copy_descriptors": {"model": arguments.model}}, where="bench"
    ).dedup
    sure = settings.accept_above
    said.append(f"linked above accept_above ({sure:g}), or with score {settings.score:g} or more, and precision:")
    for top, floor in ((arguments.top, settings.candidate_above), (16, 0.2), (8, 0.2), (32, 0.3), (32, 0.4), (32, 0.5)):
        said.append(f"  {applied(similar, sure, scores, settings.score, place < top, floor, source)}, top {top}")
    for sure in (0.4, 0.5) if lowered is not None else ():
        for floor in (-0.2, -0.15, -0.1, -0.05, 0.0, 0.05, 0.1):
            rule = applied(lowered, sure, scores, settings.score, place < arguments.top, floor, source)
            said.append(f"  {rule}, top {arguments.top}, normalised, sure {sure:g}")
    return said


def applied(
    similar: np.ndarray,
    sure: float,
    scores: np.ndarray,
    score: float,
    near: np.ndarray,
    floor: float,
    source: np.ndarray,
) -> str:
    """What the rule of dedup finds, by these similarities."""
    seen = near & (similar >= floor)
    linked = (similar >= sure) | (seen & (scores >= score))
    own = linked[np.arange(len(source)), source]
    result = f"recall {own.mean():.3f}, precision {own.sum() / max(1, linked.sum()):.4f}"
    return f"floor {floor:g}: {result}, {seen.sum() / len(source):.1f} pairs a copy"


def by_threshold(name: str, similar: np.ndarray, source: np.ndarray) -> list[str]:
    """What a plain threshold finds: the rule without geometry, at the lowest with a precision of 0.99 and around it."""
    own = similar[np.arange(len(source)), source]
    hit = at_precision(similar, source)
    if not hit.any():
        return [f"threshold{name}: none has a precision of {PRECISION}"]
    middle = float(own[hit].min())
    said = []
    for threshold in (middle - 0.05, middle, middle + 0.05):
        right, all_ = (own >= threshold).sum(), max(1, (similar >= threshold).sum())
        said.append(f"threshold{name} {threshold:.3f}: recall {right / len(own):.3f}, precision {right / all_:.4f}")
    return said


def offsets(arguments: argparse.Namespace, vectors: np.ndarray, background: np.ndarray, base: int) -> np.ndarray:
    """(Q, B) what is taken off similarities: half the weighted biases of both images."""
    first, last = arguments.ranks
    nearest = -np.sort(-(vectors @ background.T), axis=1)[:, first - 1 : last]
    half = arguments.weight / 2 * nearest.mean(axis=1)
    return half[base:, None] + half[:base]


def looked_at(
    arguments: argparse.Namespace, files: list[str], order: np.ndarray
) -> tuple[list[str], np.ndarray, np.ndarray]:
    """Scores and inliers (Q, B), and what it took."""
    queries, base = order.shape
    needed = sorted({*order[:, : arguments.top].ravel().tolist(), *range(base, len(files))})
    result, extraction = in_parallel(arguments.workers, extracted, [arguments.set / files[at] for at in needed])
    FEATURES.update(zip(needed, result, strict=True))
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
    with np.load(path) as result:
        return result["scores"], result["inliers"]


FEATURES: dict[int, Any] = {}
"""Of each file by its number; the workers inherit them."""


def extracted(path: Path) -> Any:
    return extract(pixels(path, FEATURES_SIDE))


def matched(pair: tuple[int, int]) -> tuple[float, int]:
    result = match(FEATURES[pair[0]], FEATURES[pair[1]])
    return result.score, result.inliers


def timed(work: tuple[Callable[[Any], Any], Any]) -> tuple[Any, float]:
    started = time.process_time()
    result = work[0](work[1])
    return result, time.process_time() - started


def in_parallel(workers: int, function: Callable[[Any], Any], items: list[Any]) -> tuple[list[Any], float]:
    """Results in order, and the mean of the CPU seconds that one took."""
    with multiprocessing.get_context("fork").Pool(workers) as pool:
        done = pool.map(timed, [(function, item) for item in items], chunksize=64)
    return [result for result, _ in done], sum(seconds for _, seconds in done) / len(done)


def described(arguments: argparse.Namespace, files: list[str], base: int) -> tuple[np.ndarray, np.ndarray]:
    """(N, D) and (M, D) float32 copy descriptors of the set and of a background; a classical one is fitted on the base
    alone."""
    if arguments.vectors is not None and arguments.vectors.exists():
        with np.load(arguments.vectors) as kept:
            known = dict(zip(kept["files"].tolist(), kept["vectors"], strict=True))
            return np.stack([known[file] for file in files]), kept["background"][: arguments.sample]
    model = open_embedder(CopyConfig(model=arguments.model, weights=arguments.weights))
    paths = [arguments.set / file for file in files]
    if isinstance(model, ClassicalDescriptor) and model.needs_fit:
        fitted_on = (pixels(path, model.side) for path in paths[: min(base, FITTED_ON)])
        model = model.with_whitening(Whitening(**whitening(model)(fitted_on)))
    model.setup()
    behind = [] if arguments.background is None else of_other_classes(arguments.background)
    vectors, background = (
        np.concatenate(
            [
                np.empty((0, model.dim), np.float32),
                *(
                    model.embed([pixels(path, model.side) for path in some[at : at + 64]])
                    for at in range(0, len(some), 64)
                ),
            ]
        )
        for some in (paths, behind)
    )
    faiss.normalize_L2(vectors)
    if arguments.vectors is not None:
        np.savez(arguments.vectors, files=files, vectors=vectors, background=background)
    return vectors, background[: arguments.sample]


def of_other_classes(photos: Path) -> list[Path]:
    """Photos of classes that are not measured on, as many as a run is fitted on."""
    folders = [folder for folder in photos.iterdir() if folder.is_dir()]
    measured = set(held_out_classes(photos))
    result = sorted(path for folder in folders if folder.name not in measured for path in folder.iterdir())
    return random.Random(0).sample(result, min(SAMPLE, len(result)))


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
