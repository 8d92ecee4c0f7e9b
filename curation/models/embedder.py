"""The contract of everything that turns images into vectors, and the one door to it: a name."""

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from curation.arrays import Float32Array, UInt8Array
from curation.config import LITE0_CONCEPT, LITE0_COPY, PRETRAIN, CopyConfig, EmbedConfig, ModelConfig
from curation.errors import ModelError
from curation.models.classical import ClassicalDescriptor

__all__ = ["Embedder", "NetworkEmbedder", "open_embedder"]


class Embedder(Protocol):
    """Turns images into vectors whose dot product is a similarity.

    Life of one: constructed (no I/O), fitted where `needs_fit`, `setup()`, then any number of `embed` calls.

    Attributes:
        name: the name that `open_embedder` knows it by.
        dim: length of a vector; there after `setup()`.
        at_once: images that `embed` is best given at once; there after `setup()`.
        needs_fit: whether it must first be fitted to a sample of the run: see `Fittable`.
    """

    name: str
    dim: int
    at_once: int
    needs_fit: bool

    @property
    def side(self) -> int:
        """Shorter side in pixels that images should be decoded to; others are accepted and resized.

        Raises:
            ModelError: the weights, which say so, cannot be had.
        """

    def fingerprint(self) -> str:
        """What its vectors depend on beside the pixels: name, version, sha256 of the weights. For digests.

        Raises:
            ModelError: the weights cannot be had, or are not those that were pinned.
        """

    def setup(self) -> None:
        """Find, verify and load the weights; calling it again does nothing.

        Raises:
            ModelError: the weights cannot be had, are damaged, are not those that were pinned, or do not fit.
        """

    def embed(self, images: Sequence[UInt8Array]) -> Float32Array:
        """Vectors of images, in order.

        Args:
            images: N arrays of (H, W, 3) uint8 RGB, each of any size.

        Returns:
            (N, dim) float32 rows of length 1. A row without finite numbers is the caller's to drop.
        """


@runtime_checkable
class NetworkEmbedder(Protocol):
    """An embedder that is a network; `wants_gpu` where it is to have a GPU to itself, if there is one."""

    wants_gpu: bool


def open_embedder(settings: ModelConfig) -> Embedder:
    """The embedder that a name stands for, nothing loaded yet.

    Raises:
        ModelError: the name is unknown, or settings are given that the model cannot use.
    """
    if isinstance(settings, CopyConfig) and settings.whiten:
        from curation.models.whitened import WhitenedEmbedder  # which wraps what this module describes

        plain = open_embedder(settings.model_copy(update={"whiten": False}))
        if plain.needs_fit:
            raise ModelError(f"model {settings.model!r}: is whitened as it is; remove the whiten setting")
        return WhitenedEmbedder(plain)
    family, _, rest = settings.model.partition("/")
    if family == "timm" and rest:
        from curation.models.timm_model import TimmEmbedder  # torch takes seconds to import, so only when it is used

        return TimmEmbedder(_as_embedding(settings))
    if settings.model == PRETRAIN:
        from curation.models.pretrain_model import PretrainEmbedder

        return PretrainEmbedder(_as_embedding(settings))
    if isinstance(settings, EmbedConfig) and (settings.pool or settings.precision == "bf16"):
        setting = "pool" if settings.pool else "precision"
        raise ModelError(f"model {settings.model!r}: takes no {setting} setting, which is for timm/... and {PRETRAIN}")
    if settings.model in (LITE0_CONCEPT, LITE0_COPY):
        from curation.models.lite0.embedders import Lite0Embedder

        return Lite0Embedder(settings)
    if family == "sscd" and rest:
        from curation.models.copy.descriptor import CopyDescriptor

        return CopyDescriptor(settings)
    if family == "classical" and rest:
        return ClassicalDescriptor.from_settings(settings)
    raise ModelError(
        f"model {settings.model!r}: unknown; name timm/<model>, as in timm/vit_small_patch14_dinov2.lvd142m, "
        f"{LITE0_CONCEPT} for the one that comes with lvd, {PRETRAIN} for a checkpoint of lvd pretrain, "
        f"{LITE0_COPY} or sscd/disc_mixup for copies, "
        "or classical/hog-colour-<n>x<n>, as in classical/hog-colour-8x8"
    )


def _as_embedding(settings: ModelConfig) -> EmbedConfig:
    """Settings of a model that is used for something else have its own pooling, and fp32."""
    if isinstance(settings, EmbedConfig):
        return settings
    return EmbedConfig(**{**settings.model_dump(include=set(ModelConfig.model_fields)), "precision": "fp32"})
