"""What of a vision transformer's tokens makes its vector: the class token, the mean of the patches, or both."""

from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from curation.dinov2.vit import VisionTransformer
from curation.errors import ModelError
from curation.models.class_token import keep_class_token

__all__ = ["BackboneVectors", "Pool", "pooled_timm_model"]

Pool = Literal["class", "patches", "both"]


class BackboneVectors(nn.Module):
    """Vectors of a backbone of `lvd pretrain`."""

    def __init__(self, backbone: VisionTransformer, pool: Pool) -> None:
        super().__init__()
        self.backbone = backbone
        self.pool: Pool = pool

    def forward(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) to (B, D), or (B, 2 D) of both."""
        if self.pool == "class":  # the last block is computed for the class token alone
            rows = self.backbone.layout([images]).class_rows().to(images.device)
            return self.backbone.forward_rows([images], None, rows)
        features = self.backbone.features(images)
        return _joined(features.cls, features.patches.mean(dim=1), self.pool)


def pooled_timm_model(name: str, model: Any, pool: Pool | None) -> Any:
    """A timm model without its classifier, pooled as asked for; None for its own pooling.

    Raises:
        ModelError: it does not have the tokens.
    """
    if pool is None:
        return keep_class_token(model)
    prefix = getattr(model, "num_prefix_tokens", None)
    if prefix is None or getattr(model, "blocks", None) is None:
        raise ModelError(f"model {name}: has no class and patch tokens to choose among; remove the pool setting")
    if pool != "patches" and getattr(model, "cls_token", None) is None:
        raise ModelError(f"model {name}: has no class token; set pool to patches, or remove it")
    return _TimmVectors(keep_class_token(model) if pool == "class" else model, pool)


class _TimmVectors(nn.Module):
    def __init__(self, model: Any, pool: Pool) -> None:
        super().__init__()
        self.model = model
        self.pool: Pool = pool

    def forward(self, images: Tensor) -> Tensor:
        tokens = self.model.forward_features(images)
        first, patches = tokens[:, 0], tokens[:, self.model.num_prefix_tokens :]
        if self.pool == "class":  # there may be no other: see `keep_class_token`
            return self._normed(first)
        return _joined(self._normed(first), self._normed(patches.mean(dim=1)), self.pool)

    def _normed(self, vectors: Tensor) -> Tensor:
        """After the norm that some models have behind their pooling, in place of the one before it."""
        norm = getattr(self.model, "fc_norm", None)
        normed: Tensor = vectors if norm is None else norm(vectors)
        return normed


def _joined(first: Tensor, mean: Tensor, pool: Pool) -> Tensor:
    if pool == "both":
        return torch.cat([functional.normalize(first.float(), dim=1), functional.normalize(mean.float(), dim=1)], dim=1)
    return first if pool == "class" else mean
