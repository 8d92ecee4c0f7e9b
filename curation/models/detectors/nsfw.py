"""What scores an image for unsafe content, by the setting: NudeNet, or a classifier by name."""

from typing import TYPE_CHECKING

from curation.config import ModelConfig, SafetyConfig
from curation.errors import ModelError
from curation.models.detectors.nudenet import NudeNet

if TYPE_CHECKING:  # torch and timm take seconds to import
    from curation.models.detectors.classifier import Classifier

__all__ = ["open_nsfw"]


def open_nsfw(settings: SafetyConfig, threads: int) -> "NudeNet | Classifier | None":
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
    from curation.models.detectors.classifier import Classifier

    weights, sha256 = settings.nsfw_weights, settings.nsfw_sha256
    return Classifier(ModelConfig(model=settings.nsfw, weights=weights, sha256=sha256))
