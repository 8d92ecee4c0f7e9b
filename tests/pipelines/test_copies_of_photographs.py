"""Copies of photographs, confirmed by geometry: links, transforms and representatives, however the work is cut."""

import json
import random
import signal
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image, ImageOps

from curation.config import parse_config
from curation.engine.runner.inline import InlineRunner
from curation.report.merges import read_merges
from pipelines.curate import curate
from pipelines.demo.photographs import open_photograph
from tests.matrix import first_of

SIDE = 256
BOX = (0.1, 0.2, 0.8, 0.9)
"""Left, top, right and bottom of a crop, in shares of the sides."""
CROPPED = ("astronaut", "coffee", "motorcycle")
MIRRORED = ("cat", "pagoda")
REFERENCES = ("rocket", "flower")
NAMES = (*CROPPED, *MIRRORED, *REFERENCES, "coins", "tissue")


def cropped(image):
    left, top, right, bottom = (round(share * side) for share, side in zip(BOX, image.size * 2, strict=True))
    return image.crop((left, top, right, bottom))


def save(image, path):
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path, quality=92)


@pytest.fixture(scope="module")
def photographs(tmp_path_factory):
    """A pool of seven photographs, crops of three and mirrored crops of two of them, and of two reference images."""
    root = tmp_path_factory.mktemp("photographs")
    for name in NAMES:
        image = Image.fromarray(open_photograph(name).pixels).convert("RGB")
        image.thumbnail((SIDE, SIDE))
        if name in REFERENCES:
            save(image, root / "references" / f"{name}.jpg")
            save(cropped(image), root / "pool" / f"{name} leak.jpg")
        else:
            save(image, root / "pool" / f"{name}.jpg")
        if name in CROPPED:
            save(cropped(image), root / "pool" / f"{name} crop.jpg")
        if name in MIRRORED:
            save(cropped(ImageOps.mirror(image)), root / "pool" / f"{name} mirrored.jpg")
    save(Image.fromarray(open_photograph("grass").pixels).convert("RGB"), root / "seeds" / "grass.jpg")
    return root


DECIDED = ("groups/", "verify_kept/", "dedup/")
"""What depends on all references."""
LOOKED_AT = {"candidate_above": -1.0, "max_candidates": 32, "max_share": 1.0}
"""Every pair, as most of so few pictures are planted copies."""


@pytest.fixture(scope="module")
def configure(photographs):
    def configure(references=("references",), **changes):
        values = {
            "pool": [str(photographs / "pool")],
            "seeds": [{"name": "seeds", "data": str(photographs / "seeds")}],
            "references": [{"name": name, "data": str(photographs / name)} for name in references],
            "parts": {"rows": 4},
            "runner": {"kind": "inline"},
            "image": {"min_side": 1},
            "copy_descriptors": {"model": "classical/hog-colour-4x4"},
            "dedup": LOOKED_AT,
            "quality": {"on": []},
            "safety": {"nsfw": "off", "faces": "keep"},
        }
        return parse_config(values | changes)

    return configure


@pytest.fixture(scope="module")
def run(configure, tmp_path_factory):
    return curate(configure(), str(tmp_path_factory.mktemp("run") / "run"), until="dedup")


def verdicts_of(run):
    """Path -> all that `dedup` says of an image, the one that stands for it by its path."""
    rows, names = [], {}
    for collection in [run.pool, *(run.references(item.name) for item in run.config.references)]:
        for part in collection.parts("fetch"):
            paths = collection.read("list", part, ["path"])["path"].to_pylist()
            ids = collection.read("fetch", part, ["id"])["id"].to_pylist()
            names.update(zip(ids, paths, strict=True))
            if collection.path == "pool":
                rows += zip(paths, collection.read("dedup", part).to_pylist(), strict=True)
    return {path: {**row, "representative": names[row["representative"]], "drop_detail": None} for path, row in rows}


def decided(run):
    """Path -> what stands for an image, and why it is dropped."""
    return {path: (row["representative"], row["drop_reason"], row["link"]) for path, row in verdicts_of(run).items()}


def test_crops_are_dropped_for_their_photographs_and_nothing_else_is(run):
    expected = {f"{name} crop.jpg": f"{name}.jpg" for name in CROPPED}
    expected |= {f"{name} mirrored.jpg": f"{name}.jpg" for name in MIRRORED}
    dropped = {path: row for path, row in verdicts_of(run).items() if row["drop_reason"]}
    leaks = {f"{name} leak.jpg": f"{name}.jpg" for name in REFERENCES}
    assert {path: row["representative"] for path, row in dropped.items()} == expected | leaks
    assert {path for path, row in dropped.items() if row["drop_reason"] == "reference_leak"} == set(leaks)
    assert {row["link"] for row in dropped.values()} == {"verified"}
    assert {path for path, row in dropped.items() if row["mirrored"]} == {f"{name} mirrored.jpg" for name in MIRRORED}


@pytest.mark.parametrize("name", [f"{name} crop" for name in CROPPED] + [f"{name} leak" for name in REFERENCES])
def test_the_transform_takes_the_photograph_onto_its_crop(run, name):
    row = verdicts_of(run)[f"{name}.jpg"]
    affine = np.array(row["transform"]).reshape(2, 3)
    left, top, right, bottom = BOX
    corners = np.array([[left, top], [right, top], [right, bottom], [left, bottom]])
    onto = corners @ affine[:, :2].T + affine[:, 2]
    np.testing.assert_allclose(onto, [[0, 0], [1, 0], [1, 1], [0, 1]], atol=0.02)


@pytest.mark.parametrize("name", MIRRORED)
def test_the_transform_takes_the_mirrored_photograph_onto_its_crop(run, name):
    row = verdicts_of(run)[f"{name} mirrored.jpg"]
    affine = np.array(row["transform"]).reshape(2, 3)
    left, top, right, bottom = BOX
    onto = np.array([[left, top], [right, bottom]]) @ affine[:, :2].T + affine[:, 2]
    assert row["mirrored"]
    np.testing.assert_allclose(onto, [[0, 0], [1, 1]], atol=0.02)


def test_verified_links_end_the_chains_that_a_low_threshold_makes(configure, run, tmp_path):
    low = {"self": {"threshold": -0.2}, "verify": "off", "grouping": "components", "max_share": 1.0}
    low_run = curate(configure(references=(), dedup=low), str(tmp_path / "low"), until="dedup")
    merged = decided(low_run)
    assert len({component for component, _, _ in merged.values()}) == 1
    least = [row["similarity"] for row in verdicts_of(low_run).values() if row["drop_reason"]]
    middle = sorted(least)[len(least) // 2]
    limited = curate(
        configure(references=(), dedup={**low, "min_similarity_to_kept": middle}), str(tmp_path / "low"), until="dedup"
    )
    assert sorted(row["similarity"] for row in verdicts_of(limited).values() if row["drop_reason"]) == [
        similarity for similarity in sorted(least) if similarity >= middle
    ]
    assert sum(reason is None for _, reason, _ in decided(run).values()) == len(NAMES) - len(REFERENCES)


@pytest.mark.parametrize("rows", [pytest.param(1, marks=pytest.mark.slow), 1000])
def test_one_part_and_many_give_the_same_representatives(configure, run, tmp_path, rows):
    other = curate(configure(parts={"rows": rows}), str(tmp_path / "run"), until="dedup")
    assert len(other.pool.parts("dedup")) != len(run.pool.parts("dedup"))
    assert decided(other) == decided(run)


def files_of(run, *stages):
    """The tables of some stages, of the pool and the references; footers hold times."""
    return {
        (collection.path, stage, part): (collection.read(stage, part), collection.footer(stage, part).digest)
        for collection in [run.pool, *(run.references(item.name) for item in run.config.references)]
        for stage in stages
        for part in collection.parts(stage)
    }


STAGES = ("copy_knn", "local_features", "verify_copies", "groups", "verify_kept", "dedup")


def test_parts_shuffled_among_workers_give_the_same_files(configure, run, tmp_path, monkeypatch):
    straight, order = InlineRunner.run_tasks, random.Random(0)
    monkeypatch.setattr(InlineRunner, "run_tasks", lambda self, tasks: straight(self, order.sample(tasks, len(tasks))))
    shuffled = curate(configure(), str(tmp_path / "shuffled"), until="dedup")
    monkeypatch.undo()
    assert files_of(shuffled, *STAGES) == files_of(run, *STAGES)


@pytest.mark.slow
@pytest.mark.parametrize("workers", first_of(3, 1))
def test_any_number_of_processes_gives_the_same_files(configure, run, tmp_path, workers):
    runner = {"kind": "processes", "workers": workers}
    other = curate(configure(runner=runner), str(tmp_path / "run"), until="dedup")
    assert files_of(other, *STAGES) == files_of(run, *STAGES)


@pytest.mark.slow
def test_a_reference_that_is_added_later_redoes_nothing_of_the_pool(configure, run, photographs, tmp_path, snapshot):
    root = tmp_path / "run"
    curate(configure(references=()), str(root), until="dedup")
    before = {name: state for name, state in snapshot(root / "pool").items() if not name.startswith(DECIDED)}
    assert {name.split("/")[0] for name in before} >= {
        "copy_descriptors",
        "copy_knn",
        "local_features",
        "verify_copies",
    }
    later = curate(configure(), str(root), until="dedup")
    after = {name: state for name, state in snapshot(root / "pool").items() if not name.startswith(DECIDED)}
    assert after == before
    assert decided(later) == decided(run)
    second = photographs / "more"
    save(Image.open(photographs / "pool" / "coins.jpg"), second / "coins.jpg")
    first = snapshot(root / "references" / "references")
    most = curate(configure(references=("references", "more")), str(root), until="dedup")
    assert snapshot(root / "references" / "references") == first
    assert decided(most)["coins.jpg"][1] == "reference_leak"
    assert {name: state for name, state in snapshot(root / "pool").items() if not name.startswith(DECIDED)} == before


KILLED = """
import json, os, signal, sys
from curation.config import parse_config
from pipelines.curate import curate
replace, written = os.replace, []
def kill(source, target):
    if f"/{sys.argv[3]}/part-" in str(target):
        written.append(target)
        if len(written) == 2 and sys.argv[4] == "before":
            os.kill(os.getpid(), signal.SIGKILL)
    replace(source, target)
    if len(written) == 2:
        os.kill(os.getpid(), signal.SIGKILL)
os.replace = kill
curate(parse_config(json.loads(sys.argv[1])), sys.argv[2], until="dedup")
"""


@pytest.mark.slow
@pytest.mark.parametrize("moment", first_of("before", "after"))
@pytest.mark.parametrize("stage", first_of(*STAGES))
def test_a_run_killed_in_any_of_its_stages_goes_on_to_the_same_files(configure, run, tmp_path, stage, moment):
    """Killed as the second part of a stage is put in place."""
    config = configure()
    values = json.dumps(config.model_dump(mode="json", by_alias=True))
    arguments = [sys.executable, "-c", KILLED, values, str(tmp_path / "run"), stage, moment]
    assert subprocess.run(arguments, check=False).returncode == -signal.SIGKILL
    done = list((tmp_path / "run").rglob(f"{stage}/part-*.parquet"))
    assert len(done) == (2 if moment == "after" else 1)
    kept = {path: path.stat().st_mtime_ns for path in done}
    resumed = curate(config, str(tmp_path / "run"), until="dedup")
    assert files_of(resumed, *STAGES) == files_of(run, *STAGES)
    assert {path: path.stat().st_mtime_ns for path in done} == kept
    assert not list((tmp_path / "run").rglob(".tmp-*"))


NORMALISED = {**LOOKED_AT, "normalise": {"weight": 1.0, "first": 2, "last": 5}}
WHITENED = {"model": "lvd/lite0-copy", "whiten": True}


@pytest.mark.slow
def test_whitened_and_normalised_similarities_are_the_same_in_every_report_and_find_the_same_copies(
    configure, run, tmp_path
):
    both = curate(configure(copy_descriptors=WHITENED, dedup=NORMALISED), str(tmp_path / "run"), until="dedup")
    assert {path: row[:2] for path, row in decided(both).items()} == {
        path: row[:2] for path, row in decided(run).items()
    }
    vectors, bias = {}, {}
    collections = [both.pool, both.references("references")]
    for collection in collections:
        for part in collection.parts("copy_descriptors"):
            tables = (collection.read(stage, part) for stage in ("fetch", "copy_descriptors", "bias"))
            for sample, copy, result in zip(*(table.to_pylist() for table in tables), strict=True):
                vectors[sample["id"]], bias[sample["id"]] = np.array(copy["vector"], np.float64), result["bias"]
    assert abs(np.mean([one @ other for one in vectors.values() for other in vectors.values()])) < 0.15, "whitened"
    for part in both.pool.parts("dedup"):
        ids = both.pool.read("fetch", part, ["id"])["id"].to_pylist()
        for own, row in zip(ids, both.pool.read("dedup", part).to_pylist(), strict=True):
            other = row["representative"]
            lowered = 0.0 if own == other else (bias[own] + bias[other]) / 2
            assert row["similarity"] == pytest.approx(vectors[own] @ vectors[other] - lowered, abs=2e-3)
    merges = read_merges(both)
    reported = {
        merges.evidence.ids[at]: value
        for group in merges.groups
        for at, value in zip(group.dropped, group.similarity, strict=True)
    }
    assert len(reported) == len(CROPPED) + len(MIRRORED)
    for part in both.pool.parts("dedup"):
        ids = both.pool.read("fetch", part, ["id"])["id"].to_pylist()
        similar = both.pool.read("dedup", part, ["similarity"])["similarity"].to_pylist()
        assert all(reported.get(own, value) == value for own, value in zip(ids, similar, strict=True))


@pytest.mark.slow
def test_what_was_normalised_and_whitened_is_plain_again_when_that_is_turned_off(configure, run, tmp_path):
    out = str(tmp_path / "run")
    curate(configure(dedup=NORMALISED), out, until="dedup")
    again = curate(configure(), out, until="dedup")
    assert files_of(again, *STAGES) == files_of(run, *STAGES)
    assert not again.pool.parts("bias")


@pytest.mark.slow
def test_one_worker_and_many_and_shards_give_the_same_normalised_files(configure, tmp_path):
    one = curate(configure(copy_descriptors=WHITENED, dedup=NORMALISED), str(tmp_path / "one"), until="copy_knn")
    runner = {"kind": "processes", "workers": 2}
    cut = {**NORMALISED, "partition": 5}
    two = curate(
        configure(copy_descriptors=WHITENED, dedup=cut, runner=runner), str(tmp_path / "two"), until="copy_knn"
    )
    assert files_of(two, "copy_descriptors", "bias", "copy_knn") == files_of(
        one, "copy_descriptors", "bias", "copy_knn"
    )
