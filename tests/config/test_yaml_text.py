"""YAML 1.2, and what is refused of it."""

import pytest

from curation.config import dump_yaml, parse_yaml
from curation.errors import ConfigError


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
        ("2026-11-21", "2026-11-21"),
        ("012", 12),
        ("[a, 1]", ["a", 1]),
    ],
)
def test_scalars_are_those_of_yaml_1_2(text, value):
    read = parse_yaml(text)
    assert read == value
    assert type(read) is type(value)


def test_yaml_cannot_make_objects():
    with pytest.raises(ConfigError, match="could not determine a constructor"):
        parse_yaml("!!python/object/apply:os.getcwd []")


BOMB = "a0: &a0 [x, x]\n" + "".join(f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}]\n" for n in range(1, 40))
BAD = [
    ("a: [", "is not valid YAML (line 1: expected the node content, but found '<stream end>'); correct it"),
    ("a: 1\nb: 2\na: 3", "is not valid YAML (line 3: found duplicate key"),
    ("a: 1: 2", "is not valid YAML (line 1: mapping values are not allowed here); correct it"),
    ("--- 1\n--- 2", "is not valid YAML (line 2: but found another document); correct it"),
    ("\0", "is not valid YAML (unacceptable character #x0000"),
    ("!!int x", "is not valid YAML (invalid literal for int()"),
    ("[" * 1_000, "is not valid YAML (maximum recursion depth exceeded"),
    (BOMB, "its aliases stand for more than 100,000 values; write fewer"),
    ("&a [*a]", "its aliases stand for more than 100,000 values; write fewer"),
    ("&a {b: *a}", "its aliases stand for more than 100,000 values; write fewer"),
]


@pytest.mark.parametrize(("text", "message"), BAD, ids=[text[:20] for text, _ in BAD])
def test_what_is_no_yaml_or_stands_for_too_much_is_one_line(text, message):
    with pytest.raises(ConfigError) as error:
        parse_yaml(text, "my.yaml")
    assert str(error.value).startswith(f"my.yaml: {message}")
    assert "\n" not in str(error.value)


def test_aliases_stand_for_what_they_name():
    assert parse_yaml("a: &x [1, 2]\nb: *x\nc: {<<: {d: 1}}") == {"a": [1, 2], "b": [1, 2], "c": {"d": 1}}


VALUES = {
    "z": "on",
    "a": ["1e3", 1e-6, None, True, "2026-11-21", "012", "é", "", {"x": []}, "a: b", "null", float("inf")],
}


@pytest.mark.parametrize("flow", [False, True])
def test_what_is_written_is_read_back_in_its_order(flow):
    text = dump_yaml(VALUES, flow=flow)
    assert parse_yaml(text) == VALUES
    assert list(parse_yaml(text)) == ["z", "a"]
    assert not flow or text.count("\n") == 1
    assert dump_yaml(3, flow=flow) == "3\n"
