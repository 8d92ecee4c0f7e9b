"""Where this process's networks run, and in which precision."""

import os
from typing import Literal

import torch

__all__ = ["Precision", "choices", "device", "gpus", "precision_of", "take_gpu", "threads"]

Precision = Literal["fp32", "bf16"]

_number = -1
_threads = 1


def take_gpu(number: int, threads: int) -> None:
    """Networks that this process sets up from now on run on that GPU of those it sees, and their images are made ready
    by so many threads."""
    global _number, _threads
    _number, _threads = number, threads


def gpus() -> int:
    """GPUs that torch can use here."""
    return torch.cuda.device_count() if torch.cuda.is_available() else 0


def device() -> torch.device:
    """Where networks run: the GPU that was given to this process; where none was, one in turn, by its process number;
    the CPU where there is none."""
    count = gpus()
    number = os.getpid() if _number < 0 else _number
    return torch.device("cuda", number % count) if count else torch.device("cpu")


def threads() -> int:
    """Threads that make images ready for a network: 1 on a CPU, whose cores the network has."""
    return _threads if gpus() else 1


def precision_of(setting: Literal["auto", "fp32", "bf16"]) -> Precision:
    """What a setting stands for on this machine. `auto` is fp32 on a CPU, also on one that has instructions for bf16:
    vectors are not to depend on the machine."""
    if setting != "auto":
        return setting
    has = torch.cuda.is_available() and torch.cuda.is_bf16_supported(including_emulation=False)
    return "bf16" if has else "fp32"


def choices(pool: str | None, precision: Precision) -> str:
    """What a fingerprint says of settings that change vectors; nothing where they are as they always were."""
    return (f" pool:{pool}" if pool else "") + (f" {precision}" if precision != "fp32" else "")
