"""Takes the originals of dropped and blurred images out of the run's own image store.

A tar is written anew with zeros in their place, as long as they were: every other offset stays right, so no part file
changes and nothing is redone. It cannot be taken back: a setting that would have such an image looked at again fails
with an error that says so. Files of local datasets belong to the user and stay.
"""

from collections.abc import Sequence

import numpy as np

from curation.arrays import BoolArray
from curation.engine.locations import CHANGED_BY, PLACE
from curation.run.parts import Collection
from curation.run.store import is_url

__all__ = ["originals_left", "remove_originals"]

Range = tuple[int, int]
BLOCK = 1 << 20


def remove_originals(collection: Collection, stages: Sequence[str], part: int) -> int:
    """Overwrite what should not stay of one part, each tar in one atomic step; returns how many images that were.

    Args:
        stages: all that may have dropped an image.
    """
    left = originals_left(collection, stages, part)
    for tar, ranges in left.items():
        _overwrite(collection, f"{collection.path}/{tar}", ranges)
    return sum(len(ranges) for ranges in left.values())


def originals_left(collection: Collection, stages: Sequence[str], part: int) -> dict[str, list[Range]]:
    """Where the run still holds originals of dropped or blurred images of a part: by tar, (offset, length) in order."""
    table = collection.read("fetch", part, PLACE)
    places = list(zip(*(table[name].to_pylist() for name in PLACE), strict=True))
    stored: dict[str, list[Range]] = {}
    for row in np.flatnonzero(_gone(collection, stages, part, len(places))).tolist():
        tar, offset, length = places[row]
        if tar is not None and not tar.startswith("/") and not is_url(tar):
            stored.setdefault(tar, []).append((offset, length))
    left = {tar: _not_zero(collection, f"{collection.path}/{tar}", sorted(set(stored[tar]))) for tar in sorted(stored)}
    return {tar: ranges for tar, ranges in left.items() if ranges}


def _gone(collection: Collection, stages: Sequence[str], part: int, rows: int) -> BoolArray:
    """Rows of a part that some stage dropped, or that the safety stage changed."""
    gone = np.zeros(rows, dtype=bool)
    for stage in stages:
        if collection.footer(stage, part) is not None:
            gone |= collection.read(stage, part, ["drop_reason"])["drop_reason"].is_valid().to_numpy()
    if collection.footer(CHANGED_BY, part) is not None:
        gone |= collection.read(CHANGED_BY, part, ["tar"])["tar"].is_valid().to_numpy()
    return gone


def _not_zero(collection: Collection, tar: str, ranges: Sequence[Range]) -> list[Range]:
    left = []
    with collection.store.open(tar) as file:
        for offset, length in ranges:
            file.seek(offset)
            if file.read(length).strip(b"\0"):
                left.append((offset, length))
    return left


def _overwrite(collection: Collection, tar: str, ranges: Sequence[Range]) -> None:
    with collection.store.open(tar) as old, collection.store.writing(tar) as new:
        at = 0
        for offset, length in ranges:
            while at < offset:
                block = old.read(min(BLOCK, offset - at))
                new.write(block)
                at += len(block)
            new.write(bytes(length))
            at = offset + length
            old.seek(at)
        while block := old.read(BLOCK):
            new.write(block)
