"""Every module says what it offers."""

import importlib
import pkgutil

import pytest

import curation.dinov2

MODULES = [info.name for info in pkgutil.walk_packages(curation.dinov2.__path__, "curation.dinov2.") if not info.ispkg]


@pytest.mark.parametrize("name", MODULES)
def test_a_module_lists_its_members_in_order(name: str) -> None:
    module = importlib.import_module(name)
    assert module.__all__ == sorted(module.__all__)
    assert all(hasattr(module, member) for member in module.__all__)
