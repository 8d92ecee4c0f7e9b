"""The loop as a whole, on tiny models."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from curation.dinov2.checkpoint import load_state
from curation.dinov2.config import PretrainConfig
from curation.dinov2.train import Trainer, replay, train
from curation.errors import ConfigError, LvdError, RunError
from tests.matrix import first_of

from .data.made import shards


def config(tmp_path: Path, **changes: Any) -> PretrainConfig:
    folder = tmp_path / "shards"
    if not folder.exists():
        shards(folder, [10, 7])
    raw: dict[str, Any] = {
        "out": str(tmp_path / "run"),
        "device": "cpu",
        "precision": "fp32",
        "model": {"width": 32, "depth": 2, "heads": 2, "patch": 7, "drop_path": 0.3},
        "crops": {"global_size": 28, "local_size": 14, "local_count": 2},
        "dino_head": {"prototypes": 24, "hidden": 16, "bottleneck": 8},
        "optim": {"epochs": 3, "epoch_length": 3, "batch_size": 4, "warmup_epochs": 1, "base_lr": 0.01},
        "teacher": {"warmup_epochs": 1},
        "data": {"sources": [{"path": str(folder)}], "workers": 0},
        "checkpoint": {"every": 2},
        "log": {"every": 1, "health_every": 4},
    }
    for section, values in changes.items():
        raw[section] = raw[section] | values if isinstance(raw.get(section), dict) else values
    return PretrainConfig.model_validate(raw)


def lines(settings: PretrainConfig) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (Path(settings.out) / "log.jsonl").read_text().splitlines()]


def losses(settings: PretrainConfig) -> dict[int, tuple[float, ...]]:
    """Exact losses and gradient norms by step."""
    return {
        line["step"]: tuple(v for k, v in line.items() if k.startswith(("loss", "grad_norm")))
        for line in lines(settings)
        if "loss/total" in line
    }


def test_a_run_logs_every_step_and_ends_with_a_checkpoint(tmp_path: Path) -> None:
    settings = config(tmp_path)
    result = train(settings)
    assert result.steps == 9
    assert result.checkpoint.name == "step-00000009.pt"
    assert sorted(losses(settings)) == list(range(9))
    assert {"lr", "momentum", "images_per_second", "data_seconds", "seconds_left", "broken_images"} <= set(
        lines(settings)[0]
    )
    assert any("health/rankme" in line for line in lines(settings))
    assert load_state(result.checkpoint)["step"] == 9


def test_only_the_newest_checkpoints_and_milestones_stay(tmp_path: Path) -> None:
    train(config(tmp_path, checkpoint={"every": 1, "keep": 2, "milestone": 3}))
    names = sorted(path.name for path in (tmp_path / "run" / "checkpoints").iterdir())
    assert names == [f"step-{step:08d}.pt" for step in (3, 6, 8, 9)]


def test_a_finished_run_started_again_does_nothing(tmp_path: Path) -> None:
    train(config(tmp_path))
    before = losses(config(tmp_path))
    assert train(config(tmp_path)).steps == 0
    assert losses(config(tmp_path)) == before


@pytest.mark.parametrize(
    "changes",
    [{}, {"loss": {"centering": "sinkhorn_knopp"}}, {"augment": {"device": "model"}}],
    ids=["centering", "sinkhorn_knopp", "views made by the model's device"],
)
def test_a_run_resumed_from_any_checkpoint_has_the_same_losses_to_the_bit(
    tmp_path: Path, changes: dict[str, Any]
) -> None:
    settings = config(tmp_path, checkpoint={"every": 1, "keep": 99}, **changes)
    train(settings)
    expected = losses(settings)
    for kept in (2, 5, 7):
        for path in (tmp_path / "run" / "checkpoints").iterdir():
            if int(path.stem.removeprefix("step-")) > kept:
                path.unlink()
        train(settings)
        assert losses(settings) == expected


RUN = """
import sys
from curation.dinov2.config import load_pretrain_config
from curation.dinov2.train import train
train(load_pretrain_config(sys.argv[1]))
"""


@pytest.mark.slow
@pytest.mark.parametrize("device", first_of("cpu", "model"))
def test_a_run_killed_three_times_ends_with_the_losses_of_one_that_was_not(tmp_path: Path, device: str) -> None:
    long = {"epochs": 20, "epoch_length": 3}
    whole = config(tmp_path, optim=long, augment={"device": device})
    train(whole)
    killed = whole.model_copy(update={"out": str(tmp_path / "killed")})
    path = tmp_path / "killed.yaml"
    path.write_text(json.dumps(killed.model_dump(mode="json")))
    log = tmp_path / "killed" / "log.jsonl"
    for until in (9, 24, 41):
        process = subprocess.Popen([sys.executable, "-c", RUN, str(path)], env=os.environ | {"PYTHONPATH": os.getcwd()})
        while not (log.exists() and max(losses(killed), default=0) >= until):
            assert process.poll() is None
            time.sleep(0.02)
        process.send_signal(signal.SIGKILL)
        process.wait()
    train(killed)
    assert losses(killed) == losses(whole)


def test_the_resolved_config_is_kept_and_runs_again(tmp_path: Path) -> None:
    from curation.dinov2.config import load_pretrain_config

    settings = config(tmp_path)
    train(settings)
    assert load_pretrain_config(tmp_path / "run" / "config.yaml") == settings


def poison(settings: PretrainConfig, monkeypatch: pytest.MonkeyPatch, step: int) -> None:
    """From `step` on the student has a weight that is not a number."""
    plain = Trainer.step

    def poisoned(self: Trainer, batch: Any, number: int) -> Any:
        if number == step:
            with torch.no_grad():
                self.model.student.dino_head.last_layer.weight_v[0, 0] = torch.nan
        return plain(self, batch, number)

    monkeypatch.setattr(Trainer, "step", poisoned)


def test_a_loss_that_is_not_finite_stops_the_run_before_the_update_and_can_be_replayed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = config(tmp_path)
    poison(settings, monkeypatch, 3)
    with pytest.raises(LvdError, match=r"step 3: loss \w+ is nan; nothing was updated.*--replay") as caught:
        train(settings)
    assert "\n" not in str(caught.value)
    path = next((tmp_path / "run" / "failures").iterdir())
    result = replay(path, device="cpu")
    assert result.step == 3
    assert result.cause == result.kept_cause
    assert sorted(losses(settings)) == [0, 1, 2]


def test_a_replayed_step_has_the_losses_of_the_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = config(tmp_path)
    plain = Trainer.gradients

    def spoilt(self: Trainer, *arguments: Any) -> Any:
        losses, norms = plain(self, *arguments)
        return replace(losses, ibot=torch.tensor(torch.inf)), norms

    monkeypatch.setattr(Trainer, "gradients", spoilt)
    with pytest.raises(LvdError, match="step 0: loss ibot is inf"):
        train(settings)
    monkeypatch.undo()
    result = replay(next((tmp_path / "run" / "failures").iterdir()), device="cpu")
    assert result.cause is None
    train(settings)
    assert result.losses["total"] == lines(settings)[0]["loss/total"]


def test_replay_of_another_file_is_refused(tmp_path: Path) -> None:
    result = train(config(tmp_path))
    with pytest.raises(RunError, match="a checkpoint, not a failed step"):
        replay(result.checkpoint)
    with pytest.raises(RunError, match="no such checkpoint"):
        replay(tmp_path / "nothing.pt")


def test_a_checkpoint_of_another_model_is_refused(tmp_path: Path) -> None:
    train(config(tmp_path))
    with pytest.raises(RunError, match=r"made with model = .* set another `out`"):
        train(config(tmp_path, model={"depth": 3}))


def test_a_run_tells_its_sources_and_goes_on_with_no_others(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    settings = config(tmp_path, optim={"epochs": 1})
    manifest = tmp_path / "shards" / "manifest.json"
    raw = json.loads(manifest.read_text())
    for shard, name in zip(raw["shards"], ("a", "b"), strict=True):
        shard["source"] = name
    raw["sources"] = {"a": {"samples": 10, "weight": 1}, "b": {"samples": 7, "weight": 3}}
    manifest.write_text(json.dumps(raw))
    train(settings)
    reported = capsys.readouterr().err.splitlines()
    assert reported[:2] == [
        f"{tmp_path}/shards [a]: 10 images, 25.0% of the images",
        f"{tmp_path}/shards [b]: 7 images, 75.0% of the images",
    ]
    del raw["sources"]
    manifest.write_text(json.dumps({**raw, "shards": [shard | {"source": None} for shard in raw["shards"]]}))
    with pytest.raises(RunError, match=r"has read 2 source\(s\), now there are 1; set another `out`") as caught:
        train(config(tmp_path, optim={"epochs": 2}))
    assert "\n" not in str(caught.value)


def test_a_damaged_checkpoint_is_refused_with_its_name(tmp_path: Path) -> None:
    path = train(config(tmp_path)).checkpoint
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(RunError, match=r"step-00000009\.pt: damaged"):
        train(config(tmp_path))


def test_a_file_that_would_execute_code_is_refused(tmp_path: Path) -> None:
    path = train(config(tmp_path)).checkpoint
    torch.save({"format": "lvd-pretrain/1", "code": os.system}, path)
    with pytest.raises(RunError, match="damaged"):
        train(config(tmp_path))


def test_too_little_memory_gives_a_hint_with_numbers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(Trainer, "gradients", full)
    with pytest.raises(RunError, match=r"4 images in 1 piece\(s\) of 4: set optim\.accumulate=2, which computes 2"):
        train(config(tmp_path))


def test_an_unknown_device_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="'gpu' is not a torch device"):
        train(config(tmp_path, device="gpu"))


def test_bf16_and_accumulation_train(tmp_path: Path) -> None:
    settings = config(tmp_path, precision="bf16", optim={"accumulate": 2, "epochs": 1})
    assert train(settings).steps == 3


def labelled(folder: Path) -> Path:
    from .data.made import jpeg

    for number in range(12):
        path = folder / f"class{number % 3}" / f"{number}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(jpeg(number))
    return folder


def test_the_online_check_writes_accuracies(tmp_path: Path) -> None:
    settings = config(tmp_path, evaluate={"data": str(labelled(tmp_path / "eval")), "every": 4, "image_size": 28})
    result = train(settings)
    assert [line["step"] for line in lines(settings) if "evaluate/accuracy" in line] == [0, 3, 7, 8]
    assert result.knn is not None


def test_continued_pretraining_warms_up_the_heads_before_it_moves_the_backbone(tmp_path: Path) -> None:
    first = train(config(tmp_path))
    start = {"backbone": str(first.checkpoint), "head_warmup_steps": 4}
    settings = config(tmp_path, start=start, out=str(tmp_path / "more"), checkpoint={"every": 1, "keep": 99})
    train(settings)

    def student(step: int, prefix: str) -> torch.Tensor:
        state = load_state(tmp_path / "more" / "checkpoints" / f"step-{step:08d}.pt")["model"]
        return torch.cat([v.flatten() for n, v in state.items() if n.startswith(f"student.{prefix}")])

    before = load_state(first.checkpoint)["model"]["teacher.backbone.blocks.0.attn.qkv.weight"]
    assert torch.equal(student(4, "backbone.blocks.0.attn.qkv.weight"), before.flatten())
    assert not torch.equal(student(4, "dino_head.mlp"), student(1, "dino_head.mlp"))
    assert not torch.equal(student(5, "backbone"), student(4, "backbone"))


def test_the_guard_stops_a_continued_run_that_gets_worse(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = train(config(tmp_path))
    accuracies = iter([0.8, 0.79, 0.7])
    monkeypatch.setattr("curation.dinov2.knn.knn_accuracy", lambda *_, **__: next(accuracies))
    settings = config(
        tmp_path,
        start={"backbone": str(first.checkpoint)},
        out=str(tmp_path / "more"),
        evaluate={"data": str(labelled(tmp_path / "eval")), "every": 2, "image_size": 28},
    )
    with pytest.raises(LvdError, match=r"step 4: kNN accuracy fell from 0\.800 to 0\.700"):
        train(settings)


def test_head_warm_up_without_a_backbone_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"needs start\.backbone"):
        train(config(tmp_path, start={"head_warmup_steps": 4}))
