"""Fit the judges of the careful look at two images (`curation.imaging.evidence`) on your own photos.

    python -m pipelines.fit_copy_evidence PHOTOS... --out FILE

Each of PHOTOS is a folder, or a text file that names a photo a line and, after a tab, the mask of its things: a picture
of one channel whose numbers below 92 are kinds of things, as COCO numbers them. Pairs of many kinds are made of the
photos; the cheap match proposes, the careful look sees, and two models are fitted to what it saw: whether a pair is a
copy, and which of two is the original. No two of the photos should be copies of each other: `--leave-out FILE` names,
one a line, parts of paths of photos to leave out.
"""

import argparse
import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from sklearn.ensemble import HistGradientBoostingClassifier

from curation.arrays import Float64Array, UInt8Array
from curation.config import CopyConfig, ImageConfig
from curation.drops import Dropped
from curation.imaging.cues import Cues
from curation.imaging.decode import decode
from curation.imaging.evidence import EVIDENCE_SIDE, EVIDENCE_VERSION, PROPOSED_FROM, Seen, see
from curation.imaging.local_features import extract
from curation.imaging.matching import match
from curation.imaging.original import SIDED
from curation.imaging.trees import Trees, write_trees
from curation.models.copy.evidence_pairs import COPIES, OTHERS, Pair, Photos, cut_out, make_pair
from curation.models.images import try_to_embed
from curation.search.arrays import nearest_others

__all__ = ["Example", "examples_of", "fit", "load_photos", "main", "neighbours", "trees_of"]

SUFFIXES = {".jpg", ".jpeg", ".png", ".webp"}
LIMITS = ImageConfig(min_side=1)
THINGS = range(1, 92)
NEAREST = 4
"""Most similar other photos of each photo that are looked at: no copies, and the hardest ones."""
SHARES = {"one edit": 1.5, "edits": 1.25, "two copies": 1.25, "swapped": 1.5, "photographed again": 1.25}
SHARES |= {"encoded": 0.5, "framed": 0.6, "two frames": 0.6, "collage": 0.4, "crops": 0.6, "same": 0.5}
SHARES |= {"weather": 0.3, "apart": 0.3, "flat": 0.4}
"""How many pairs of a kind are made for one of the others: more of what is hard, fewer of what is told at once."""
BY_CHANCE = 0.1
"""Share of the pairs that are not proposed which are seen all the same."""
MORE_IS_LESS = {"offset", "offset_high", "below_50", "smooth_below_50", "both_differ", "either_differs"}
MORE_IS_LESS |= {"largest_difference", "largest_both", "residual", "residual_share", "even_residual", "middle"}
EITHER_WAY = ("overlap_most", "overlap_least", "flat", "sharpness", "blur")
"""More of these never makes a copy likelier; of the free ones either may; of the others more never makes it less so."""


@dataclass(frozen=True)
class Example:
    """A pair that was looked at: its kind, whether it is a copy, the cheap score, and what was seen, if anything."""

    kind: str
    is_copy: bool
    score: float
    seen: Seen | None
    first_is_original: bool | None = None
    about: str = ""


def load_photos(given: Sequence[str], most: int, leave_out: Sequence[str] = ()) -> tuple[Photos, list[str]]:
    """Photos that decode, of each of what is given an even selection of at most `most`, and their paths."""
    images: list[UInt8Array] = []
    names: list[str] = []
    cuts = []
    for source in given:
        listed = [row for row in _listed(Path(source)) if not any(part in row[0] for part in leave_out)]
        chosen = np.unique(np.linspace(0, len(listed) - 1, min(most, len(listed))).round().astype(int)).tolist()
        for name, mask in (listed[at] for at in chosen):
            pixels = decode(Path(name).read_bytes(), LIMITS, EVIDENCE_SIDE)
            if isinstance(pixels, Dropped) or min(pixels.shape[:2]) < 32:
                continue
            images.append(pixels)
            names.append(name)
            if mask:
                things = cv2.imread(mask, cv2.IMREAD_GRAYSCALE)
                size = (pixels.shape[1], pixels.shape[0])
                cuts += cut_out(pixels, cv2.resize(things, size, interpolation=cv2.INTER_NEAREST), THINGS)
    return Photos(images, cuts), names


def _listed(source: Path) -> list[tuple[str, str]]:
    if source.is_dir():
        return [(str(path), "") for path in sorted(source.rglob("*")) if path.suffix.lower() in SUFFIXES]
    rows = [line.split("\t") for line in source.read_text().splitlines() if line]
    return [(row[0], row[1] if len(row) > 1 else "") for row in rows]


def neighbours(photos: Photos, nearest: int = NEAREST) -> list[tuple[int, int]]:
    """Pairs of photos that the copy descriptor finds most alike, each once."""
    vectors, _ = try_to_embed(photos.images, CopyConfig())
    source, other, _, _ = nearest_others(vectors.astype(np.float16), min(nearest, len(vectors) - 1))
    pairs = np.unique(np.sort(np.stack([source, other], axis=1), axis=1), axis=0)
    return [(one, two) for one, two in pairs.tolist() if one != two]


def examples_of(photos: Photos, count: int, near: Sequence[tuple[int, int]], seed: int) -> Iterator[Example]:
    """Look at pairs of every kind, `count` of each times its share, and at pairs of the photos as they are."""
    *copies, last = COPIES
    for number, kind in enumerate((*copies, *OTHERS, last)):
        rng = np.random.default_rng([seed, number])
        for _ in range(round(count * SHARES.get(kind, 1.0))):
            yield _example(kind, kind in COPIES, make_pair(kind, photos, rng), rng)
    rng = np.random.default_rng([seed, 99])
    features = {at: extract(photos.images[at]) for at in {at for pair in near for at in pair}}
    for one, two in near:
        pair = Pair(photos.images[one], photos.images[two], about=f"{one} {two}")
        result = match(features[one], features[two])
        if result.score >= PROPOSED_FROM or rng.random() < BY_CHANCE:
            yield Example("neighbours", False, result.score, see(pair.first, pair.second, result), None, pair.about)
        else:
            yield Example("neighbours", False, result.score, None, None, pair.about)


def _example(kind: str, is_copy: bool, pair: Pair, rng: np.random.Generator) -> Example:
    result = match(extract(pair.first), extract(pair.second))
    seen = None
    if result.score >= PROPOSED_FROM or rng.random() < BY_CHANCE:
        seen = see(pair.first, pair.second, result)
    return Example(kind, is_copy, result.score, seen, pair.first_is_original, pair.about)


def fit(examples: Sequence[Example], seed: int = 0) -> dict[str, Trees]:
    """The two judges, by name: `copy` and `original`."""
    seen = [(example, example.seen) for example in examples if example.seen is not None]
    judged = [(example, what) for example, what in seen if what.refused is None]
    copies = HistGradientBoostingClassifier(
        max_iter=300,
        learning_rate=0.06,
        max_leaf_nodes=8,
        min_samples_leaf=20,
        l2_regularization=1.0,
        monotonic_cst=[-1 if name in MORE_IS_LESS else 0 if name in EITHER_WAY else 1 for name in Cues._fields],
        early_stopping=False,
        random_state=seed,
    )
    weight = np.array([3.0 if example.kind == "neighbours" else 1.0 for example, _ in judged])
    copies.fit(np.array([what.cues for _, what in judged]), [int(e.is_copy) for e, _ in judged], weight)
    sided = [(example, what) for example, what in judged if example.first_is_original is not None]
    rows = np.array([what.sided(reverse) for _, what in sided for reverse in (False, True)])
    right = np.array([bool(e.first_is_original) is not reverse for e, _ in sided for reverse in (False, True)])
    original = HistGradientBoostingClassifier(
        max_iter=300,
        learning_rate=0.05,
        max_leaf_nodes=8,
        min_samples_leaf=20,
        l2_regularization=1.0,
        early_stopping=False,
        random_state=seed,
    )
    original.fit(rows, right.astype(int))
    return {"copy": trees_of(copies, Cues._fields), "original": trees_of(original, SIDED)}


def trees_of(model: HistGradientBoostingClassifier, names: Sequence[str]) -> Trees:
    """A fitted model of two classes as plain arrays."""
    every = [predictors[0].nodes for predictors in model._predictors]
    width = max(len(nodes) for nodes in every)
    shape = (len(every), width)
    feature, left, right = (np.zeros(shape, np.int32) for _ in range(3))
    threshold, value = np.zeros(shape), np.zeros(shape)
    depth = 0
    for row, nodes in enumerate(every):
        at, leaf = np.arange(len(nodes)), nodes["is_leaf"].astype(bool)
        feature[row, at] = np.where(leaf, 0, nodes["feature_idx"])
        threshold[row, at] = np.where(leaf, 0.0, nodes["num_threshold"])
        left[row, at], right[row, at] = np.where(leaf, at, nodes["left"]), np.where(leaf, at, nodes["right"])
        value[row, at] = np.where(leaf, nodes["value"], 0.0)
        depth = max(depth, int(nodes["depth"].max()))
    baseline = float(np.ravel(model._baseline_prediction)[0])
    return Trees(tuple(names), feature, threshold, left, right, value, depth, baseline)


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("photos", nargs="+")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--leave-out", type=Path, help="A file with parts of paths, one a line.")
    parser.add_argument("--most", type=int, default=1500, help="Photos used of each of PHOTOS.")
    parser.add_argument("--count", type=int, default=300, help="Pairs of a kind, times its share.")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep", type=Path, help="Keep what was seen here, as npz, to fit anew without looking.")
    arguments = parser.parse_args()
    cv2.setNumThreads(1)
    if arguments.keep is not None and arguments.keep.exists():
        examples = read_examples(arguments.keep)
    else:
        left_out = arguments.leave_out.read_text().split("\n") if arguments.leave_out else []
        photos, names = load_photos(arguments.photos, arguments.most, [part for part in left_out if part])
        print(f"{len(photos.images)} photos, {len(photos.cuts)} things cut out of them")
        examples = list(_with_progress(examples_of(photos, arguments.count, neighbours(photos), arguments.seed)))
        examples = [_named(example, names) for example in examples]
        if arguments.keep is not None:
            write_examples(arguments.keep, examples)
    models = fit(examples, arguments.seed)
    write_trees(arguments.out, models, {"version": str(EVIDENCE_VERSION), "pairs": str(len(examples))})
    for line in summary(examples, models["copy"]):
        print(line)


def _named(example: Example, names: Sequence[str]) -> Example:
    if example.kind != "neighbours":
        return example
    about = " ".join(names[int(at)] for at in example.about.split())
    return Example(example.kind, example.is_copy, example.score, example.seen, None, about)


def _with_progress(examples: Iterator[Example]) -> Iterator[Example]:
    began, kind = time.monotonic(), ""
    for number, example in enumerate(examples):
        if example.kind != kind:
            kind = example.kind
            print(f"{time.monotonic() - began:.0f} s, {number} pairs; {kind}", flush=True)
        yield example


def summary(examples: Sequence[Example], judge: Trees, limit: float = 0.95) -> list[str]:
    """For each kind: pairs, those proposed, refused by a rule, and taken for copies."""
    said = []
    for kind in dict.fromkeys(example.kind for example in examples):
        of = [example for example in examples if example.kind == kind]
        seen = [e.seen for e in of if e.seen is not None and e.score >= PROPOSED_FROM]
        taken = sum(what.refused is None and judge.probability(what.cues) >= limit for what in seen)
        refused = sum(what.refused is not None for what in seen)
        said.append(f"{kind:<20} {len(of):>6} pairs {len(seen):>6} proposed {refused:>6} refused {taken:>6} taken")
    return said


def write_examples(path: Path, examples: Sequence[Example]) -> None:
    """What was seen, to a file."""
    seen = [example.seen for example in examples]
    plain = [
        [e.kind, e.is_copy, e.score, e.first_is_original, e.about, e.seen is None, e.seen.refused if e.seen else None]
        for e in examples
    ]
    rows: Float64Array = np.array(
        [[*what.cues, *what.sides[0], *what.sides[1]] for what in seen if what is not None], np.float64
    )
    np.savez_compressed(path, plain=json.dumps(plain), rows=rows)


def read_examples(path: Path) -> list[Example]:
    """The same, from it."""
    from curation.imaging.original import Sides

    with np.load(path) as file:
        plain, rows = json.loads(str(file["plain"])), file["rows"].tolist()
    width, at, result = len(Cues._fields), iter(rows), []
    for kind, is_copy, score, first, about, blind, refused in plain:
        seen = None
        if not blind:
            row = next(at)
            half = (len(row) - width) // 2
            sides = Sides(*row[width : width + half]), Sides(*row[width + half :])
            seen = Seen(Cues(*row[:width]), sides, refused)
        result.append(Example(kind, is_copy, score, seen, first, about))
    return result


if __name__ == "__main__":
    main()
