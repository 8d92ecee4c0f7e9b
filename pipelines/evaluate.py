"""What a checkpoint's features are worth: nearest neighbours on a small labelled folder."""

from pathlib import Path

from curation.dinov2.score import Scores, score

__all__ = ["evaluate"]


def evaluate(
    checkpoint: str | Path, data: str | Path, *, neighbours: int = 20, image_size: int | None = None
) -> Scores:
    """kNN accuracy of the teacher, beside that of the same network untrained and of raw pixels.

    `data` has a sub-folder per class; of each class every second image (by name) is a query. `image_size` is the side
    of the centre crop; None for the size that the model was trained at.

    Raises:
        LvdError: see its subclasses.
    """
    return score(checkpoint, data, neighbours=neighbours, image_size=image_size)
