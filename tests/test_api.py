"""The Python API: what is offered, that a name is never a module, and that the docs say the same."""

import ast
import importlib
import inspect
import re
import subprocess
import sys
from pathlib import Path

import pytest

import curation
import pipelines

PAGE = Path(__file__).parents[1] / "docs" / "python.md"
OFFERED = [(package, name) for package in (curation, pipelines) for name in package.__all__ if name[0] != "_"]
MODULES = {
    "curation": ["curation.search.kmeans", "curation.search.knn", "curation.search.copies", "curation.search.arrays"],
    "pipelines": [f"pipelines.{name}" for name in ("curate", "decontaminate", "dedup", "evaluate", "export")],
}
"""Modules whose names are, or could be, those of what is offered."""


def python(code):
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)


@pytest.mark.parametrize(("package", "name"), OFFERED, ids=lambda value: getattr(value, "__name__", value))
def test_a_name_is_a_function_or_a_class_with_a_docstring(package, name):
    offered = getattr(package, name)
    assert inspect.isfunction(offered) or inspect.isclass(offered)
    assert len(inspect.getdoc(offered)) > 80
    assert offered.__name__ == name
    assert name in dir(package)


@pytest.mark.parametrize("package", [curation, pipelines])
def test_names_are_sorted_and_others_are_refused(package):
    assert sorted(package.__all__, key=lambda name: (not name[0].isupper(), name)) == package.__all__
    with pytest.raises(AttributeError, match=f"module '{package.__name__}' has no attribute 'nonsense'"):
        package.nonsense  # noqa: B018
    with pytest.raises(ImportError):
        exec(f"from {package.__name__} import nonsense")


@pytest.mark.slow
@pytest.mark.parametrize("package", ["curation", "pipelines"])
def test_whatever_was_imported_before_a_name_is_never_a_module(package):
    """The names first, then the modules; each module first.

    Each order in a process of its own, forked from one that has loaded what they all need of other packages.
    """
    orders = [
        ["check()", f"import {', '.join(MODULES[package])}"],
        *([f"import {module}"] for module in MODULES[package]),
    ]
    done = python(
        f"""
import os, sys, types
import cv2, faiss, matplotlib, numpy, pyarrow.parquet, pydantic, rich.progress, scipy.sparse, skimage, timm, torch

def check():
    for name in {[name for name in importlib.import_module(package).__all__ if name[0] != "_"]!r}:
        scope = {{}}
        exec(f"from {package} import {{name}}", scope)
        for offered in (scope[name], getattr(sys.modules[{package!r}], name)):
            assert not isinstance(offered, types.ModuleType), name
            assert offered.__name__ == name

assert {package!r} not in sys.modules
for order in {orders!r}:
    child = os.fork()
    if not child:
        exec("\\n".join([*order, "check()"]))
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0, order
"""
    )
    assert done.returncode == 0, done.stderr


def test_offering_the_names_loads_nothing_large():
    heavy = ("torch", "faiss", "cv2", "ray", "pyarrow", "numpy", "typer")
    done = python(f"import sys, curation, pipelines; print([name for name in {heavy!r} if name in sys.modules])")
    assert done.stdout.strip() == "[]", done.stderr


def test_vectors_are_searched_without_the_trainer():
    done = python("import sys; from curation import knn; print('curation.dinov2' in sys.modules)")
    assert done.stdout.strip() == "False", done.stderr


def documented():
    """By name, what the page says of it: from its heading to the next."""
    sections = re.split(r"^### `(\w+)`\n", PAGE.read_text(), flags=re.MULTILINE)
    return dict(zip(sections[1::2], sections[2::2], strict=True))


def test_the_page_documents_what_is_offered_and_nothing_else():
    assert sorted(documented()) == sorted(name for _, name in OFFERED)


@pytest.mark.parametrize(("package", "name"), OFFERED, ids=lambda value: getattr(value, "__name__", value))
def test_the_page_has_the_signature_of_the_code(package, name):
    offered = getattr(package, name)
    text = re.search(r"^```python\n(.*?)^```", documented()[name], re.DOTALL | re.MULTILINE)[1]
    function = ast.parse(f"def {text.strip()}: ...").body[0].args
    shown = [argument.arg for argument in (*function.args, *function.kwonlyargs)]
    defaults = [ast.literal_eval(value) for value in (*function.defaults, *filter(None, function.kw_defaults))]
    parameters = inspect.signature(offered).parameters.values()
    assert shown == [parameter.name for parameter in parameters]
    assert defaults == [parameter.default for parameter in parameters if parameter.default is not parameter.empty]
    keywords = [parameter.name for parameter in parameters if parameter.kind is parameter.KEYWORD_ONLY]
    assert [argument.arg for argument in function.kwonlyargs] == keywords
