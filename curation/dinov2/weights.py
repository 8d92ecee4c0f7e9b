"""Backbone weights under the names of others: official, timm, Hugging Face.

All translations go through the official names, which are the ones that the bundled backbone has.
"""

import re
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from curation.dinov2.vit import VisionTransformer
from curation.errors import ModelError

__all__ = [
    "from_timm",
    "load_backbone",
    "load_training_checkpoint",
    "official_names",
    "read_weights",
    "to_hf",
    "to_timm",
]

Weights = dict[str, Tensor]


def read_weights(path: str | Path) -> Weights:
    """All tensors of a weights file by the name in it; nothing in the file is executed.

    Safetensors, or torch files: plain dicts of tensors, or with those under `model` or `teacher`. ModelError where the
    file is missing, damaged or holds no tensors.
    """
    try:
        if str(path).endswith(".safetensors"):
            return dict(load_file(path))
        raw = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise ModelError(f"{path}: no such weights file") from error
    except (SafetensorError, OSError) as error:
        raise ModelError(f"{path}: cannot be read: {error}") from error
    except Exception as error:  # the unpickler raises nearly anything on damaged files
        raise ModelError(f"{path}: damaged, or not a file of plain tensors") from error
    if isinstance(raw, dict) and isinstance(raw.get("model"), dict):
        raw = raw["model"]
    elif isinstance(raw, dict) and isinstance(raw.get("teacher"), dict):
        raw = {f"teacher.{name}": value for name, value in raw["teacher"].items()}
    tensors = {str(k): v for k, v in raw.items() if isinstance(v, Tensor)} if isinstance(raw, dict) else {}
    if not tensors:
        raise ModelError(f"{path}: holds no tensors")
    return tensors


def official_names(weights: Weights) -> Weights:
    """Names without what wrappers add: FSDP and DDP prefixes, and the chunk number of chunked blocks."""
    clean = {}
    for name, value in weights.items():
        name = name.replace("_fsdp_wrapped_module.", "").replace("module.", "")
        clean[re.sub(r"(^|\.)blocks\.\d+\.(\d+)\.", r"\1blocks.\2.", name)] = value
    return clean


def load_training_checkpoint(model: torch.nn.Module, path: str | Path) -> None:
    """Load an official or own training checkpoint (`student.*`, `teacher.*`) into a `SelfDistillation`.

    Centres that the file lacks stay as they are; ModelError where a weight is missing or has another shape.
    """
    weights = official_names(read_weights(path))
    own = model.state_dict()
    _check(path, weights, {name: value for name, value in own.items() if not name.endswith("_loss.center")})
    model.load_state_dict(own | {name: value for name, value in weights.items() if name in own})


def load_backbone(backbone: VisionTransformer, path: str | Path) -> None:
    """Load a backbone from an official, timm or own file; of a training checkpoint the teacher's.

    Position embeddings of another grid are interpolated to the backbone's own. ModelError as for a training checkpoint.
    """
    weights = official_names(read_weights(path))
    for prefix in ("teacher.backbone.", "backbone."):
        if any(name.startswith(prefix) for name in weights):
            weights = {n.removeprefix(prefix): value for n, value in weights.items() if n.startswith(prefix)}
    weights = from_timm(weights)
    own = backbone.state_dict()
    weights.setdefault("mask_token", own["mask_token"])
    if "pos_embed" in weights and weights["pos_embed"].shape[-1] == own["pos_embed"].shape[-1]:
        weights["pos_embed"] = _fit_positions(backbone, weights["pos_embed"])
    _check(path, weights, own)
    backbone.load_state_dict({name: weights[name] for name in own})


@torch.no_grad()
def _fit_positions(backbone: VisionTransformer, table: Tensor) -> Tensor:
    own = backbone.pos_embed
    if table.shape == own.shape:
        return table
    side = round((own.shape[1] - 1) ** 0.5)
    backbone.pos_embed = torch.nn.Parameter(table.float())
    artifact = backbone.positions(side, side).clone()
    backbone.pos_embed = own
    return artifact


def _check(path: str | Path, weights: Weights, own: Weights) -> None:
    missing = sorted(name for name in own if name not in weights)
    if missing:
        raise ModelError(f"{path}: no weight {missing[0]} ({len(missing)} missing): a checkpoint of another model")
    for name, value in own.items():
        if weights[name].shape != value.shape:
            raise ModelError(
                f"{path}: {name} has shape {tuple(weights[name].shape)}, this model's has {tuple(value.shape)}: "
                "a checkpoint of another model"
            )


def from_timm(weights: Weights) -> Weights:
    """Official names of timm's; weights that have official names already are left alone.

    timm adds the class token's position to the token itself in models with registers: it comes back as position 0.
    """
    result = dict(weights)
    if "reg_token" in result:
        result["register_tokens"] = result.pop("reg_token")
        position = torch.zeros_like(result["cls_token"])
        result["pos_embed"] = torch.cat([position, result["pos_embed"]], dim=1)
    if not _is_gated(result):
        return result
    names = {name: name.replace(".mlp.fc1.", ".mlp.w12.").replace(".mlp.fc2.", ".mlp.w3.") for name in result}
    return {names[name]: value for name, value in result.items()}


def to_timm(weights: Weights) -> Weights:
    """timm's names of official backbone weights; the mask token is left out."""
    names = {name: name.replace(".mlp.w12.", ".mlp.fc1.").replace(".mlp.w3.", ".mlp.fc2.") for name in weights}
    result = {names[name]: value for name, value in weights.items() if name != "mask_token"}
    if "register_tokens" in result:
        result["reg_token"] = result.pop("register_tokens")
        result["cls_token"] = result["cls_token"] + result["pos_embed"][:, :1]
        result["pos_embed"] = result["pos_embed"][:, 1:]
    return {name: value.contiguous() for name, value in result.items()}


def _is_gated(weights: Weights) -> bool:
    """Whether `mlp.fc1` is a packed gate: twice as wide as what `mlp.fc2` takes."""
    first, second = weights.get("blocks.0.mlp.fc1.weight"), weights.get("blocks.0.mlp.fc2.weight")
    return first is not None and second is not None and first.shape[0] == 2 * second.shape[1]


_TO_HF = (
    (r"^(cls_token|mask_token|register_tokens)$", r"embeddings.\1"),
    (r"^pos_embed$", "embeddings.position_embeddings"),
    (r"^patch_embed\.proj\.", "embeddings.patch_embeddings.projection."),
    (r"^norm\.", "layernorm."),
    (r"^blocks\.(\d+)\.ls([12])\.gamma$", r"encoder.layer.\1.layer_scale\2.lambda1"),
    (r"^blocks\.(\d+)\.attn\.proj\.", r"encoder.layer.\1.attention.output.dense."),
    (r"^blocks\.(\d+)\.mlp\.w12\.", r"encoder.layer.\1.mlp.weights_in."),
    (r"^blocks\.(\d+)\.mlp\.w3\.", r"encoder.layer.\1.mlp.weights_out."),
    (r"^blocks\.(\d+)\.", r"encoder.layer.\1."),
)


def to_hf(weights: Weights) -> Weights:
    """Hugging Face names (`Dinov2Model`, `Dinov2WithRegistersModel`) of official backbone weights."""
    result = {}
    for name, value in weights.items():
        if match := re.match(r"blocks\.(\d+)\.attn\.qkv\.(weight|bias)$", name):
            for part, piece in zip(("query", "key", "value"), torch.chunk(value, 3), strict=True):
                result[f"encoder.layer.{match[1]}.attention.attention.{part}.{match[2]}"] = piece.contiguous()
            continue
        pattern, new = next((entry for entry in _TO_HF if re.match(entry[0], name)), ("", ""))
        result[re.sub(pattern, new, name) if pattern else name] = value.contiguous()
    return result
