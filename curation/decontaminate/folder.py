"""Carries files into the clean dataset: as hard links where the file system allows, else as copies."""

import contextlib
import os

from curation.decontaminate.source import checked_name
from curation.run.store import Store, is_url

__all__ = ["carry_file", "carry_link", "passed_over"]


def carry_file(path: str, store: Store, name: str, data: bytes, *, link: bool) -> None:
    """Make a file of the dataset appear in the clean one, in one atomic step.

    Args:
        path: the file, a local path or URL.
        name: where it goes in `store`.
        data: its bytes.
        link: make a hard link where the file system can; else a copy.
    """
    if not (link and carry_link(path, store, name)):
        store.write_bytes(checked_name(name), data)


def carry_link(path: str, store: Store, name: str) -> bool:
    """Make a hard link appear in the clean dataset, if the file system can; returns whether it did."""
    if is_url(path) or not store.is_local:
        return False
    target = store.path(checked_name(name))
    if os.path.lexists(target):
        if os.path.samefile(path, target):
            return True
        os.unlink(target)
    try:
        os.makedirs(os.path.dirname(target), exist_ok=True)
        os.link(path, target, follow_symlinks=False)
    except OSError:  # another file system, one without links, or a file that is not ours to link to
        return False
    return True


def passed_over(folder: str) -> dict[str, int]:
    """Entries of a local folder that are no part of the dataset: hidden ones, and links and special files."""
    counts = {"hidden": 0, "links": 0, "special": 0}
    if is_url(folder):
        return counts
    pending = [folder]
    while pending:
        with contextlib.suppress(PermissionError), os.scandir(pending.pop()) as entries:
            for entry in entries:
                if entry.name.startswith("."):
                    counts["hidden"] += 1
                elif entry.is_symlink():
                    counts["links"] += 1
                elif entry.is_dir():
                    pending.append(entry.path)
                elif not entry.is_file():
                    counts["special"] += 1
    return counts
