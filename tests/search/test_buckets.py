"""Rows dealt into buckets come back whole and in order, from memory or from disk alike."""

import hashlib
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from curation.search.buckets import Buckets, bucket_of

SCHEMA = pa.schema([("number", pa.int64()), ("text", pa.string())])


def table(numbers: np.ndarray) -> pa.Table:
    return pa.table([pa.array(numbers), pa.array([f"row {number}" for number in numbers])], schema=SCHEMA)


@pytest.mark.parametrize("memory", [1, 40_000, 10**9])
def test_each_bucket_holds_its_rows_in_the_order_in_which_they_were_added(
    memory: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    rng = np.random.default_rng(0)
    numbers = np.arange(5000)
    bucket = rng.integers(0, 7, 5000)
    bucket[bucket == 3] = 2  # a bucket may stay empty
    with Buckets(7, SCHEMA, memory) as buckets:
        for start in range(0, 5000, 600):
            buckets.add(table(numbers[start : start + 600]), bucket[start : start + 600])
        assert any(tmp_path.iterdir()) == (memory < 10**9)
        result = list(buckets.take())
    assert [rows["number"].to_pylist() for rows in result] == [numbers[bucket == at].tolist() for at in range(7)]
    assert all(rows["text"].to_pylist() == [f"row {n}" for n in rows["number"].to_pylist()] for rows in result)
    assert not any(tmp_path.iterdir())


def test_buckets_of_nothing_are_empty() -> None:
    with Buckets(3, SCHEMA) as buckets:
        assert [len(rows) for rows in buckets.take()] == [0, 0, 0]


def test_what_went_to_disk_is_gone_after_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))

    def fail() -> None:
        with Buckets(3, SCHEMA, memory=1) as buckets:
            buckets.add(table(np.arange(10)), np.arange(10) % 3)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize("buckets", [1, 7, 256, 512])
def test_buckets_are_slices_of_the_keys_range_in_order_and_of_like_size(buckets: int) -> None:
    keys = sorted(hashlib.sha256(str(number).encode()).digest()[:16] for number in range(20_000))
    array = pa.array([b"\xff" * 16, *keys, b"\0" * 16], pa.binary(16))
    of_all = bucket_of(array, buckets)
    assert (of_all[0], of_all[-1]) == (buckets - 1, 0)
    result = bucket_of(array.slice(1, 20_000), buckets)
    assert result.tolist() == of_all[1:-1].tolist()
    assert (np.diff(result) >= 0).all()
    sizes = np.bincount(result, minlength=buckets)
    assert len(sizes) == buckets
    assert sizes.min() > 0
    assert sizes.max() < 2.5 * 20_000 / buckets
