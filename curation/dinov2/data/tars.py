"""Images of WebDataset tars, by random access: lvd's own shards, and those of others."""

import os
import shutil
import tarfile
import tempfile
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple

from fsspec.implementations.local import LocalFileSystem

from curation.errors import DatasetError
from curation.formats.shards import tar_members
from curation.formats.tars import IMAGE_ENDINGS, sample_key
from curation.run.store import filesystem

__all__ = ["TarSource", "count_images"]

OPEN = 16
"""Tars that a process keeps open."""


class _Tar(NamedTuple):
    descriptor: int
    images: list[tuple[str, int, int]]
    """(name, offset, length) of each."""


class TarSource:
    """The images of tars, each a unit. Remote tars are copied whole to a local folder when first needed.

    Bytes are read by offset rather than in a stream, since the order of samples is a shuffle of several tars at once
    and a run goes on at any sample of it. A tar's headers are read once in each process that needs it.

    Args:
        counts: images in each tar; `said_by` is who says so, in the error that a tar has another number of them.
    """

    def __init__(self, tars: Sequence[str], counts: Sequence[int], *, said_by: str, cache: str | None = None) -> None:
        self.tars = list(tars)
        self.sizes = list(counts)
        self.said_by = said_by
        self.cache = cache
        self._open: dict[int, _Tar] = {}

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_open": {}}

    def read(self, unit: int, index: int) -> bytes:
        """Bytes of the image `index` of tar `unit`; DatasetError where the tar is damaged or holds another number."""
        tar = self._tar(unit)
        _, offset, length = tar.images[index]
        return os.pread(tar.descriptor, length, offset)

    def name(self, unit: int, index: int) -> str:
        """The tar, and the member in it."""
        return f"{self.tars[unit]}/{self._tar(unit).images[index][0]}"

    def _tar(self, unit: int) -> _Tar:
        if unit not in self._open:
            if len(self._open) >= OPEN:
                oldest = next(iter(self._open))
                os.close(self._open.pop(oldest).descriptor)
            self._open[unit] = self._opened(unit)
        return self._open[unit]

    def _opened(self, unit: int) -> _Tar:
        where, count = self.tars[unit], self.sizes[unit]
        local = _local(where, self.cache)
        images = _images(where, local)
        if len(images) != count:
            raise DatasetError(f"{where}: {len(images)} images, {self.said_by} {count}; check the shards")
        return _Tar(os.open(local, os.O_RDONLY), images)


def count_images(tars: Sequence[str], cache: str | None = None) -> list[int]:
    """Images in each tar, by its headers alone; remote tars are copied for it. DatasetError for no whole tar."""
    return [len(_images(where, _local(where, cache))) for where in tars]


def _images(where: str, local: str) -> list[tuple[str, int, int]]:
    try:
        with open(local, "rb") as file:
            return [member for member in tar_members(file) if sample_key(member[0])[1] in IMAGE_ENDINGS]
    except OSError as error:
        raise DatasetError(f"{where}: cannot be read: {error.strerror or error}") from error
    except (tarfile.TarError, EOFError) as error:
        raise DatasetError(f"{where}: is not a readable tar ({error}); make or copy the shard again") from error


def _local(where: str, cache: str | None) -> str:
    """A local path of the tar, which is copied there unless it has been before."""
    fs, path = filesystem(where)
    if isinstance(fs, LocalFileSystem):
        return path
    folder = Path(cache or tempfile.gettempdir()) / "lvd-shards"
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / f"{sha256(where.encode()).hexdigest()[:16]}-{Path(path).name}"
    if not target.exists():
        try:
            with tempfile.NamedTemporaryFile(dir=folder, delete=False) as copy, fs.open(path, "rb") as remote:
                shutil.copyfileobj(remote, copy, 1 << 20)
        except OSError as error:
            raise DatasetError(f"{where}: cannot be read: {error.strerror or error}") from error
        os.replace(copy.name, target)
    return str(target)
