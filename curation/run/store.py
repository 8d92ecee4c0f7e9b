"""Directories, local or any fsspec URL, whose files appear whole or not at all.

A local file is written under a temporary name beside its final one, synced, and renamed: one atomic step. On an
object store it is spooled to local disk and uploaded with one put. A process killed at any moment therefore
leaves old files, new files, or temporary ones that the next run sweeps away, and never a partial file.
"""

import contextlib
import os
import tempfile
from collections.abc import Iterator
from functools import lru_cache
from typing import IO, Any

import fsspec
from fsspec.implementations.local import LocalFileSystem

from curation.errors import ExtraError, LvdError, RunError, StoreError, cause_of

__all__ = ["Store", "filesystem", "is_url", "reaching", "read_range"]

_TEMPORARY = ".tmp-"
_EXTRAS = {"s3": "s3", "s3a": "s3", "gs": "gcs", "gcs": "gcs"}
"""The extra of lvd that brings a protocol."""


def is_url(path: str) -> bool:
    """Tell whether a path is an fsspec URL such as `s3://bucket/key`, rather than a local path."""
    return "://" in path


def filesystem(url: str) -> tuple[fsspec.AbstractFileSystem, str]:
    """The filesystem that a path or URL lives on, and its path there.

    Raises:
        ExtraError: the protocol needs a package that is not installed.
        StoreError: the protocol is unknown, or its server cannot be reached.
    """
    with reaching(url):
        fs, path = fsspec.core.url_to_fs(url)
        return fs, path


@contextlib.contextmanager
def reaching(url: str) -> Iterator[None]:
    """Turn what a remote filesystem raises in the block into one line; what is missing there stays FileNotFoundError.

    Raises:
        ExtraError, StoreError: as `filesystem`.
    """
    try:
        yield
    except (LvdError, FileNotFoundError, NotADirectoryError):
        raise
    except Exception as error:  # every fsspec backend has its own kinds
        if not is_url(url):
            raise
        protocol = url.partition("://")[0].rpartition("::")[2]
        if isinstance(error, ImportError):
            extra = _EXTRAS.get(protocol)
            remedy = f"run `pip install 'lvd[{extra}]'`" if extra else "install it"
            raise ExtraError(
                f"{url}: {protocol}:// needs a package that is missing ({cause_of(error)}); {remedy}"
            ) from (error)
        if protocol not in fsspec.available_protocols():
            raise StoreError(
                f"{url}: {protocol}:// is no protocol that is known; name a local path, or a URL such as s3://bucket/folder"
            ) from error
        raise StoreError(
            f"{url}: cannot be reached ({cause_of(error)}); check the address, the network and the credentials"
        ) from error


class Store:
    """One directory and what is in it; names are relative, with `/` between folders.

    Args:
        root: a local path, or a URL that fsspec knows.
    """

    def __init__(self, root: str) -> None:
        self.root = root.rstrip("/") or "/"
        self._fs, self._base = filesystem(root)
        self.is_local = isinstance(self._fs, LocalFileSystem)

    def url(self, name: str = "") -> str:
        """Where a name is, for messages and for other processes."""
        return f"{self.root}/{name}" if name else self.root

    def path(self, name: str = "") -> str:
        """A name's path on this store's filesystem."""
        return f"{self._base}/{name}" if name else self._base

    def exists(self, name: str) -> bool:
        with reaching(self.root):
            return bool(self._fs.exists(self.path(name)))

    def size(self, name: str) -> int:
        return int(self._fs.size(self.path(name)))

    def names(self, folder: str = "") -> list[str]:
        """Sorted names of the files in a folder, without temporary ones; empty where there is no such folder."""
        entries = self._entries(folder)
        names = (entry["name"].rstrip("/").rsplit("/", 1)[-1] for entry in entries if entry["type"] == "file")
        return sorted(name for name in names if not name.startswith(_TEMPORARY))

    def folders(self, folder: str = "") -> list[str]:
        """Sorted names of the folders in a folder."""
        entries = self._entries(folder)
        return sorted(entry["name"].rstrip("/").rsplit("/", 1)[-1] for entry in entries if entry["type"] == "directory")

    def _entries(self, folder: str) -> list[dict[str, Any]]:
        try:
            with reaching(self.root):
                return list(self._fs.ls(self.path(folder), detail=True))
        except (FileNotFoundError, NotADirectoryError):
            return []

    def open(self, name: str) -> IO[bytes]:
        """Open a file for reading; seekable."""
        return self._fs.open(self.path(name), "rb")  # type: ignore[no-any-return]

    def read_bytes(self, name: str) -> bytes:
        return bytes(self._fs.cat_file(self.path(name)))

    def remove(self, name: str) -> None:
        """Remove a file if it is there."""
        with contextlib.suppress(FileNotFoundError):
            self._fs.rm_file(self.path(name))

    def remove_folder(self, name: str) -> None:
        """Remove a folder that holds files alone, with them, if it is there."""
        for file in self.names(name):
            self.remove(f"{name}/{file}")
        if self.is_local:  # on an object store there is nothing left of it
            with contextlib.suppress(FileNotFoundError):
                self._fs.rmdir(self.path(name))

    @contextlib.contextmanager
    def writing(self, name: str) -> Iterator[IO[bytes]]:
        """Write a file: it appears under its name, whole, when the block ends, and not at all if the block raises.

        Raises:
            RunError: there is no permission, or no room, to write here.
        """
        try:
            with self._writing_local(name) if self.is_local else self._writing_remote(name) as file:
                yield file
        except OSError as error:
            raise RunError(
                f"{self.url(name)}: cannot be written ({error.strerror or error}); check permissions and free space"
            ) from error

    def write_bytes(self, name: str, data: bytes) -> None:
        """Write a whole file in one atomic step; RunError as `writing`."""
        with self.writing(name) as file:
            file.write(data)

    def sweep(self) -> None:
        """Remove temporary files that a killed process left, in all folders. Only for a store nobody else writes."""
        if self.is_local:
            for folder, _, files in os.walk(self._base):
                for name in files:
                    if name.startswith(_TEMPORARY):
                        os.unlink(os.path.join(folder, name))

    @contextlib.contextmanager
    def _writing_local(self, name: str) -> Iterator[IO[bytes]]:
        path = self.path(name)
        folder, leaf = os.path.split(path)
        os.makedirs(folder, exist_ok=True)
        descriptor, temporary = tempfile.mkstemp(prefix=f"{_TEMPORARY}{leaf}-", dir=folder)
        try:
            with os.fdopen(descriptor, "wb") as file:
                yield file
                file.flush()
                os.fchmod(file.fileno(), 0o666 & ~_umask())
                os.fsync(file.fileno())
            os.replace(temporary, path)
        except BaseException:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(temporary)
            raise

    @contextlib.contextmanager
    def _writing_remote(self, name: str) -> Iterator[IO[bytes]]:
        with tempfile.NamedTemporaryFile(prefix=_TEMPORARY) as file:
            yield file
            file.flush()
            self._fs.makedirs(self.path(name).rsplit("/", 1)[0], exist_ok=True)
            self._fs.put_file(file.name, self.path(name))


def read_range(path: str, offset: int, length: int) -> bytes:
    """Read `length` bytes at `offset` of a local file or fsspec URL; fewer come back where the file is shorter."""
    if is_url(path):
        fs, inner = filesystem(path)
        return bytes(fs.cat_file(inner, start=offset, end=offset + length))
    with open(path, "rb", buffering=0) as file:  # opened anew each time: a file may be replaced under its name
        return os.pread(file.fileno(), length, offset)


@lru_cache(maxsize=1)
def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
