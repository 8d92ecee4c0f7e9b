"""The training loop.

All randomness of a step comes from (seed, step, rank), and the data's order from (seed, epoch, position); so the state
of a run is its weights, its optimizer and how far it has read, and a run that was killed goes on as if it had not been.
"""

import time
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from curation.config import dump_yaml
from curation.dinov2 import ranks
from curation.dinov2.batch import Batch
from curation.dinov2.checkpoint import CheckpointStore
from curation.dinov2.config import PretrainConfig
from curation.dinov2.data.loader import open_loader
from curation.dinov2.devices import device_of, memory_hint, processes
from curation.dinov2.failure import Failure, load_failure, not_finite
from curation.dinov2.guard import Guard
from curation.dinov2.health import Health, examine
from curation.dinov2.model import SelfDistillation, build_model, drop_rates
from curation.dinov2.objective import Losses, Objective
from curation.dinov2.optimizer import apply_settings, build_optimizer, clip_norm, parameter_groups
from curation.dinov2.record import Recorder
from curation.dinov2.schedules import Settings, schedule
from curation.dinov2.weights import load_backbone
from curation.errors import LvdError, RunError

__all__ = ["Replay", "Result", "Trainer", "replay", "train"]


@dataclass(frozen=True)
class Result:
    """What a finished run leaves."""

    checkpoint: Path
    steps: int
    """Optimizer steps that this call made."""
    images_per_second: float
    broken_images: int
    knn: float | None
    """Last kNN accuracy, if it was checked."""


@dataclass(frozen=True)
class Replay:
    """What running a failed step again showed."""

    step: int
    kept_cause: str
    cause: str | None
    """What is not finite this time; None if all is."""
    losses: dict[str, float]


class Trainer:
    """Model, optimizer and objective of one run on this rank; `load` and `step` do the work."""

    def __init__(self, config: PretrainConfig, device: torch.device) -> None:
        self.config = config
        self.device = device
        torch.manual_seed(config.seed)
        self.model: SelfDistillation = build_model(config).to(device)
        self.optimizer = build_optimizer(
            parameter_groups(
                self.model.student,
                layerwise_decay=config.optim.layerwise_decay,
                patch_embed_lr=config.optim.patch_embed_lr,
            ),
            config.optim.betas,
        )
        if config.compile:
            self._compile()
        self.heads_only = False
        self.objective = self._objective()

    def close(self) -> None:
        """Let go of the process group, before it ends."""
        self.objective.close()

    def start_from_backbone(self) -> None:
        """Load `start.backbone` into student and teacher; the heads stay fresh."""
        if self.config.start.backbone is not None:
            load_backbone(self.model.student.backbone, self.config.start.backbone)
            self.model.copy_to_teacher()

    def set_heads_only(self, on: bool) -> None:
        """Freeze or free the student's backbone."""
        if on != self.heads_only:
            self.heads_only = on
            self.model.student.backbone.requires_grad_(not on)
            self.optimizer.zero_grad(set_to_none=True)
            self.objective = self._objective()

    def settings(self, step: int) -> Settings:
        """Scheduled values of `step`."""
        config = self.config
        return schedule(step, config.optim, config.teacher, config.optim.batch_size * ranks.world())

    def gradients(self, batch: Batch, step: int, temperature: float, rank: int) -> tuple[Losses, dict[str, Tensor]]:
        """Losses of `batch`, and the gradient norms of backbone and heads before each was clipped, by name; gradients
        stay on the student."""
        self.optimizer.zero_grad(set_to_none=True)
        losses = self.objective.forward_backward(batch, temperature, _generator(self.config.seed, step, rank))
        clip, parts = self.config.optim.clip, self.model.student.named_children()
        return losses, {name: clip_norm(part.parameters(), clip) for name, part in parts}

    def step(self, batch: Batch, step: int) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """One optimizer step: losses and gradient norms, this rank's, by name.

        Raises:
            LvdError: a loss or gradient is not finite on some rank; nothing was updated and the step was kept.
            RunError: the batch does not fit into memory.
        """
        settings = self.settings(step)
        apply_settings(self.optimizer, settings)
        state = self.model.state_dict()
        centres = {name: value.clone() for name, value in state.items() if name.endswith("_loss.center")}
        with memory_hint(self.config):
            losses, norms = self.gradients(batch, step, settings.temperature, ranks.rank())
        values = torch.stack([value.float() for value in (*losses.as_dict().values(), *norms.values())])
        if ranks.sum_((~torch.isfinite(values)).any().float()) > 0:
            cause = not_finite(losses.as_dict(), norms)
            failure = Failure(
                self.config,
                step,
                ranks.rank(),
                cause or "not finite on another rank",
                settings.temperature,
                self.heads_only,
                self.model.state_dict() | centres,
                batch,
            )
            raise LvdError(
                f"step {step}: {cause or 'another rank failed'}; nothing was updated. The step was kept: "
                f"run it again with --replay {failure.save()}"
            )
        self.optimizer.step()
        self.model.update_teacher(settings.momentum)
        return losses.as_dict(), norms

    def state(self) -> dict[str, Any]:
        """Weights and optimizer."""
        return {"model": self.model.state_dict(), "optimizer": self.optimizer.state_dict()}

    def load(self, state: dict[str, Any]) -> None:
        """Continue from a `state`."""
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])

    @torch.no_grad()
    def health(self, batch: Batch, temperature: float) -> Health:
        """The teacher's state on the first global views of `batch`."""
        crops = batch.crops(self.device)[0][: batch.images]
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.config.precision == "bf16"):
            features = self.model.teacher.backbone(crops)
            logits = self.model.teacher.dino_head(features)
        return examine(features.float(), self.objective.class_targets(logits, temperature))

    def _objective(self) -> Objective:
        config = self.config
        depth = self.model.student.backbone.shape.depth
        return Objective(
            self.model,
            config.loss,
            drop_rates=drop_rates(config.model, depth),
            accumulate=config.optim.accumulate,
            bf16=config.precision == "bf16",
            parallel=ranks.world() > 1,
        )

    def _compile(self) -> None:
        for network in (self.model.student, self.model.teacher):
            for block in network.backbone.blocks:
                for branch in ("attend", "feed"):
                    setattr(block, branch, torch.compile(getattr(block, branch)))


def train(config: PretrainConfig) -> Result:
    """Run `config` to its end, from the newest checkpoint in its directory if there is one.

    With more than one process (torchrun) each calls this; they train together.

    Raises:
        ConfigError, DatasetError, ModelError, RunError: see their texts.
        LvdError: a loss was not finite, or the kNN guard stopped the run.
    """
    with processes(config) as device, closing(Trainer(config, device)) as trainer:
        store = CheckpointStore(config.out, keep=config.checkpoint.keep, milestone=config.checkpoint.milestone)
        loader = open_loader(config, rank=ranks.rank(), world=ranks.world(), device=device)
        guard = Guard(config, device)
        first = 0
        if (state := store.newest(config)) is not None:
            first = state["step"]
            trainer.load(state)
            guard.restore(state["guard"])
            loader.restore(_own(state["loader"]))
        else:
            trainer.start_from_backbone()
            _write_config(config)
        del state
        return _loop(trainer, store, loader, guard, first)


def _loop(trainer: Trainer, store: CheckpointStore, loader: Any, guard: Guard, first: int) -> Result:
    config, total = trainer.config, trainer.config.optim.steps
    active = ranks.rank() == 0
    path, began = store.path(first), time.perf_counter()
    warned = loader.broken
    with Recorder(config.out, config.log, total=total, start=first, active=active) as record:
        for reported in loader.describe():
            record.say(reported)
        guard.begin(trainer.model, first, record)
        for step in range(first, total):
            trainer.set_heads_only(step < config.start.head_warmup_steps)
            start = time.perf_counter()
            batch = loader.batch(step)
            waited = time.perf_counter() - start
            losses, norms = trainer.step(batch, step)
            seconds = time.perf_counter() - start
            if step % config.log.every == 0 or step + 1 == total:
                line = _line(trainer.settings(step), losses, norms)
                line |= _speed(config, seconds, waited, total - step - 1) | {"broken_images": loader.broken}
                record.line(step, line)
                record.step(step, _note(line))
            if config.log.health_every and step % config.log.health_every == 0:
                health = trainer.health(batch, trainer.settings(step).temperature)
                record.line(step, {f"health/{name}": value for name, value in asdict(health).items()})
                for warning in health.warnings() if step >= config.optim.warmup_steps else []:
                    record.say(f"step {step}: {warning}")
            if loader.broken > warned:
                record.say(f"step {step}: {loader.broken} broken images passed over so far")
                warned = loader.broken
            guard.check(trainer.model, step + 1, record)
            if (step + 1) % config.checkpoint.every == 0 or step + 1 == total:
                everyone = ranks.gather_objects(loader.state())
                extra = {"config": config.model_dump(mode="json"), "loader": everyone, "guard": guard.state()}
                path = store.path(step + 1)
                if active:
                    store.save(step + 1, trainer.state() | extra)
                ranks.barrier()  # none goes on, nor ends and closes its connections, before the checkpoint is there
    steps = total - first
    rate = steps * config.optim.batch_size * ranks.world() / (time.perf_counter() - began)
    return Result(path, steps, rate, loader.broken, guard.latest)


def replay(path: str | Path, *, device: str = "auto") -> Replay:
    """Run a kept failed step again, without updating anything, and say what is not finite.

    A step of several processes is run with this process's batch alone. RunError where the file is not of a failed step.
    """
    failure = load_failure(path)
    trainer = Trainer(failure.config, device_of(device))
    trainer.model.load_state_dict(failure.model)
    trainer.set_heads_only(failure.heads_only)
    losses, norms = trainer.gradients(failure.batch, failure.step, failure.temperature, failure.rank)
    cause = not_finite(losses.as_dict(), norms)
    return Replay(failure.step, failure.cause, cause, {name: float(loss) for name, loss in losses.as_dict().items()})


def _line(settings: Settings, losses: dict[str, Tensor], norms: dict[str, Tensor]) -> dict[str, float]:
    shared = ranks.sum_(torch.stack([loss.detach().float() for loss in losses.values()])) / ranks.world()
    line = {f"loss/{name}": float(value) for name, value in zip(losses, shared, strict=True)}
    line |= {f"grad_norm/{name}": float(value) for name, value in norms.items()}
    return line | asdict(settings)


def _note(line: dict[str, float]) -> str:
    norms = " ".join(f"{value:.2g}" for name, value in line.items() if name.startswith("grad_norm/"))
    return (
        f"loss {line['loss/total']:.3f} (local {line['loss/dino_local']:.2f} global {line['loss/dino_global']:.2f} "
        f"ibot {line['loss/ibot']:.2f} koleo {line['loss/koleo']:.2f})  lr {line['lr']:.1e}  "
        f"momentum {line['momentum']:.4f}  norms {norms}  {line['images_per_second']:.1f} img/s  "
        f"data {line['data_seconds']:.2f} s"
    )


def _speed(config: PretrainConfig, seconds: float, waited: float, left: int) -> dict[str, float]:
    return {
        "images_per_second": config.optim.batch_size * ranks.world() / seconds,
        "step_seconds": seconds,
        "data_seconds": waited,
        "seconds_left": left * seconds,
    }


def _generator(seed: int, step: int, rank: int) -> torch.Generator:
    state = np.random.SeedSequence((seed, step, rank)).generate_state(1, np.uint64)
    return torch.Generator().manual_seed(int(state[0]) >> 1)


def _own(states: list[Any]) -> Any:
    if len(states) != ranks.world():
        raise RunError(
            f"the checkpoint was made by {len(states)} process(es), now there are {ranks.world()}: each has its own "
            "place in the data; go on with as many as before"
        )
    return states[ranks.rank()]


def _write_config(config: PretrainConfig) -> None:
    if ranks.rank() == 0:
        path = Path(config.out) / "config.yaml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(dump_yaml(config.model_dump(mode="json")), encoding="utf-8")
