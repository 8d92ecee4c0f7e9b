"""Any timm model as an embedder: its own preprocessing, its features, its weights or none at all.

timm turns a checkpoint's keys into the model's with a function of each family, which only its own loader knows; but
that loader is lenient about keys as soon as the classifier is removed, and would leave random weights in place. So a
model is built as its checkpoint was published, loaded strictly, and only then loses its classifier.
"""

import difflib
import warnings
from collections.abc import Sequence
from typing import Any

import timm
from timm.data.config import resolve_data_config
from timm.models._pretrained import PretrainedCfg

from curation.arrays import Float32Array, UInt8Array
from curation.config import EmbedConfig
from curation.errors import ModelError, cause_of
from curation.models.device import choices, precision_of
from curation.models.network import Network
from curation.models.pooling import pooled_timm_model
from curation.models.preprocessing import Preprocessing
from curation.models.weights import verified_weights

__all__ = ["TimmEmbedder"]

VERSION = 2


class TimmEmbedder:
    """Pooled features of a timm model, on the GPU where there is one; `settings.model` is `timm/<name>`.

    Attributes:
        side: what timm resizes the shorter side to before its crop.
    """

    needs_fit, wants_gpu = False, True

    def __init__(self, settings: EmbedConfig) -> None:
        """Looks the name up; nothing is built or read.

        Raises:
            ModelError: timm knows no such model, or it does not take RGB images.
        """
        self.name = settings.model
        self._settings = settings
        self._published = _published(settings.model)
        self._input: dict[str, Any] = resolve_data_config(pretrained_cfg=self._published.to_dict())
        if self._input["input_size"][0] != 3:
            raise ModelError(f"model {settings.model}: takes no RGB images; name a model of 3 channels")
        self.side = int(min(self._input["input_size"][1:]) / self._input["crop_pct"])
        self._precision = precision_of(settings.precision)
        self._network: Network | None = None

    def fingerprint(self) -> str:
        """Name, version, the weights' sha256, and what the settings change; downloads the weights if they are not here
        yet."""
        _, digest = verified_weights(self._settings, self._published)
        return f"{self.name} v{VERSION} sha256:{digest}{choices(self._settings.pool, self._precision)}"

    def setup(self) -> None:
        """Verify and load the weights, then pass one grey image through, so that a misfit shows before the work."""
        if self._network is not None:
            return
        path, _ = verified_weights(self._settings, self._published)
        model = _load(self.name, str(path), self._published.num_classes).eval().requires_grad_(False)
        model = pooled_timm_model(self.name, model, self._settings.pool)
        preprocess, size = Preprocessing(self._input), self._input["input_size"]
        self._network = Network(self.name, model, preprocess, size, self._settings, self._precision)
        self.dim, self.at_once = self._network.dim, self._network.at_once

    def embed(self, images: Sequence[UInt8Array]) -> Float32Array:
        assert self._network is not None, f"{self.name}: setup() comes before embed()"
        return self._network.embed(images)


def _published(model: str) -> PretrainedCfg:
    """What timm knows about a model by name."""
    name = model.removeprefix("timm/")
    problem = "timm knows no such model"
    if timm.is_model(name) and not set(name) & set("/\\:"):
        try:
            published = timm.get_pretrained_cfg(name)
        except RuntimeError:
            problem = f"timm knows {name.partition('.')[0]}, but not this variant of it"
        else:
            return published or PretrainedCfg(architecture=name)
    known = [*timm.list_models(), *timm.list_models(pretrained=True)]
    near = difflib.get_close_matches(name, known, n=3, cutoff=0.6)
    hint = f"did you mean timm/{' or timm/'.join(near)}?" if near else "list them with timm.list_models()"
    raise ModelError(f"model {model!r}: {problem}; {hint}")


def _load(model: str, path: str, published_classes: int) -> Any:
    """The model with the file's weights and no classifier; the file may have one, or not.

    Raises:
        ModelError: the file is damaged, holds code, or its keys or shapes are not the model's.
    """
    misfits = []
    for classes in dict.fromkeys((published_classes, 0)):
        try:
            with warnings.catch_warnings(action="ignore"):  # torch warns of odd pickles before it refuses them
                built = timm.create_model(
                    model.removeprefix("timm/"),
                    pretrained=True,
                    num_classes=classes,
                    pretrained_cfg_overlay={"file": path, "num_classes": classes},
                )
        except Exception as error:  # a hostile file can make the readers raise nearly anything
            cause = cause_of(error)
            if "weights_only=True blocked" in cause:
                raise ModelError(
                    f"model {model}: {path} holds more than tensors or is damaged, and is not loaded; "
                    "get it as safetensors"
                ) from error
            if not _is_misfit(error):
                raise ModelError(
                    f"model {model}: {path} is damaged or no checkpoint ({cause}); get the file again"
                ) from error
            misfits.append(cause)
        else:
            if classes > 0:
                built.reset_classifier(0)
            return built
    raise ModelError(f"model {model}: {path} is no checkpoint of this model ({misfits[0]}); give one that is")


def _is_misfit(error: Exception) -> bool:
    """Whether tensors were read, but under names or with shapes that are not the model's."""
    return isinstance(error, (AttributeError, KeyError, TypeError)) or "loading state_dict" in str(error)
