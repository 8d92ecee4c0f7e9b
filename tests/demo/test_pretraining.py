"""What the demo trains on its shards at the end."""

import io
import json
import math
import shutil

import pytest
from rich.console import Console
from skimage import data
from typer.testing import CliRunner

from curation.config import parse_config
from curation.errors import ConfigError, RunError
from curation.run.directory import Run
from pipelines.cli import app
from pipelines.commands import curation as commands
from pipelines.demo import pretraining
from pipelines.demo import run as demo_run
from pipelines.demo.pretraining import pretrain_on_shards
from pipelines.demo.show import show_pretraining
from tests.dinov2.data.made import shards, write_shards

FEW = ["optim.epoch_length=7", "log.every=1", "optim.batch_size=4"]


@pytest.fixture
def run(tmp_path):
    shards(tmp_path / "shards", [6, 5])
    return tmp_path


def changed(run):
    return {path: path.stat().st_mtime_ns for path in (run / pretraining.FOLDER).rglob("*") if path.is_file()}


def test_it_leaves_a_checkpoint_and_a_log_and_does_nothing_again(run):
    done = pretrain_on_shards(str(run), FEW)
    assert (done.steps, done.checkpoint.name) == (7, "step-00000007.pt")
    lines = [json.loads(line) for line in done.log.read_text().splitlines()]
    assert [line["step"] for line in lines] == list(range(7))
    totals = [line["loss/total"] for line in lines]
    assert done.losses["loss/total"] == (pytest.approx(sum(totals[:3]) / 3), pytest.approx(sum(totals[-3:]) / 3))
    assert done.plateau == pytest.approx(math.log(128))
    before = changed(run)
    assert pretrain_on_shards(str(run), FEW) == done
    assert changed(run) == before


def test_other_shards_or_settings_are_trained_on_from_the_start(run):
    first = pretrain_on_shards(str(run), FEW)
    shutil.rmtree(run / "shards")
    shards(run / "shards", [9])
    second = pretrain_on_shards(str(run), FEW)
    third = pretrain_on_shards(str(run), [*FEW, "seed=5"])
    assert len({str(done.losses) for done in (first, second, third)}) == 3


def test_without_shards_it_says_so(tmp_path):
    with pytest.raises(RunError, match=r"manifest\.json: cannot be read: No such file"):
        pretrain_on_shards(str(tmp_path), FEW)
    with pytest.raises(ConfigError, match=r"optim\.speed: unknown key; valid keys here: epochs, "):
        pretrain_on_shards(str(tmp_path), ["optim.speed=3"])


def test_the_losses_are_shown_with_what_was_written(run):
    done = pretrain_on_shards(str(run), FEW)
    console = Console(width=200, record=True, file=io.StringIO())
    show_pretraining(done, console)
    text = console.export_text()
    first, last = done.losses["loss/dino"]
    assert [f"{first:.2f}", f"{last:.2f}", "4.85"] == next(
        line for line in text.splitlines() if "dino" in line
    ).split()[1:4]
    assert f"7 steps of DINOv2: {done.checkpoint}, {done.log}" in text


@pytest.mark.parametrize("option", ["--pretrain", "--no-pretrain"])
def test_no_pretrain_leaves_it_out(run, monkeypatch, option):
    """The curation is done already here: only what comes after it is looked at."""
    curated = Run(str(run), parse_config({"pool": ["p"], "seeds": []}))
    monkeypatch.setattr(demo_run, "demo", lambda out, **_: demo_run.Demo(curated, []))
    for name in ("funnel", "print_funnel", "read_composition", "print_composition"):
        monkeypatch.setattr(commands, name, lambda *_: None)
    monkeypatch.setattr(commands, "_pretrain", lambda out: print(f"trained on {out}"))
    result = CliRunner().invoke(app, ["demo", "--out", str(run), option])
    assert result.exit_code == 0, result.output
    assert (f"trained on {run}" in result.output) == (option == "--pretrain")


@pytest.mark.slow
def test_the_dino_loss_leaves_the_plateau_that_it_begins_on(tmp_path):
    """Crops of four photographs: after 60 steps the student tells prototypes apart, and uses many of them."""
    from PIL import Image

    contents = []
    for photo in (data.chelsea(), data.coffee(), data.astronaut(), data.rocket()):
        for left in range(0, 160, 10):
            buffer = io.BytesIO()
            Image.fromarray(photo[left : left + 200, left : left + 200]).resize((64, 64)).save(buffer, "JPEG")
            contents.append(buffer.getvalue())
    write_shards(tmp_path / "shards", [contents])
    done = pretrain_on_shards(str(tmp_path), ["log.health_every=59"])
    assert done.losses["loss/dino"][1] < done.plateau - 0.5
    lines = [json.loads(line) for line in done.log.read_text().splitlines()]
    (health,) = [line for line in lines if line["step"] == 59 and "health/prototype_entropy" in line]
    assert health["health/prototype_entropy"] > done.plateau - 1
    assert health["health/target_entropy"] < done.plateau - 0.5
