"""What became of each URL of a run, read from its parts."""

from collections.abc import Iterator

from curation.pipeline import CURATE
from curation.run.directory import Run
from pipelines.demo.check import Outcome

__all__ = ["outcomes_of"]

Place = tuple[int, int]


def outcomes_of(run: Run) -> Iterator[Outcome]:
    """One outcome per row of the pool, in order."""
    selected = _selected(run)
    for part in run.pool.parts("fetch"):
        drops = _drops(run, part)
        for row, url in enumerate(run.pool.read("fetch", part, ["url"])["url"].to_pylist()):
            stage, reason = drops.get(row, (None, None))
            how, label = selected.get((part, row), (None, None))
            yield Outcome(url, stage, reason, how, label)


def _drops(run: Run, part: int) -> dict[int, tuple[str, str]]:
    """Row to stage and reason."""
    drops = {}
    for stage in CURATE.names:
        if run.pool.footer(stage, part) is not None:
            reasons = run.pool.read(stage, part, ["drop_reason"])["drop_reason"].to_pylist()
            drops.update({row: (stage, reason) for row, reason in enumerate(reasons) if reason is not None})
    return drops


def _selected(run: Run) -> dict[Place, tuple[str, str | None]]:
    """Part and row of a retrieved pool image to how it was chosen, and the label of the seed image that it is for."""
    labels = _seed_labels(run)
    chosen = {}
    for part in run.selection.parts("selection"):
        columns = ["collection", "part", "row", "how", "seed_id"]
        for item in run.selection.read("selection", part, columns).to_pylist():
            if item["collection"] == run.pool.path:
                chosen[item["part"], item["row"]] = item["how"], labels.get(item["seed_id"])
    return chosen


def _seed_labels(run: Run) -> dict[bytes, str]:
    labels: dict[bytes, str] = {}
    for seed in run.config.seeds:
        collection = run.seeds(seed.name)
        for part in collection.parts("fetch"):
            table = collection.read("fetch", part, ["id", "label"])
            labels.update(zip(table["id"].to_pylist(), table["label"].to_pylist(), strict=True))
    return labels
