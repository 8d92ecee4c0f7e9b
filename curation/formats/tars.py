"""WebDataset tars: members are read in place by offset, side members give label, caption and URL."""

import json
import tarfile
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import IO, Any

from curation.errors import DatasetError
from curation.formats.row import ListedRow
from curation.formats.shards import tar_members
from curation.run.store import filesystem, is_url

__all__ = ["IMAGE_ENDINGS", "list_tar", "sample_key"]

IMAGE_ENDINGS = frozenset({"jpg", "jpeg", "png", "webp", "gif", "bmp", "tif", "tiff", "avif", "jfif", "img"})
SIDE_ENDINGS = frozenset({"json", "txt", "cls"})
SIDE_LIMIT = 1 << 20
"""Bytes of a side member that are looked at; a larger one is somebody's data, not a caption."""


def list_tar(files: Sequence[str], source: str) -> Iterator[ListedRow]:
    """List the images of tars, tar by tar in member order.

    Members are grouped by what stands before the first dot of their base name, as WebDataset does.

    Raises:
        DatasetError: a file is no tar, or ends before its last member.
    """
    for file in files:
        fs, inner = filesystem(file)
        try:
            with fs.open(inner, "rb") as handle:
                yield from _list_one(handle, file if is_url(file) else inner, source)
        except (tarfile.TarError, OSError, EOFError) as error:
            raise DatasetError(f"{file}: is not a readable tar ({error}); fix or leave out this shard") from error


def _list_one(handle: IO[bytes], file: str, source: str) -> Iterator[ListedRow]:
    group, images, sides = "", [], {}  # type: str, list[tuple[str, int, int]], dict[str, Any]
    seen: Counter[str] = Counter()
    for name, offset, length in tar_members(handle):
        stem, ending = sample_key(name)
        if stem != group:
            yield from _rows(images, sides, file, source, seen)
            group, images, sides = stem, [], {}
        if ending in IMAGE_ENDINGS:
            images.append((name, offset, length))
        elif ending in SIDE_ENDINGS and length <= SIDE_LIMIT:
            sides.update(_side(ending, _read(handle, offset, length)))
    yield from _rows(images, sides, file, source, seen)


def _rows(
    images: Sequence[tuple[str, int, int]], sides: dict[str, Any], file: str, source: str, seen: Counter[str]
) -> Iterator[ListedRow]:
    """Rows of one sample. A tar may hold a name more than once: from its second time on, the key says which it is."""
    for name, offset, length in images:
        seen[name] += 1
        again = f"#{seen[name]}" if seen[name] > 1 else ""
        yield ListedRow(
            key=f"{file.rsplit('/', 1)[-1]}/{name}{again}",
            source=source,
            path=name,
            page_url=sides.get("page_url"),
            alt=sides.get("alt"),
            label=sides.get("label"),
            tar=file,
            offset=offset,
            length=length,
        )


def _read(handle: IO[bytes], offset: int, length: int) -> bytes:
    """Read a member and put the file back where the tar reader left it."""
    back = handle.tell()
    handle.seek(offset)
    data = handle.read(length)
    handle.seek(back)
    return data


def _side(ending: str, data: bytes) -> dict[str, Any]:
    """What a side member says; one that cannot be understood says nothing."""
    text = data.decode("utf-8", errors="replace").strip()
    if ending == "txt":
        return {"alt": text}
    if ending == "cls":
        return {"label": text}
    try:
        fields = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    if not isinstance(fields, dict):
        return {}
    named = {"page_url": fields.get("page_url"), "alt": fields.get("caption"), "label": fields.get("label")}
    return {key: str(value) for key, value in named.items() if isinstance(value, str | int)}


def sample_key(name: str) -> tuple[str, str]:
    """The key of the sample that a member belongs to, and what the member is: its last ending, in lower case."""
    folder, slash, leaf = name.rpartition("/")
    stem, _, ending = leaf.partition(".")
    return folder + slash + stem, ending.rsplit(".", 1)[-1].lower()
