"""A network that makes vectors, ready to run: on its device, in its precision, in batches that fit."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from curation.arrays import Float32Array, UInt8Array
from curation.config import EmbedConfig
from curation.errors import ModelError
from curation.models.batches import Batches
from curation.models.device import Precision, device, threads
from curation.models.preprocessing import Preprocessing

__all__ = ["Network"]


class Network:
    """What an embedder has set up.

    Args:
        name: the model's name, for messages.
        model: (B, 3, H, W) float32 to (B, dim).
        size: (3, H, W) of its input.
        precision: bf16 for autocast: products in bf16, norms and what is added up in fp32.

    Raises:
        ModelError: what it makes of a grey image is no vector.

    Attributes:
        model: the network where it runs.
        dim: length of a vector.
        at_once: images that it is best given at once.
    """

    def __init__(
        self,
        name: str,
        model: nn.Module,
        preprocess: Preprocessing,
        size: tuple[int, int, int],
        settings: EmbedConfig,
        precision: Precision,
    ) -> None:
        self._preprocess = preprocess
        self._device = device()
        self._precision = precision
        placed: Any = model.eval().requires_grad_(False)
        placed = placed.to(self._device, memory_format=torch.channels_last)  # convolutions a sixth faster, ViTs equal
        self.model: nn.Module = placed
        output = self._run(torch.zeros(1, *size, device=self._device))
        if not isinstance(output, Tensor) or output.ndim != 2:
            raise ModelError(f"model {name}: gives no vector per image; name an image classifier")
        self.dim = int(output.shape[1])
        self._batches = Batches(name, settings.batch, self._device)
        self.at_once = self._batches.first

    def embed(self, images: Sequence[UInt8Array]) -> Float32Array:
        """Vectors of N (H, W, 3) uint8 RGB images: (N, dim) float32 rows of length 1."""
        out = np.empty((len(images), self.dim), np.float32)
        for part, vectors in self._batches.run(len(images), lambda part: self._vectors(images[part])):
            out[part] = vectors
        return out

    def _vectors(self, images: Sequence[UInt8Array]) -> Float32Array:
        """One batch: (N, dim) rows of length 1."""
        with torch.inference_mode():
            vectors = self._run(self._preprocess(images, self._device, threads())).float()
            return np.asarray(functional.normalize(vectors, dim=1).cpu().numpy())

    def _run(self, pixels: Tensor) -> Tensor:
        with (
            torch.inference_mode(),
            torch.autocast(self._device.type, torch.bfloat16, enabled=self._precision == "bf16"),
        ):
            output: Tensor = self.model(pixels)
            return output
