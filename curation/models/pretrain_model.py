"""The teacher of a checkpoint of `lvd pretrain` as an embedder, at the size that it was trained at.

Preprocessing is what timm has for DINOv2, which `lvd export --to timm` goes by: the shorter side is resized to the
global crops' size and the middle cut out. (`lvd evaluate` cuts out a smaller middle, as published kNN scores do.)
"""

from collections.abc import Sequence
from functools import cached_property

from timm.models._pretrained import PretrainedCfg

from curation.arrays import Float32Array, UInt8Array
from curation.config import EmbedConfig
from curation.dinov2.batch import MEAN, STD
from curation.dinov2.export import load_checkpoint_backbone, read_checkpoint_config
from curation.errors import ModelError, RunError
from curation.models.device import choices, precision_of
from curation.models.network import Network
from curation.models.pooling import BackboneVectors
from curation.models.preprocessing import Preprocessing
from curation.models.weights import verified_weights

__all__ = ["PretrainEmbedder"]

VERSION = 1


class PretrainEmbedder:
    """`settings.model` is `lvd/pretrain`, `settings.weights` the checkpoint."""

    needs_fit, wants_gpu = False, True

    def __init__(self, settings: EmbedConfig) -> None:
        """Nothing is read.

        Raises:
            ModelError: no checkpoint is given.
        """
        if settings.weights is None:
            raise ModelError(
                f"model {settings.model}: set weights to a checkpoint, as in runs/pretrain/checkpoints/step-00125000.pt"
            )
        self.name = settings.model
        self._settings = settings
        self._precision = precision_of(settings.precision)
        self._network: Network | None = None

    @property
    def side(self) -> int:
        """Side in pixels of the global crops; ModelError where the checkpoint cannot be read."""
        return self._found[1]

    def fingerprint(self) -> str:
        """Name, version, the file's sha256, and what the settings change. A file that is no checkpoint shows here,
        before there is any work."""
        return f"{self.name} v{VERSION} sha256:{self._found[0]}{choices(self._settings.pool, self._precision)}"

    def setup(self) -> None:
        """Verify and load the checkpoint, of which only the teacher's backbone is kept."""
        if self._network is not None:
            return
        path, _ = verified_weights(self._settings, PretrainedCfg())
        try:
            backbone, config = load_checkpoint_backbone(path)
        except RunError as error:
            raise self._refused(error) from error
        size = (3, config.crops.global_size, config.crops.global_size)
        data = {"input_size": size, "interpolation": "bicubic", "mean": MEAN, "std": STD, "crop_pct": 1.0}
        model = BackboneVectors(backbone, self._settings.pool or "class")
        self._network = Network(self.name, model, Preprocessing(data), size, self._settings, self._precision)
        self.dim, self.at_once = self._network.dim, self._network.at_once

    def embed(self, images: Sequence[UInt8Array]) -> Float32Array:
        assert self._network is not None, f"{self.name}: setup() comes before embed()"
        return self._network.embed(images)

    @cached_property
    def _found(self) -> tuple[str, int]:
        """The file's sha256, and the side of the crops."""
        path, digest = verified_weights(self._settings, PretrainedCfg())
        try:
            return digest, read_checkpoint_config(path).crops.global_size
        except RunError as error:
            raise self._refused(error) from error

    def _refused(self, error: RunError) -> ModelError:
        """What does not fit is named; the rest of the trainer's own word is of how to go on with a run."""
        misfit = str(error).partition(": damaged, ")[2]
        detail = f" ({misfit})" if misfit else ""
        return ModelError(
            f"model {self.name}: {self._settings.weights} is damaged or no checkpoint of lvd pretrain{detail}; give a "
            "step-*.pt of a run's checkpoints folder, and what lvd export wrote as timm/<name>"
        )
