"""What a run writes down."""

import json
import sys
from pathlib import Path

import pytest

from curation.dinov2.config import LogConfig
from curation.dinov2.record import Recorder
from curation.errors import ExtraError


def recorder(out: Path, start: int = 0, active: bool = True, **settings: object) -> Recorder:
    return Recorder(str(out), LogConfig.model_validate(settings), total=10, start=start, active=active)


def steps(out: Path) -> list[int]:
    return [json.loads(line)["step"] for line in (out / "log.jsonl").read_text().splitlines()]


def test_a_resumed_run_rewrites_the_lines_after_its_checkpoint(tmp_path: Path) -> None:
    with recorder(tmp_path) as record:
        for step in range(5):
            record.line(step, {"loss": 1.0})
    with (tmp_path / "log.jsonl").open("a") as file:
        file.write('{"step": 5, "lo')  # killed in the middle of a line
    with recorder(tmp_path, start=3) as record:
        assert steps(tmp_path) == [0, 1, 2]
        record.line(3, {"loss": 2.0})
    assert steps(tmp_path) == [0, 1, 2, 3]


def test_other_ranks_write_nothing(tmp_path: Path) -> None:
    with recorder(tmp_path / "run", active=False) as record:
        record.line(0, {"loss": 1.0})
        record.step(0, "note")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("settings", "module", "setting"),
    [
        ({"tensorboard": True}, "torch.utils.tensorboard", "log.tensorboard"),
        ({"wandb": "project"}, "wandb", "log.wandb"),
    ],
)
def test_a_board_that_is_not_installed_is_one_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, settings: dict[str, object], module: str, setting: str
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ExtraError) as caught, recorder(tmp_path, **settings):
        pass
    line = f"{setting}: needs {module}, which is not installed; run `pip install 'lvd[train]'`"
    assert str(caught.value) == line


def test_boards_get_the_numbers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[tuple[str, float, int]] = []

    class SummaryWriter:
        def __init__(self, folder: str) -> None:
            assert folder == str(tmp_path / "tensorboard")

        def add_scalar(self, name: str, value: float, step: int) -> None:
            written.append((name, value, step))

        def close(self) -> None:
            written.append(("closed", 0, 0))

    board = type(sys)("torch.utils.tensorboard")
    board.SummaryWriter = SummaryWriter
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", board)
    with recorder(tmp_path, tensorboard=True) as record:
        record.line(4, {"loss": 1.5, "note": "text"})
    assert written == [("loss", 1.5, 4), ("closed", 0, 0)]


def test_without_a_terminal_steps_are_printed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with recorder(tmp_path) as record:
        record.step(3, "loss 1.0 [not markup]")
    assert "step 3: loss 1.0 [not markup]" in capsys.readouterr().err
