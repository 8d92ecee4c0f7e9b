"""Checkpoints appear whole."""

import os
from pathlib import Path

import pytest
import torch

from curation.dinov2.checkpoint import CheckpointStore, load_state, save_state
from curation.dinov2.config import PretrainConfig


def test_a_write_that_fails_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "state.pt"
    save_state(path, {"step": 1})

    def fail(*_: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="disk full"):
        save_state(path, {"step": 2})
    assert load_state(path)["step"] == 1


def test_what_a_killed_process_left_half_written_is_removed(tmp_path: Path) -> None:
    store = CheckpointStore(str(tmp_path), keep=2, milestone=0)
    store.folder.mkdir()
    (store.folder / ".step-00000001.pt.99").write_bytes(b"half")
    store.save(1, {"model": {"x": torch.zeros(2)}})
    assert [path.name for path in store.folder.iterdir()] == ["step-00000001.pt"]


def test_other_files_in_the_folder_are_left_alone(tmp_path: Path) -> None:
    store = CheckpointStore(str(tmp_path), keep=1, milestone=0)
    for step in (1, 2):
        store.save(step, {"config": PretrainConfig().model_dump(mode="json")})
        (store.folder / "step-best.pt").write_bytes(b"mine")
    assert store.steps() == [2]
    assert (store.folder / "step-best.pt").exists()
    assert store.newest(PretrainConfig())["step"] == 2


def test_an_empty_directory_has_no_newest_state(tmp_path: Path) -> None:
    assert CheckpointStore(str(tmp_path), keep=1, milestone=0).newest(PretrainConfig()) is None
