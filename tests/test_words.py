"""One word for one thing: none of the words that the project has given up."""

import dataclasses
import importlib
import pkgutil
import re

import pydantic
import pytest

import curation
import pipelines
from curation.config import Config
from curation.dinov2.config import PretrainConfig
from curation.pipeline import CURATE, DECONTAMINATE
from curation.stages.dedup.dedup import Verdicts
from curation.stages.dedup.evidence import Evidence

STAGES = {
    *("links", "unique", "listing", "samples", "copies", "near", "features", "verified", "unwanted", "alike"),
    *("semantic", "tree", "neighbours", "matches"),
}
KEYS = {"excludes", "sure", "floor", "top", "widest", "copies", "semantic", "shard"}
MODULES = {
    *("describe", "matches", "places", "stored", "fitted", "exhibits", "clean", "unwanted", "gang", "share", "near"),
    *("storage", "rundir", "clustering", "geometry", "utils"),
}
WORDS = {"gang", "exhibits", "told", "found", "some", "fix", "reckoned", "fitted", "unwanted", "alike", "leaks"}
NAMES = {"Gang", "Member", "Share", "Draw", "Kept", "Wanted", "Describe", "Matches"}
MODULE_NAMES = [
    module.name
    for package in (curation, pipelines)
    for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}.")
]


def keys_of(model):
    """All keys of a settings model, by name and by alias, at every depth."""
    for name, field in model.model_fields.items():
        yield field.alias or name
        for kind in _models_in(field.annotation):
            yield from keys_of(kind)


def _models_in(annotation):
    if isinstance(annotation, type) and issubclass(annotation, pydantic.BaseModel):
        yield annotation
    for argument in getattr(annotation, "__args__", ()):
        yield from _models_in(argument)


def words_of(name):
    """The words of a name, whether it is written CamelCase, snake_case or UPPER_CASE."""
    return [word.lower() for word in re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+", name)]


def test_no_stage_has_an_old_name():
    assert not STAGES & {*CURATE.names, *DECONTAMINATE.names}


@pytest.mark.parametrize("model", [Config, PretrainConfig])
def test_no_setting_has_an_old_name(model):
    assert not KEYS & set(keys_of(model))


def test_no_module_has_an_old_name():
    assert [name for name in MODULE_NAMES if name.rpartition(".")[2] in MODULES] == []


@pytest.mark.parametrize("name", MODULE_NAMES)
def test_no_public_name_has_an_old_word(name):
    module = importlib.import_module(name)
    assert [
        public for public in getattr(module, "__all__", ()) if public in NAMES or WORDS & set(words_of(public))
    ] == []


def test_fields_of_dedup_are_called_as_the_design_says():
    assert next(field.name for field in dataclasses.fields(Verdicts)) == "representative"
    assert "reference_images" in [field.name for field in dataclasses.fields(Evidence)]
