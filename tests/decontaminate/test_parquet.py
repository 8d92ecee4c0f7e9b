"""A Parquet file loses rows, and keeps what it is."""

import io

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from curation.decontaminate.parquet import write_rows

TABLE = pa.table(
    {
        "image": pa.array([bytes([at]) * 50 for at in range(20)], pa.large_binary()),
        "boxes": pa.array([[{"x": at, "y": None}] * (at % 3) for at in range(20)]),
        "when": pa.array(range(20), pa.timestamp("ms", tz="UTC")),
        "word": pa.array(["a", "b"] * 10).dictionary_encode(),
        "half": pa.array(np.arange(20, dtype=np.float16)),
    }
)


@pytest.mark.parametrize("codec", ["NONE", "snappy", "zstd", "gzip", "brotli", "lz4"])
def test_rows_schema_metadata_codecs_and_groups_stay(codec):
    table = TABLE.replace_schema_metadata({b"mine": b"1"})
    source, target = io.BytesIO(), io.BytesIO()
    pq.write_table(table, source, row_group_size=6, compression=codec, use_dictionary=["word"])
    kept = np.ones(20, dtype=bool)
    kept[[0, 7, *range(12, 18)]] = False
    written = write_rows(source, target, kept)
    before, after = pq.ParquetFile(source), pq.ParquetFile(target)
    assert after.schema_arrow.equals(before.schema_arrow, check_metadata=True)
    assert after.read().equals(before.read().filter(pa.array(kept)))
    assert [after.metadata.row_group(at).num_rows for at in range(after.num_row_groups)] == [5, 5, 2]
    for column in range(after.metadata.num_columns):
        first, second = (file.metadata.row_group(0).column(column) for file in (before, after))
        assert (second.compression, second.physical_type) == (first.compression, first.physical_type)
        assert second.has_dictionary_page == first.has_dictionary_page
    assert written.size == len(target.getvalue())


@pytest.mark.parametrize("rows", [0, 5])
def test_a_file_that_keeps_no_row_still_has_its_schema(rows):
    source, target = io.BytesIO(), io.BytesIO()
    pq.write_table(TABLE.slice(0, rows), source)
    write_rows(source, target, np.zeros(rows, dtype=bool))
    after = pq.ParquetFile(target)
    assert (after.metadata.num_rows, after.schema_arrow) == (0, TABLE.schema)


def test_equal_input_gives_equal_bytes():
    source = io.BytesIO()
    pq.write_table(TABLE, source)
    kept = np.arange(20) % 3 > 0
    first, second = io.BytesIO(), io.BytesIO()
    assert write_rows(source, first, kept).sha256 == write_rows(source, second, kept).sha256
    assert first.getvalue() == second.getvalue()
