"""The main job from end to end, over small synthetic pictures."""

import io
import itertools
import json
import shutil
import tarfile
from pathlib import Path

import fsspec
import pytest
from PIL import Image

from curation.errors import DatasetError, UserError
from curation.report.funnel import funnel
from curation.report.verify import verify
from curation.report.why import why
from curation.run.directory import Run
from pipelines.curate import curate, steps

OFF = {  # in the test config; test_filters.py and others have them on
    *("extract_urls", "dedup_urls", "bias"),
    *(
        "quality",
        "safety",
        "local_features",
        "verify_copies",
        "groups",
        "verify_kept",
        "exclude",
        "embedding_knn",
        "semantic_dedup",
        "hierarchy",
    ),
}

PART_STAGES = {"list", "fetch", "decode", "hashes", "copy_descriptors"}


def stages_of(files):
    """Folders of stages (and other names) that files of a run belong to, seeds and references by their stage."""
    return {name.rsplit("/", 2)[-2] if "/" in name else name for name in files}


def changed(before, after):
    """Files that are not as they were, but for the log, which grows with every command that does something."""
    return {name for name in before.keys() | after.keys() if before.get(name) != after.get(name)} - {"log.txt"}


def fates(run):
    """What became of each pool image: the reason of its drop, or the last stage it came to."""
    fate = {}
    for part in run.pool.parts("list"):
        names = run.pool.read("list", part, ["path"])["path"].to_pylist()
        for stage in ("fetch", "decode", "hashes", "copy_descriptors", "dedup", "embeddings", "clusters"):
            reasons = run.pool.read(stage, part, ["drop_reason"])["drop_reason"].to_pylist()
            for name, reason in zip(names, reasons, strict=True):
                if reason is not None:
                    assert name not in fate, "dropped twice"
                    fate[name] = reason
        for name in names:
            fate.setdefault(name, "live")
    return fate


def test_every_file_is_accounted_for_and_every_planted_fault_ends_as_its_own_drop(dataset, finished_run):
    fate = fates(finished_run)
    files = {str(path.relative_to(dataset.pool)) for path in dataset.pool.rglob("*") if path.is_file()}
    assert fate.keys() == files
    assert {name: fate[name] for name in dataset.bad} == dict(dataset.bad)
    assert {fate[name] for name in dataset.planted["leak"]} == {"reference_leak"}
    for kind in ("exact", "encoded", "resized"):
        for copy, original in dataset.planted[kind].items():
            dropped, kept = sorted((fate[copy], fate[original]))
            assert kept == "live", copy
            assert dropped in ("hash_duplicate", "copy"), copy
    touched = {*dataset.bad, *dataset.planted["leak"]}
    for kind in ("exact", "encoded", "resized"):
        touched |= dataset.planted[kind].keys() | set(dataset.planted[kind].values())
    assert {fate[name] for name in files - touched} == {"live"}


def test_of_copies_the_one_with_more_pixels_is_kept(dataset, finished_run):
    fate = fates(finished_run)
    assert all(fate[original] == "live" for original in dataset.planted["resized"].values())


def test_every_ledger_balances_and_the_next_stage_takes_what_the_last_let_through(finished_run):
    rows = [row for row in funnel(finished_run) if row.collection == "pool"]
    assert [row.stage for row in rows] == [step for step in steps()[: steps().index("clusters") + 1] if step not in OFF]
    for before, row in itertools.pairwise(rows):
        assert row.ledger.live_in == before.ledger.live_out
        assert row.ledger.live_in == row.ledger.live_out + sum(row.ledger.drops.values())


def test_the_manifest_counts_what_the_shards_hold(finished_run):
    manifest = json.loads(finished_run.store.read_bytes("shards/manifest.json"))
    assert manifest["format"] == "lvd-shards/1"
    assert manifest["samples"] == sum(shard["samples"] for shard in manifest["shards"])
    assert [shard["samples"] for shard in manifest["shards"][:-1]] == [20] * (len(manifest["shards"]) - 1)
    rows = {(row["seed_set"], row["how"]): row for row in manifest["composition"]}
    assert rows["seeds", "as_is"]["unique"] == 8
    assert rows["seeds", "sample"]["nominal"] == 8 * 4
    assert manifest["samples"] == sum(row["unique"] for row in manifest["composition"])
    assert "runner" not in manifest["config"]


def test_a_finished_run_is_sound(finished_run):
    assert list(verify(finished_run)) == []


def test_running_a_finished_run_again_touches_no_file(configure, finished, snapshot):
    before = snapshot(finished)
    curate(configure(), str(finished))
    assert snapshot(finished) == before


ALL = {"config.yaml", "shards"}  # the manifest holds the config, so it changes with any setting
CHANGES = [
    # The runner changes nothing but the record of the config.
    ({"runner": {"kind": "inline", "threads": 2}}, {"config.yaml"}),
    # A threshold that decides no image anew is noted by dedup, and what follows it is left alone.
    ({"dedup": {"self": {"threshold": 0.61}}}, {*ALL, "dedup"}),
    # One that does reaches everything behind it.
    (
        {"dedup": {"self": {"enabled": False}}},
        {*ALL, "dedup", "embeddings", "artifacts", "clusters", "seed_knn", "selection", "export"},
    ),
    ({"dedup": {"relative": {"threshold": 0.46}}}, {*ALL, "copy_knn", "dedup"}),
    ({"dedup": {"neighbours": 63}}, {*ALL, "copy_knn", "dedup"}),
    ({"clusters": {"count": 3}}, {*ALL, "artifacts", "clusters", "selection", "export"}),
    ({"crawl": {"max_redirects": 3}}, ALL),
    (
        {"hash": {"bits": 32}},
        {*ALL, "artifacts", "hashes", "dedup"},
    ),
]


@pytest.mark.parametrize(("changes", "expected"), CHANGES, ids=[json.dumps(changes) for changes, _ in CHANGES])
def test_a_changed_setting_redoes_exactly_what_depends_on_it(configure, finished, snapshot, changes, expected):
    before = snapshot(finished)
    run = curate(configure(**changes), str(finished))
    assert stages_of(changed(before, snapshot(finished))) == expected
    assert list(verify(run)) == []


@pytest.mark.slow
def test_a_changed_setting_gives_what_a_new_run_gives(configure, finished, tmp_path, shards_of):
    config = configure(dedup={"self": {"enabled": False}}, export={"samples_per_shard": 15})
    curate(config, str(finished))
    curate(config, str(tmp_path / "new"))
    assert shards_of(finished) == shards_of(tmp_path / "new")


def test_a_smaller_selection_removes_the_shards_it_no_longer_has(configure, dataset, finished, shards_of):
    seeds = [{"name": "seeds", "data": str(dataset.seeds), "neighbours": 1}]
    run = curate(configure(seeds=seeds), str(finished))
    assert list(shards_of(finished)) == ["manifest.json", "shard-000000.tar"]
    assert run.selection.parts("selection") == run.selection.parts("export") == [0]
    assert list(verify(run)) == []


@pytest.mark.slow
def test_new_images_in_the_pool_come_as_new_parts_and_leave_the_old_ones_alone(
    configure, dataset, tmp_path, snapshot, photo, encoded
):
    pool = shutil.copytree(dataset.pool, tmp_path / "pool")
    config = configure(pool=[str(pool)])
    run = curate(config, str(tmp_path / "run"))
    parts = run.pool.parts("list")
    before = snapshot(tmp_path / "run" / "pool")
    for number in range(3):
        (pool / f"aa-{number}.jpg").write_bytes(encoded(photo(5000 + number)))
    curate(config, str(tmp_path / "run"))
    after = snapshot(tmp_path / "run" / "pool")
    assert run.pool.parts("list") == [*parts, parts[-1] + 1]
    assert run.pool.footer("list", parts[-1] + 1).rows == 3
    old = {name for name in before if name.split("/")[0] in PART_STAGES | {"embeddings"}}
    assert {name: after[name] for name in old} == {name: before[name] for name in old}
    assert list(verify(run)) == []
    settled = snapshot(tmp_path / "run")
    curate(config, str(tmp_path / "run"))
    assert snapshot(tmp_path / "run") == settled


def test_equal_names_in_two_datasets_of_a_pool_are_two_images(configure, tmp_path, photo, encoded):
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        for number in range(12):
            data = encoded(photo(number + 100 * (folder == "b"), number % 4))
            (tmp_path / folder / f"{number}.jpg").write_bytes(data)
    run = curate(configure(pool=[str(tmp_path / "a"), str(tmp_path / "b")]), str(tmp_path / "run"), until="fetch")
    assert run.pool.footer("fetch", 0).rows == 24
    assert len(why(run, "3.jpg")) >= 2


def test_a_pool_may_grow_by_a_dataset(configure, dataset, finished, tmp_path, photo, encoded):
    (tmp_path / "more").mkdir()
    for number in range(3):
        (tmp_path / "more" / f"{number}.jpg").write_bytes(encoded(photo(6000 + number)))
    run = curate(configure(pool=[str(dataset.pool), str(tmp_path / "more")]), str(finished))
    assert run.pool.parts("list") == [0, 1, 2, 3, 4][: len(run.pool.parts("list"))]
    assert run.pool.footer("list", run.pool.parts("list")[-1]).rows == 3
    assert list(verify(run)) == []


@pytest.mark.slow
def test_until_stops_after_its_step_and_the_next_call_goes_on_to_the_same_shards(
    configure, tmp_path, finished, shards_of
):
    for number, step in enumerate(steps()):
        run = curate(configure(), str(tmp_path / "steps"), until=step)
        assert {row.stage for row in funnel(run)} == set(steps()[: number + 1]) - OFF
    assert shards_of(tmp_path / "steps") == shards_of(finished)


def test_a_run_directory_may_be_any_fsspec_url(configure, finished, shards_of):
    root = "memory://tests/run"
    curate(configure(), root)
    run = Run.load(root)
    assert {name: run.store.read_bytes(f"shards/{name}") for name in run.store.names("shards")} == shards_of(finished)
    assert list(verify(run)) == []
    assert not [name for name in fsspec.filesystem("memory").find("/tests") if ".tmp-" in name]
    fsspec.filesystem("memory").rm("/tests", recursive=True)


def test_cluster_mode_and_sample_mode_mix_by_priority(configure, dataset, tmp_path):
    seeds = [
        {"name": "near", "data": str(dataset.seeds), "neighbours": 2},
        {"name": "wide", "data": str(dataset.seeds), "retrieve": "cluster", "min_seed_images": 1, "cap": 30},
        {"name": "raw", "data": str(dataset.reference), "as_is": True, "retrieve": None},
    ]
    run = curate(configure(seeds=seeds, references=[], clusters={"count": 4}), str(tmp_path / "run"))
    manifest = json.loads(run.store.read_bytes("shards/manifest.json"))
    assert [(row["seed_set"], row["how"]) for row in manifest["composition"]] == [
        ("raw", "as_is"),
        ("near", "sample"),
        ("wide", "cluster"),
    ]
    assert manifest["composition"][1]["nominal"] == 16
    assert manifest["composition"][2]["nominal"] <= 30
    assert list(verify(run)) == []


def test_exported_jpegs_are_the_bytes_that_came_and_other_formats_are_encoded(dataset, configure, tmp_path):
    seeds = tmp_path / "seeds"
    seeds.mkdir()
    original = dataset.seeds / "0.jpg"
    shutil.copy(original, seeds / "a.jpg")
    Image.open(original).save(seeds / "b.png")
    config = configure(seeds=[{"name": "s", "data": str(seeds), "as_is": True, "retrieve": None}])
    run = curate(config, str(tmp_path / "run"))
    rows = run.selection.read("selection", 0).to_pylist()
    keys = run.selection.read("export", 0, ["key"])["key"].to_pylist()
    with tarfile.open(tmp_path / "run" / "shards" / "shard-000000.tar") as tar:
        for row, key in zip(rows, keys, strict=True):
            data = tar.extractfile(f"{key}.jpg").read()
            if row["path"] == "a.jpg":
                assert data == original.read_bytes()
            else:
                assert Image.open(io.BytesIO(data)).format == "JPEG"


def test_a_pool_file_that_changed_since_is_one_error_and_nothing_is_overwritten(
    configure, dataset, tmp_path, photo, encoded, snapshot
):
    pool = shutil.copytree(dataset.pool, tmp_path / "pool")
    config = configure(pool=[str(pool)])
    curate(config, str(tmp_path / "run"), until="selection")
    row = next(
        row
        for part in Run(str(tmp_path / "run"), config).selection.parts("selection")
        for row in Run(str(tmp_path / "run"), config).selection.read("selection", part).to_pylist()
        if row["collection"] == "pool"
    )
    path = Path(row["tar"])
    data = bytearray(path.read_bytes())
    data[-20] ^= 255
    path.write_bytes(data)
    with pytest.raises(UserError, match="has changed since it was listed; bring the file back, or make a new run"):
        curate(config, str(tmp_path / "run"))
    assert not (tmp_path / "run" / "shards" / "manifest.json").exists()


def test_a_wrong_path_does_not_claim_the_run_directory(configure, dataset, tmp_path):
    missing = str(tmp_path / "typo")
    with pytest.raises(DatasetError, match="typo: does not exist; check the path of the dataset"):
        curate(configure(pool=[missing]), str(tmp_path / "run"))
    curate(configure(), str(tmp_path / "run"), until="list")


def test_nothing_selected_is_one_line(configure, dataset, tmp_path):
    seeds = [{"name": "s", "data": str(dataset.seeds), "retrieve": "cluster", "min_seed_images": 100}]
    with pytest.raises(UserError, match=r"^seeds/s: no cluster holds more than 100 of its 8 images, the fullest "):
        curate(configure(seeds=seeds), str(tmp_path / "run"))
    assert not (tmp_path / "run" / "selection").exists()


def test_a_part_whose_rows_are_all_dropped_is_carried_through(configure, tmp_path, dataset):
    """Two bad files and one good one in parts of one row: every stage has to cope with no live rows."""
    for folder in ("pool", "seeds"):
        (tmp_path / folder).mkdir()
        for name in ("garbage.jpg", "truncated.jpg"):
            shutil.copy(dataset.pool / "bad" / name, tmp_path / folder)
    for path in sorted(dataset.pool.glob("c0/*"))[:3]:
        shutil.copy(path, tmp_path / "pool")
    shutil.copy(dataset.seeds / "0.jpg", tmp_path / "seeds")
    config = configure(
        pool=[str(tmp_path / "pool")],
        seeds=[{"name": "s", "data": str(tmp_path / "seeds"), "neighbours": 3}],
        references=[],
        parts={"rows": 1},
        dedup={"self": {"enabled": False}},
    )
    # The hash basis is fitted on the first part, so the shuffle must put a good image there.
    for seed in range(20):
        run = curate(config.model_copy(update={"seed": seed}), str(tmp_path / f"run-{seed}"), until="fetch")
        if run.pool.read("list", 0, ["path"])["path"][0].as_py() not in ("garbage.jpg", "truncated.jpg"):
            break
    curate(run.config, run.store.root)
    assert list(verify(run)) == []
