"""Settings: strict, and explained."""

from pathlib import Path
from typing import get_args

import pytest
from pydantic import BaseModel

from curation.config import Config, Role, load_config, overridden, parse_config, parse_overrides, parse_yaml
from curation.config.renamed import KEYS, ROLES
from curation.errors import ConfigError

LEAST = {"pool": ["photos"], "seeds": [{"name": "birds", "data": "birds"}]}
CONFIGS = sorted((Path(__file__).parents[2] / "configs" / "curate").glob("*.yaml"))


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_shipped_configs_load_and_survive_a_round_trip(path):
    config = load_config(path)
    assert parse_config(parse_yaml(config.to_yaml())) == config


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"dedup": {"self": {"treshold": 1}}},
            "config: dedup.self.treshold: unknown key; valid keys here: enabled, threshold",
        ),
        (
            {"dedup": {"self": {"threshold": 2.0}}},
            "config: dedup.self.threshold: input should be less than or equal to 1",
        ),
        ({"parts": {"rows": "many"}}, "config: parts.rows: input should be a valid integer (got 'many')"),
        ({"pool": []}, "config: pool: list should have at least 1 item"),
        ({"seeds": [{"name": "birds"}]}, "config: seeds.0.data: missing; add it"),
        ({"seeds": [{"name": "../x", "data": "d"}]}, "config: seeds.0.name: string should match pattern"),
        (
            {"seeds": [{"name": "a", "data": "d"}, {"name": "a", "data": "e"}]},
            "config: seeds: the name 'a' is used twice; give each set its own",
        ),
        (
            {"dedup": {"normalise": {"first": 9, "last": 3}}},
            "config: dedup.normalise: first is 9 and last 3; last should be no smaller",
        ),
        ({"poool": 1}, "config: poool: unknown key; valid keys here: seed, pool, seeds"),
    ],
)
def test_a_mistake_says_where_it_is_and_what_would_be_right(changes, message):
    with pytest.raises(ConfigError) as error:
        parse_config(LEAST | changes)
    assert str(error.value).startswith(message)
    assert "\n" not in str(error.value)


def test_what_is_left_open_of_dedup_is_the_descriptors_own():
    own = parse_config(LEAST).dedup
    assert (own.verify, own.grouping, own.candidate_above, own.neighbours) == ("geometry", "star", 0.25, 16)
    assert (own.self_.threshold, own.relative.threshold) == (None, None)
    sscd = parse_config(LEAST | {"copy_descriptors": {"model": "sscd/disc_mixup"}, "dedup": {"verify": "off"}}).dedup
    assert (sscd.self_threshold, sscd.relative_threshold, sscd.neighbours) == (0.6, 0.45, 64)
    assert parse_config(LEAST | {"dedup": own.model_dump(by_alias=True)}).dedup == own


@pytest.mark.parametrize("model", ["lvd/lite0-copy", "timm/resnet50.a1_in1k"])
def test_the_plain_rule_is_refused_where_no_threshold_is_known_to_be_safe(model):
    values = LEAST | {"copy_descriptors": {"model": model}, "references": [{"name": "r", "data": "r"}]}
    with pytest.raises(ConfigError, match=rf"dedup\.self\.threshold: is missing; .* for {model} no threshold is known"):
        parse_config(values | {"dedup": {"verify": "off"}})
    with pytest.raises(ConfigError, match=r"dedup\.relative\.threshold: is missing"):
        parse_config(values | {"dedup": {"verify": "off", "self": {"threshold": 0.9}}})
    both = {"self": {"threshold": 0.9}, "relative": {"threshold": 0.8}}
    assert parse_config(values | {"dedup": {"verify": "off", **both}}).dedup.relative_threshold == 0.8


def test_a_similarity_is_no_threshold_where_pairs_are_looked_at():
    with pytest.raises(ConfigError, match=r"references\.r\.threshold: is for dedup\.verify: off"):
        parse_config(LEAST | {"references": [{"name": "r", "data": "r", "threshold": 0.5}]})


def test_overrides_nest_and_their_values_are_yaml():
    nested = parse_overrides(["dedup.self.threshold=0.7", "dedup.neighbours=8", "runner.kind=inline", "pool=[a, b]"])
    assert nested == {
        "dedup": {"self": {"threshold": 0.7}, "neighbours": 8},
        "runner": {"kind": "inline"},
        "pool": ["a", "b"],
    }


@pytest.mark.parametrize("override", ["threshold", "=3", "a..b=3", "a=1: 2: 3"])
def test_an_override_that_is_none_is_one_line(override):
    with pytest.raises(ConfigError, match=r"^--set "):
        parse_overrides([override])


def test_overrides_are_laid_over_what_a_file_says_one_after_the_other():
    values = {"dedup": {"self": {"threshold": 0.7}}, "head": None, "pool": ["a"]}
    changes = [
        "dedup.self.enabled=false",
        "dedup={neighbours: 8}",
        "dedup.neighbours=9",
        "head.min_score=1e-3",
        "pool=[b]",
    ]
    assert overridden(values, changes) == {
        "dedup": {"self": {"threshold": 0.7, "enabled": False}, "neighbours": 9},
        "head": {"min_score": 0.001},
        "pool": ["b"],
    }
    assert values == {"dedup": {"self": {"threshold": 0.7}}, "head": None, "pool": ["a"]}
    with pytest.raises(ConfigError, match=r"^--set pool\.0=c: pool was already set to a single value$"):
        overridden(values, ["pool.0=c"])


RENAMED = [
    ({"excludes": []}, "excludes: is now called exclude; rename it"),
    ({"copies": {}}, "copies: is now called copy_descriptors; rename it"),
    ({"semantic": {"enabled": True}}, "semantic: is now called semantic_dedup; rename it"),
    (
        {"semantic": {"widest": 0.5}},
        "semantic: is now called semantic_dedup; rename it; "
        "semantic.widest: is now called semantic_dedup.min_similarity_to_kept; rename it",
    ),
    (
        {"semantic_dedup": {"widest": 0.5}},
        "semantic_dedup.widest: is now called semantic_dedup.min_similarity_to_kept; rename it",
    ),
    ({"dedup": {"sure": 0.9}}, "dedup.sure: is now called dedup.probability; rename it"),
    ({"dedup": {"floor": 0.1}}, "dedup.floor: is now called dedup.candidate_above; rename it"),
    ({"dedup": {"top": 3}}, "dedup.top: is now called dedup.max_candidates; rename it"),
    ({"dedup": {"widest": 0.5}}, "dedup.widest: is now called dedup.min_similarity_to_kept; rename it"),
    ({"dedup": {"shard": 5}}, "dedup.shard: is now called dedup.partition; rename it"),
    ({"retrieval": {"shard": 5}}, "retrieval.shard: is now called retrieval.partition; rename it"),
    ({"quality": {"on": ["seeds"]}}, "quality.on.0: the role seeds is now called seed; rename it"),
    (
        {"safety": {"nsfw_on": ["references"]}},
        "safety.nsfw_on.0: the role references is now called reference; rename it",
    ),
    (
        {"safety": {"faces_on": ["pool", "excludes"]}},
        "safety.faces_on.1: the role excludes is now called exclude; rename",
    ),
]


@pytest.mark.parametrize(("changes", "message"), RENAMED, ids=[message.split("; ")[0] for _, message in RENAMED])
def test_an_old_name_is_answered_with_the_new_one(changes, message):
    with pytest.raises(ConfigError) as error:
        parse_config(LEAST | changes)
    assert str(error.value).startswith(f"config: {message}")
    assert "\n" not in str(error.value)


def test_new_names_are_those_of_settings_and_each_old_one_is_gone():
    def keys(model, prefix=""):
        for name, field in model.model_fields.items():
            yield prefix + (field.alias or name)
            if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
                yield from keys(field.annotation, f"{prefix}{field.alias or name}.")

    known = set(keys(Config))
    assert set(KEYS.values()) <= known
    assert not KEYS.keys() & known
    assert set(ROLES.values()) < set(get_args(Role))
    assert not ROLES.keys() & set(get_args(Role))


def test_the_recipe_leaves_out_where_the_work_runs():
    one = parse_config(LEAST | {"runner": {"kind": "inline"}})
    other = parse_config(LEAST | {"runner": {"kind": "ray", "workers": 7}, "crawl": {"connect_to": {"a": "b:1"}}})
    assert one.recipe() == other.recipe()
    assert parse_config(LEAST | {"hash": {"radius": 3}}).recipe() != one.recipe()


TWO = {"pool": ["photos"], "seeds": [{"name": "birds", "data": "b"}, {"name": "boats", "data": "b"}]}


def weighing(weights, **changes):
    return parse_config(TWO | {"selection": {"weights": weights}} | changes).selection


def test_weights_that_are_not_set_leave_no_trace():
    """Runs made before there were weights stay current: digests are of this mapping."""
    config = parse_config(TWO)
    assert config.selection.model_dump() == {"mode": "retrieval", "size": None, "picks": "random"}
    assert config.recipe()["selection"] == config.selection.model_dump()
    assert parse_yaml(config.to_yaml())["selection"] == config.selection.model_dump()


def test_weights_are_of_sources_and_the_others_share_one():
    settings = weighing({"birds": 1, "others": 3})
    assert settings.shares() == {"birds": 0.25, "others": 0.75}
    assert [settings.source_of(name) for name in ("birds", "boats", "")] == ["birds", "others", "others"]
    settings = parse_config(
        LEAST | {"selection": {"mode": "both", "size": 5, "weights": {"birds": 2, "balanced": 2}}}
    ).selection
    assert [settings.source_of(name) for name in ("birds", "")] == ["birds", "balanced"]
    config = parse_config(TWO | {"selection": {"weights": {"birds": 0.5, "boats": 1}}})
    assert parse_config(parse_yaml(config.to_yaml())) == config
    assert config.recipe()["selection"]["weights"] == {"birds": 0.5, "boats": 1}


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ({"boat": 1, "birds": 1}, "selection.weights.boat: chooses no images; did you mean boats? weights are for "),
        ({"balanced": 1, "others": 1}, "selection.weights.balanced: chooses no images; weights are for birds, boats, "),
        ({"birds": 1}, "selection.weights: none for boats; add one for each, or others for them together"),
        ({}, "selection.weights: none for birds, boats; "),
        ({"birds": 1, "boats": 1, "others": 1}, "selection.weights.others: every source has a weight of its own; "),
        ({"birds": -1, "others": 1}, "selection.weights.birds: input should be greater than 0 (got -1)"),
        ({"birds": 0, "others": 1}, "selection.weights.birds: input should be greater than 0 (got 0)"),
        ({"birds": float("nan"), "others": 1}, "selection.weights.birds: input should be a finite number (got nan)"),
        ({"birds": float("inf"), "others": 1}, "selection.weights.birds: input should be a finite number (got inf)"),
        ({"birds": "1", "others": 1}, "selection.weights.birds: input should be a valid number (got '1')"),
        ([1, 2], "selection.weights: input should be a valid dictionary (got [1, 2])"),
    ],
)
def test_weights_that_cannot_be_meant_are_one_line(weights, message):
    with pytest.raises(ConfigError) as error:
        weighing(weights)
    assert str(error.value).startswith(f"config: {message}")
    assert "\n" not in str(error.value)


def test_a_set_that_chooses_nothing_has_no_weight_and_sources_names_are_its_own():
    idle = [{"name": "birds", "data": "b"}, {"name": "boats", "data": "b", "retrieve": None}]
    with pytest.raises(ConfigError, match=r"selection\.weights\.boats: chooses no images; "):
        weighing({"birds": 1, "boats": 1}, seeds=idle)
    assert weighing({"birds": 1}, seeds=idle).shares() == {"birds": 1}
    taken = [{"name": "others", "data": "b"}]
    with pytest.raises(ConfigError, match=r"seeds: a set cannot be called 'others' with selection\.weights; "):
        weighing({"others": 1}, seeds=taken)
    assert parse_config(TWO | {"seeds": taken}).seeds[0].name == "others"


def test_a_checkpoint_is_no_copy_descriptor_of_the_familys_kind():
    def dedup(**copies):
        return parse_config({**LEAST, "copy_descriptors": copies}).dedup

    assert dedup(model="lvd/pretrain", weights="x.pt") == dedup(model="timm/resnet50", weights="x.pt")
    assert dedup(model="lvd/pretrain", weights="x.pt") != dedup()
