"""Settings: strict, explained, and read as YAML 1.2 has them."""

from pathlib import Path

import pytest

from curation.config import load_config, parse_config, parse_overrides, parse_yaml
from curation.errors import ConfigError

LEAST = {"pool": ["photos"], "seeds": [{"name": "birds", "data": "birds"}]}
CONFIGS = sorted((Path(__file__).parents[1] / "configs" / "curate").glob("*.yaml"))


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_shipped_configs_load_and_survive_a_round_trip(path):
    config = load_config(path)
    assert parse_config(parse_yaml(config.to_yaml())) == config


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("on", "on"),
        ("off", "off"),
        ("yes", "yes"),
        ("true", True),
        ("False", False),
        ("1e-3", 0.001),
        ("1.5", 1.5),
        (".5", 0.5),
        ("-3", -3),
        ("null", None),
        ("1.2.3", "1.2.3"),
        ("2026-11-21T", "2026-11-21T"),
        ("[a, 1]", ["a", 1]),
    ],
)
def test_scalars_are_those_of_yaml_1_2(text, value):
    read = parse_yaml(text)
    assert read == value
    assert type(read) is type(value)


def test_yaml_cannot_make_objects():
    with pytest.raises(Exception, match="could not determine a constructor"):
        parse_yaml("!!python/object/apply:os.getcwd []")


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
        ({"poool": 1}, "config: poool: unknown key; valid keys here: seed, pool, seeds"),
    ],
)
def test_a_mistake_says_where_it_is_and_what_would_be_right(changes, message):
    with pytest.raises(ConfigError) as error:
        parse_config(LEAST | changes)
    assert str(error.value).startswith(message)
    assert "\n" not in str(error.value)


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


def test_the_recipe_leaves_out_where_the_work_runs():
    one = parse_config(LEAST | {"runner": {"kind": "inline"}})
    other = parse_config(LEAST | {"runner": {"kind": "ray", "workers": 7}, "crawl": {"connect_to": {"a": "b:1"}}})
    assert one.recipe() == other.recipe()
    assert parse_config(LEAST | {"hash": {"radius": 3}}).recipe() != one.recipe()
