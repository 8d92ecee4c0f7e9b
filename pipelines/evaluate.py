"""What a checkpoint's features are worth: nearest neighbours on a small labelled folder."""

from pathlib import Path

from curation.dinov2.score import Scores, score

__all__ = ["evaluate"]


def evaluate(
    checkpoint: str | Path, data: str | Path, *, neighbours: int = 20, image_size: int | None = None
) -> Scores:
    """Measure kNN accuracy, 0 to 1, of the teacher, of the same network untrained, and of raw pixels.

    Args:
        checkpoint: a file of `pretrain`.
        data: a folder with a sub-folder per class; of each class every second image (by name) is a query.
        neighbours: that vote, weighted by similarity (arXiv 2304.07193, section 7.1).
        image_size: side of the centre crop in pixels; None for the size that the model was trained at.

    Raises:
        RunError: the checkpoint is missing, damaged or of another kind.
        DatasetError: the folder has too few classes or images.
    """
    return score(checkpoint, data, neighbours=neighbours, image_size=image_size)
