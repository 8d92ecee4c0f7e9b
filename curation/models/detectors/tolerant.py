"""Runs a model on a batch so that an image which it cannot take is found, and does not take the others with it."""

from collections.abc import Callable, Sequence
from typing import TypeVar

from curation.drops import Dropped, DropReason
from curation.errors import LvdError
from curation.imaging.decode import Pixels

__all__ = ["run_tolerantly"]

T = TypeVar("T")


def run_tolerantly(
    model: Callable[[Sequence[Pixels]], Sequence[T]], images: Sequence[Pixels]
) -> tuple[dict[int, T], dict[int, Dropped]]:
    """A model's answers by position, and the images that it fails on.

    Where it fails on the batch it is given each image alone. Where it fails on all of several, the model is at fault
    and not the images, and its own exception is raised: a GPU out of memory must not empty a dataset.
    """
    try:
        return dict(enumerate(model(images))), {}
    except LvdError:
        raise
    except Exception as error:
        failure = error
    answers: dict[int, T] = {}
    drops: dict[int, Dropped] = {}
    for at, image in enumerate(images):
        try:
            answers[at] = model([image])[0]
        except Exception as error:  # whatever a runtime raises for an image that it cannot take
            drops[at] = Dropped(DropReason.MODEL_FAILED, f"{type(error).__name__}: {error}")
    if len(images) > 1 and not answers:
        raise failure
    return answers, drops
