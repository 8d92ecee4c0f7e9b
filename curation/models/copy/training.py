"""Trains the small copy descriptor: photos in memory, two copies of each in a step, exact resume.

Everything random is a function of the seed and of the step, and a step's views go through the network in pieces that
each take one core. So a run that was stopped and continued ends with the same weights as one that was not, and neither
the number of cores nor that of the processes that make views changes them.
"""

import copy
import hashlib
import itertools
import json
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor
from torch.utils.data import DataLoader

from curation.arrays import UInt8Array
from curation.errors import ConfigError, cause_of
from curation.models.copy.network import BACKBONE, DIM, SmallCopyNet, normalise
from curation.models.copy.objective import copy_losses, mixed
from curation.models.copy.pairs import Pairs, ignore_interrupts

__all__ = ["Step", "TrainSettings", "Trainer"]


@dataclass(frozen=True, slots=True)
class TrainSettings:
    """What the weights depend on, beside the photos."""

    steps: int = 1600
    batch: int = 64
    """Photos in a step, each in two views."""
    shards: int = 2
    """Pieces in which a step's views go through the network, each on one core and with batch statistics of its own."""
    sides: tuple[int, ...] = (80, 96, 128)
    """Side of the views in pixels: over the run it grows in equal numbers of steps."""
    near: float = 0.5
    """Share of first views that are the picture nearly as it was; the others, and all second views, are edited."""
    temperature: float = 0.05
    entropy: float = 5.0
    """Weight of the entropy term; the paper's 30 is for batches of 4,096."""
    mix: float = 0.05
    """Share of views that are mixed with another."""
    rate: float = 1.5e-3
    """Learning rate after warm-up, from where it falls to nothing along a cosine."""
    warmup: int = 80
    decay: float = 0.05
    """AdamW's weight decay, on matrices and kernels."""
    average: float = 0.998
    """Decay of the running mean of the weights, which is what is kept in the end."""
    seed: int = 0
    backbone: str = BACKBONE
    dim: int = DIM


@dataclass(frozen=True, slots=True)
class Step:
    """What a step showed; `step` counts from 1."""

    step: int
    loss: float
    contrast: float
    entropy: float


class Trainer:
    """A run: `Trainer(photos, settings)`, maybe `resume(file)`, then iterate `run()`.

    Args:
        photos: (H, W, 3) uint8, which stay in memory; at least one batch of them.
        workers: processes that make views; with none, the run makes them itself.
        start: a state dict to begin with in place of random weights.

    Raises:
        RuntimeError: `start` is of another network.
    """

    def __init__(
        self,
        photos: Sequence[UInt8Array],
        settings: TrainSettings,
        workers: int = 1,
        start: Mapping[str, Tensor] | None = None,
    ) -> None:
        assert len(photos) >= settings.batch >= 2, "a step takes each photo once"
        assert 2 * settings.batch >= settings.shards, "each piece has a view"
        self.settings = settings
        self.step = 0
        self._photos = photos
        self._workers = workers
        self._device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(settings.seed)
            network = SmallCopyNet(settings.backbone, settings.dim)
        if start is not None:
            network.load_state_dict(start)
        network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch has the argument, not its type
        self.network = network.to(self._device).train()
        self._begun = hashlib.sha256(b"".join(value.cpu().numpy().tobytes() for value in network.state_dict().values()))
        self.averaged = {name: value.detach().clone() for name, value in self.network.state_dict().items()}
        self._replicas = [self.network, *(_replica(self.network) for _ in range(settings.shards - 1))]
        kernels = [parameter for parameter in self.network.parameters() if parameter.ndim > 1]
        others = [parameter for parameter in self.network.parameters() if parameter.ndim <= 1]
        self._optimizer = torch.optim.AdamW(
            [{"params": kernels, "weight_decay": settings.decay}, {"params": others, "weight_decay": 0.0}],
            lr=settings.rate,
            betas=(0.9, 0.98),
        )

    def run(self) -> Iterator[Step]:
        """Take the steps that are left; between two of them the run may be saved, or left."""
        threads_before = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            with ThreadPoolExecutor(self.settings.shards, initializer=lambda: torch.set_num_threads(1)) as threads:
                while self.step < self.settings.steps:
                    side, last = _stretch(self.settings, self.step)
                    pairs = self._pairs(side)
                    loader = DataLoader(
                        pairs,
                        batch_size=None,
                        sampler=range(self.step, last),
                        num_workers=self._workers,
                        worker_init_fn=ignore_interrupts,
                    )
                    for pixels, photos in loader:
                        yield self._take(pixels, photos, threads)
        finally:
            torch.set_num_threads(threads_before)

    def _pairs(self, side: int) -> Pairs:
        settings = self.settings
        return Pairs(self._photos, settings.batch, settings.near, settings.seed, side)

    def _take(self, pixels: Tensor, photos: Tensor, threads: ThreadPoolExecutor) -> Step:
        settings = self.settings
        generator = torch.Generator().manual_seed(settings.seed * 1_000_003 + self.step)
        images, shown = mixed(normalise(pixels), photos, settings.mix, generator)
        images = images.to(self._device).contiguous(memory_format=torch.channels_last)
        for group in self._optimizer.param_groups:
            group["lr"] = _rate(settings, self.step)

        pieces = [slice(shard, None, settings.shards) for shard in range(settings.shards)]
        outputs = list(threads.map(lambda replica, piece: replica(images[piece]), self._replicas, pieces))
        descriptors = torch.empty(len(images), settings.dim, device=self._device)
        for output, piece in zip(outputs, pieces, strict=True):
            descriptors[piece] = output.detach()
        descriptors.requires_grad_()
        losses = copy_losses(descriptors, shown.to(self._device), settings.temperature, settings.entropy)
        torch.autograd.backward(losses.total)
        gradient = descriptors.grad
        assert gradient is not None
        list(threads.map(torch.autograd.backward, outputs, [gradient[piece] for piece in pieces]))
        self._gather_gradients()
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), 20.0)
        self._optimizer.step()
        self._optimizer.zero_grad(set_to_none=True)
        self.step += 1
        self._average()
        return Step(self.step, *(float(part.detach()) for part in (losses.total, losses.contrast, losses.entropy)))

    def _gather_gradients(self) -> None:
        """Add the replicas' gradients to the network's, in order."""
        for owner, *others in zip(*(replica.parameters() for replica in self._replicas), strict=True):
            for other in others:
                assert owner.grad is not None
                assert other.grad is not None
                owner.grad += other.grad
                other.grad = None

    def _average(self) -> None:
        decay = min(self.settings.average, (1 + self.step) / (10 + self.step))
        for name, value in self.network.state_dict().items():
            if value.is_floating_point():
                self.averaged[name].lerp_(value, 1 - decay)
            else:
                self.averaged[name].copy_(value)

    def save_weights(self, path: Path) -> None:
        """Write the averaged weights as float16 safetensors, in place of what was there; settings are its metadata."""
        tensors = {
            name: (value.half() if value.is_floating_point() else value).contiguous().cpu()
            for name, value in self.averaged.items()
        }
        training = {**asdict(self.settings), "step": self.step, "photos": len(self._photos)}
        waiting = path.with_name(f".{path.name}.part")
        save_file(tensors, waiting, {"training": json.dumps(training)})  # one key, as safetensors orders keys by chance
        os.replace(waiting, path)

    def save(self, path: Path) -> None:
        """Write all that `resume` needs, in place of what was there."""
        state = {
            "identity": self._identity(),
            "step": self.step,
            "network": self.network.state_dict(),
            "averaged": self.averaged,
            "optimizer": self._optimizer.state_dict(),
        }
        waiting = path.with_name(f".{path.name}.part")
        torch.save(state, waiting)
        os.replace(waiting, path)

    def resume(self, path: Path) -> None:
        """Go on from a file of `save`.

        Raises:
            ConfigError: it is of a run with other settings or photos, or damaged.
        """
        try:
            state: dict[str, Any] = torch.load(path, weights_only=True, map_location=self._device)
            same = state["identity"] == self._identity()
        except Exception as error:  # a damaged file can make the reader raise nearly anything
            raise ConfigError(f"{path}: is damaged ({cause_of(error)}); remove it to begin again") from error
        if not same:
            raise ConfigError(
                f"{path}: belongs to a run with other settings or photos; give those again, or remove it to begin again"
            )
        self.step = state["step"]
        self.network.load_state_dict(state["network"])
        self.averaged = state["averaged"]
        self._optimizer.load_state_dict(state["optimizer"])

    def _identity(self) -> dict[str, str]:
        digest = self._begun.copy()
        for photo in self._photos:
            digest.update(repr(photo.shape).encode())
            digest.update(photo.tobytes())
        return {**{name: str(value) for name, value in asdict(self.settings).items()}, "data": digest.hexdigest()}


def _replica(network: SmallCopyNet) -> SmallCopyNet:
    """A network with the same parameters in memory, and gradients and running statistics of its own."""
    twin = copy.deepcopy(network)
    for own, shared in zip(twin.parameters(), network.parameters(), strict=True):
        own.data = shared.data
    return twin


def _stretch(settings: TrainSettings, step: int) -> tuple[int, int]:
    """The side of the views at a step, and the step at which it changes."""
    ends = [settings.steps * (index + 1) // len(settings.sides) for index in range(len(settings.sides))]
    index = next(itertools.compress(itertools.count(), (step < end for end in ends)))
    return settings.sides[index], ends[index]


def _rate(settings: TrainSettings, step: int) -> float:
    if step < settings.warmup:
        return settings.rate * (step + 1) / settings.warmup
    done = (step - settings.warmup) / max(1, settings.steps - settings.warmup)
    return settings.rate * 0.5 * (1 + math.cos(math.pi * done))
