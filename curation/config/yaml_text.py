"""Reads and writes YAML 1.2: `on` and `off` are words, `1e-3` is a number, and nothing in a file can make an object."""

import io
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.constructor import SafeConstructor

from curation.errors import ConfigError, cause_of

__all__ = ["dump_yaml", "parse_yaml"]

MOST_VALUES = 100_000
"""Values that a file may stand for once its aliases are followed; a few lines can otherwise stand for billions."""


class _Constructor(SafeConstructor):
    """The types of YAML 1.2's core schema, which has no dates."""


_Constructor.add_constructor("tag:yaml.org,2002:timestamp", SafeConstructor.construct_yaml_str)


def parse_yaml(text: str | bytes, where: str = "config") -> Any:
    """Read scalars, mappings and lists.

    Raises:
        ConfigError: it is no YAML, or its aliases stand for itself or for too much; `where` is what the error calls it.
    """
    reader = YAML(typ="safe", pure=True)
    reader.Constructor = _Constructor
    try:
        values = reader.load(text)
        if _count(values, {}) > MOST_VALUES:
            raise ConfigError(f"{where}: its aliases stand for more than {MOST_VALUES:,} values; write fewer")
    except ConfigError:
        raise
    except Exception as error:  # the library's own errors, ValueError of a forced tag, RecursionError of deep nesting
        raise ConfigError(f"{where}: is not valid YAML ({_cause(error)}); correct it") from error
    return values


def dump_yaml(values: Any, *, flow: bool = False) -> str:
    """Text that `parse_yaml` reads back to equal values, keys in their order; `flow` puts it all on one line."""
    writer = YAML(typ="safe", pure=True)
    writer.default_flow_style = flow
    writer.sort_base_mapping_type_on_output = False  # type: ignore[assignment]  # it is typed as None alone
    writer.width = 1 << 20 if flow else 120
    text = io.StringIO()
    writer.dump(values, text)
    return text.getvalue().removesuffix("...\n")


def _count(value: Any, known: dict[int, int]) -> int:
    """Values that `value` stands for; each list and mapping is looked at once, however often it is referred to."""
    if not isinstance(value, dict | list):
        return 1
    if id(value) not in known:
        known[id(value)] = MOST_VALUES + 1  # what it counts as inside itself
        items = value.values() if isinstance(value, dict) else value
        known[id(value)] = 1 + sum(_count(item, known) for item in items)
    return known[id(value)]


def _cause(error: Exception) -> str:
    """Where and what, without the library's advice to its callers."""
    problem, mark = getattr(error, "problem", None), getattr(error, "problem_mark", None)
    if problem is None or mark is None:
        return cause_of(error)
    return f"line {mark.line + 1}: {' '.join(problem.split())[:200]}"
