"""More rows than memory holds, dealt into buckets: an exact step over all of them then works on one bucket at a time.

Rows with equal keys must go to the same bucket; where buckets are ranges of a key (`bucket_of`), going through them in
order is also a sort. This is the external partitioning of a hash join, on the disk of one machine.
"""

import contextlib
import itertools
import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType

import numpy as np
import pyarrow as pa

from curation.arrays import Int64Array

__all__ = ["Buckets", "bucket_of"]


MEMORY = 256 * 1024 * 1024
"""Bytes of rows that are held before they go to disk: a run of a million URLs never touches it."""


def bucket_of(keys: pa.Array, buckets: int) -> Int64Array:
    """The bucket of each key, equal slices of the keys' range in order.

    Args:
        keys: N fixed-size binary values of 4 bytes or more, spread evenly as digests are.

    Returns:
        (N,) numbers in [0, buckets).
    """
    width = keys.type.byte_width
    raw = np.frombuffer(keys.buffers()[1], np.uint8, len(keys) * width, keys.offset * width).reshape(len(keys), width)
    leading = np.ascontiguousarray(raw[:, :4]).view(">u4").reshape(-1).astype(np.int64)
    return np.asarray(leading * buckets >> 32)


class Buckets:
    """Tables of one schema, dealt into `count` buckets and given back bucket by bucket.

    A context manager: what went to disk, in a temporary folder (`TMPDIR` says where), is gone at its end.
    """

    def __init__(self, count: int, schema: pa.Schema, memory: int = MEMORY) -> None:
        self._count = count
        self._schema = schema
        self._memory = memory
        self._waiting: list[tuple[pa.Table, Int64Array]] = []
        self._bytes = 0
        self._stack = contextlib.ExitStack()
        self._folder: Path | None = None
        self._writers: dict[int, pa.ipc.RecordBatchStreamWriter] = {}

    def __enter__(self) -> "Buckets":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def add(self, rows: pa.Table, bucket: Int64Array) -> None:
        """Deal rows: row i goes to bucket[i]."""
        assert len(rows) == len(bucket)
        self._waiting.append((rows.select(self._schema.names).cast(self._schema), bucket))
        self._bytes += rows.nbytes
        if self._bytes > self._memory:
            self._spill()

    def take(self) -> Iterator[pa.Table]:
        """Each bucket's rows in the order in which they were added, from bucket 0 on; nothing is added afterwards."""
        waiting = self._by_bucket()
        for writer in self._writers.values():
            writer.close()
        for bucket in range(self._count):
            tables = [self._spilled(bucket)] if bucket in self._writers else []
            yield pa.concat_tables([*tables, waiting[bucket]]) if tables else waiting[bucket]

    def _by_bucket(self) -> list[pa.Table]:
        """The rows in memory, bucket by bucket; memory then holds none."""
        table = pa.concat_tables([self._schema.empty_table(), *(rows for rows, _ in self._waiting)])
        numbers = np.concatenate([np.empty(0, np.int64), *(bucket for _, bucket in self._waiting)])
        self._waiting, self._bytes = [], 0
        order = np.argsort(numbers, kind="stable")
        table = table.take(pa.array(order))
        bounds = np.searchsorted(numbers[order], np.arange(self._count + 1)).tolist()
        return [table.slice(start, end - start) for start, end in itertools.pairwise(bounds)]

    def _spill(self) -> None:
        if self._folder is None:
            self._folder = Path(self._stack.enter_context(tempfile.TemporaryDirectory(prefix="lvd-")))
        for bucket, rows in enumerate(self._by_bucket()):
            if len(rows):
                if bucket not in self._writers:
                    file = self._stack.enter_context(pa.OSFile(str(self._file(bucket)), "wb"))
                    self._writers[bucket] = pa.ipc.new_stream(file, self._schema)
                self._writers[bucket].write_table(rows)

    def _spilled(self, bucket: int) -> pa.Table:
        with pa.OSFile(str(self._file(bucket))) as file, pa.ipc.open_stream(file) as stream:
            return stream.read_all()

    def _file(self, bucket: int) -> Path:
        assert self._folder is not None
        return self._folder / f"{bucket}.arrow"
