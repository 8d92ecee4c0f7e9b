"""Where this process's networks run, and in which precision."""

from typing import Literal

import torch

__all__ = ["Precision", "choices", "device", "precision_of"]

Precision = Literal["fp32", "bf16"]


def device() -> torch.device:
    """The GPU where there is one, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


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
