"""The page on the architecture, the import contract and the folders say the same."""

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]


def contracts():
    with (ROOT / "pyproject.toml").open("rb") as file:
        return tomllib.load(file)["tool"]["importlinter"]["contracts"]


def test_the_page_lists_the_layers_of_the_contract_in_their_order():
    page = (ROOT / "docs" / "architecture.md").read_text().split("\n## Layers\n")[1].split("\n## ")[0]
    listed = re.findall(r"^(\w+) {2,}\S", page.split("```")[1], re.MULTILINE)
    (layers,) = [contract["layers"] for contract in contracts() if contract.get("containers") == ["curation"]]
    assert listed == ["pipelines", *layers]


def test_every_package_is_in_the_contract():
    (contract,) = [contract for contract in contracts() if contract.get("containers") == ["curation"]]
    folders = {path.parent.name for path in (ROOT / "curation").glob("*/__init__.py")}
    files = {path.stem for path in (ROOT / "curation").glob("*.py")} - {"__init__"}
    assert {*folders, *files} == set(contract["layers"])
    assert contract["exhaustive"]


def test_files_that_the_page_names_are_there():
    page = (ROOT / "docs" / "architecture.md").read_text()
    named = re.findall(r"`((?:curation|pipelines|engine|run|models|stages)/[\w/]+(?:\.py|/))`", page)
    assert named
    for name in named:
        assert (ROOT / name).exists() or (ROOT / "curation" / name).exists(), name


def test_tests_mirror_the_package():
    for folder in (ROOT / "curation").rglob("__init__.py"):
        package = folder.parent.relative_to(ROOT / "curation")
        assert (ROOT / "tests" / package).is_dir() or package.parts[0] == "pipeline", f"no tests for {package}"


def test_no_module_is_longer_than_350_lines():
    files = [path for folder in ("curation", "pipelines") for path in (ROOT / folder).rglob("*.py")]
    assert [str(path) for path in files if len(path.read_text().splitlines()) > 350] == []
