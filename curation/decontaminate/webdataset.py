"""A WebDataset tar that loses samples: what stays is copied byte for byte, with its headers."""

import tarfile
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from typing import IO

from curation.decontaminate.hashing import Hashing
from curation.formats.shards import tar_entries
from curation.formats.tars import sample_key

__all__ = ["mates_of", "write_shard"]

CHUNK = 1 << 20


@dataclass(slots=True)
class _Sample:
    """Neighbouring members with one key: their byte ranges, and where the data of each begins."""

    key: str | None
    ranges: list[tuple[int, int]] = field(default_factory=list)
    offsets: list[int] = field(default_factory=list)


def mates_of(file: IO[bytes], removed: Collection[int]) -> dict[int, list[int]]:
    """For each removed member, by the offset of its data, the offsets of all members of its sample."""
    return {offset: sample.offsets for sample in _samples(file) for offset in sample.offsets if offset in removed}


def write_shard(source: IO[bytes], target: IO[bytes], removed: Collection[int]) -> Hashing:
    """Copy a tar without the samples that hold a removed member.

    What is kept, extended headers and padding included, keeps its bytes; links and devices are left out,
    since a link could name what was removed.

    Args:
        removed: offsets of the data of removed members.

    Returns:
        Size and SHA-256 of what was written.
    """
    written = Hashing(target)
    for sample in _samples(source):
        if not any(offset in removed for offset in sample.offsets):
            for start, end in sample.ranges:
                _copy(source, written, start, end)
    end_mark = 2 * tarfile.BLOCKSIZE
    written.write(bytes(-(written.size + end_mark) % tarfile.RECORDSIZE + end_mark))
    return written


def _samples(file: IO[bytes]) -> Iterator[_Sample]:
    """The samples of a tar in order. Folders, and headers that hold for all that follows, are samples of their own."""
    sample, end_before = _Sample(None), 0
    for member, end in tar_entries(file):
        key = sample_key(member.name)[0] if member.isreg() else None
        if member.offset > end_before or key is None or key != sample.key:
            yield sample
            sample = _Sample(key)
            if member.offset > end_before:
                yield _Sample(None, [(end_before, member.offset)])
        if member.isreg():
            sample.offsets.append(member.offset_data)
        if member.isreg() or member.isdir():
            sample.ranges.append((member.offset, end))
        end_before = end
    yield sample


def _copy(source: IO[bytes], target: Hashing, start: int, end: int) -> None:
    """Copy a range of bytes, and put the source back where the tar reader left it."""
    back = source.tell()
    source.seek(start)
    while start < end:
        data = source.read(min(CHUNK, end - start))
        if not data:
            raise tarfile.ReadError("unexpected end of data")
        target.write(data)
        start += len(data)
    source.seek(back)
