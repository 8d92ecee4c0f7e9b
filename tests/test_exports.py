"""What modules offer."""

import importlib
import pkgutil

import pytest

import curation
import pipelines
from curation.drops import DropReason
from curation.errors import ArgumentError, LvdError, PartsFailed, UserError

MODULES = sorted(
    module.name
    for package in (curation, pipelines)
    for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}.")
)


def _isort_key(name):
    """Constants, then classes, then functions: what ruff's RUF022 holds too."""
    kind = 0 if name.isupper() and len(name) > 1 else 1 if name[0].isupper() else 2
    return kind, name


@pytest.mark.parametrize("name", MODULES)
def test_what_a_module_exports_is_sorted_and_there(name):
    module = importlib.import_module(name)
    exported = list(getattr(module, "__all__", []))
    assert exported == sorted(exported, key=_isort_key)
    assert len(set(exported)) == len(exported)
    for item in exported:
        assert hasattr(module, item), item


def test_every_drop_reason_is_a_word_with_a_meaning():
    for reason in DropReason:
        assert reason.value == reason.name.lower()
        assert reason == reason.value
        assert reason.meaning
        assert "\n" not in reason.meaning
        assert isinstance(reason.transient, bool)
    assert DropReason.TIMEOUT.transient
    assert not DropReason.CORRUPT.transient


def test_errors_carry_their_exit_code_and_survive_pickling():
    import pickle

    assert LvdError("x").exit_code == 1
    assert UserError("x").exit_code == 2
    mistake = pickle.loads(pickle.dumps(ArgumentError("out", "a b", "is no folder")))
    assert (str(mistake), mistake.argument, mistake.exit_code) == ("out a b: is no folder", "out", 2)
    failed = PartsFailed({"b": "second", "a": "first"})
    again = pickle.loads(pickle.dumps(failed))
    assert (str(again), again.failures) == (str(failed), {"a": "first", "b": "second"})
    assert str(failed).startswith("a: first (and 1 more parts); finished parts are kept")
