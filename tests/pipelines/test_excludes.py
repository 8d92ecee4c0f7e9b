"""The pool after it is embedded: unwanted examples and semantic duplicates, from the command line to the report."""

import shutil

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from curation.config import parse_yaml
from curation.errors import UserError
from curation.report.funnel import funnel
from curation.report.verify import verify
from curation.report.why import why
from pipelines.curate import curate


@pytest.fixture(scope="session")
def unwanted(dataset, tmp_path_factory, photo, encoded):
    """A folder with two images of the pool, encoded anew so that their bytes are others, and one stranger."""
    root = tmp_path_factory.mktemp("unwanted")
    for name in ("c3/003.jpg", "c3/007.jpg"):
        (root / name.replace("/", "-")).write_bytes(encoded(Image.open(dataset.pool / name), quality=70))
    (root / "stranger.jpg").write_bytes(encoded(photo(9000, 77)))
    return root


@pytest.fixture
def config(configure, unwanted):
    def config(**changes):
        excludes = [{"name": "no", "data": str(unwanted), "threshold": 0.97}]
        return configure(**({"exclude": excludes} | changes))

    return config


def dropped(run, stage):
    """Of the pool: paths of dropped images, with reason and detail."""
    result = {}
    for part in run.pool.parts(stage):
        paths = run.pool.read("fetch", part, ["path"])["path"].to_pylist()
        for path, row in zip(
            paths, run.pool.read(stage, part, ["drop_reason", "drop_detail"]).to_pylist(), strict=True
        ):
            if row["drop_reason"] is not None:
                result[path] = (row["drop_reason"], row["drop_detail"])
    return result


def files(root, snapshot, folder):
    return {name: state for name, state in snapshot(root).items() if name.startswith(folder)}


def test_an_exclude_set_that_is_added_drops_what_resembles_it_and_redoes_no_embedding(config, finished, snapshot):
    before = snapshot(finished)
    run = curate(config(), str(finished))
    after = snapshot(finished)
    same = {name for name in before if name.split("/")[0] in ("pool", "seeds", "references")}
    changed = {name for name in same if before[name] != after[name]}
    assert {name.split("/")[-2] for name in changed} == {"clusters", "seed_knn"}
    gone = dropped(run, "exclude")
    assert {"c3/003.jpg", "c3/007.jpg"} <= gone.keys()
    assert {reason for reason, _ in gone.values()} == {"unwanted"}
    chosen = {path for part in run.selection.parts("selection") for path in _paths(run, part)}
    assert not chosen & gone.keys()
    assert list(verify(run)) == []


def _paths(run, part):
    table = run.selection.read("selection", part, ["collection", "path"]).to_pylist()
    return [row["path"] for row in table if row["collection"] == "pool"]


def test_why_and_funnel_say_what_dropped_an_image(config, finished):
    run = curate(config(), str(finished))
    example = next(trail for trail in why(run, "c3-003.jpg") if trail.collection == "excludes/no")
    assert [event.stage for event in example.events] == ["list", "fetch", "decode", "embeddings"]
    key = example.events[1].facts["id"]
    (trail,) = (trail for trail in why(run, "c3/003.jpg") if trail.collection == "pool")
    last = trail.events[-1]
    assert trail.fate.startswith(f"dropped by exclude: unwanted (no {key}, similarity 0.9")
    assert (last.facts["example_set"], last.facts["example"]) == ("no", key)
    assert last.facts["example_similarity"] > 0.97
    rows = {(row.collection, row.stage): row.ledger for row in funnel(run)}
    ledger = rows["pool", "exclude"]
    assert ledger.drops == {"unwanted": ledger.live_in - ledger.live_out}
    assert ledger.live_in == rows["pool", "embeddings"].live_out
    assert ledger.live_out == rows["pool", "clusters"].live_in
    assert rows["excludes/no", "embeddings"].live_out == 3


def test_a_set_that_is_removed_is_forgotten(config, configure, finished, shards_of, tmp_path):
    plain = shards_of(finished)
    curate(config(), str(finished))
    assert shards_of(finished) != plain
    run = curate(configure(), str(finished))
    assert shards_of(finished) == plain
    assert run.pool.parts("exclude") == []
    assert "exclude" not in {row.stage for row in funnel(run)}
    assert list(verify(run)) == []


def test_a_threshold_that_drops_nothing_more_redoes_the_verdict_alone(config, finished, snapshot, unwanted):
    curate(config(), str(finished))
    before = snapshot(finished)
    curate(config(exclude=[{"name": "no", "data": str(unwanted), "threshold": 0.9701}]), str(finished))
    after = snapshot(finished)
    assert {name for name in before if before[name] != after[name]} == {
        "config.yaml",
        "shards/manifest.json",
        *(name for name in before if name.startswith("pool/exclude/")),
    }


def test_all_of_the_pool_may_not_be_unwanted(config, dataset, finished):
    for folder in ("pool/clusters", "selection"):
        shutil.rmtree(finished / folder)
    everything = config(exclude=[{"name": "all", "data": str(dataset.pool), "threshold": 0.5}])
    with pytest.raises(UserError, match=r"^pool: none of its 127 images can be used \(.*\d+ unwanted"):
        curate(everything, str(finished))
    assert not (finished / "pool" / "clusters").exists()
    assert not (finished / "selection").exists()


def test_sets_are_named_on_the_command_line_with_or_without_a_threshold(lvd, dataset, unwanted, tmp_path):
    (tmp_path / "year=2020").mkdir()
    shutil.copy(dataset.seeds / "0.jpg", tmp_path / "year=2020")
    arguments = ["--pool", dataset.pool, "--seed", dataset.seeds, "--out", tmp_path / "run", "--until", "list"]
    arguments += ["--set", "runner.kind=inline"]
    answer = lvd("curate", *arguments, "--exclude", f"{unwanted}=.9", "--exclude", tmp_path / "year=2020")
    assert answer.code == 0, answer
    stored = parse_yaml((tmp_path / "run" / "config.yaml").read_text())["exclude"]
    assert stored == [
        {"name": unwanted.name, "data": str(unwanted), "threshold": 0.9},
        {"name": "year-2020", "data": str(tmp_path / "year=2020"), "threshold": 0.6},
    ]
    answer = lvd("curate", *arguments, "--exclude", f"{unwanted}=1.5")
    assert answer.err == "lvd: lvd curate: exclude.0.threshold: input should be less than or equal to 1 (got 1.5)\n"


@pytest.mark.slow
def test_semantic_duplicates_are_dropped_over_all_parts_after_what_is_unwanted(
    config, configure, finished, snapshot, shards_of, tmp_path
):
    settings = {"semantic_dedup": {"enabled": True, "threshold": 0.35}, "clusters": {"count": 3}}
    embeddings = files(finished, snapshot, "pool/embeddings")
    run = curate(config(**settings), str(finished))
    assert files(finished, snapshot, "pool/embeddings") == embeddings
    unwanted, double = dropped(run, "exclude"), dropped(run, "semantic_dedup")
    assert double
    assert {reason for reason, _ in double.values()} == {"semantic_duplicate"}
    assert not double.keys() & unwanted.keys()
    name, (_, detail) = next(iter(double.items()))
    kept, _, similarity = detail.partition(", similarity ")
    (trail,) = (trail for trail in why(run, name) if trail.collection == "pool")
    assert [event.stage for event in trail.events][-3:] == ["embeddings", "exclude", "semantic_dedup"]
    assert trail.events[-1].facts["representative"] == kept
    assert trail.events[-1].facts["similarity"] == pytest.approx(float(similarity), abs=1e-3)
    (instead,) = (trail for trail in why(run, kept) if trail.collection == "pool")
    assert instead.events[-1].stage in ("clusters", "hierarchy")
    assert list(verify(run)) == []
    curate(config(**settings), str(tmp_path / "new"))
    assert shards_of(tmp_path / "new") == shards_of(finished)
    run = curate(configure(clusters={"count": 3}), str(finished))
    assert (run.pool.parts("embedding_knn"), run.pool.parts("semantic_dedup")) == ([], [])
    assert list(verify(run)) == []


def test_an_index_chooses_what_exact_search_chooses_where_it_looks_everywhere(configure, finished, shards_of):
    selection = {name: data for name, data in shards_of(finished).items() if name.endswith(".tar")}
    run = curate(configure(retrieval={"exact_up_to": 10, "probes": 1000}), str(finished))
    assert {name: data for name, data in shards_of(finished).items() if name.endswith(".tar")} == selection
    assert len(run.store.names("artifacts/seed_knn")) == 1
    (recall,) = {
        value
        for value in run.seeds("seeds").read("seed_knn", 0, ["neighbour_recall"])["neighbour_recall"].to_pylist()
        if value is not None
    }
    assert recall == 1.0


@pytest.mark.slow
def test_a_pool_that_is_searched_shard_by_shard_gives_the_same_shards_for_any_workers(config, tmp_path, shards_of):
    """Duplicates, semantic duplicates and retrieval, all with an index; and none of what they find on the way stays."""
    made = []
    for number, runner in enumerate(({"kind": "inline"}, {"kind": "processes", "workers": 3})):
        whole = {"exact_up_to": 10, "probes": 1000}
        cut = whole | {"partition": 20}
        settings = {"parts": {"rows": 16}, "semantic_dedup": {"enabled": True, "threshold": 0.35}, "runner": runner}
        run = curate(config(**settings, dedup=cut, retrieval=cut), str(tmp_path / f"cut-{number}"))
        assert list(verify(run)) == []
        made.append(
            {name: data for name, data in shards_of(tmp_path / f"cut-{number}").items() if name.endswith(".tar")}
        )
        for folder in ("copy_knn", "embedding_knn", "seed_knn"):
            assert len(run.store.names(f"artifacts/{folder}")) > 1
        for collection in (run.pool, run.seeds("seeds")):
            for stage in ("copy_knn", "embedding_knn", "seed_knn"):
                assert run.store.folders(f"{collection.path}/{stage}") == []
    run = curate(config(**settings, dedup=whole, retrieval=whole), str(tmp_path / "whole"))
    assert len(run.store.names("artifacts/copy_knn")) == 1
    made.append({name: data for name, data in shards_of(tmp_path / "whole").items() if name.endswith(".tar")})
    assert made[0] == made[1] == made[2]
    assert len(made[0]) > 0


WIDE = {"name": "wide", "retrieve": "cluster", "min_seed_images": 1, "cap": 30}


def mixed(config, dataset, **changes):
    """Both modes, semantic dedup and an index that does not look everywhere."""
    seeds = [{"name": "near", "data": str(dataset.seeds), "neighbours": 2}, WIDE | {"data": str(dataset.seeds)}]
    settings = {"clusters": {"count": 4}, "retrieval": {"exact_up_to": 10, "probes": 2}}
    return config(seeds=seeds, semantic_dedup={"enabled": True, "threshold": 0.35}, **settings, **changes)


def test_a_pick_of_cluster_mode_names_the_nearest_seed_image_of_its_cluster(config, dataset, finished):
    run = curate(mixed(config, dataset), str(finished))
    rows = [
        row for part in run.selection.parts("selection") for row in run.selection.read("selection", part).to_pylist()
    ]
    seeds = _vectors(run, "seeds/wide")
    pool = _vectors(run, "pool")
    picked = [row for row in rows if row["how"] == "cluster"]
    assert len(picked) > 10
    for row in picked:
        cluster, vector = pool[row["id"]]
        assert cluster == row["cluster"]
        near = {key: float(vector @ other) for key, (same, other) in seeds.items() if same == cluster}
        assert row["seed_id"] in near
        assert row["similarity"] == pytest.approx(max(near.values()), abs=1e-5)
        assert near[row["seed_id"]] == pytest.approx(max(near.values()), abs=1e-5)
        assert (row["seed_set"], row["rank"]) == ("wide", -1)


@pytest.mark.slow
def test_the_shards_are_the_same_for_any_number_of_workers(config, dataset, tmp_path, shards_of):
    shards = []
    for number, runner in enumerate(({"kind": "inline"}, {"kind": "processes", "workers": 3})):
        curate(mixed(config, dataset, runner=runner), str(tmp_path / str(number)))
        shards.append(shards_of(tmp_path / str(number)))
    assert shards[0] == shards[1]


def _vectors(run, path):
    """Of each live image its cluster and its embedding, by id."""
    collection, result = run.collection(path), {}
    for part in collection.parts("clusters"):
        ids = collection.read("fetch", part, ["id"])["id"].to_pylist()
        clusters = collection.read("clusters", part, ["cluster"])["cluster"].to_pylist()
        vectors = collection.read("embeddings", part, ["vector"])["vector"].to_pylist()
        for key, cluster, vector in zip(ids, clusters, vectors, strict=True):
            if cluster is not None:
                result[key] = (cluster, np.array(vector, float))
    return result


def test_embeddings_of_another_dimension_are_named_before_anything_is_chosen(lvd, configure, finished, tmp_path):
    """A file of another run, say: its footer is right, its vectors are not."""
    path = tmp_path / "config.yaml"
    path.write_text(configure().to_yaml())
    file = finished / "seeds" / "seeds" / "embeddings" / "part-00000.parquet"
    table = pq.read_table(file)
    short = pa.array([row[:8] for row in table["vector"].to_pylist()], pa.list_(pa.float16(), 8))
    pq.write_table(table.set_column(0, "vector", short), file)
    for folder in ("seeds/seeds/seed_knn", "selection", "export", "shards"):
        shutil.rmtree(finished / folder)
    answer = lvd("curate", path, "--out", finished)
    assert answer.code == 2
    assert f"{file}: vectors of 8 dimensions, those of pool have" in answer.err.splitlines()[-1]
    for folder in ("seeds/seeds/seed_knn", "selection", "shards"):
        assert not list((finished / folder).glob("*")) if (finished / folder).exists() else True
