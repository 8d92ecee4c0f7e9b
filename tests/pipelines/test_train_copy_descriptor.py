"""`lvd train-copy-descriptor`: what it reads, how it stops and goes on, and what it refuses."""

import contextlib
import json
import os
import signal
import sys

import numpy as np
import pytest
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file

from curation.engine.progress import Quiet
from curation.errors import ConfigError, DatasetError, ModelError
from curation.models.copy.training import TrainSettings
from pipelines.cli import main
from pipelines.train_copy_descriptor import train_copy_descriptor

TINY = TrainSettings(steps=4, batch=4, sides=(32,), warmup=2, mix=0.3, backbone="test_resnet", dim=16)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Nine photos in three classes, one of them larger than photos are kept, and a file that is none."""
    root = tmp_path_factory.mktemp("photos")
    rng = np.random.default_rng(0)
    for number in range(9):
        side = 700 if number == 4 else 60
        path = root / f"class{number % 3}" / f"{number}.png"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (side, side + 10, 3)).astype(np.uint8)).save(path)
    (root / "class0" / "notes.txt").write_text("no picture")
    return str(root)


def train(folder, out, report=None, **options):
    return train_copy_descriptor([folder], str(out), settings=TINY, workers=0, report=report, **options)


class StopAt(Quiet):
    """Presses Ctrl-C once so many photos were trained on."""

    def __init__(self, photos):
        self.left = photos

    @contextlib.contextmanager
    def stage(self, name, rows):
        yield self if name == "training" else super().stage(name, rows).__enter__()

    def advance(self, rows, done):
        self.left -= rows
        if self.left == 0:
            os.kill(os.getpid(), signal.SIGINT)


def test_weights_come_with_their_settings_and_the_state_is_gone(folder, tmp_path):
    done = train(folder, tmp_path / "w.safetensors")
    assert (done.photos, done.refused, done.steps) == (9, 1, 4)
    assert [path.name for path in tmp_path.iterdir()] == ["w.safetensors"]
    with safe_open(done.weights, "pt") as file:
        training = json.loads(file.metadata()["training"])
    assert (training["steps"], training["step"], training["photos"], training["seed"]) == (4, 4, 9, 0)


def test_ctrl_c_ends_after_the_step_and_the_same_command_goes_on_to_the_same_weights(folder, tmp_path):
    whole = train(folder, tmp_path / "whole.safetensors")
    handler = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        train(folder, tmp_path / "w.safetensors", StopAt(2 * TINY.batch))
    assert signal.getsignal(signal.SIGINT) is handler
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "w.safetensors",
        "w.safetensors.state",
        "whole.safetensors",
    ]
    again = train(folder, tmp_path / "w.safetensors")
    assert again.loss == whole.loss
    assert (tmp_path / "w.safetensors").read_bytes() == (tmp_path / "whole.safetensors").read_bytes()
    assert not (tmp_path / "w.safetensors.state").exists()


def test_what_is_left_out_is_not_read_and_of_many_photos_an_even_selection_is(folder, tmp_path):
    assert train(folder, tmp_path / "a.safetensors", leave_out=["class1", "class2/2.png"]).photos == 5
    assert train(folder, tmp_path / "b.safetensors", limit=5).photos == 5


def test_a_run_may_start_with_earlier_weights(folder, tmp_path):
    first = train(folder, tmp_path / "a.safetensors").weights
    second = train(folder, tmp_path / "b.safetensors", start=str(first)).weights
    assert load_file(first).keys() == load_file(second).keys()
    assert first.read_bytes() != second.read_bytes()
    with pytest.raises(ConfigError, match="is no file"):
        train(folder, tmp_path / "c.safetensors", start=str(tmp_path / "none"))
    (tmp_path / "text.safetensors").write_text("no weights")
    with pytest.raises(ModelError, match="is damaged"):
        train(folder, tmp_path / "c.safetensors", start=str(tmp_path / "text.safetensors"))


def test_mistakes_are_refused_before_the_work(folder, tmp_path):
    (tmp_path / "there.safetensors").write_bytes(b"")
    (tmp_path / "urls.txt").write_text("https://example.org/a.jpg\n")
    for out, words in (
        ("w.pt", r"name a file that ends in .safetensors"),
        ("there.safetensors", "is there already, from a finished run"),
        ("none/w.safetensors", "is no folder; create it first"),
    ):
        with pytest.raises(ConfigError, match=f"^out .*{words}"):
            train(folder, tmp_path / out)
    with pytest.raises(DatasetError, match="1 usable photos, fewer than the 4 of one step"):
        train(folder, tmp_path / "w.safetensors", leave_out=["class0", "class1", "class2/2.png", "class2/5.png"])
    with pytest.raises(DatasetError, match="holds URLs, not images"):
        train(str(tmp_path / "urls.txt"), tmp_path / "w.safetensors")


def test_the_command_line_says_a_mistake_in_one_line(folder, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["lvd", "train-copy-descriptor", folder, "--out", str(tmp_path / "w.pt")])
    with pytest.raises(SystemExit) as exit_:
        main()
    assert exit_.value.code == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert error.startswith(f"lvd: --out {tmp_path / 'w.pt'}: weights are written as safetensors")
