r"""How many copies the careful look confirms, how many pairs that are none, and which of two it takes for the original.

    python -m tests.bench.bench_evidence DATA [--augly SET] [--count 150] [--keep FOLDER] [--show FILE] \
        [--picture FILE.svg]

DATA is the folder that `evidence_split` splits; only the judging halves are used: pairs of every kind that
`curation.models.copy.evidence_pairs` makes, `--count` of each times its share in a fit, and of each set the nearest
photos as they are. SET is what `make_copy_edits.py` makes of judging photos: every copy with its source, by edits that
nothing was fitted to.

Shares are of the pairs that the cheap match proposes; in brackets the upper bound of a 95 % interval, for pairs that
are no copies (Clopper and Pearson, one-sided). `before` is the rule of a score of 1.9. `--keep` keeps what was seen, to
judge other weights by; `--show` writes which pairs were wrongly taken. `--picture` draws what share of all copies is
linked against what share of each kind of others, over all probabilities from 0.5 on.
"""

import argparse
import csv
import time
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from scipy.stats import beta

from curation.config import ImageConfig
from curation.imaging.decode import decode
from curation.imaging.evidence import EVIDENCE_SIDE, PROPOSED_FROM, SURE_FROM, WEIGHTS, first_is_original, see
from curation.imaging.local_features import extract
from curation.imaging.matching import match
from curation.imaging.trees import Trees, read_trees
from curation.models.copy.evidence_pairs import Photos
from pipelines.fit_copy_evidence import Example, examples_of, load_photos, neighbours, read_examples, write_examples
from tests.bench.evidence_split import write
from tests.bench.halves import SETS

LIMITS = ImageConfig(min_side=1)
PROBABILITIES = (0.5, 0.8, 0.9, 0.95, 0.98, 0.99)
BEFORE = 1.9
NEAREST_OF = 400
"""Photos of a set whose nearest are looked at, at most."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--augly", type=Path)
    parser.add_argument("--count", type=int, default=150)
    parser.add_argument("--most", type=int, default=300, help="Photos used of each set to make pairs of.")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--weights", type=Path, default=WEIGHTS)
    parser.add_argument("--keep", type=Path)
    parser.add_argument("--show", type=Path)
    parser.add_argument("--picture", type=Path)
    arguments = parser.parse_args()
    cv2.setNumThreads(1)
    models = read_trees(arguments.weights)
    examples = kept(arguments.keep, "own", lambda: own(arguments))
    table("pairs made of judging photos, and the nearest of these", examples, models)
    print("\n".join(by_edit("own edits, one at a time", [e for e in examples if e.kind == "one edit"], models)))
    if arguments.augly is not None:
        copies = kept(arguments.keep, "augly", lambda: augly(arguments.augly))
        table("AugLy", copies, models)
        print("\n".join(by_edit("AugLy, by edit", copies, models)))
    if arguments.picture is not None:
        made = [example for example in examples if example.is_copy]
        draw(arguments.picture, examples, made if arguments.augly is None else copies, models)
    if arguments.show is not None:
        wrong = [e for e in examples if not e.is_copy and e.about and probability(e, models) >= SURE_FROM]
        rows = [f"{e.kind}\t{probability(e, models):.4f}\t{e.about}" for e in wrong]
        arguments.show.write_text("\n".join(rows) + "\n")


def draw(path: Path, examples: Sequence[Example], copies: Sequence[Example], models: dict[str, Trees]) -> None:
    """The frontier: recall of `copies`, and of each kind of others the share that is linked."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    mpl.rcParams.update({"svg.hashsalt": "lvd", "svg.fonttype": "none"})
    limits = [*np.linspace(0.5, 0.99, 50), *np.linspace(0.991, 0.999, 9)]
    figure = Figure(figsize=(7, 4.5), layout="constrained")
    axes = figure.add_subplot()
    recall = linked(copies, models, limits)
    for kind in dict.fromkeys(example.kind for example in examples if not example.is_copy):
        of = [example for example in examples if example.kind == kind]
        share = linked(of, models, limits)
        if share.any():
            axes.plot(100 * share, recall, label=f"{kind} ({len(of)})", linewidth=1.2)
    every = linked([example for example in examples if not example.is_copy], models, limits)
    axes.plot(100 * every, recall, "k", label="all others", linewidth=2)
    at = int(np.argmin(np.abs(np.array(limits) - SURE_FROM)))
    axes.plot(100 * every[at], recall[at], "ko", label=f"at {SURE_FROM:g}")
    axes.set(xlabel="others that are linked, %", ylabel="copies that are linked, share")
    axes.grid(alpha=0.3)
    axes.legend(fontsize="small")
    figure.savefig(path, metadata={"Date": None})


def linked(examples: Sequence[Example], models: dict[str, Trees], limits: Sequence[float]) -> np.ndarray:
    """Share of all pairs, proposed or not, that are taken from each probability on."""
    values = np.array([probability(example, models) for example in examples])
    return np.array([(values >= limit).mean() for limit in limits])


def kept(folder, name, make):
    """What was seen, from the folder where it is there."""
    if folder is None:
        return make()
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.npz"
    if not path.exists():
        write_examples(path, make())
    return read_examples(path)


def own(arguments: argparse.Namespace) -> list[Example]:
    lists = Path(arguments.keep or ".") / "lists"
    write(arguments.data, lists)
    files = {name: lists / f"judging-{name}.txt" for name in SETS}
    photos, _ = load_photos([str(file) for file in files.values()], arguments.most)
    print(f"{len(photos.images)} judging photos, {len(photos.cuts)} things cut out of them", flush=True)
    began, examples = time.process_time(), list(examples_of(photos, arguments.count, [], arguments.seed))
    seen = sum(example.seen is not None for example in examples)
    print(
        f"{time.process_time() - began:.0f} s CPU for {len(examples)} pairs made, matched and {seen} seen", flush=True
    )
    for name, file in files.items():
        every, names = load_photos([str(file)], NEAREST_OF)
        near = neighbours(every, 4)
        print(f"{name}: {len(names)} photos, {len(near)} nearest pairs", flush=True)
        for e in examples_of(Photos(every.images), 0, near, arguments.seed):
            about = " ".join(names[int(at)] for at in e.about.split())
            examples.append(Example(f"nearest of {name}", False, e.score, e.seen, None, about))
    return examples


def augly(folder: Path) -> list[Example]:
    examples, spent = [], []
    with open(folder / "truth.tsv", newline="") as file:
        truth = list(csv.DictReader(file, delimiter="\t"))
    for number, row in enumerate(truth):
        pair = [decode((folder / row[key]).read_bytes(), LIMITS, EVIDENCE_SIDE) for key in ("source", "copy")]
        if number % 2:
            pair.reverse()
        result = match(*map(extract, pair))
        began = time.process_time()
        seen = see(*pair, result)
        spent.append(time.process_time() - began)
        examples.append(Example("augly", True, result.score, seen, number % 2 == 0, row["edit"]))
    print(f"the look took {1000 * np.median(spent):.0f} ms CPU a pair, median of {len(spent)}")
    return examples


def probability(example: Example, models: dict[str, Trees]) -> float:
    """That the pair is a copy, by the whole path: proposed, not refused, judged."""
    if example.seen is None or example.seen.refused is not None or example.score < PROPOSED_FROM:
        return 0.0
    return models["copy"].probability(example.seen.cues)


def table(title: str, examples: Sequence[Example], models: dict[str, Trees]) -> None:
    print(f"\n{title}\n{'':<22}{'pairs':>7}{'proposed':>9}{'before':>8}{'refused':>8}", end="")
    print("".join(f"{f'p {limit}':>15}" for limit in PROBABILITIES))
    for kind in dict.fromkeys(example.kind for example in examples):
        of = [example for example in examples if example.kind == kind]
        print(line(kind, of, models))
    for is_copy in (True, False):
        of = [example for example in examples if example.is_copy is is_copy]
        if of:
            print(line("all copies" if is_copy else "all others", of, models))


def line(name: str, of: Sequence[Example], models: dict[str, Trees]) -> str:
    proposed = [example for example in of if example.score >= PROPOSED_FROM]
    refused = sum(example.seen is None or example.seen.refused is not None for example in proposed)
    before = sum(example.score >= BEFORE for example in of)
    said = f"{name:<22}{len(of):>7}{len(proposed):>9}{before:>8}{refused:>8}"
    values = np.array([probability(example, models) for example in proposed])
    for limit in PROBABILITIES:
        taken = int((values >= limit).sum())
        share = taken / max(1, len(values))
        bound = 1.0 if taken >= len(values) else beta.ppf(0.95, taken + 1, len(values) - taken)
        said += f"{taken:>6} {f'{share:.3f}' if of[0].is_copy else f'(<{bound:.3f})':>8}"
    return said


def by_edit(title: str, examples: Sequence[Example], models: dict[str, Trees]) -> list[str]:
    said = [f"\n{title}: pairs, proposed, of these taken at {SURE_FROM}, of those taken the original right"]
    total = []
    for edit in sorted({example.about for example in examples}):
        of = [example for example in examples if example.about == edit]
        proposed = [example for example in of if example.score >= PROPOSED_FROM]
        taken = [example for example in proposed if probability(example, models) >= SURE_FROM]
        right = [(first_is_original(models["original"], e.seen) > 0.5) == e.first_is_original for e in taken if e.seen]
        total += right
        said.append(f"{edit:<16}{len(of):>5}{len(proposed):>5}{len(taken):>5}{np.mean(right) if right else 0:>7.2f}")
    said.append(f"the original is right in {np.mean(total):.3f} of {len(total)}")
    return said


if __name__ == "__main__":
    main()
