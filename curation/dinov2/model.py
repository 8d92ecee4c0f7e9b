"""Student and teacher: two equal networks of a backbone and its heads, the second a moving average of the first."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from curation.dinov2.config import ModelConfig, PretrainConfig
from curation.dinov2.depth import DropPathPlan
from curation.dinov2.heads import Head
from curation.dinov2.losses import Centre
from curation.dinov2.vit import ARCHITECTURES, Shape, VisionTransformer

__all__ = [
    "Network",
    "Output",
    "OutputRows",
    "SelfDistillation",
    "build_backbone",
    "build_model",
    "drop_rates",
    "model_shape",
]


class OutputRows(NamedTuple):
    """Which packed token rows the objective needs: class tokens first, then masked patches of the global crops."""

    rows: Tensor
    classes: int


@dataclass(frozen=True)
class Output:
    """What a network makes of a batch."""

    features: Tensor
    """Normalised class tokens `(classes, D)`."""
    classes: Tensor
    """Logits of the class tokens `(classes, K)`."""
    patches: Tensor
    """Logits of the masked patches `(M, K')`."""


class Network(nn.Module):
    """A backbone, a head for class tokens, and one for patches (none if the two are tied)."""

    def __init__(self, backbone: VisionTransformer, dino_head: Head, ibot_head: Head | None) -> None:
        super().__init__()
        self.backbone = backbone
        self.dino_head = dino_head
        if ibot_head is not None:
            self.ibot_head = ibot_head
        self.tied = ibot_head is None

    def forward(
        self, crops: Sequence[Tensor], mask: Tensor | None, wanted: OutputRows, draw: DropPathPlan | None
    ) -> Output:
        """Outputs for the wanted rows of packed `crops`, each `(B, 3, H, W)`; `mask` is the first one's, `(B, N)`."""
        rows = self.backbone.forward_rows(crops, mask, wanted.rows, draw)
        classes, patches = rows[: wanted.classes], rows[wanted.classes :]
        if self.tied:
            logits = self.dino_head(rows)
            return Output(classes, logits[: wanted.classes], logits[wanted.classes :])
        return Output(classes, self.dino_head(classes), self.ibot_head(patches))


class SelfDistillation(nn.Module):
    """The whole trainable state; its state dict has the names of official training checkpoints."""

    def __init__(self, student: Network, teacher: Network, dino_loss: Centre, ibot_patch_loss: Centre) -> None:
        super().__init__()
        self.student = student
        self.teacher = teacher
        self.dino_loss = dino_loss
        self.ibot_patch_loss = ibot_patch_loss
        self.teacher.requires_grad_(False)
        self.copy_to_teacher()

    @torch.no_grad()
    def copy_to_teacher(self) -> None:
        """Make the teacher an exact copy of the student, heads included."""
        self.teacher.load_state_dict(self.student.state_dict())

    @torch.no_grad()
    def update_teacher(self, momentum: float) -> None:
        """teacher <- momentum x teacher + (1 - momentum) x student."""
        torch._foreach_lerp_(list(self.teacher.parameters()), list(self.student.parameters()), 1 - momentum)


def model_shape(model: ModelConfig) -> Shape:
    """Width, depth and heads: the architecture's, where the settings do not replace them."""
    base = ARCHITECTURES[model.arch]
    return Shape(model.width or base.width, model.depth or base.depth, model.heads or base.heads)


def build_backbone(model: ModelConfig, image_size: int) -> VisionTransformer:
    """A fresh backbone whose own position grid is that of `image_size`."""
    return VisionTransformer(
        model_shape(model),
        image_size=image_size,
        patch=model.patch,
        swiglu=model.ffn == "swiglu",
        registers=model.registers,
        layerscale=model.layerscale,
        antialias=model.antialias,
        offset=model.offset,
    )


def build_model(config: PretrainConfig) -> SelfDistillation:
    """Student and teacher with fresh, equal weights from torch's global generator."""
    ibot = config.ibot_head or config.dino_head
    student, teacher = (_network(config) for _ in range(2))
    momentum = config.loss.center_momentum
    return SelfDistillation(
        student,
        teacher,
        Centre((1, config.dino_head.prototypes), momentum),
        Centre((1, 1, ibot.prototypes), momentum),
    )


def _network(config: PretrainConfig) -> Network:
    backbone = build_backbone(config.model, config.crops.global_size)
    width = backbone.shape.width
    ibot = None if config.ibot_head is None else Head(width, **config.ibot_head.model_dump())
    return Network(backbone, Head(width, **config.dino_head.model_dump()), ibot)


def drop_rates(model: ModelConfig, depth: int) -> list[float]:
    """Stochastic depth rate of each block."""
    if model.drop_path_uniform:
        return [model.drop_path] * depth
    return [float(rate) for rate in np.linspace(0, model.drop_path, depth)]
