"""Reads a config from YAML and the command line; every mistake is one line that says where and what to do."""

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError

from curation.config.run import Config
from curation.errors import ConfigError, cause_of

__all__ = ["laid_over", "load_config", "parse_config", "parse_overrides", "parse_yaml"]


def load_config(path: str | Path, overrides: Iterable[str] = ()) -> Config:
    """Read a YAML file, apply `a.b=value` overrides, and check everything once.

    Raises:
        ConfigError: the file is missing, is no YAML mapping, or a setting is unknown or of the wrong type.
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read ({cause_of(error)}); name a YAML config file") from error
    try:
        values = parse_yaml(text)
    except yaml.YAMLError as error:
        raise ConfigError(f"{path}: is not valid YAML ({cause_of(error)}); mend the file") from error
    if not isinstance(values, dict):
        raise ConfigError(f"{path}: holds no settings; it should map keys such as pool and seeds to values")
    return parse_config(laid_over(values, parse_overrides(overrides)), where=str(path))


def parse_config(values: Mapping[str, Any], where: str = "config") -> Config:
    """Check a mapping of settings; `where` is what errors call it.

    Raises:
        ConfigError: a setting is unknown (the valid ones are named), missing, or of the wrong type or range.
    """
    try:
        return Config.model_validate(dict(values))
    except ValidationError as error:
        raise ConfigError(f"{where}: {_explain(error)}") from error


class _Loader(yaml.SafeLoader):
    """YAML 1.2's scalars: `on` and `off` are words, `1e-3` is a number; PyYAML's own rules are those of YAML 1.1."""


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in rules if not tag.endswith((":bool", ":float"))]
    for first, rules in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:bool", re.compile(r"^(?:true|True|TRUE|false|False|FALSE)$"), list("tTfF")
)
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(
        r"^[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?$|^[-+]?\.(?:inf|Inf|INF)$|^\.(?:nan|NaN|NAN)$"
    ),
    list("-+.0123456789"),
)


def parse_yaml(text: str | bytes) -> Any:
    """Read YAML 1.2 scalars, mappings and lists; yaml.YAMLError if it is none."""
    return yaml.load(text, Loader=_Loader)  # a subclass of SafeLoader: no objects, no code


def parse_overrides(overrides: Iterable[str]) -> dict[str, Any]:
    """Turn `a.b=value` strings (values are YAML) into a nested mapping."""
    nested: dict[str, Any] = {}
    for override in overrides:
        key, equals, text = override.partition("=")
        if not equals or not all(key.split(".")):
            raise ConfigError(f"--set {override}: expected KEY=VALUE, as in --set dedup.self.threshold=0.6")
        try:
            value = parse_yaml(text)
        except yaml.YAMLError as error:
            raise ConfigError(f"--set {override}: the value is not valid YAML ({cause_of(error)})") from error
        *parents, leaf = key.split(".")
        level = nested
        for parent in parents:
            level = level.setdefault(parent, {})
            if not isinstance(level, dict):
                raise ConfigError(f"--set {override}: {parent} was already set to a single value")
        level[leaf] = value
    return nested


def laid_over(base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """A nested mapping with the values of another put in the place of its own, or beside them."""
    merged = dict(base)
    for key, value in changes.items():
        old = merged.get(key)
        merged[key] = laid_over(old, value) if isinstance(old, dict) and isinstance(value, dict) else value
    return merged


def _explain(error: ValidationError) -> str:
    """All problems in one line; an unknown key is answered with the valid ones."""
    problems = []
    for problem in error.errors(include_url=False):
        location = [part for part in problem["loc"] if part != "self_"]
        where = ".".join(str(part) for part in location)
        if problem["type"] == "extra_forbidden":
            problems.append(f"{where}: unknown key; valid keys here: {', '.join(_valid_keys(location[:-1]))}")
        elif problem["type"] == "missing":
            problems.append(f"{where}: missing; add it")
        elif problem["type"] == "value_error":
            problems.append(problem["msg"].removeprefix("Value error, "))
        else:
            problems.append(f"{where}: {problem['msg'][0].lower()}{problem['msg'][1:]} (got {problem['input']!r})")
    return "; ".join(problems)


def _valid_keys(location: Iterable[str | int]) -> list[str]:
    model: type[BaseModel] = Config
    for part in location:
        if isinstance(part, int):
            continue
        field = next(f for n, f in model.model_fields.items() if part in (n, f.alias))
        annotation: Any = field.annotation
        model = annotation if isinstance(annotation, type) else annotation.__args__[0]
    return [field.alias or name for name, field in model.model_fields.items()]
