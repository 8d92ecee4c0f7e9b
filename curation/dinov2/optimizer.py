"""AdamW with learning rates that fall towards the input, and no decay where decay would only harm."""

import math
import re
from collections import defaultdict
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from curation.dinov2.schedules import Settings

__all__ = ["apply_settings", "build_optimizer", "clip_norm", "parameter_groups"]

INPUT = ("pos_embed", "patch_embed", "mask_token", "cls_token", "register_tokens")


def layer_of(name: str, depth: int) -> int:
    """Number of the layer that a backbone parameter belongs to: 0 for the input, `depth + 1` for the final norm."""
    if name.startswith(INPUT):
        return 0
    block = re.match(r"blocks\.(\d+)\.", name)
    return int(block[1]) + 1 if block else depth + 1


def parameter_groups(student: nn.Module, *, layerwise_decay: float, patch_embed_lr: float) -> list[dict[str, Any]]:
    """Parameters of `student` grouped by what the schedules do to them.

    A group has `lr_multiplier`, `wd_multiplier` (0 for biases, norms and LayerScale, else 1), `is_last_layer` (the
    prototypes) and `params`. Names begin with `backbone.`, `dino_head.` or `ibot_head.`; heads are not scaled.
    """
    names = [name for name, _ in student.named_parameters()]
    depth = 1 + max(int(m[1]) for name in names if (m := re.match(r"backbone\.blocks\.(\d+)\.", name)))
    groups: dict[tuple[float, float, bool], list[Tensor]] = defaultdict(list)
    for name, parameter in student.named_parameters():
        part, _, rest = name.partition(".")
        lr = layerwise_decay ** (depth + 1 - layer_of(rest, depth)) if part == "backbone" else 1.0
        if rest.startswith("patch_embed"):
            lr *= patch_embed_lr
        wd = 0.0 if rest.endswith(".bias") or "norm" in rest or "gamma" in rest else 1.0
        groups[lr, wd, "last_layer" in rest].append(parameter)
    return [
        {"params": parameters, "lr_multiplier": lr, "wd_multiplier": wd, "is_last_layer": last}
        for (lr, wd, last), parameters in groups.items()
    ]


def build_optimizer(groups: list[dict[str, Any]], betas: tuple[float, float]) -> torch.optim.AdamW:
    """Fused AdamW over `groups`; learning rate and decay are set before each step by `apply_settings`."""
    return torch.optim.AdamW(groups, lr=0.0, betas=betas, fused=True)


def apply_settings(optimizer: torch.optim.Optimizer, settings: Settings) -> None:
    """Give each group its learning rate and weight decay of this step."""
    for group in optimizer.param_groups:
        lr = settings.last_layer_lr if group["is_last_layer"] else settings.lr
        group["lr"] = lr * group["lr_multiplier"]
        group["weight_decay"] = settings.weight_decay * group["wd_multiplier"]


def clip_norm(parameters: Iterable[nn.Parameter], limit: float) -> Tensor:
    """Scale gradients so that their joint norm is at most `limit` (0: leave them); returns the norm before."""
    return nn.utils.clip_grad_norm_(parameters, limit or math.inf)
