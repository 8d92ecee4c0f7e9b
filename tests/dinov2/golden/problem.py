"""Small training problems whose weights and inputs come from a formula, so that no file has to carry them.

Numbers are bits of the PCG64 stream scaled to [-1, 1): numpy guarantees that stream for good.
"""

import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from unittest.mock import patch

import numpy as np
import torch
from torch import Tensor

WIDTH, DEPTH, HEADS = 64, 3, 2
PATCH, GLOBAL, LOCAL = 14, 98, 42
IMAGES, LOCAL_VIEWS = 4, 3
STEPS = 5
CLIP = 0.5
LAYERWISE_DECAY, PATCH_EMBED_LR = 0.9, 0.2
LOSS_WEIGHTS = {"dino": 1.0, "ibot": 0.8, "koleo": 0.1}


@dataclass(frozen=True)
class Case:
    """One corner of what the objective can be."""

    tied: bool
    centering: str

    @property
    def name(self) -> str:
        """Key in the golden file."""
        return f"{'tied' if self.tied else 'untied'}-{self.centering}"

    @property
    def ffn(self) -> str:
        """Tied cases use the MLP, untied ones SwiGLU."""
        return "mlp" if self.tied else "swiglu"

    @property
    def registers(self) -> int:
        """Untied cases have registers."""
        return 0 if self.tied else 2


CASES = [Case(tied, centering) for tied in (True, False) for centering in ("centering", "sinkhorn_knopp")]
DINO_HEAD = {"prototypes": 96, "hidden": 48, "bottleneck": 24, "layers": 3}
IBOT_HEAD = {"prototypes": 80, "hidden": 40, "bottleneck": 32, "layers": 3}


@contextmanager
def precision(dtype: torch.dtype) -> Iterator[None]:
    """All within is computed in `dtype`; where either code says `.float()`, that is `dtype` too.

    In float64 what is left between two right codes is 1e-12 or so, whatever order a CPU adds in.
    """
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        with patch.object(Tensor, "float", lambda x: x.to(dtype)):
            yield
    finally:
        torch.set_default_dtype(before)


def noise(key: str, shape: tuple[int, ...]) -> np.ndarray:
    """float64 in [-1, 1), a function of `key` alone."""
    bits = np.random.PCG64(zlib.crc32(key.encode())).random_raw(int(np.prod(shape)))
    return ((bits >> np.uint64(11)) * 2.0**-52 - 1.0).reshape(shape)


def weight(owner: str, name: str, like: Tensor) -> Tensor:
    """Weights of the parameter `name` of `owner` (`student` or `teacher`)."""
    values = noise(f"{owner}/{name}", tuple(like.shape))
    if name.endswith(("norm.weight", "norm1.weight", "norm2.weight", "weight_g")):
        values = 1 + 0.1 * values
    elif name.endswith("gamma"):
        values = 0.5 + 0.1 * values
    elif like.ndim == 1 or like.ndim == 3 or name.endswith("mask_token"):
        values = 0.1 * values
    else:
        values = values * 1.7 / np.sqrt(np.prod(like.shape[1:]))
    return torch.from_numpy(values).to(torch.get_default_dtype())


def crops(step: int) -> tuple[Tensor, Tensor]:
    """Global `(2B, 3, G, G)` and local `(LB, 3, S, S)` crops: two views share most of an image, as crops do."""
    image = noise(f"{step}/image", (IMAGES, 3, GLOBAL, GLOBAL))
    views = [image + 0.5 * noise(f"{step}/global{v}", image.shape) for v in range(2)]
    small = image[:, :, :LOCAL, :LOCAL]
    parts = [small + 0.5 * noise(f"{step}/local{v}", small.shape) for v in range(LOCAL_VIEWS)]
    dtype = torch.get_default_dtype()
    return torch.from_numpy(np.concatenate(views)).to(dtype), torch.from_numpy(np.concatenate(parts)).to(dtype)


def masks(step: int) -> Tensor:
    """`(2B, N)` bool: every second crop is masked, about a third of its patches."""
    chosen = noise(f"{step}/mask", (2 * IMAGES, (GLOBAL // PATCH) ** 2)) < -0.33
    chosen[1::2] = False
    return torch.from_numpy(chosen)


def settings(step: int) -> dict[str, float]:
    """Scheduled values of a step; the prototypes rest in the first one."""
    lr = 2e-4 * (1 + step)
    return {
        "lr": lr,
        "last_layer_lr": 0.0 if step == 0 else lr,
        "weight_decay": 0.04 + 0.02 * step,
        "momentum": 0.9 + 0.01 * step,
        "temperature": 0.04 + 0.005 * step,
    }
