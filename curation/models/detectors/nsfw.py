"""What scores an image for unsafe content, behind one contract: NudeNet, or a classifier by name."""

from collections.abc import Sequence
from typing import Protocol

from curation.arrays import Float32Array
from curation.config import ModelConfig, SafetyConfig
from curation.errors import ModelError
from curation.imaging.decode import Pixels
from curation.models.detectors.nudenet import NudeNet

__all__ = ["NsfwModel", "open_nsfw"]


class NsfwModel(Protocol):
    """Scores images; constructed (no I/O), `setup()`, then any number of `scores` calls."""

    @property
    def labels(self) -> tuple[str, ...]:
        """What it scores images for; known after `setup()`."""
        ...

    @property
    def side(self) -> int:
        """Side in pixels that it resizes images to."""
        ...

    def fingerprint(self) -> str:
        """What its scores depend on beside the pixels. ModelError where the weights cannot be had."""
        ...

    def setup(self) -> None:
        """Find, verify and load the weights, once. ModelError where they cannot be had."""
        ...

    def scores(self, images: Sequence[Pixels]) -> Float32Array:
        """(N, labels) scores in [0, 1] of N (H, W, 3) uint8 images."""
        ...


def open_nsfw(settings: SafetyConfig, threads: int) -> NsfwModel | None:
    """The model that `settings.nsfw` names, nothing loaded yet; None for `off`.

    Raises:
        ModelError: the name is unknown, or settings are given that the model cannot use.
    """
    if settings.nsfw == "off":
        return None
    if settings.nsfw == "nudenet":
        if settings.nsfw_weights is not None or settings.nsfw_sha256 is not None:
            raise ModelError("model nudenet: comes with its own weights; remove nsfw_weights and nsfw_sha256")
        return NudeNet(threads)
    from curation.models.detectors.classifier import Classifier  # torch and timm take seconds to import

    weights, sha256 = settings.nsfw_weights, settings.nsfw_sha256
    return Classifier(ModelConfig(model=settings.nsfw, weights=weights, sha256=sha256))
