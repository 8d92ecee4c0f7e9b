"""Files appear whole or not at all, locally and behind any fsspec URL."""

import os

import fsspec
import pytest

from curation.errors import RunError
from curation.run.store import Store, is_url, read_range


@pytest.fixture(params=["local", "memory"])
def store(request, tmp_path):
    if request.param == "local":
        yield Store(str(tmp_path / "root"))
    else:
        yield Store("memory://storage/root")
        if fsspec.filesystem("memory").exists("/storage"):
            fsspec.filesystem("memory").rm("/storage", recursive=True)


def test_what_is_written_is_read_back(store):
    store.write_bytes("a/b/c.bin", b"hello")
    assert store.exists("a/b/c.bin")
    assert store.size("a/b/c.bin") == 5
    assert store.read_bytes("a/b/c.bin") == b"hello"
    assert read_range(store.path("a/b/c.bin") if store.is_local else store.url("a/b/c.bin"), 1, 3) == b"ell"
    with store.open("a/b/c.bin") as file:
        file.seek(2)
        assert file.read() == b"llo"
    assert (store.names("a/b"), store.folders(), store.folders("a")) == (["c.bin"], ["a"], ["b"])
    assert (store.names("nowhere"), store.folders("nowhere")) == ([], [])


def test_a_block_that_raises_leaves_the_old_file_whole_and_nothing_else(store):
    def fail():
        with store.writing("x") as file:
            file.write(b"new")
            raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        fail()
    assert not store.exists("x")
    store.write_bytes("x", b"old")
    with pytest.raises(ValueError, match="no"):
        fail()
    assert store.read_bytes("x") == b"old"
    assert store.names() == ["x"]


def test_a_file_is_not_there_before_its_block_ends(store):
    with store.writing("x") as file:
        file.write(b"half")
        file.flush()
        assert not store.exists("x")
        assert store.names() == []
    assert store.read_bytes("x") == b"half"


def test_removing_what_is_not_there_is_no_error(store):
    store.write_bytes("x", b"")
    store.remove("x")
    store.remove("x")
    assert store.names() == []


def test_sweeping_removes_what_killed_writers_left_and_nothing_else(tmp_path):
    store = Store(str(tmp_path))
    store.write_bytes("a/keep", b"1")
    (tmp_path / "a" / ".tmp-part-123").write_bytes(b"")
    (tmp_path / ".tmp-x").write_bytes(b"")
    store.sweep()
    assert sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*")) == ["a", "a/keep"]


def test_new_files_have_the_rights_that_the_umask_leaves(tmp_path):
    Store(str(tmp_path)).write_bytes("x", b"")
    mask = os.umask(0)
    os.umask(mask)
    assert (tmp_path / "x").stat().st_mode & 0o777 == 0o666 & ~mask


def test_a_place_that_cannot_be_written_is_one_line(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(RunError, match=r"file/x: cannot be written \(.*\); check permissions and free space") as caught:
        Store(str(tmp_path / "file")).write_bytes("x", b"")
    assert "\n" not in str(caught.value)


def test_a_range_past_the_end_is_cut_and_a_replaced_file_is_read_anew(tmp_path):
    path = tmp_path / "x"
    path.write_bytes(b"0123456789")
    assert read_range(str(path), 8, 10) == b"89"
    Store(str(tmp_path)).write_bytes("x", b"abcdefghij")
    assert read_range(str(path), 2, 3) == b"cde"


def test_urls_are_told_from_paths():
    assert is_url("s3://bucket/key")
    assert is_url("memory://x")
    assert not is_url("/a/b")
    assert not is_url("a:b")
