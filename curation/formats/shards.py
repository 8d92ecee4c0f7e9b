"""WebDataset tars and their manifest: equal content is equal bytes.

One tar writer serves both the run's image store and the shards. Times, owners and modes in the headers are fixed, and
the offset of each member is known as it is written, so that any image can later be fetched with one range read.
"""

import hashlib
import json
import os
import re
import tarfile
from collections.abc import Generator, Iterator, Mapping, Sequence
from typing import IO, Any

from curation.errors import RunError
from curation.run.store import Store

__all__ = [
    "MANIFEST",
    "TarWriter",
    "read_manifest",
    "shard_name",
    "sources_of",
    "tar_entries",
    "tar_members",
    "write_manifest",
]

MANIFEST = "shards/manifest.json"
FORMAT = "lvd-shards/1"


def shard_name(number: int) -> str:
    """`shard-000000.tar`, `shard-000001.tar`, ..."""
    return f"shard-{number:06d}.tar"


_TEMPLATE = tarfile.TarInfo("").tobuf(tarfile.USTAR_FORMAT)
# The header of a regular file with all its digits, and neither a prefix to its name nor an extension.
_PLAIN = re.compile(
    rb"(?P<name>.{100}).{24}(?P<size>[0-7]{11})[ \0].{12}(?P<sum>[0-7]{6})[ \0]{2}0.{100}ustar.{83}\0{167}",
    re.DOTALL,
)
# The checksum is the sum of all bytes, its own eight counted as spaces.
_TEMPLATE_SUM = sum(_TEMPLATE) - sum(_TEMPLATE[148:156]) - sum(_TEMPLATE[124:135]) + 8 * ord(" ")


class TarWriter:
    """Writes a POSIX tar to a binary file; `sha256` and `size` describe the bytes written so far.

    Args:
        checksum: whether `sha256` will be asked for.
    """

    def __init__(self, file: IO[bytes], checksum: bool = True) -> None:
        self._file = file
        self._sha256 = hashlib.sha256() if checksum else None
        self.size = 0

    def add(self, name: str, data: bytes) -> int:
        """Append a member and return the offset of its first byte. The name must be plain ASCII under 100 bytes."""
        assert name.isascii(), f"not a plain member name: {name!r}"
        assert len(name) < 100, f"a member name too long for the header: {name!r}"
        header = _header(name.encode("ascii"), len(data))
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
        assert self._sha256 is not None, "made without a checksum"
        return self._sha256.hexdigest()

    def _write(self, data: bytes) -> None:
        self._file.write(data)
        if self._sha256 is not None:
            self._sha256.update(data)
        self.size += len(data)


def _header(name: bytes, size: int) -> bytes:
    """The header of a member: that of `tarfile`, of which only name, size and checksum change."""
    digits = b"%011o" % size
    assert len(digits) == 11, "a member of 8 GiB or more"
    total = _TEMPLATE_SUM + sum(name) + sum(digits)
    return b"".join(
        (name.ljust(100, b"\0"), _TEMPLATE[100:124], digits, _TEMPLATE[135:148], b"%06o" % total, _TEMPLATE[154:])
    )


def tar_members(file: IO[bytes]) -> Iterator[tuple[str, int, int]]:
    """Yield (name, offset of the data, length) of each regular file in an uncompressed tar, reading headers only.

    Plain headers, which are all that `TarWriter` and most others write, are read here, in a quarter of the time that
    `tarfile` takes (7 and 28 us), as each of the trainer's workers reads them; from the first other one on it reads the
    rest.
    """
    offset = yield from _plain_members(file)
    file.seek(offset)
    for member, _ in tar_entries(file):
        if member.isreg():
            yield member.name, member.offset_data, member.size


def _plain_members(file: IO[bytes]) -> Generator[tuple[str, int, int], None, int]:
    """The members up to the first header that is not plain; gives the offset of that."""
    end, offset = file.seek(0, os.SEEK_END), 0
    while True:
        file.seek(offset)
        header = file.read(tarfile.BLOCKSIZE)
        if (plain := _PLAIN.fullmatch(header)) is None:
            return offset
        name, total = plain["name"].partition(b"\0")[0], sum(header) - sum(header[148:156]) + 8 * ord(" ")
        start, length = offset + tarfile.BLOCKSIZE, int(plain["size"], 8)
        after = start + -(-length // tarfile.BLOCKSIZE) * tarfile.BLOCKSIZE
        if not name.isascii() or int(plain["sum"], 8) != total or after > end:
            return offset
        yield name.decode("ascii"), start, length
        offset = after


def tar_entries(file: IO[bytes]) -> Iterator[tuple[tarfile.TarInfo, int]]:
    """Yield each entry of an uncompressed tar and where it ends, padding included, reading headers only.

    An entry begins at its `offset`: extended headers of its own (a long name, say) are part of it.
    """
    with tarfile.open(fileobj=file, mode="r:") as archive:
        for member in archive:
            yield member, archive.offset
        if 0 < file.seek(0, os.SEEK_END) - archive.offset < tarfile.BLOCKSIZE:
            raise tarfile.ReadError("unexpected end of data")  # in a header, which `tarfile` takes for the end


def sources_of(shards: Sequence[Mapping[str, Any]], weights: Mapping[str, float]) -> dict[str, dict[str, Any]]:
    """The manifest's `sources`, of shards that each hold one source's samples: what they add up to, and the weight."""
    of = {name: [shard for shard in shards if shard.get("source") == name] for name in sorted(weights)}
    return {
        name: {"samples": sum(shard["samples"] for shard in own), "shards": len(own), "weight": weights[name]}
        for name, own in of.items()
    }


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
        if (result := manifest.pop("format")) != FORMAT:
            raise ValueError(f"format {result!r} is not {FORMAT!r}")
        return dict(manifest)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise RunError(
            f"{store.url(MANIFEST)}: is damaged ({error}); delete it and run the same command again to remake it"
        ) from error
