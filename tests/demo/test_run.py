"""The demo as a whole."""

import io
import json

import pytest
from rich.console import Console

from curation.config import load_config
from curation.engine.progress import Quiet
from curation.errors import RunError
from pipelines.demo import run as demo_run
from pipelines.demo.check import Finding
from pipelines.demo.show import show
from pipelines.demo.truth import Kind

LVD142M = demo_run.CONFIG.with_name("lvd142m.yaml")


@pytest.fixture
def quick_web(monkeypatch):
    """A web that is made in no time, and is nothing but a file."""

    def make_web(folder, seed):
        (folder / "truth.parquet").write_text(str(seed))

    monkeypatch.setattr(demo_run, "make_web", make_web)
    monkeypatch.setattr(demo_run, "read_truth", lambda path: [])


def test_the_web_is_made_once_beside_the_run(tmp_path, quick_web):
    web = demo_run._web_beside(tmp_path / "demo", 3, Quiet())
    assert web.folder == tmp_path / "demo-web"
    assert json.loads((web.folder / "web.json").read_text()) == {"seed": 3, "version": demo_run.VERSION}
    (web.folder / "truth.parquet").write_text("kept")
    demo_run._web_beside(tmp_path / "demo", 3, Quiet())
    assert (web.folder / "truth.parquet").read_text() == "kept"


def test_a_half_made_web_is_made_again(tmp_path, quick_web):
    half = tmp_path / "demo-web-in-the-making"
    half.mkdir()
    (half / "rest").write_text("of a run that was killed")
    web = demo_run._web_beside(tmp_path / "demo", 0, Quiet())
    assert sorted(path.name for path in web.folder.iterdir()) == ["truth.parquet", "web.json"]
    assert not half.exists()


@pytest.mark.parametrize("content", ["another seed", "something else"])
def test_a_folder_that_is_not_this_demos_web_is_left_alone(tmp_path, quick_web, content):
    if content == "another seed":
        demo_run._web_beside(tmp_path / "demo", 1, Quiet())
    else:
        (tmp_path / "demo-web").mkdir()
        (tmp_path / "demo-web" / "thesis.tex").write_text("precious")
    before = sorted((tmp_path / "demo-web").iterdir())
    with pytest.raises(RunError, match="is not the demo's web of seed 0; remove it, or choose another `out`"):
        demo_run._web_beside(tmp_path / "demo", 0, Quiet())
    assert sorted((tmp_path / "demo-web").iterdir()) == before


def test_the_papers_numbers_add_up():
    """Table 15 of arXiv 2304.07193: the nominal total follows from the config and the seed counts alone."""
    config = load_config(LVD142M)
    images = {"imagenet22k": 14_197_086, "imagenet1k": 1_281_167, "gldv2-clean": 1_580_470, "mapillary-sls": 1_434_262}
    below_cap = {"amstertime-new": 960_000, "amstertime-old": 830_000}
    total = 0
    for seed in config.seeds:
        total += images[seed.name] if seed.as_is else 0
        if seed.retrieve == "sample":
            total += images[seed.name] * seed.neighbours
        elif seed.retrieve == "cluster":
            total += below_cap.get(seed.name, seed.cap)
            assert (seed.per_cluster, seed.min_seed_images) == (10_000, 3)
    assert total == 142_109_386
    assert (config.dedup.self_.threshold, config.dedup.relative.threshold, config.dedup.neighbours) == (0.6, 0.45, 64)
    assert config.clusters.count == 100_000
    assert config.embed.model == "timm/vit_huge_patch14_gap_224.in22k_ijepa"


def test_the_check_is_shown_with_urls_to_ask_about():
    console = Console(width=200, record=True, file=io.StringIO())
    missed = Finding("near copies caught", 100, 90, ">= 95%", False, examples=("http://a.example/1.jpg",))
    show([Finding(Kind.EXACT_COPY, 5, 4, reasons={"copy": 4}), missed], console)
    text = console.export_text()
    assert "exact_copy" in text
    assert "4 copy" in text
    assert "90.00%" in text
    assert "MISSED" in text
    assert "near copies caught, for example: http://a.example/1.jpg" in text


@pytest.mark.slow
def test_the_demo_reaches_its_targets_and_again_does_nothing(tmp_path):
    out = tmp_path / "demo"
    result = demo_run.demo(str(out), overrides=["runner.kind=inline"])
    assert [(finding.what, finding.examples) for finding in result.missed] == []
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*") if path.is_file() and path.name != "config.yaml"}
    again = demo_run.demo(str(out), overrides=["runner.kind=inline"])
    after = {path: path.stat().st_mtime_ns for path in out.rglob("*") if path.is_file() and path.name != "config.yaml"}
    assert after == before
    assert again.findings == result.findings
