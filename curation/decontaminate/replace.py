"""Rewrites the shards of a WebDataset in place: only those that lose a sample, each in one atomic step.

The hash of the new shard is noted before it is renamed into place. A shard is therefore at any moment
either the old or the new one, and a run that was killed can find out which.
"""

import contextlib
import glob
import os
from typing import Any

import pyarrow as pa

from curation.decontaminate.hashing import hash_of
from curation.decontaminate.source import Source
from curation.decontaminate.verdicts import VERDICTS
from curation.decontaminate.write import READ, check_images, read_note, write_clean, write_note, written_spec
from curation.engine.contract import Output, Place, StageSpec
from curation.errors import DatasetError
from curation.formats.dataset import Kind
from curation.run.parts import Collection
from curation.run.store import Store, is_url

__all__ = ["Check", "Replace", "check_replaceable", "is_replaced", "mark_replaced"]

MARK = "clean/in-place.json"


class Check:
    """The stage `checked` of the collection `clean`: every image of a shard is still the one that was compared.

    Copies are removed since another image stays. That one may lie in a shard that loses nothing and is thus not read
    again: all shards are checked before the first is rewritten.
    """

    def __init__(self, clean: Collection, source: Source) -> None:
        self._clean = clean
        self._source = source
        self.spec = StageSpec("checked", 1, VERDICTS.name, {VERDICTS.name: []}, pa.schema([]), {"of": source.data})

    def setup(self) -> None:
        pass

    def process(self, rows: pa.Table, place: Place) -> Output:
        """Raises DatasetError where an image is no longer the one that was compared."""
        check_images(self._source.files[place.part], self._clean.read(VERDICTS.name, place.part, READ).to_pylist())
        return Output({})


class Replace:
    """The stage `written` of the collection `clean`, for a WebDataset that is rewritten in place."""

    def __init__(self, clean: Collection, source: Source) -> None:
        self._clean = clean
        self._source = source
        self.spec = written_spec({"in_place": source.data})

    def setup(self) -> None:
        pass

    def process(self, rows: pa.Table, place: Place) -> Output:
        """Raises DatasetError where an image is no longer the one that was compared."""
        images = self._clean.read(VERDICTS.name, place.part, READ).to_pylist()
        if all(image["live"] for image in images):
            size, digest = hash_of(self._source.files[place.part])
            write_note(self._clean, place.part, {"bytes": size, "sha256": digest})
        else:
            self._replace(place.part, images)
        return Output({})

    def _replace(self, part: int, rows: list[dict[str, Any]]) -> None:
        """Rewrite one shard, unless that was done before the run was stopped."""
        file = self._source.files[part]
        _sweep(file)
        note = read_note(self._clean, part)
        if note is None or (note["bytes"], note["sha256"]) != hash_of(file):
            check_images(file, rows)
            mode = None if is_url(file) else os.stat(file).st_mode & 0o7777
            folder, _, leaf = file.rpartition("/")
            with Store(folder or "/").writing(leaf) as target:
                written = write_clean(Kind.TARS, file, target, rows)
                note = {"bytes": written.size, "sha256": written.sha256, "mode": mode}
                write_note(self._clean, part, note)  # before the block ends, and the shard is replaced
        if note["mode"] is not None:
            os.chmod(file, note["mode"])


def _sweep(file: str) -> None:
    """Remove what a killed run left beside a shard."""
    if not is_url(file):
        folder, leaf = os.path.split(file)
        for left in glob.glob(f".tmp-{glob.escape(leaf)}-*", root_dir=folder, include_hidden=True):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(os.path.join(folder, left))


def check_replaceable(source: Source) -> None:
    """Refuse a dataset that cannot be rewritten in place, before anything is read.

    Raises:
        DatasetError: it is no WebDataset, or a shard is a link or may not be replaced.
    """
    if source.kind is not Kind.TARS:
        raise DatasetError(f"{source.data}: is {source.kind.value}; `in-place` rewrites WebDataset tars only")
    for file in source.files:
        if not is_url(file) and os.path.islink(file):
            raise DatasetError(f"{file}: is a symbolic link; name the shard that it leads to, or leave out `in-place`")
        if not is_url(file) and not os.access(os.path.dirname(file), os.W_OK):
            raise DatasetError(f"{file}: cannot be replaced; allow writing in its folder, or leave out `in-place`")


def mark_replaced(clean: Collection) -> None:
    """Note that this run rewrites shards: from here on its verdicts cannot change, and it can do nothing else."""
    clean.store.write_bytes(MARK, b"{}")


def is_replaced(clean: Collection) -> bool:
    """Whether a run has begun to rewrite shards in place."""
    return clean.store.exists(MARK)
