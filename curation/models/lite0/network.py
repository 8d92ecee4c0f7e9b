"""EfficientNet-Lite0 with the weights of a package: supervised on ImageNet-1k, Apache-2.0, 4.7 M parameters."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np

from curation.arrays import Float32Array, UInt8Array
from curation.errors import ModelError
from curation.imaging.decode import Pixels
from curation.models.detectors.package_file import LITE0, find_package_file
from curation.models.detectors.session import open_session
from curation.models.lite0.graph import OUTPUTS, SIDE, onnx_graph

__all__ = ["ANIMALS", "FOOD", "Lite0", "Looks"]

VERSION = 1
BATCH = 8
"""Images at once: more fall out of a core's caches, and take longer each."""

ANIMALS = slice(0, 398)
FOOD = slice(924, 970)
"""Classes of ImageNet-1k, in its order: tench to anemone, sea cucumber and the like; guacamole to eggnog, fruit among
them."""


@dataclass(frozen=True)
class Looks:
    """What the network says of N images.

    Attributes:
        features: (N, 320) float32, of its last block, averaged over the image: what copies have in common.
        head: (N, 1280) float32, of the layer before the classifier, averaged: what images show.
        probabilities: (N, 1000) float32, of ImageNet-1k's classes.
    """

    features: Float32Array
    head: Float32Array
    probabilities: Float32Array


class Lite0:
    """The network; `setup()` finds, verifies and loads its weights.

    Args:
        threads: threads of one forward pass.
    """

    side = SIDE

    def __init__(self, threads: int = 1) -> None:
        self._threads = threads
        self._session: Any = None

    def fingerprint(self) -> str:
        """Name, version and the weights' sha256; ModelError where they cannot be had."""
        find_package_file(LITE0)
        return f"efficientnet-lite0 v{VERSION} sha256:{LITE0.sha256}"

    def setup(self) -> None:
        """Load the weights, once; ModelError where they cannot be had."""
        if self._session is None:
            self._session = open_session(onnx_graph(_read_weights()), self._threads)

    def look(self, images: Sequence[Pixels]) -> Looks:
        """What it says of (H, W, 3) uint8 RGB images, each scaled to a square without regard to its proportions."""
        assert self._session is not None, "setup() comes before look()"
        outputs: list[list[Float32Array]] = []
        for start in range(0, len(images), BATCH):
            squares = np.stack([_square(image) for image in images[start : start + BATCH]])
            outputs.append(self._session.run(list(OUTPUTS), {"images": squares}))
        widths = (320, 1280, 1000)
        if not outputs:
            return Looks(*(np.empty((0, width), np.float32) for width in widths))
        return Looks(*(np.concatenate(arrays) for arrays in zip(*outputs, strict=True)))


def _square(image: Pixels) -> UInt8Array:
    height, width = image.shape[:2]
    if (height, width) == (SIDE, SIDE):
        return image
    shrinks = height * width > SIDE * SIDE
    how = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(np.ascontiguousarray(image), (SIDE, SIDE), interpolation=how), dtype=np.uint8)


def _read_weights() -> dict[str, Float32Array]:
    import torch  # takes seconds to import, and is needed to read this file alone

    path = find_package_file(LITE0)
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        return {name: value.numpy() for name, value in state.items()}
    except Exception as error:  # its digest is right, so this is torch's matter
        raise ModelError(f"model efficientnet-lite0: {path} cannot be read by torch {torch.__version__}") from error
