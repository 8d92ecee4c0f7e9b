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
import numpy.typing as npt
import pyarrow as pa

from curation.config import BALANCED, OTHERS, Config, SeedConfig, SelectionConfig
from curation.engine.contract import Output, StageSpec
from curation.engine.gather import Gathered, gather
from curation.engine.graph import Site
from curation.errors import RunError, UserError
from curation.run.directory import Run
from curation.run.parts import digest_of, random_for
from curation.search.balanced import balanced
from curation.stages.concepts.hierarchy import PATH
from curation.stages.select.nearest_seed import nearest_seeds

__all__ = ["SELECTION", "CompositionRow", "Pick", "Selection", "picks_by_cluster", "read_composition"]

SAMPLE_COLUMNS = ("id", "url", "page_url", "alt", "label", "path", "sha256", "width", "height", "format")
PLACE_COLUMNS = ("tar", "offset", "length")
SELECTION = StageSpec(
    name="selection",
    version=2,
    after=None,
    reads={},
    adds=pa.schema(
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
            ("id", pa.binary(16)),
            ("url", pa.string()),
            ("page_url", pa.string()),
            ("alt", pa.string()),
            ("label", pa.string()),
            ("path", pa.string()),
            ("sha256", pa.binary(32)),
            ("width", pa.int64()),
            ("height", pa.int64()),
            ("format", pa.string()),
            ("tar", pa.string()),
            ("offset", pa.int64()),
            ("length", pa.int64()),
        ]
    ),
    settings={},
)
COMPOSITION = "selection/composition.json"


@dataclass(frozen=True, slots=True)
class Pick:
    """One image, and what chose it.

    Attributes:
        source: path of the collection that the image is in, `pool` or `seeds/<name>`.
        at: the image's position among that collection's live images.
        seed_id: of the seed image that it is a neighbour of, or in cluster mode of the nearest in its cluster.
        similarity: to that seed image.
        rank: 0 for the nearest neighbour of its seed image, and so on; -1 outside of sample mode.
    """

    source: str
    at: int
    how: str
    seed_set: str
    seed_id: bytes | None = None
    similarity: float = 1.0
    rank: int = -1


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
        for how, seed in _ways(run.config):
            picks, retrieved = _picks(run, seed, how, live)
            before = len(chosen)
            for pick in picks:
                chosen.setdefault((pick.source, pick.at), pick)
                times[pick.source, pick.at] += 1
            images = len(live[f"seeds/{seed.name}"])
            table.append(CompositionRow(seed.name, how, images, retrieved, len(picks), len(chosen) - before))
        if run.config.selection.balances:
            before, shares = len(chosen), list(_shares(run, live["pool"]))
            for pick in shares:
                chosen.setdefault((pick.source, pick.at), pick)
                times[pick.source, pick.at] += 1
            count = len(shares)
            table.append(CompositionRow("", BALANCED, len(live["pool"]), count, count, len(chosen) - before))
        if not chosen:
            raise UserError(
                "selection: no image was chosen, as no seed set is taken as it is and none retrieved anything; "
                "lower seeds.min_seed_images, or use retrieve: sample"
            )
        picks = [chosen[key] for key in sorted(chosen)]
        _check_weighted(run.config.selection, picks)
        count = 0
        for count, rows in enumerate(_parts(run, picks, times, live), 1):
            columns = _columns(rows)
            yield count - 1, Output(columns, digest=digest_of([self._digest, count - 1]))
        for part in run.selection.parts(SELECTION.name):
            if part >= count:
                run.selection.remove(SELECTION.name, part)  # of a longer selection
        fields = {
            "digest": self._digest,
            "parts": count,
            "rows": [asdict(row) for row in table],
        }
        text = json.dumps(fields, indent=1)
        run.store.write_bytes(COMPOSITION, text.encode())


def _ways(config: Config) -> Iterator[tuple[str, SeedConfig]]:
    """Ways in and seed sets by priority: an image chosen twice counts for the first."""
    for seed in config.seeds:
        if seed.as_is:
            yield "as_is", seed
    for how in ("sample", "cluster"):
        for seed in config.seeds:
            if seed.retrieve == how and config.selection.retrieves:
                yield how, seed


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


def picks_by_cluster(
    seed_clusters: npt.NDArray[np.int32],
    pool_clusters: npt.NDArray[np.int32],
    settings: SeedConfig,
    rng: np.random.Generator,
    similarities: npt.NDArray[np.float32],
) -> tuple[npt.NDArray[np.int64], int]:
    """Cluster mode: members of each cluster that more than `min_seed_images` seed images fall into.

    Args:
        seed_clusters: (S,) cluster of each seed image.
        pool_clusters: (N,) cluster of each pool image.
        similarities: (N,) to the centroid of that cluster; looked at with `picks: nearest`, where the first of equally
            near ones are taken. Which picks stay under the cap is left to chance either way.

    Returns:
        Positions of the picked pool images, at most `cap` of them, and how many there were before the cap.
    """
    clusters, seeds = np.unique(seed_clusters, return_counts=True)
    picked = [np.empty(0, dtype=np.int64)]
    for cluster in clusters[seeds > settings.min_seed_images]:
        members = np.flatnonzero(pool_clusters == cluster)
        if settings.picks == "nearest":
            order = np.argsort(-similarities[members], kind="stable")
            picked.append(np.sort(members[order[: settings.per_cluster]]))
        else:
            picked.append(_at_most(members, settings.per_cluster, rng))
    together = np.concatenate(picked)
    return _at_most(together, settings.cap, rng), len(together)


def _at_most(members: npt.NDArray[np.int64], limit: int, rng: np.random.Generator) -> npt.NDArray[np.int64]:
    return members if len(members) <= limit else np.sort(rng.choice(members, limit, replace=False))


def _picks(run: Run, seed: SeedConfig, how: str, live: Mapping[str, Gathered]) -> tuple[list[Pick], int]:
    """What one seed set picks in one way, and how many picks there were before the cap."""
    path = f"seeds/{seed.name}"
    seeds, pool = live[path], live["pool"]
    if how == "as_is":
        ids = seeds.table["id"].to_pylist()
        return [Pick(path, at, how, seed.name, key) for at, key in enumerate(ids)], len(seeds)
    if how == "sample":
        picks = list(_neighbours(run, seed, pool))
        return picks, len(picks)
    rng = random_for(run.config.seed, "selection", seed.name)
    clusters = pool.table["cluster"].to_numpy()
    seed_clusters = seeds.table["cluster"].to_numpy()
    _check_seed_images(seed_clusters, seed)
    near = pool.table["cluster_similarity"].to_numpy()
    positions, retrieved = picks_by_cluster(seed_clusters, clusters, seed, rng, near)
    nearest, similar = nearest_seeds(run.pool, pool, positions, run.seeds(seed.name), seeds)
    ids = seeds.table["id"].take(pa.array(nearest)).to_pylist()
    chosen = zip(positions.tolist(), ids, similar.tolist(), strict=True)
    return [Pick("pool", at, how, seed.name, key, result) for at, key, result in chosen], retrieved


def _check_seed_images(clusters: npt.NDArray[np.int32], seed: SeedConfig) -> None:
    """A set that can retrieve nothing, whatever the pool holds, is a mistake."""
    fullest = int(np.bincount(clusters).max())
    if fullest <= seed.min_seed_images:
        raise UserError(
            f"seeds/{seed.name}: no cluster holds more than {seed.min_seed_images} of its {len(clusters)} images, the "
            f"fullest {fullest}, so it retrieves nothing; set its min_seed_images to {fullest - 1} or less, make fewer "
            "clusters (clusters.count), or use retrieve: sample"
        )


def _neighbours(run: Run, seed: SeedConfig, pool: Gathered) -> Iterator[Pick]:
    position = {key: at for at, key in enumerate(zip(pool.part.tolist(), pool.row.tolist(), strict=True))}
    columns = {"fetch": ["id"], "seed_knn": ["neighbour_part", "neighbour_row", "neighbour_similarity"]}
    for row in gather(run.seeds(seed.name), "seed_knn", columns).table.to_pylist():
        places = zip(row["neighbour_part"], row["neighbour_row"], row["neighbour_similarity"], strict=True)
        for rank, (part, number, similarity) in enumerate(places):
            yield Pick("pool", position[part, number], "sample", seed.name, row["id"], similarity, rank)


def _shares(run: Run, pool: Gathered) -> Iterator[Pick]:
    """What the hierarchy of clusters gives."""
    size, rng = run.config.selection.size, random_for(run.config.seed, "selection", "balanced picks")
    assert size is not None, "the config has seen to that"
    similarities = pool.table["leaf_similarity"].to_numpy()
    near = similarities if run.config.selection.picks == "nearest" else None
    column = pool.table[PATH].combine_chunks()
    paths = column.flatten().to_numpy().reshape(len(column), -1) if len(column) else np.empty((0, 0), np.int32)
    for at in balanced(paths, size, rng, near).tolist():
        yield Pick("pool", at, BALANCED, "", None, float(similarities[at]))


def _live_images(run: Run, path: str) -> Gathered:
    columns = {"fetch": [*SAMPLE_COLUMNS, *PLACE_COLUMNS], "clusters": ["cluster", "cluster_similarity"]}
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


def _shards(
    settings: SelectionConfig, picks: Sequence[Pick], order: npt.NDArray[np.int64], per_shard: int
) -> list[npt.NDArray[np.int64]]:
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
            chosen_by = {name: getattr(pick, name) for name in ("how", "seed_set", "seed_id", "similarity", "rank")}
            repeats = times[pick.source, pick.at]
            rows.append(
                {**rows_of[pick.source][pick.at], **place, **chosen_by, "collection": pick.source, "picks": repeats}
            )
        yield rows


def _columns(rows: list[dict[str, Any]]) -> dict[str, pa.Array]:
    table = pa.Table.from_pylist(rows, schema=SELECTION.adds)
    return {name: table[name].combine_chunks() for name in SELECTION.adds.names}
