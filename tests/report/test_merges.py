"""What dedup would do at each threshold is what it does there, and the page shows the pairs around it."""

import dataclasses
import json
import re
import shutil

import numpy as np
import pytest

from curation.engine.gather import gather
from curation.errors import RunError
from curation.report.funnel import funnel
from curation.report.merges import SIZES, THRESHOLDS, between, merges_text, read_merges
from curation.report.merges_page import SHOWN_PAIRS, merges_page
from curation.run.directory import Run
from curation.stages.knn.vectors import gather_vectors
from pipelines.curate import curate
from tests.pages import HOSTILE, Page, assert_harmless


@pytest.fixture(scope="module")
def run(_finished, tmp_path_factory):
    """By similarity alone."""
    return Run.load(str(shutil.copytree(_finished, tmp_path_factory.mktemp("plain") / "run")))


@pytest.fixture(scope="module")
def looked(configure, tmp_path_factory):
    """With evidence, of a few neighbours of each image."""
    dedup = {"verify": "geometry", "grouping": "star", "candidate_above": 0.3, "max_candidates": 3}
    return curate(configure(dedup=dedup), str(tmp_path_factory.mktemp("looked") / "run"), until="dedup")


def drops(run):
    """What the stage has dropped, by reason."""
    ledgers = [run.pool.footer("dedup", part).ledger for part in run.pool.parts("dedup")]
    return sum(ledgers[1:], ledgers[0]).drops


def rule_of(merges, name):
    (rule,) = [rule for rule in merges.rules if rule.name == name]
    return rule


def test_the_rules_that_are_set_say_what_the_stage_has_done(run):
    merges = read_merges(run)
    by_mark = {rule.mark: rule for rule in merges.rules}
    assert by_mark["dedup.self.threshold"].copies == drops(run)["copy"] > 0
    assert by_mark["dedup.relative.threshold"].leaks == drops(run)["reference_leak"] > 0
    assert merges.hash_duplicates == drops(run)["hash_duplicate"] > 0
    assert [rule.threshold for rule in merges.rules] == sorted({*THRESHOLDS, 0.65})


def test_geometry_as_set_says_what_the_stage_has_done(looked):
    merges = read_merges(looked)
    rule = rule_of(merges, "0.9")
    assert (rule.copies, rule.mark) == (drops(looked)["copy"], "dedup.probability")
    assert rule.leaks == drops(looked).get("reference_leak", 0)
    links = 0
    for part in looked.pool.parts("verify_copies"):
        for stage in ("verify_copies", "verify_kept"):
            lists = looked.pool.read(stage, part, ["probability"])["probability"].to_pylist()
            links += sum(value is not None and value >= 0.9 for items in lists for value in items or ())
    assert 0 < rule.links >= links
    assert [item.links for item in merges.rules] == sorted((item.links for item in merges.rules), reverse=True)


@pytest.mark.parametrize("threshold", THRESHOLDS)
def test_links_and_sizes_are_those_of_a_search_over_all_pairs(run, threshold):
    """Images of one hash are one node, and count once."""
    alone = Run(run.store.root, run.config.model_copy(update={"references": []}))
    rule = rule_of(read_merges(alone), f"{threshold:g}")
    images = gather(run.pool, "copy_descriptors", {"hashes": ["hash"]})
    vectors = gather_vectors(run.pool, "copy_descriptors", "copy_descriptors").halves.astype(np.float32)
    hashes = np.array(images.table["hash"].to_pylist())
    similar = np.einsum("nd,md->nm", vectors, vectors)
    assert rule.links == np.triu(similar > threshold, 1).sum()
    linked = (similar > threshold) | (hashes[:, None] == hashes[None])
    components = np.arange(len(vectors))
    while True:
        least = np.where(linked, components[None], len(vectors)).min(axis=1)
        if (least == components).all():
            break
        components = least
    members = np.unique(np.stack([components, np.unique(hashes, return_inverse=True)[1]]), axis=1)[0]
    counts = np.unique(members, return_counts=True)[1]
    assert rule.sizes.tolist() == sorted(counts[counts > 1].tolist())
    assert rule.copies == (counts - 1).sum()


def test_the_largest_components_name_the_least_similarity_of_any_two(run):
    merges = read_merges(run)
    group = merges.groups[0]
    members = [group.kept, *group.dropped.tolist()]
    vectors = merges.evidence.vectors[members].astype(np.float32)
    assert group.least == pytest.approx(float((vectors @ vectors.T).min()))
    assert group.similarity.tolist() == pytest.approx((vectors[1:] @ vectors[0]).tolist(), abs=1e-6)
    assert [len(item.dropped) for item in merges.groups] == sorted(
        (len(item.dropped) for item in merges.groups), reverse=True
    )


def test_the_text_adds_up(looked):
    merges = read_merges(looked)
    text = merges_text(merges)
    bars = {
        name: re.search(rf"^  {name} .*$", text, re.MULTILINE)[0].split()[-len(merges.rules) :] for name, *_ in SIZES
    }
    for at, rule in enumerate(merges.rules):
        assert sum(int(bars[name][at].replace(",", "")) for name, *_ in SIZES) == len(rule.sizes)
        assert rule.sizes.sum() - len(rule.sizes) == rule.copies
    assert between(np.array([2, 2, 3, 300]), 256, 2**62) == 1


def test_the_page_shows_pairs_around_each_threshold_and_what_geometry_says(looked):
    merges = read_merges(looked)
    text = merges_page(looked, merges)
    page = Page(text)
    shown = page.pairs
    assert 0 < len(shown) <= 2 * SHOWN_PAIRS * len(merges.rules)
    assert shown.count("pair copy") > 0
    for wanted in ("probability 0.5", "probability 0.9, dedup.probability", "probability 0.98"):
        assert wanted in text
    assert sum(tag == "polygon" for tag, _ in page.tags) <= 2 * shown.count("pair copy")
    addresses = [attributes[name] for _, attributes in page.tags for name in ("href", "src") if name in attributes]
    assert all(address.startswith("data:image/") for address in addresses)
    assert "http" not in text.replace("http-equiv", "")
    assert "<script" not in text


def test_a_mark_from_outside_is_text(run):
    merges = read_merges(run)
    marked = [dataclasses.replace(rule, mark=HOSTILE) for rule in merges.rules]
    assert_harmless(merges_page(run, dataclasses.replace(merges, rules=marked)), times=2 * len(marked))


def test_what_geometry_saw_is_not_counted_once_it_is_turned_off(looked):
    config = json.loads(looked.config.model_dump_json(by_alias=True))
    plain = {**config, "dedup": {**config["dedup"], "verify": "off", "grouping": "components"}}
    stages = {row.stage for row in funnel(looked)}
    assert {"local_features", "verify_copies", "groups", "verify_kept"} < stages
    other = Run(looked.store.root, type(looked.config).model_validate(plain))
    assert {row.stage for row in funnel(other)} == stages - {"local_features", "verify_copies", "groups", "verify_kept"}


def test_pairs_below_the_probability_have_no_outlines(looked):
    merges = read_merges(looked)
    strict = dataclasses.replace(merges, settings=merges.settings.model_copy(update={"probability": 1.0}))
    page = Page(merges_page(looked, strict))
    equal_bytes = sum(value >= 1 for value in merges.pairs.value.tolist())
    assert page.pairs.count("pair copy") <= equal_bytes * len(merges.rules)
    assert page.pairs.count("pair other") > 0


def test_the_command_prints_the_table_and_where_the_page_is(run, lvd):
    answer = lvd("thresholds", run.store.root, "--filter", "dedup", "--plant", "0")
    assert answer.code == 0
    assert "  <- dedup.self.threshold" in answer.out
    assert answer.out.rstrip().endswith("report/thresholds-dedup.html")
    assert run.store.read_bytes("report/thresholds-dedup.html").decode() == merges_page(run, read_merges(run))
    refused = lvd("thresholds", run.store.root, "--filter", "dedup", "--collection", "seeds/seeds")
    assert (refused.code, refused.err) == (
        2,
        "lvd: --collection seeds/seeds: dedup looks at the pool; leave it out\n",
    )


def test_a_run_that_is_not_finished_so_far_is_one_line(tmp_path, run):
    root = shutil.copytree(run.store.root, tmp_path / "run")
    (root / "pool" / "copy_knn" / "part-00001.parquet").unlink()
    with pytest.raises(RunError, match="pool is not finished up to copy_knn; run `lvd curate --until copy_knn`"):
        read_merges(Run.load(str(root)))
    config = json.loads(run.config.model_dump_json(by_alias=True))
    other = Run(
        run.store.root, type(run.config).model_validate({**config, "dedup": {"verify": "geometry", "grouping": "star"}})
    )
    with pytest.raises(RunError, match="pool is not finished up to verify_copies"):
        read_merges(other)
