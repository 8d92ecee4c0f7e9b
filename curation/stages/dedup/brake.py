"""The brake: dedup that would take away most of a dataset, or put one image in the place of many, asks first."""

from collections.abc import Callable

import numpy as np

from curation.config import DedupConfig
from curation.errors import UserError
from curation.stages.dedup.components import Verdicts

__all__ = ["TooMuchError", "brake"]

SMALL = 200
"""Images of a pool below which a large group says nothing."""
SHOWN = 3


class TooMuchError(UserError):
    """Dedup would drop more than `dedup.max_share` or `dedup.max_group` allows; nothing was dropped."""


def brake(verdicts: Verdicts, name_of: Callable[[int], str], settings: DedupConfig) -> None:
    """Stop before anything is dropped.

    Args:
        name_of: how an image or reference is called in a message, by its position.

    Raises:
        TooMuchError: with the widest groups and what to do.
    """
    count = len(verdicts.reason)
    dropped = np.array([reason is not None for reason in verdicts.reason])
    stands, crowd = np.unique(verdicts.representative[dropped], return_counts=True)
    if dropped.sum() > settings.max_share * count:
        what = f"{dropped.sum():,} of {count:,} images, more than dedup.max_share ({settings.max_share:g})"
    elif count >= SMALL and crowd.max(initial=0) > settings.max_group * count:
        what = (
            f"{crowd.max():,} of {count:,} images for a single one, more than dedup.max_group ({settings.max_group:g})"
        )
    else:
        return
    order = np.lexsort((stands, -crowd))[:SHOWN]
    widest = "; ".join(f"{crowd[at]:,} {_for(int(stands[at]), count)} {name_of(int(stands[at]))}" for at in order)
    raise TooMuchError(
        f"dedup: would drop {what}, and has dropped none. The widest groups: {widest}. Look at them with `lvd "
        f"thresholds RUN --filter dedup`; then go on with --yes, or with a higher {_setting(settings)}"
    )


def _for(at: int, count: int) -> str:
    return "for" if at < count else "for the reference"


def _setting(settings: DedupConfig) -> str:
    return "dedup.probability" if settings.verify != "off" else "dedup.self.threshold and dedup.relative.threshold"
