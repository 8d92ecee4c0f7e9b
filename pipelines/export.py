"""Hand a trained backbone over to other libraries."""

from pathlib import Path

from curation.dinov2.export import Target, export_backbone

__all__ = ["export"]


def export(checkpoint: str | Path, to: Target, out: str | Path) -> Path:
    """Write the teacher's backbone of `checkpoint` for timm (a file), hf (a folder) or dinov2 (a file).

    Raises:
        LvdError: see its subclasses.
    """
    return export_backbone(checkpoint, to, out)
