"""A trained backbone as a file that others load: timm, Hugging Face, or the official hub code."""

import json
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors.torch import save_file
from torch import Tensor

from curation.dinov2.batch import MEAN, STD
from curation.dinov2.checkpoint import load_state
from curation.dinov2.config import ModelConfig, PretrainConfig
from curation.dinov2.model import build_backbone, model_shape
from curation.dinov2.vit import VisionTransformer
from curation.dinov2.weights import to_hf, to_timm
from curation.errors import RunError, cause_of

__all__ = [
    "Target",
    "export_backbone",
    "hf_config",
    "load_checkpoint_backbone",
    "read_checkpoint_config",
    "timm_name",
]

Target = Literal["timm", "hf", "dinov2"]


def read_checkpoint_config(checkpoint: str | Path) -> PretrainConfig:
    """The config that a checkpoint was trained with; RunError where the file is missing, damaged or of another kind."""
    return _config_in(load_state(Path(checkpoint), mapped=True), checkpoint)


def load_checkpoint_backbone(checkpoint: str | Path) -> tuple[VisionTransformer, PretrainConfig]:
    """The teacher's backbone, and the config that it was trained with; RunError as `read_checkpoint_config`."""
    state = load_state(Path(checkpoint), mapped=True)
    config = _config_in(state, checkpoint)
    prefix = "teacher.backbone."
    try:
        own = {n.removeprefix(prefix): value for n, value in state["model"].items() if n.startswith(prefix)}
        depth = sum(name.endswith(".norm1.weight") for name in own)
        if depth != model_shape(config.model).depth:
            raise ValueError(f"{depth} blocks, the config says {model_shape(config.model).depth}")
        # No memory before the shapes have been compared: a file may claim any.
        with torch.device("meta"):
            backbone = build_backbone(config.model, config.crops.global_size)
        backbone.load_state_dict({n: value.to(torch.float32, copy=True) for n, value in own.items()}, assign=True)
    except (AttributeError, KeyError, RuntimeError, TypeError, ValueError) as error:
        raise RunError(f"{checkpoint}: damaged, its weights are not those of its config: {cause_of(error)}") from error
    return backbone.eval(), config


def export_backbone(checkpoint: str | Path, to: Target, out: str | Path) -> Path:
    """Write the teacher's backbone for `to`; returns what was written.

    `timm`: a safetensors file for `timm.create_model(timm_name(...), img_size=..., checkpoint_path=out)`. `hf`: a
    folder for `Dinov2Model.from_pretrained` (with registers `Dinov2WithRegistersModel`). `dinov2`: a .pth file with
    the official names, for `load_state_dict` of the official hub models.
    """
    backbone, config = load_checkpoint_backbone(checkpoint)
    weights = {name: value.detach().clone() for name, value in backbone.state_dict().items()}
    out = Path(out)
    if to == "hf":
        _write_hf(out, to_hf(weights), config)
        return out
    out.parent.mkdir(parents=True, exist_ok=True)
    if to == "timm":
        save_file(to_timm(weights), out, metadata={"architecture": timm_name(config.model) or ""})
    else:
        torch.save(weights, out)
    return out


def timm_name(model: ModelConfig) -> str | None:
    """timm's name of the architecture; None where timm has no such DINOv2 model."""
    names = {"vits": "small", "vitb": "base", "vitl": "large", "vitg": "giant"}
    plain = model.width is None and model.depth is None and model.heads is None
    own_ffn = "swiglu" if model.arch == "vitg" else "mlp"
    if not plain or model.patch != 14 or model.arch not in names or model.ffn != own_ffn:
        return None
    registers = {0: "", 4: "_reg4"}.get(model.registers)
    return None if registers is None else f"vit_{names[model.arch]}_patch14{registers}_dinov2"


def hf_config(config: PretrainConfig) -> dict[str, object]:
    """The settings of `Dinov2Config` or `Dinov2WithRegistersConfig` for this backbone."""
    shape = model_shape(config.model)
    registers = config.model.registers
    settings: dict[str, object] = {
        "architectures": ["Dinov2WithRegistersModel" if registers else "Dinov2Model"],
        "model_type": "dinov2_with_registers" if registers else "dinov2",
        "hidden_size": shape.width,
        "num_hidden_layers": shape.depth,
        "num_attention_heads": shape.heads,
        "mlp_ratio": 4,
        "hidden_act": "gelu",
        "layer_norm_eps": 1e-6,
        "image_size": config.crops.global_size,
        "patch_size": config.model.patch,
        "qkv_bias": True,
        "layerscale_value": config.model.layerscale,
        "use_swiglu_ffn": config.model.ffn == "swiglu",
    }
    return settings | ({"num_register_tokens": registers} if registers else {})


def _config_in(state: dict[str, Any], checkpoint: str | Path) -> PretrainConfig:
    try:
        return PretrainConfig.model_validate(state["config"])
    except (KeyError, ValueError) as error:  # pydantic's is a ValueError
        raise RunError(f"{checkpoint}: damaged, holds no config of this trainer: {cause_of(error)}") from error


def _write_hf(folder: Path, weights: dict[str, Tensor], config: PretrainConfig) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    (folder / "config.json").write_text(json.dumps(hf_config(config), indent=2) + "\n", encoding="utf-8")
    size = config.crops.global_size
    preprocessor = {
        "image_processor_type": "BitImageProcessor",
        "do_resize": True,
        "size": {"shortest_edge": round(size * 256 / 224)},
        "do_center_crop": True,
        "crop_size": {"height": size, "width": size},
        "resample": 3,
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "image_mean": list(MEAN),
        "image_std": list(STD),
    }
    (folder / "preprocessor_config.json").write_text(json.dumps(preprocessor, indent=2) + "\n", encoding="utf-8")
