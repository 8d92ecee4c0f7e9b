"""What EfficientNet-Lite0's looks are made into: a copy descriptor, and an embedding of what an image shows."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file

from curation.arrays import Float32Array, UInt8Array
from curation.config import LITE0_CONCEPT, LITE0_COPY, ModelConfig
from curation.errors import ModelError
from curation.imaging.framed import without_frame
from curation.models.digest import sha256_of
from curation.models.lite0.network import Lite0, Looks
from curation.models.whitening import Whitening

__all__ = ["PURPOSES", "WHITENING", "Lite0Embedder", "concept_input", "copy_input"]

VERSION = 1
WHITENING = Path(__file__).parent / "weights" / "lite0-whitening-v1.safetensors"
PURPOSES = {LITE0_COPY: "copy", LITE0_CONCEPT: "concept"}
AT_ONCE = 64


class Lite0Embedder:
    """One of the two, whitened on photos that the weights' card names, so that a small pool has the same thresholds as
    a large one.

    - `lvd/lite0-copy`: 256 dimensions, alike for a picture and its edited copies. Of an image in a drawn frame (a
      screenshot, a meme, a border) it is that of the picture in the frame.
    - `lvd/lite0-in1k`: 256 dimensions, alike for images that show the same. The network is supervised on ImageNet-1k.
    """

    needs_fit = False
    wants_gpu = False
    at_once = AT_ONCE
    side = Lite0.side

    def __init__(self, settings: ModelConfig, threads: int = 1) -> None:
        """Nothing is read yet.

        Raises:
            ModelError: there is no such model, or weights are given, which it has of its own.
        """
        if settings.model not in PURPOSES:
            raise ModelError(f"model {settings.model!r}: unknown; name {' or '.join(PURPOSES)}")
        if settings.weights is not None or settings.sha256 is not None:
            raise ModelError(f"model {settings.model}: comes with its own weights; remove weights and sha256")
        self.name = settings.model
        self.purpose = PURPOSES[settings.model]
        self.network = Lite0(threads)
        self._whitening: Whitening | None = None

    def fingerprint(self) -> str:
        """Name, version and the sha256 of weights and whitening; ModelError where the weights cannot be had."""
        return f"{self.name} v{VERSION} {self.network.fingerprint()} whitening sha256:{sha256_of(WHITENING)}"

    def setup(self) -> None:
        """Load the weights, once; ModelError where they cannot be had."""
        self.network.setup()
        arrays = load_file(WHITENING)
        self._whitening = Whitening(arrays[f"{self.purpose}_mean"], arrays[f"{self.purpose}_projection"])
        self.dim = int(self._whitening.projection.shape[1])

    def embed(self, images: Sequence[UInt8Array]) -> Float32Array:
        given = [without_frame(image) for image in images] if self.purpose == "copy" else images
        return self.vectors_of(self.network.look(given))

    def embed_with(self, other: "Lite0Embedder", images: Sequence[UInt8Array]) -> tuple[Float32Array, Float32Array]:
        """Vectors of this, a copy descriptor, and of the other purpose: one look at an image, two at a framed one."""
        assert (self.purpose, other.purpose) == ("copy", "concept")
        pictures = [without_frame(image) for image in images]
        looks = self.network.look(images)
        concepts = other.vectors_of(looks)
        framed = [at for at, (picture, image) in enumerate(zip(pictures, images, strict=True)) if picture is not image]
        if framed:
            looks.features[framed] = self.network.look([pictures[at] for at in framed]).features
        return self.vectors_of(looks), concepts

    def vectors_of(self, looks: Looks) -> Float32Array:
        """(N, 256) float32 rows of length 1."""
        assert self._whitening is not None, f"{self.name}: setup() comes first"
        return self._whitening.apply(copy_input(looks) if self.purpose == "copy" else concept_input(looks))


def copy_input(looks: Looks) -> Float32Array:
    """What is whitened for copies: (N, 320)."""
    return looks.features


def concept_input(looks: Looks) -> Float32Array:
    """What is whitened for concepts, (N, 1280): square roots, as for histograms (the Hellinger kernel)."""
    return np.sqrt(np.maximum(looks.head, 0))
