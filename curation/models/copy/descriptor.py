"""SSCD, as published: copy descriptors by name (arXiv 2202.10261; its code and weights are under the MIT licence)."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image
from timm.models._pretrained import PretrainedCfg
from torch import Tensor, nn

from curation.arrays import Float32Array, UInt8Array
from curation.config import ModelConfig
from curation.errors import ModelError, cause_of
from curation.models.batches import Batches
from curation.models.copy.files import read_script, read_weights
from curation.models.copy.network import Sscd, normalise
from curation.models.device import device
from curation.models.folding import fold_batch_norms
from curation.models.weights import verified_weights

__all__ = ["CopyDescriptor", "copy_models"]

VERSION = 3
SIDE = 320
SSCD_URL = "https://dl.fbaipublicfiles.com/sscd-copy-detection/sscd_{}.torchscript.pt"


class _Known(NamedTuple):
    """Where weights are published, and the sha256 of the file."""

    url: str
    sha256: str | None = None


_MODELS = {
    "sscd/disc_mixup": _Known(
        SSCD_URL.format("disc_mixup"), "9f26bd4c848cc19b73d2ae92eea6e04886f61a7b764ceb7a13aeee62e6a6db56"
    ),
    **{
        f"sscd/{name}": _Known(SSCD_URL.format(name))
        for name in ("disc_advanced", "disc_blur", "imagenet_advanced", "imagenet_blur", "imagenet_mixup")
    },
}


def copy_models() -> list[str]:
    """The names that `CopyDescriptor` knows."""
    return sorted(_MODELS)


class CopyDescriptor:
    """Vectors that are alike for a picture and its edited copies, and unlike for any two pictures.

    Images are scaled to a square without regard to their proportions, as the SSCD authors advise for batches.

    Attributes:
        side: side in pixels of the squares.
    """

    needs_fit = False

    def __init__(self, settings: ModelConfig) -> None:
        """Looks the name up; nothing is built or read.

        Raises:
            ModelError: there is no such model.
        """
        known = _MODELS.get(settings.model)
        if known is None:
            raise ModelError(
                f"model {settings.model!r}: no such copy descriptor; name one of {', '.join(copy_models())}"
            )
        self.name = settings.model
        self.side = SIDE
        self._known = known
        self._settings = settings
        self._network: nn.Module | None = None

    def fingerprint(self) -> str:
        """Name, version and the weights' sha256; downloads the weights if they are not here yet."""
        _, digest = self._weights()
        return f"{self.name} v{VERSION} sha256:{digest}"

    def setup(self) -> None:
        """Verify and load the weights, then pass one grey image through, so that a misfit shows before the work."""
        if self._network is not None:
            return
        path, _ = self._weights()
        script = read_script(self.name, path)
        network = script or read_weights(self.name, path, Sscd())
        self._device = device()
        network = network.eval()
        if script is None:  # a script's modules cannot be changed
            fold_batch_norms(network.requires_grad_(False))
        network = network.to(self._device)
        with torch.inference_mode():
            try:
                output = network(torch.zeros(1, 3, self.side, self.side, device=self._device))
            except RuntimeError as error:  # of a TorchScript file that takes something else than images
                raise ModelError(f"model {self.name}: {path} takes no images ({cause_of(error)})") from error
        if not isinstance(output, Tensor) or output.ndim != 2:
            raise ModelError(f"model {self.name}: {path} gives no vector per image; get the published file")
        self.dim = int(output.shape[1])
        self._batches = Batches(self.name, self._settings.batch, self._device)
        self.at_once = self._batches.first
        self._network = network

    def embed(self, images: Sequence[UInt8Array]) -> Float32Array:
        assert self._network is not None, f"{self.name}: setup() comes before embed()"
        out = np.empty((len(images), self.dim), np.float32)
        for part, vectors in self._batches.run(len(images), lambda part: self._vectors(images[part])):
            out[part] = vectors
        return out

    def _vectors(self, images: Sequence[UInt8Array]) -> Float32Array:
        """One batch: (N, dim) rows of length 1."""
        assert self._network is not None
        squares = [_square(image, self.side) for image in images]
        with torch.inference_mode():
            pixels = torch.from_numpy(np.stack(squares)).to(self._device)
            vectors = self._network(normalise(pixels).contiguous(memory_format=torch.channels_last)).float()
            return np.asarray(nn.functional.normalize(vectors, dim=1).cpu().numpy())

    def _weights(self) -> tuple[Path, str]:
        """The weights file and its sha256.

        Raises:
            ModelError: as `verified_weights`; or a published file is not pinned, since TorchScript is a program.
        """
        settings, known = self._settings, self._known
        if settings.weights is None:
            if settings.sha256 is None and known.sha256 is None:
                raise ModelError(
                    f"model {self.name}: its published weights have no known sha256; download {known.url}, "
                    "and give the file with the weights setting, or its digest with the sha256 setting"
                )
            elif settings.sha256 is None:
                settings = settings.model_copy(update={"sha256": known.sha256})
        return verified_weights(settings, PretrainedCfg(url=known.url))


def _square(image: UInt8Array, side: int) -> UInt8Array:
    """(H, W, 3) to (side, side, 3), whatever the proportions."""
    return np.asarray(Image.fromarray(image).resize((side, side), Image.Resampling.BILINEAR))
