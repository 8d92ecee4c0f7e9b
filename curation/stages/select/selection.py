"""From seeds and their neighbours to the list of chosen images, in the order in which they are written.

Four ways in, by priority: a seed image taken as it is, a neighbour of a seed image (sample mode), a member of a
cluster that seed images fall into (cluster mode), a share of a hierarchy of clusters (balanced). An image keeps the
first reason that chose it. Two numbers are kept apart, as the paper's Table 15 does not: *nominal* counts every pick,
*unique* counts each image once.
"""

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from curation.arrays import Int64Array
from curation.config import OTHERS, SelectionConfig
from curation.engine.contract import Output, StageSpec
from curation.engine.gather import Gathered, gather
from curation.engine.graph import Site
from curation.engine.locations import PLACE
from curation.errors import RunError, UserError
from curation.run.directory import Run
from curation.run.parts import digest_of, random_for
from curation.stages.concepts.hierarchy import PATH
from curation.stages.ingest.fetch import SCHEMA as FETCHED
from curation.stages.select.picks import Pick, all_picks

__all__ = ["SELECTION", "CompositionRow", "Selection", "read_composition"]

SAMPLE_COLUMNS = ("id", "url", "page_url", "alt", "label", "path", "sha256", "width", "height", "format", *PLACE)
CHOSEN_BY = ("how", "seed_set", "seed_id", "similarity", "rank")
SCHEMA = pa.schema(
    [
        ("collection", pa.string()),
        ("part", pa.int32()),
        ("row", pa.int32()),
        ("how", pa.string()),
        ("seed_set", pa.string()),
        ("seed_id", pa.binary(16)),
        ("similarity", pa.float32()),
        ("rank", pa.int32()),
        ("picks", pa.int32()),
        ("cluster", pa.int32()),
        (PATH, pa.list_(pa.int32())),
        *(FETCHED.field(name) for name in SAMPLE_COLUMNS),
    ]
)
SELECTION = StageSpec(name="selection", version=2, after=None, reads={}, adds=SCHEMA, settings={})
COMPOSITION = "selection/composition.json"


@dataclass(frozen=True, slots=True)
class CompositionRow:
    """One line of the composition table: what one seed set brought in one way, or the hierarchy (without a set).

    Attributes:
        images: live seed images of the set; of the pool, for the hierarchy.
        retrieved: picks before the cap.
        nominal: picks after the cap, repeats counted each time.
        unique: images that nothing before this line had chosen.
    """

    seed_set: str
    how: str
    images: int
    retrieved: int
    nominal: int
    unique: int

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


class Selection:
    """The stage `selection`: seeds as they are, sample mode, cluster mode, and shares of the hierarchy choose images,
    in this order of priority; the list is shuffled, and each part becomes a shard.

    With it comes the composition table.
    """

    spec = SELECTION

    def __init__(self, run: Run) -> None:
        self._run = run
        self._paths = ["pool", *(f"seeds/{seed.name}" for seed in run.config.seeds)]
        stages = ("fetch", "clusters", "seed_knn")
        inputs = [[path, stage, run.collection(path).state(stage)] for path in self._paths for stage in stages]
        settings: list[object] = [seed.model_dump() for seed in run.config.seeds]
        chosen = run.config.selection
        settings.append(chosen.model_dump(exclude={"weights"}))
        if chosen.weights is not None:
            settings.append(["by source", *sorted(chosen.weights)])  # how much each weighs changes no shard
        if run.config.selection.balances:
            inputs.append(["pool", "hierarchy", run.pool.state("hierarchy")])
        shards = run.config.export.samples_per_shard
        self._digest = digest_of(["selection", SELECTION.version, settings, run.config.seed, shards, inputs])

    @classmethod
    def at(cls, site: Site) -> "Selection":
        return cls(site.run)

    def setup(self) -> None:
        pass

    def expected(self) -> dict[int, str]:
        """The composition table is written last, so it vouches for all parts; without it none is finished."""
        if not self._run.store.exists(COMPOSITION):
            return {0: "unfinished"}
        digest, parts, _ = _stored_composition(self._run)
        surplus = set(self._run.selection.parts(SELECTION.name)) - set(range(parts))
        if digest != self._digest or surplus:
            return {0: "unfinished"}
        return {part: digest_of([digest, part]) for part in range(parts)}

    def process(self, stale: Sequence[int]) -> Iterator[tuple[int, Output]]:
        """All parts, as each can change when one does. Raises UserError where nothing is selected."""
        run = self._run
        live = {path: _live_images(run, path) for path in self._paths}
        chosen: dict[tuple[str, int], Pick] = {}
        times: Counter[tuple[str, int]] = Counter()
        table: list[CompositionRow] = []
        for name, how, images, retrieved, picks in all_picks(run, live):
            before = len(chosen)
            for pick in picks:
                chosen.setdefault((pick.source, pick.at), pick)
                times[pick.source, pick.at] += 1
            table.append(CompositionRow(name, how, images, retrieved, len(picks), len(chosen) - before))
        if not chosen:
            raise UserError(
                "selection: no image was chosen, as no seed set is taken as it is and none retrieved anything; "
                "lower seeds.min_seed_images, or use retrieve: sample"
            )
        picks = [chosen[key] for key in sorted(chosen)]
        _check_weighted(run.config.selection, picks)
        count = 0
        for count, rows in enumerate(_parts(run, picks, times, live), 1):
            yield count - 1, Output(_columns(rows), digest=digest_of([self._digest, count - 1]))
        for part in run.selection.parts(SELECTION.name):
            if part >= count:
                run.selection.remove(SELECTION.name, part)  # of a longer selection
        fields = {"digest": self._digest, "parts": count, "rows": [asdict(row) for row in table]}
        run.store.write_bytes(COMPOSITION, json.dumps(fields, indent=1).encode())


def read_composition(run: Run) -> list[CompositionRow]:
    """The composition table of a run."""
    return _stored_composition(run)[2]


def _stored_composition(run: Run) -> tuple[str, int, list[CompositionRow]]:
    """What `Selection` wrote last: its digest, the number of parts, and the table. RunError if it is damaged."""
    try:
        fields = json.loads(run.store.read_bytes(COMPOSITION))
        return str(fields["digest"]), int(fields["parts"]), [CompositionRow(**row) for row in fields["rows"]]
    except (ValueError, TypeError, KeyError) as error:
        raise RunError(
            f"{run.store.url(COMPOSITION)}: is damaged ({error}); "
            "delete this file and run the same command again to remake it"
        ) from error


def _live_images(run: Run, path: str) -> Gathered:
    columns = {"fetch": SAMPLE_COLUMNS, "clusters": ["cluster", "cluster_similarity"]}
    if path == "pool" and run.config.selection.balances:
        columns["hierarchy"] = [PATH, "leaf_similarity"]
    return gather(run.collection(path), "clusters", columns)


def _chosen_rows(images: Gathered, positions: Sequence[int]) -> dict[int, dict[str, Any]]:
    rows = images.table.take(pa.array(positions, pa.int64())).to_pylist()
    return dict(zip(positions, rows, strict=True))


def _check_weighted(settings: SelectionConfig, picks: Sequence[Pick]) -> None:
    """A source that has a weight and no images would leave its share of the batches to the others, unsaid."""
    result = {settings.source_of(pick.seed_set) for pick in picks}
    if missing := [name for name in settings.weights or {} if name not in result]:
        raise UserError(
            f"selection.weights.{missing[0]}: no image is left to this source, as none was picked or others picked "
            "them first; take its weight out, or set it before the others in seeds"
        )


def _shards(settings: SelectionConfig, picks: Sequence[Pick], order: Int64Array, per_shard: int) -> list[Int64Array]:
    """Positions of picks by shard, in the given order: all of them mixed, or with weights source after source."""
    lines = [order]
    if settings.weights is not None:
        sources = np.array([settings.source_of(pick.seed_set) for pick in picks])[order]
        lines = [order[sources == name] for name in sorted(settings.weights, key=lambda name: (name == OTHERS, name))]
    return [line[start : start + per_shard] for line in lines for start in range(0, len(line), per_shard)]


def _parts(
    run: Run,
    picks: Sequence[Pick],
    times: Mapping[tuple[str, int], int],
    live: Mapping[str, Gathered],
) -> Iterator[list[dict[str, Any]]]:
    """All picks, shuffled: the rows of each shard."""
    order = random_for(run.config.seed, "shuffle").permutation(len(picks))
    rows_of = {
        path: _chosen_rows(images, [pick.at for pick in picks if pick.source == path]) for path, images in live.items()
    }
    for positions in _shards(run.config.selection, picks, order, run.config.export.samples_per_shard):
        rows = []
        for pick in (picks[at] for at in positions):
            images = live[pick.source]
            place = {"part": int(images.part[pick.at]), "row": int(images.row[pick.at])}
            chosen_by = {name: getattr(pick, name) for name in CHOSEN_BY}
            repeats = times[pick.source, pick.at]
            rows.append(
                {**rows_of[pick.source][pick.at], **place, **chosen_by, "collection": pick.source, "picks": repeats}
            )
        yield rows


def _columns(rows: list[dict[str, Any]]) -> dict[str, pa.Array]:
    table = pa.Table.from_pylist(rows, schema=SELECTION.adds)
    return {name: table[name].combine_chunks() for name in SELECTION.adds.names}
