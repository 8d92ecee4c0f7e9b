"""Hand a trained backbone over to other libraries."""

from pathlib import Path
from typing import get_args

from curation.dinov2.export import Target, export_backbone
from curation.errors import ArgumentError

__all__ = ["export"]


def export(checkpoint: str | Path, to: Target, out: str | Path) -> Path:
    """Write the teacher's backbone of `checkpoint` for another library; returns what was written.

    Args:
        checkpoint: a file of `pretrain`.
        to: `timm` and `dinov2` (the official code) take a file, `hf` (Hugging Face transformers) a folder.
        out: that file or folder.

    Raises:
        ArgumentError: there is no such library.
        RunError: the checkpoint is missing, damaged or of another kind.
    """
    if to not in get_args(Target):
        raise ArgumentError("to", to, f"no such library; use {', '.join(get_args(Target))}")
    return export_backbone(checkpoint, to, out)
