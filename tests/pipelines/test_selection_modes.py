"""Selection by retrieval, from a hierarchy of clusters, or both: a run from end to end, and its report of balance."""

import json
import re
import shutil
import tarfile
from collections import Counter

import pytest

from curation.errors import ConfigError
from curation.report.balance import balance
from curation.report.verify import verify
from curation.run.directory import Run
from pipelines.curate import curate

HIERARCHY = {"levels": [10, 3], "resamplings": 2}
COUNT = {"count": 10}


def hierarchical(**changes):
    settings = {"mode": "hierarchical", "size": 30, **changes}
    return {"clusters": COUNT, "hierarchy": HIERARCHY, "selection": settings}


def selected(run):
    columns = [
        "collection",
        "how",
        "seed_set",
        "seed_id",
        "similarity",
        "rank",
        "picks",
        "cluster_path",
        "id",
        "part",
        "row",
    ]
    return [
        row
        for part in run.selection.parts("selection")
        for row in run.selection.read("selection", part, columns).to_pylist()
    ]


def sidecars(root):
    for shard in sorted((root / "shards").glob("*.tar")):
        with tarfile.open(shard) as tar:
            for member in tar:
                if member.name.endswith(".json"):
                    yield json.load(tar.extractfile(member))


@pytest.fixture
def balanced(configure, finished):
    """A finished run, selected anew from a hierarchy; its one seed set is taken as it is, and retrieves nothing."""
    curate(configure(**hierarchical()), str(finished))
    return finished


def test_the_hierarchy_gives_as_many_as_asked_for_equally_and_each_keeps_its_path(balanced):
    run = Run.load(str(balanced))
    rows = selected(run)
    assert Counter((row["collection"], row["how"], row["seed_set"]) for row in rows) == {
        ("seeds/seeds", "as_is", "seeds"): 8,
        ("pool", "balanced", ""): 30,
    }
    paths = {}
    for part in run.pool.parts("hierarchy"):
        column = run.pool.read("hierarchy", part, ["cluster_path"])["cluster_path"].to_pylist()
        paths |= {(part, row): path for row, path in enumerate(column)}
    picks = [row for row in rows if row["how"] == "balanced"]
    for row in picks:
        assert row["cluster_path"] == paths[row["part"], row["row"]]
        assert (len(row["cluster_path"]), row["seed_id"], row["rank"], row["picks"]) == (2, None, -1, 1)
    assert all(row["cluster_path"] is None for row in rows if row["how"] == "as_is")
    there = Counter(path[0] for path in paths.values() if path)
    taken = Counter(row["cluster_path"][0] for row in picks)
    most = max(taken.values())
    assert all(taken[top] in (most, most - 1, there[top]) for top in there)
    assert list(verify(run)) == []
    manifest = json.loads((balanced / "shards" / "manifest.json").read_text())
    live = sum(there.values())
    assert [tuple(row.values()) for row in manifest["composition"]] == [
        ("seeds", "as_is", 8, 8, 8, 8),
        ("", "balanced", live, 30, 30, 30),
    ]
    reported = Counter(side["cluster_path"] for side in sidecars(balanced))
    assert reported == Counter("/".join(map(str, row["cluster_path"] or [])) for row in rows)


@pytest.mark.slow
def test_the_workers_change_no_byte(configure, tmp_path, balanced, shards_of):
    other = shutil.copytree(balanced, tmp_path / "other")
    for folder in ("pool/clusters", "pool/hierarchy", "selection", "export", "shards"):
        shutil.rmtree(other / folder)
    for model in ("centroids", "hierarchy"):
        (other / "artifacts" / f"{model}.safetensors").unlink()
    settings = hierarchical() | {"runner": {"kind": "processes", "workers": 3}}
    curate(configure(**settings), str(other))
    assert shards_of(other) == shards_of(balanced)


def test_both_modes_together_choose_what_either_does_and_count_it_once(configure, finished, balanced):
    alone = {row["id"] for row in selected(Run.load(str(balanced))) if row["how"] == "balanced"}
    config = configure(**hierarchical(mode="both"))
    curate(config, str(finished))
    rows = selected(Run.load(str(finished)))
    ways = Counter(row["how"] for row in rows)
    assert {row["id"] for row in rows} >= alone
    manifest = json.loads((finished / "shards" / "manifest.json").read_text())
    table = {row["how"]: row for row in manifest["composition"]}
    assert list(table) == ["as_is", "sample", "balanced"]
    assert (table["balanced"]["nominal"], table["balanced"]["unique"]) == (30, ways["balanced"])
    assert table["sample"]["unique"] == ways["sample"] > 0
    assert len(rows) == sum(row["unique"] for row in table.values())
    both = [row for row in rows if row["how"] == "sample" and row["id"] in alone]
    assert both, "the seeds are of concepts that the pool is full of"
    assert all(row["picks"] >= 2 for row in both)


def test_back_to_retrieval_nothing_is_left_of_the_hierarchy(configure, finished, balanced, shards_of, tmp_path):
    curate(configure(clusters=COUNT), str(finished))
    run = Run.load(str(finished))
    assert run.pool.parts("hierarchy") == []
    assert list(verify(run)) == []
    assert {row["how"] for row in selected(run)} == {"as_is", "sample"}


def test_no_seed_set_is_needed_for_the_hierarchy_and_one_is_for_the_others(configure, tmp_path, finished):
    with pytest.raises(ConfigError, match=r"^seeds: there is none; "):
        curate(configure(seeds=[], **hierarchical(mode="both")), str(tmp_path / "none"))
    settings = {**hierarchical(size=1000, picks="nearest"), "hierarchy": {"levels": [4]}}
    run = curate(configure(seeds=[], **settings), str(finished))
    rows = selected(run)
    live = sum(run.pool.footer("clusters", part).ledger.live_out for part in run.pool.parts("clusters"))
    assert len(rows) == live, "more was asked for than there is"
    report = balance(run)
    assert [level.name for level in report.levels] == ["clusters", "level 1"]
    assert all((level.before == level.after).all() for level in report.levels)
    assert report.coverage == []


def test_more_clusters_than_images_are_refused_in_one_line(configure, finished):
    settings = {**hierarchical(), "hierarchy": {"levels": [5000, 3]}}
    with pytest.raises(
        ConfigError, match=r"^hierarchy\.levels: 5000 clusters cannot be made of \d+ images; begin with "
    ):
        curate(configure(**settings), str(finished))
    assert not (finished / "pool" / "hierarchy").exists()


def test_the_balance_is_told_as_a_table_json_and_a_page(balanced, lvd, tmp_path):
    answer = lvd("balance", balanced, "--json")
    assert (answer.code, answer.err) == (0, "")
    reported = json.loads(answer.out)
    assert [(level["name"], level["clusters"]) for level in reported["levels"]] == [
        ("clusters", 10),
        ("level 1", 10),
        ("level 2", 3),
    ]
    assert reported["levels"][1]["after"]["images"] == 30
    assert reported["levels"][2]["after"]["entropy"] == pytest.approx(1), "10 of each of the 3 clusters at the top"
    assert reported["levels"][2]["before"]["entropy"] < 1
    assert reported["coverage"][0]["seed_set"] == "seeds"
    assert reported["coverage"][0]["images"] == 8
    page = tmp_path / "balance.html"
    answer = lvd("balance", balanced, "--html", page)
    assert answer.code == 0
    assert "level 2" in answer.out
    text = page.read_text()
    assert text.count("<svg") == 3
    assert "data:image/jpeg;base64," in text
    assert not re.search("https?://", text)
    assert "<script" not in text


def test_a_run_that_is_not_there_or_not_that_far_is_one_line(lvd, tmp_path, configure, finished):
    answer = lvd("balance", tmp_path / "nowhere")
    assert answer.code != 0
    assert answer.err.count("\n") == 1
    run = Run.load(str(finished))
    for part in run.selection.parts("selection"):
        run.selection.remove("selection", part)
    answer = lvd("balance", finished)
    assert (answer.code, answer.err.count("\n")) == (2, 1)
    assert "nothing is selected yet" in answer.err


def test_a_page_that_cannot_be_written_is_one_line(lvd, finished, tmp_path):
    answer = lvd("balance", finished, "--html", tmp_path / "no" / "folder.html")
    assert (answer.code, answer.err.count("\n")) == (2, 1)
    assert "--html" in answer.err


class Asked(Exception):  # noqa: N818, as it is no error
    pass


def test_the_hierarchy_can_be_had_without_a_config_file(lvd, dataset, tmp_path, monkeypatch):
    def curate(config, out, **_):
        raise Asked(config.seeds, config.selection.size)

    monkeypatch.setattr("pipelines.commands.curation.curate", curate)
    options = ["--pool", dataset.pool, "--out", tmp_path / "run", "--set", "selection.mode=hierarchical"]
    answer = lvd("curate", *options)
    assert (answer.code, answer.err.count("\n")) == (2, 1)
    assert "selection.size: missing" in answer.err
    with pytest.raises(Asked) as asked:
        lvd("curate", *options, "--set", "selection.size=5")
    assert asked.value.args == ([], 5)
