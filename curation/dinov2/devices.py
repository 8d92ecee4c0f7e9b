"""Where training runs: this process's device, the other processes, and what to do when memory runs out."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch
import torch.distributed as dist

from curation.dinov2.config import PretrainConfig
from curation.errors import ConfigError, RunError

__all__ = ["device_of", "memory_hint", "processes"]


@contextmanager
def processes(config: PretrainConfig) -> Iterator[torch.device]:
    """Join the other processes, if torchrun started several; gives this one's device."""
    device = device_of(config.device)
    own_group = int(os.environ.get("WORLD_SIZE", "1")) > 1 and not dist.is_initialized()
    if own_group:
        if device.type == "cuda":
            device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
            torch.cuda.set_device(device)
        dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
    try:
        yield device
    finally:
        if own_group:
            dist.destroy_process_group()


def device_of(name: str) -> torch.device:
    """A torch device by name, `auto` for a GPU where there is one; ConfigError where it cannot be had."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise ConfigError(f"device: {name!r} is not a torch device; use auto, cpu or cuda") from error
    if device.type == "cuda" and not torch.cuda.is_available():
        raise ConfigError("device: cuda is asked for but there is no usable GPU; set it to cpu")
    return device


@contextmanager
def memory_hint(config: PretrainConfig) -> Iterator[None]:
    """Turn running out of memory into the setting that helps; RunError."""
    try:
        yield
    except RuntimeError as error:
        if not (isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error)):
            raise
        size, pieces = config.optim.batch_size, config.optim.accumulate
        more = next((n for n in range(pieces + 1, size + 1) if size % n == 0 and n >= 2 * pieces), size)
        raise RunError(
            f"out of memory with {size} images in {pieces} piece(s) of {size // pieces}: "
            f"set optim.accumulate={more}, which computes {size // more} at a time with the same result"
        ) from error
