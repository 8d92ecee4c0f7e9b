"""Weights by source: from the config through shards of one source each and their manifest to the trainer's streams."""

import itertools
import json
import shutil
import tarfile
from collections import Counter

import pytest

from curation.dinov2.config import SourceConfig
from curation.dinov2.data.sources import open_sources
from curation.errors import UserError
from curation.report.verify import verify
from curation.run.directory import Run
from pipelines.curate import curate

WEIGHTS = {"seeds": 0.25, "balanced": 0.75}


def both(**changes):
    """As `finished`, with 30 images of a hierarchy besides."""
    selection = {"mode": "both", "size": 30, **changes}
    return {"clusters": {"count": 10}, "hierarchy": {"levels": [10, 3], "resamplings": 1}, "selection": selection}


def manifest_of(root):
    return json.loads((root / "shards" / "manifest.json").read_text())


def shards_by_name(root):
    """What chose each sample, in the shards' order, by shard, as the samples' own JSON tells."""
    result = {}
    for path in sorted((root / "shards").glob("*.tar")):
        with tarfile.open(path) as tar:
            reported = [json.load(tar.extractfile(member)) for member in tar if member.name.endswith(".json")]
        result[path.name] = [(side["seed_set"] or "balanced", side["id"]) for side in reported]
    return result


def breaches(root):
    return [f"{breach.where}: {breach.what}" for breach in verify(Run.load(str(root)))]


@pytest.fixture(scope="module")
def _weighted(configure, _finished, tmp_path_factory):
    root = shutil.copytree(_finished, tmp_path_factory.mktemp("weighted") / "run")
    curate(configure(**both(weights=WEIGHTS)), str(root))
    return root


@pytest.fixture
def weighted(_weighted, tmp_path):
    """A finished run with weights, this test's own copy."""
    return shutil.copytree(_weighted, tmp_path / "run")


def test_each_shard_holds_one_source_and_the_manifest_says_which_and_how_many(weighted):
    manifest, shards = manifest_of(weighted), shards_by_name(weighted)
    assert list(shards) == [shard["name"] for shard in manifest["shards"]]
    for shard in manifest["shards"]:
        sources = [source for source, _ in shards[shard["name"]]]
        assert sources == [shard["source"]] * shard["samples"]
    samples = Counter(source for source, _ in itertools.chain(*shards.values()))
    sizes = {
        name: [shard["samples"] for shard in manifest["shards"] if shard["source"] == name]
        for name in manifest["sources"]
    }
    assert manifest["sources"] == {
        name: {"samples": samples[name], "shards": len(sizes[name]), "weight": WEIGHTS[name]}
        for name in ("balanced", "seeds")
    }
    assert all(size == 20 for of in sizes.values() for size in of[:-1]), "only a source's last shard may be short"
    assert manifest["samples"] == samples.total()
    assert manifest["config"]["selection"]["weights"] == WEIGHTS
    assert breaches(weighted) == []


def test_weights_choose_no_other_images_and_keep_the_order_of_the_shuffle(configure, weighted):
    apart = shards_by_name(weighted)
    shards = {path.name: path.stat().st_mtime_ns for path in (weighted / "shards").glob("*.tar")}
    curate(configure(**both(weights={"balanced": 3.0, "seeds": 9.0})), str(weighted))
    assert {path.name: path.stat().st_mtime_ns for path in (weighted / "shards").glob("*.tar")} == shards, (
        "how much a source weighs is the manifest's alone"
    )
    assert manifest_of(weighted)["sources"]["seeds"]["weight"] == 9.0
    curate(configure(**both()), str(weighted))
    mixed = list(itertools.chain(*shards_by_name(weighted).values()))
    for name in WEIGHTS:
        expected = [pick for pick in mixed if pick[0] == name]
        assert [pick for pick in itertools.chain(*apart.values()) if pick[0] == name] == expected
    manifest = manifest_of(weighted)
    assert "sources" not in manifest
    assert all(set(shard) == {"name", "samples", "bytes", "sha256"} for shard in manifest["shards"])
    assert "weights" not in manifest["config"]["selection"]
    assert breaches(weighted) == []


def test_sources_that_are_not_named_are_mixed_as_others(configure, weighted, lvd, tmp_path):
    config = configure(**both(weights={"seeds": 1, "others": 3}))
    run = curate(config, str(weighted))
    manifest, shards = manifest_of(weighted), shards_by_name(weighted)
    assert [shard["source"] for shard in manifest["shards"]][-1] == "others"
    assert {source for source, _ in shards[manifest["shards"][-1]["name"]]} == {"balanced"}
    assert manifest["sources"]["others"]["weight"] == 3
    path = tmp_path / "c.yaml"
    path.write_text(run.config.to_yaml())
    answer = lvd("curate", path, "--out", weighted)
    assert answer.code == 0
    lines = [line.split() for line in answer.out.splitlines()]
    for name, share in (("seeds", "25.0%"), ("others", "75.0%")):
        samples, weight = manifest["sources"][name]["samples"], manifest["sources"][name]["weight"]
        assert [name, str(samples), f"{weight:g}", share] in lines
    assert breaches(weighted) == []


def test_the_trainer_opens_each_source_with_its_weight(weighted):
    sources = manifest_of(weighted)["sources"]
    opened = open_sources(SourceConfig(path=str(weighted / "shards"), weight=2.0))
    assert [(source.name, sum(source.source.sizes), source.weight) for source in opened] == [
        (f"{weighted / 'shards'} [{name}]", sources[name]["samples"], 2 * WEIGHTS[name]) for name in sources
    ]


def test_a_source_that_is_left_no_image_is_named_and_the_shards_stay(configure, weighted, dataset, shards_of):
    before = shards_of(weighted)
    first = {"name": "seeds", "data": str(dataset.seeds), "as_is": True, "retrieve": "sample", "neighbours": 64}
    again = {"name": "again", "data": str(dataset.seeds), "retrieve": "sample", "neighbours": 64}
    config = configure(seeds=[first, again], **both(weights={"again": 1, "others": 1}))
    with pytest.raises(UserError, match=r"^selection\.weights\.again: no image is left to this source, ") as error:
        curate(config, str(weighted))
    assert "\n" not in str(error.value)
    assert shards_of(weighted) == before


TAMPERING = {
    "a weight that is not the config's": (
        lambda m: m["sources"]["seeds"].update(weight=0.5),
        "its sources are not what its shards and selection.weights add up to",
    ),
    "a count that lies": (
        lambda m: m["sources"]["seeds"].update(samples=1),
        "its sources are not what its shards and selection.weights add up to",
    ),
    "no sources": (
        lambda m: m.pop("sources"),
        "its sources are not what its shards and selection.weights add up to",
    ),
    "a shard of no source": (
        lambda m: m["shards"][0].pop("source"),
        "shard-000000.tar is of no source that selection.weights names",
    ),
    "a source that is no name": (
        lambda m: m["shards"][0].update(source=["seeds"]),
        "shard-000000.tar is of no source that selection.weights names",
    ),
    "a shard of another source": (
        lambda m: m["shards"][0].update(source="seeds"),
        "000000000000.json is of the source balanced, but the manifest says seeds",
    ),
}


def test_a_manifest_that_lies_about_sources_is_a_breach(weighted):
    path = weighted / "shards" / "manifest.json"
    text = path.read_text()
    for name, (edit, message) in TAMPERING.items():
        manifest = json.loads(text)
        edit(manifest)
        path.write_text(json.dumps(manifest))
        assert any(message in breach for breach in breaches(weighted)), name
    path.write_text(text)
    assert breaches(weighted) == []


def test_a_manifest_without_weights_that_names_sources_is_a_breach(finished):
    path = finished / "shards" / "manifest.json"
    manifest = json.loads(path.read_text())
    manifest["shards"][0]["source"] = "seeds"
    path.write_text(json.dumps(manifest))
    (result,) = breaches(finished)
    assert "shard-000000.tar is of no source that selection.weights names" in result
