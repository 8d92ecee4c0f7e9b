"""Reads settings from YAML and the command line; every mistake is one line that says where and what to do.

One loader serves all settings: a run's `Config`, and the trainer's.
"""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from curation.config.renamed import ROLES, renamed_keys
from curation.config.run import Config
from curation.config.shipped import Job, config_file, shipped_configs
from curation.config.yaml_text import parse_yaml
from curation.errors import ConfigError, cause_of

__all__ = [
    "laid_over",
    "load_config",
    "load_settings",
    "overridden",
    "parse_config",
    "parse_overrides",
    "parse_settings",
]

Kind = TypeVar("Kind", bound=BaseModel)


def load_config(path: str | Path, overrides: Iterable[str] = ()) -> Config:
    """The config of a run, as `load_settings` reads it."""
    return load_settings(Config, path, overrides)


def parse_config(values: Mapping[str, Any], where: str = "config") -> Config:
    """The config of a run, as `parse_settings` checks it."""
    return parse_settings(Config, values, where)


def load_settings(kind: type[Kind], path: str | Path, overrides: Iterable[str] = (), *, job: Job = "curate") -> Kind:
    """Read a YAML file, or a config that lvd ships for the job, apply `a.b=value` overrides, and check everything once.

    Raises:
        ConfigError: the file is missing, is no YAML mapping, or a setting is unknown or of the wrong type.
    """
    try:
        text = config_file(path, job).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"{path}: cannot be read ({cause_of(error)}); name a YAML config file, or one of "
            f"{', '.join(shipped_configs(job))}, which lvd ships"
        ) from error
    values = parse_yaml(text, str(path))
    required = [name for name, field in kind.model_fields.items() if field.is_required()]
    if values is None and not required:  # all defaults
        values = {}
    if not isinstance(values, dict):
        keys = " and ".join((required or list(kind.model_fields))[:2])
        raise ConfigError(f"{path}: holds no settings; it should map keys such as {keys} to values")
    return parse_settings(kind, overridden(values, overrides), str(path))


def parse_settings(kind: type[Kind], values: Mapping[str, Any], where: str = "config") -> Kind:
    """Check a mapping of settings; `where` is what errors call it.

    Raises:
        ConfigError: a setting is unknown (the valid ones are named, or its new name), missing, or of the wrong type or
            range.
    """
    try:
        return kind.model_validate(dict(values))
    except ValidationError as error:
        problems = [text for problem in error.errors(include_url=False) for text in _explain(problem, kind)]
        raise ConfigError(f"{where}: {'; '.join(problems)}") from error


def parse_overrides(overrides: Iterable[str]) -> dict[str, Any]:
    """Turn `a.b=value` strings (values are YAML) into a nested mapping; ConfigError as `overridden`."""
    return overridden({}, overrides)


def overridden(values: Mapping[str, Any], overrides: Iterable[str]) -> dict[str, Any]:
    """A nested mapping with `a.b=value` strings (values are YAML) laid over it, one after the other.

    Raises:
        ConfigError: a string is no KEY=VALUE, its value no YAML, or its key below a single value.
    """
    result = dict(values)
    for override in overrides:
        key, equals, text = override.partition("=")
        keys = key.strip().split(".")
        if not equals or not all(keys):
            raise ConfigError(f"--set {override}: expected KEY=VALUE, as in --set dedup.self.threshold=0.6")
        level: Any = result
        for parent in keys[:-1]:
            level = level.get(parent)
            if level is None:
                break
            if not isinstance(level, dict):
                raise ConfigError(f"--set {override}: {parent} was already set to a single value")
        change = parse_yaml(text, f"--set {override}")
        for name in reversed(keys):
            change = {name: change}
        result = laid_over(result, change)
    return result


def laid_over(base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """A nested mapping with the values of another put in the place of its own, or beside them."""
    merged = dict(base)
    for key, value in changes.items():
        old = merged.get(key)
        merged[key] = laid_over(old, value) if isinstance(old, dict) and isinstance(value, dict) else value
    return merged


def _explain(problem: Mapping[str, Any], kind: type[BaseModel]) -> list[str]:
    """What is wrong with a setting and what would be right; of a renamed section, of all that is set in it."""
    location = [part for part in problem["loc"] if part != "self_"]
    where, given = ".".join(map(str, location)), problem["input"]
    if problem["type"] == "extra_forbidden":
        if new_names := renamed_keys(where, given):
            return [f"{old}: is now called {new}; rename it" for old, new in new_names.items()]
        return [f"{where}: unknown key; valid keys here: {', '.join(_valid_keys(kind, location[:-1]))}"]
    if problem["type"] == "missing":
        return [f"{where}: missing; add it"]
    if problem["type"] == "value_error":
        text = problem["msg"].removeprefix("Value error, ")
        return [text if text.startswith(where) or not where else f"{where}: {text}"]
    if problem["type"] == "literal_error" and isinstance(given, str) and f"'{ROLES.get(given)}'" in problem["msg"]:
        return [f"{where}: the role {given} is now called {ROLES[given]}; rename it"]
    return [f"{where}: {problem['msg'][0].lower()}{problem['msg'][1:]} (got {given!r})"]


def _valid_keys(kind: type[BaseModel], location: Sequence[str | int]) -> list[str]:
    model = kind
    for part in location:
        if isinstance(part, str):
            field = next(f for n, f in model.model_fields.items() if part in (n, f.alias))
            model = _section(field.annotation) or model
    return [field.alias or name for name, field in model.model_fields.items()]


def _section(annotation: Any) -> type[BaseModel] | None:
    """The settings that a field holds, by itself or in a list."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    arguments = (_section(argument) for argument in getattr(annotation, "__args__", ()))
    return next((section for section in arguments if section is not None), None)
