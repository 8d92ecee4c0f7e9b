"""WebDataset tars and their manifest: equal content is equal bytes.

One tar writer serves both the run's image store and the shards. Times, owners and modes in the headers are fixed, and
the offset of each member is known as it is written, so that any image can later be fetched with one range read.
"""

import hashlib
import json
import os
import tarfile
from collections.abc import Iterator
from typing import IO, Any

from curation.errors import RunError
from curation.storage import Store

__all__ = ["MANIFEST", "TarWriter", "read_manifest", "shard_name", "tar_members", "write_manifest"]

MANIFEST = "shards/manifest.json"
FORMAT = "lvd-shards/1"


def shard_name(number: int) -> str:
    """`shard-000000.tar`, `shard-000001.tar`, ..."""
    return f"shard-{number:06d}.tar"


class TarWriter:
    """Writes a POSIX tar to a binary file; `sha256` and `size` describe the bytes written so far."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._sha256 = hashlib.sha256()
        self.size = 0

    def add(self, name: str, data: bytes) -> int:
        """Append a member and return the offset of its first byte. The name must be plain ASCII under 100 bytes."""
        assert name.isascii(), f"not a plain member name: {name!r}"
        assert len(name) < 100, f"a member name too long for the header: {name!r}"
        info = tarfile.TarInfo(name)
        info.size = len(data)
        info.mode = 0o644
        header = info.tobuf(tarfile.USTAR_FORMAT)
        offset = self.size + len(header)
        self._write(header)
        self._write(data)
        self._write(bytes(-len(data) % tarfile.BLOCKSIZE))
        return offset

    def close(self) -> None:
        """Write the end-of-archive blocks; the file itself stays open."""
        self._write(bytes(-(self.size + 2 * tarfile.BLOCKSIZE) % tarfile.RECORDSIZE + 2 * tarfile.BLOCKSIZE))

    @property
    def sha256(self) -> str:
        return self._sha256.hexdigest()

    def _write(self, data: bytes) -> None:
        self._file.write(data)
        self._sha256.update(data)
        self.size += len(data)


def tar_members(file: IO[bytes]) -> Iterator[tuple[str, int, int]]:
    """Yield (name, offset of the data, length) of each regular file in an uncompressed tar, reading headers only."""
    with tarfile.open(fileobj=file, mode="r:") as archive:
        for member in archive:
            if member.isreg():
                yield member.name, member.offset_data, member.size
        if 0 < file.seek(0, os.SEEK_END) - archive.offset < tarfile.BLOCKSIZE:
            raise tarfile.ReadError("unexpected end of data")  # in a header, which `tarfile` takes for the end


def write_manifest(store: Store, fields: dict[str, Any]) -> None:
    """Write `shards/manifest.json`, the last file of a run: where it is, all shards are there."""
    text = json.dumps({"format": FORMAT, **fields}, indent=1, ensure_ascii=False)
    store.write_bytes(MANIFEST, text.encode() + b"\n")


def read_manifest(store: Store) -> dict[str, Any] | None:
    """The fields given to `write_manifest`, or None where there is no manifest yet; RunError if it is damaged."""
    if not store.exists(MANIFEST):
        return None
    try:
        manifest = json.loads(store.read_bytes(MANIFEST))
        if (found := manifest.pop("format")) != FORMAT:
            raise ValueError(f"format {found!r} is not {FORMAT!r}")
        return dict(manifest)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise RunError(
            f"{store.url(MANIFEST)}: is damaged ({error}); delete it and run the same command again to remake it"
        ) from error
