"""Runs a folder through the rule of `lvd dedup` and reads what became of each image; for benchmarks."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from scipy.stats import beta

from curation.config import parse_config
from curation.run.directory import Run
from pipelines.curate import curate

ONE_PASS = ("decode", "copy_descriptors")
"""The first and the last step of the pass over the pixels; each step's footer has the seconds of the whole pass."""
STEPS = ("copy_knn", "local_features", "verify_copies", "groups", "verify_kept", "dedup")
LOOKS = ("verify_copies", "verify_kept")


@dataclass(frozen=True)
class Verdict:
    """What became of an image: `kept` is the path of the image or reference that stands for it, None where it stays."""

    path: str
    reason: str | None
    kept: str | None
    link: str | None
    probability: float | None
    inliers: int | None
    hub: bool

    def __str__(self) -> str:
        probability = "" if self.probability is None else f", p {self.probability:.3f}, {self.inliers} points"
        return f"{self.path} for {self.kept} ({self.link}{probability})"


def dedup_pool(pool: Iterable[Path], out: Path, references: Path | None = None) -> Run:
    """All that `lvd curate --until dedup` does to folders, at its defaults but for filters and brake, which are off. A
    run that is finished there is read."""
    values = {
        "pool": [str(folder) for folder in pool],
        "seeds": [],
        "references": [] if references is None else [{"name": "references", "data": str(references)}],
        "selection": {"mode": "hierarchical", "size": 10},
        "quality": {"on": []},
        "safety": {"nsfw": "off", "faces": "keep"},
        "image": {"min_side": 1},
        "dedup": {"max_share": 1.0, "max_group": 1.0},
        "runner": {"kind": "inline"},
    }
    return curate(parse_config(values, where="bench"), str(out), until="dedup")


def verdicts(run: Run) -> dict[str, Verdict]:
    """Of each image of the pool, by its path."""
    rows, names = [], {}
    for collection in [run.pool, *(run.references(item.name) for item in run.config.references)]:
        for part in collection.parts("fetch"):
            files = collection.read("fetch", part, ["id", "path"]).to_pylist()
            names.update((file["id"], file["path"]) for file in files)
            if collection.path == run.pool.path:
                decided = collection.read("dedup", part).to_pylist()
                rows += [(file["path"], row) for file, row in zip(files, decided, strict=True)]
    return {
        path: Verdict(
            path,
            row["drop_reason"],
            names[row["representative"]] if row["drop_reason"] else None,
            row["link"],
            row["probability"],
            row["inliers"],
            bool(row["hub"]),
        )
        for path, row in rows
        if row["representative"] is not None
    }


def heavy_looks(run: Run) -> int:
    """Pairs whose pixels were laid upon each other."""
    return sum(
        value is not None and value != 0.5
        for stage in LOOKS
        for part in run.pool.parts(stage)
        for values in run.pool.read(stage, part, ["original"])["original"].to_pylist()
        for value in values or []
    )


def seconds_of(run: Run) -> float:
    """Seconds that workers took for all steps from decoding to the decision."""
    footers = [run.pool.footer(step, part) for step in (ONE_PASS[-1], *STEPS) for part in run.pool.parts(step)]
    return sum(footer.ledger.seconds for footer in footers if footer is not None)


def upper_bound(wrong: int, count: int) -> float:
    """Of a share: the upper end of a one-sided interval of 95 % (Clopper and Pearson)."""
    return 1.0 if wrong >= count else float(beta.ppf(0.95, wrong + 1, count - wrong))
