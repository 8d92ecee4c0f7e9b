"""`lvd plan`: the paper's table from seed counts alone, and a cost that follows from its arguments."""

import json
from pathlib import Path

import pytest

from curation.config import load_config
from curation.errors import ConfigError
from pipelines.plan import Machine, plan

LVD142M = str(Path(__file__).parents[2] / "configs" / "curate" / "lvd142m.yaml")
DINOV3 = str(Path(__file__).parents[2] / "configs" / "curate" / "dinov3_mix.yaml")


def test_table_15_follows_from_the_config_to_the_image(lvd):
    answer = lvd("plan", LVD142M, "--json")
    assert answer.code == 0
    result = json.loads(answer.out)
    assert result["nominal"] == 142_109_386
    rows = {(row["seed_set"], row["how"]): row for row in result["composition"]}
    assert len(rows) == 3 + 3 + 21
    assert rows["imagenet22k", "as_is"]["nominal"] == rows["imagenet22k", "as_is"]["unique"] == 14_197_086
    assert rows["imagenet22k", "sample"]["nominal"] == 56_788_344
    assert rows["imagenet1k", "sample"]["nominal"] == 40_997_344
    assert rows["gldv2-clean", "sample"]["nominal"] == 6_321_880
    assert rows["mapillary-sls", "as_is"]["nominal"] == 1_434_262
    assert (rows["amstertime-new", "cluster"]["nominal"], rows["amstertime-old", "cluster"]["nominal"]) == (
        960_000,
        830_000,
    )
    at_cap = [row for (_, how), row in rows.items() if how == "cluster" and row["nominal"] == 1_000_000]
    assert len(at_cap) == 19
    assert [row["unique"] for row in at_cap] == [None] * 19  # known only once it has been run
    assert (rows["met", "cluster"]["images"], rows["caltech101", "cluster"]["images"]) == (397_121, 3_030)


def test_the_tables_say_what_is_a_bound_and_what_was_assumed(lvd):
    answer = lvd("plan", LVD142M, "--images", "1.2e9", "--nodes", "20")
    assert answer.code == 0
    assert "142,109,386" in answer.out
    assert "of batches" not in answer.out  # no weights are set
    assert "<= 7,570,000" in answer.out  # Caltech-101: 3,030 // 4 clusters of 10,000
    assert "960,000" in answer.out
    assert "were measured" in answer.out
    assert "gpu_tflops=50" in answer.out


def test_a_set_at_hand_is_counted_and_one_that_is_not_is_named(lvd, dataset, tmp_path):
    config = tmp_path / "c.yaml"
    config.write_text(f"pool: [{dataset.pool}]\nseeds: [{{name: birds, data: {dataset.seeds}, neighbours: 5}}]\n")
    assert json.loads(lvd("plan", config, "--json").out)["nominal"] == 8 * 5
    config.write_text("pool: [x]\nseeds: [{name: birds, data: nowhere}]\n")
    answer = lvd("plan", config)
    assert (answer.code, answer.err.count("\n")) == (2, 1)
    assert answer.err.startswith("lvd: plan.images.birds: missing, and the set cannot be counted")
    assert json.loads(lvd("plan", config, "--set", "plan.images.birds=7", "--json").out)["nominal"] == 28


def test_twice_the_nodes_take_half_the_time_and_no_gpu_takes_longer():
    config = load_config(LVD142M)
    one = plan(config, 1e9, 10).costs
    two = plan(config, 1e9, 20).costs
    assert [cost.hours for cost in two] == [pytest.approx(cost.hours / 2) for cost in one]
    assert [cost.bytes for cost in two] == [cost.bytes for cost in one]
    assert all(cost.hours > 0 and cost.bytes > 0 for cost in one)
    stages = ["fetch", "decode", "copy_knn", "embeddings", "clusters", "seed_knn", "export"]
    assert [cost.step for cost in one] == stages
    slow = plan(config, 1e9, 10, Machine(gpus=0)).costs
    assert sum(cost.hours for cost in slow) > sum(cost.hours for cost in one)
    embeddings = next(cost for cost in one if cost.step == "embeddings")
    assert embeddings.hours == pytest.approx(embeddings.images * 334e9 / (80 * 50e12) / 3600)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--machine", "gpuz=1"), "lvd: --machine gpuz=1: unknown key; valid keys are cores, gpus, pass_images"),
        (("--machine", "gpus=many"), "lvd: --machine gpus=many: expected KEY=NUMBER"),
        (("--machine", "cores=0"), "lvd: --machine cores=0: must be above 0"),
        (("--images", "0"), "lvd: --images 0 --nodes 1: both must be at least 1"),
        (("--images", "10", "--nodes", "0"), "lvd: --images 10 --nodes 0: both must be at least 1"),
    ],
)
def test_what_cannot_be_meant_is_one_line(lvd, arguments, message):
    answer = lvd("plan", LVD142M, *arguments)
    assert (answer.code, answer.out) == (2, "")
    assert answer.err.startswith(message)
    assert answer.err.count("\n") == 1


def test_settings_of_the_plan_change_no_result():
    assert load_config(LVD142M).recipe() == load_config(LVD142M, ["plan.kept=0.3"]).recipe()
    with pytest.raises(ConfigError, match=r"plan\.kept"):
        load_config(LVD142M, ["plan.kept=0"])


def test_the_mix_of_dinov3_loads_and_brings_in_what_its_paper_says(lvd):
    answer = lvd("plan", DINOV3, "--json")
    assert answer.code == 0
    rows = {(row["seed_set"], row["how"]): row for row in json.loads(answer.out)["composition"]}
    assert (rows["", "balanced"]["nominal"], rows["", "balanced"]["unique"]) == (1_689_000_000, None)
    assert [how for set_, how in rows if set_ == "mapillary-sls"] == ["as_is"]
    assert [how for set_, how in rows if set_ == "imagenet1k"] == ["as_is"]  # what is near to it is another source
    assert json.loads(answer.out)["weights"] == {"imagenet1k": 0.1, "others": 0.9}
    assert load_config(DINOV3).hierarchy.levels == [200_000_000, 8_000_000, 800_000, 100_000, 25_000]
    answer = lvd("plan", DINOV3)
    assert answer.code == 0
    assert "give its number with --images" in answer.out
    lines = [line.split() for line in answer.out.splitlines()]
    others = sum(row["nominal"] for row in rows.values()) - 1_281_167
    assert ["imagenet1k", "1,281,167", "0.1", "10.0%"] in lines
    assert ["others", "<=", f"{others:,}", "0.9", "90.0%"] in lines


def test_the_hierarchy_alone_takes_nothing_from_seeds_but_as_they_are():
    config = load_config(DINOV3, ["selection.mode=hierarchical", "selection.size=1000"])
    result = plan(config, 5e6, 1)
    assert [(row.seed_set, row.how, row.nominal) for row in result.rows] == [
        ("imagenet22k", "as_is", 14_197_086),
        ("mapillary-sls", "as_is", 1_434_262),
        ("imagenet1k", "as_is", 1_281_167),
        ("", "balanced", 1000),
    ]
    assert result.rows[-1].exact
    assert plan(load_config(DINOV3, ["selection.size=1000"]), 100, 1).rows[-1].nominal == 100  # it gives all it has


def test_the_hierarchys_cost_is_that_of_its_products():
    levels = ["selection.mode=hierarchical", "hierarchy.levels=[1000,10]", "hierarchy.resamplings=2"]
    config = load_config(DINOV3, [*levels, "clusters.iterations=5", "plan.kept=1.0"])
    machine = Machine(cores=1, gpus=0, core_gflops=1, dim=10)
    tree = next(cost for cost in plan(config, 100_000, 1, machine).costs if cost.step == "hierarchy")
    lowest = 1000 * 100_000 * (5 + 2 * (1 + 0.5 * 5)) + 1000 * 100_000  # k-means, two rounds on half, all assigned
    top = 10 * 1000 * (5 + 2 * (1 + 0.5 * 5))
    assert tree.hours == pytest.approx(2 * 10 * (lowest + top) / 1e9 / 3600)
    assert tree.bytes == 100_000 * (2 * 4 + 4)
    without = plan(load_config(LVD142M), 1e6, 1)
    assert "hierarchy" not in [cost.step for cost in without.costs]
