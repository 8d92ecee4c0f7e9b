"""Where a sample's bytes are now: as they came, or as the safety stage changed them.

`fetch` says where each image was found. A stage that changes images has the columns of `STORED` besides its own:
null where an image stays as it is, else where its new bytes are. This module is the one place that lays the second
over the first; everything that reads an image asks it.
"""

import hashlib
from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from curation.formats.shards import TarWriter
from curation.imaging.decode import Header, identify
from curation.run.parts import Collection

__all__ = ["CHANGED_BY", "IMAGES", "PLACE", "SAMPLES", "STORED", "ImageStore", "changed_tar", "read_samples"]

PLACE = ("tar", "offset", "length")
STORED = pa.schema(
    [
        ("tar", pa.string()),
        ("offset", pa.int64()),
        ("length", pa.int64()),
        ("sha256", pa.binary(32)),
        ("format", pa.string()),
    ]
)
SAMPLES = "fetch"
"""The stage that says where each image is."""
CHANGED_BY = "safety"
"""The stage that changes images."""
IMAGES = {SAMPLES: PLACE}
"""What a stage that looks at images reads, where nothing changes them."""


def read_samples(collection: Collection, part: int, columns: Sequence[str], *, original: bool = False) -> pa.Table:
    """Columns of `fetch`, those of `STORED` as they are after the safety stage where there is one.

    Args:
        original: leave out what the safety stage changed.
    """
    table = collection.read(SAMPLES, part, columns)
    changed = [name for name in columns if name in STORED.names]
    if original or not changed or collection.footer(CHANGED_BY, part) is None:
        return table
    newer = collection.read(CHANGED_BY, part, changed)
    for name in changed:
        values = pc.coalesce(newer[name], table[name])
        table = table.set_column(table.schema.get_field_index(name), name, values)
    return table


def changed_tar(part: int) -> str:
    """The tar of a part's changed images, within its collection."""
    return f"images/blurred-part-{part:05d}.tar"


class ImageStore:
    """Writes a part's changed images; the tar appears when the block ends, or is removed if there are none.

    The file of the stage is removed first: its offsets would be wrong for the new tar.
    """

    def __init__(self, collection: Collection, stage: str, part: int) -> None:
        self._collection = collection
        self._stage = stage
        self._part = part
        self._writer: TarWriter | None = None
        self._open = ExitStack()

    def __enter__(self) -> "ImageStore":
        self._collection.remove(self._stage, self._part)
        return self

    def __exit__(self, *failure: Any) -> None:
        if self._writer is not None and failure[0] is None:
            self._writer.close()
        self._open.__exit__(*failure)
        if self._writer is None and failure[0] is None:
            self._collection.store.remove(f"{self._collection.path}/{changed_tar(self._part)}")

    def add(self, row: int, data: bytes) -> dict[str, Any]:
        """Store the new bytes of a row's image; returns the values of `STORED`."""
        if self._writer is None:
            name = f"{self._collection.path}/{changed_tar(self._part)}"
            self._writer = TarWriter(self._open.enter_context(self._collection.store.writing(name)))
        header = identify(data)
        assert isinstance(header, Header), "a stage encoded it"
        extension = "jpg" if header.format == "JPEG" else header.format.lower()
        offset = self._writer.add(f"{row:06d}.{extension}", data)
        return {
            "tar": changed_tar(self._part),
            "offset": offset,
            "length": len(data),
            "sha256": hashlib.sha256(data).digest(),
            "format": header.format,
        }
