"""An image classifier by name: the probability of each of its classes, or the value of a head of one output.

`timm/<model>`, `hf_hub:<owner>/<repository>` for timm models on the Hugging Face hub, such as
`hf_hub:Marqo/nsfw-image-detection-384`, and `local-dir:<folder>` for a folder with `config.json` and
`model.safetensors` as timm saves them.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import timm
import torch
from PIL import Image
from timm.data.config import resolve_data_config
from timm.data.transforms_factory import create_transform
from timm.models._hub import load_model_config_from_hf, load_model_config_from_path
from timm.models._pretrained import PretrainedCfg

from curation.arrays import Float32Array
from curation.config import ModelConfig
from curation.errors import ModelError, cause_of
from curation.imaging.decode import Pixels
from curation.models.batches import Batches
from curation.models.device import device
from curation.models.weights import verified_weights

__all__ = ["Classifier"]

VERSION = 1
WEIGHT_FILES = ("model.safetensors", "pytorch_model.bin")


class Classifier:
    """A timm classifier, on the GPU where there is one.

    Attributes:
        labels: its classes, by the names that were published with it, else `0`, `1`, ...; there after `setup()`.
    """

    def __init__(self, settings: ModelConfig) -> None:
        """Nothing is read yet.

        Raises:
            ModelError: the name is of no kind that is known here.
        """
        if not settings.model.startswith(("timm/", "hf_hub:", "local-dir:")):
            raise ModelError(
                f"model {settings.model!r}: unknown classifier; name timm/<model>, hf_hub:<owner>/<repository>, as in "
                "hf_hub:Marqo/nsfw-image-detection-384, or local-dir:<folder>"
            )
        self._settings = settings
        self._model: Any = None

    @property
    def side(self) -> int:
        """What the shorter side of an image is resized to; ModelError where its config.json cannot be had."""
        data = resolve_data_config(pretrained_cfg=self._find()[1].to_dict())
        return int(min(data["input_size"][1:]) / data["crop_pct"])

    def fingerprint(self) -> str:
        """Name, version and the weights' sha256; downloads them if they are not here yet.

        Raises:
            ModelError: they cannot be had, or are not those that were pinned.
        """
        settings, published, _, _ = self._find()
        _, digest = verified_weights(settings, published)
        return f"{self._settings.model} v{VERSION} sha256:{digest}"

    def setup(self) -> None:
        """Find, verify and load the weights, once.

        Raises:
            ModelError: they cannot be had, are damaged, are not those that were pinned, or do not fit.
        """
        if self._model is not None:
            return
        settings, published, architecture, arguments = self._find()
        path, _ = verified_weights(settings, published)
        model = _loaded(self._settings.model, architecture, path, published, arguments)
        data = resolve_data_config(pretrained_cfg=published.to_dict())
        self._transform = create_transform(**data)
        names = [str(name) for name in published.label_names or ()]
        self.labels = tuple(names or (str(at) for at in range(model.num_classes)))
        if len(self.labels) != model.num_classes:
            raise ModelError(
                f"model {settings.model}: names {len(self.labels)} labels for {model.num_classes} classes; "
                "fix its config.json"
            )
        self._device = device()
        self._batches = Batches(self._settings.model, self._settings.batch, self._device)
        self._model = model.eval().requires_grad_(False).to(self._device)

    def scores(self, images: Sequence[Pixels]) -> Float32Array:
        """(N, classes) float32 probabilities that add up to 1; for a model of one output, its value as it is.

        Args:
            images: N arrays of (H, W, 3) uint8 RGB, of any size.
        """
        assert self._model is not None, "setup() comes before scores()"
        out = np.empty((len(images), len(self.labels)), np.float32)
        for part, values in self._batches.run(len(images), lambda part: self._scores(images[part])):
            out[part] = values
        return out

    def _scores(self, images: Sequence[Pixels]) -> Float32Array:
        """One batch."""
        assert self._model is not None
        batch = torch.stack([self._transform(Image.fromarray(image)) for image in images])
        with torch.inference_mode():
            logits = self._model(batch.to(self._device)).float()
        return np.asarray((logits if logits.shape[1] == 1 else logits.softmax(dim=1)).cpu().numpy())

    def _find(self) -> tuple[ModelConfig, PretrainedCfg, str, dict[str, Any]]:
        """Settings with a weights path where that is known, what was published, the architecture and its arguments."""
        name = self._settings.model
        if name.startswith("timm/"):
            try:
                published = timm.get_pretrained_cfg(name.removeprefix("timm/"))
            except RuntimeError as error:
                raise ModelError(f"model {name!r}: timm knows no such model") from error
            if published is None:
                raise ModelError(f"model {name!r}: timm knows no such model")
            return self._settings, published, name.removeprefix("timm/"), {}
        _, _, place = name.partition(":")
        try:
            local = name.startswith("local-dir:")
            find_config = load_model_config_from_path if local else load_model_config_from_hf
            config, architecture, arguments = find_config(place)
        except Exception as error:  # a missing file, no network, JSON that is none, keys that are missing
            raise ModelError(
                f"model {name}: its config.json cannot be had ({cause_of(error, 160)}); connect to the network, or "
                "give a folder that holds it and the weights as local-dir:<folder>"
            ) from error
        if "label_names" not in config and isinstance(config.get("labels"), list):
            config["label_names"] = config["labels"]
        settings = self._settings
        if local and settings.weights is None:
            files = [path for path in (Path(place) / file for file in WEIGHT_FILES) if path.is_file()]
            if not files:
                raise ModelError(f"model {name}: {place} holds none of {', '.join(WEIGHT_FILES)}; add the weights")
            settings = settings.model_copy(update={"weights": str(files[0])})
        known = {key: value for key, value in config.items() if key in PretrainedCfg.__dataclass_fields__}
        return settings, PretrainedCfg(**known), architecture, dict(arguments or {})


def _loaded(name: str, architecture: str, path: Path, published: PretrainedCfg, arguments: dict[str, Any]) -> Any:
    try:
        return timm.create_model(
            architecture,
            pretrained=True,
            pretrained_cfg_overlay={"file": str(path), "num_classes": published.num_classes},
            **{**arguments, "num_classes": published.num_classes},
        )
    except Exception as error:  # a hostile file can make the readers raise nearly anything
        cause = cause_of(error)
        raise ModelError(f"model {name}: {path} is damaged, or no checkpoint of it ({cause}); get it again") from error
