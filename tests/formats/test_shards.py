"""Tars: equal content is equal bytes, and every reader agrees on what is in them."""

import io
import json
import tarfile
from collections.abc import Callable, Iterable

import numpy as np
import pytest
import webdataset

from curation.errors import RunError
from curation.formats.shards import (
    TarWriter,
    read_manifest,
    shard_name,
    sources_of,
    tar_entries,
    tar_members,
    write_manifest,
)
from curation.run.store import Store

MEMBERS = [("000.jpg", b"x" * 511), ("000.json", b"{}"), ("001.jpg", b""), ("001.json", b"y" * 512), ("a" * 99, b"z")]


def written(members=MEMBERS):
    file = io.BytesIO()
    writer = TarWriter(file)
    offsets = [writer.add(name, data) for name, data in members]
    writer.close()
    return file.getvalue(), offsets, writer


def test_offsets_are_where_the_standard_library_finds_the_members():
    data, offsets, writer = written()
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        result = [(member.name, member.offset_data, tar.extractfile(member).read()) for member in tar]
    assert result == [(name, at, content) for (name, content), at in zip(MEMBERS, offsets, strict=True)]
    assert list(tar_members(io.BytesIO(data))) == [
        (name, at, len(content)) for (name, content), at in zip(MEMBERS, offsets, strict=True)
    ]
    assert writer.size == len(data)
    assert len(data) % tarfile.RECORDSIZE == 0


def test_times_owners_and_modes_are_fixed():
    assert written()[0] == written()[0]
    with tarfile.open(fileobj=io.BytesIO(written()[0])) as tar:
        assert {(m.mtime, m.uid, m.gid, m.uname, m.gname, m.mode) for m in tar} == {(0, 0, 0, "", "", 0o644)}


def test_headers_are_those_of_the_standard_library():
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for name, content in MEMBERS:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    assert written()[0] == file.getvalue()


def test_the_checksum_is_that_of_the_file():
    import hashlib

    data, _, writer = written()
    assert writer.sha256 == hashlib.sha256(data).hexdigest()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # webdataset leaves the file open
def test_webdataset_reads_the_samples(tmp_path):
    (tmp_path / "x.tar").write_bytes(written(MEMBERS[:4])[0])
    samples = list(webdataset.WebDataset(str(tmp_path / "x.tar"), shardshuffle=False))
    assert [(sample["__key__"], sample["jpg"]) for sample in samples] == [("000", MEMBERS[0][1]), ("001", b"")]


@pytest.mark.parametrize("name", ["a" * 100, "é.jpg"])
def test_a_name_that_a_plain_header_cannot_hold_is_refused(name):
    with pytest.raises(AssertionError):
        TarWriter(io.BytesIO()).add(name, b"")


def test_a_manifest_reads_back_as_it_was_given(tmp_path):
    store = Store(str(tmp_path))
    assert read_manifest(store) is None
    fields = {"samples": 1, "shards": [{"name": shard_name(3)}], "text": "ü"}
    write_manifest(store, fields)
    assert read_manifest(store) == fields
    assert json.loads((tmp_path / "shards" / "manifest.json").read_text())["format"] == "lvd-shards/1"
    (tmp_path / "shards" / "manifest.json").write_text('{"format": "lvd-shards/2"}')
    with pytest.raises(RunError, match=r"format 'lvd-shards/2' is not 'lvd-shards/1'"):
        read_manifest(store)


def test_shards_are_numbered_in_six_digits():
    assert (shard_name(0), shard_name(1234567)) == ("shard-000000.tar", "shard-1234567.tar")


def test_sources_add_up_their_shards():
    shards = [{"source": "b", "samples": 3}, {"source": "a", "samples": 2}, {"source": "b", "samples": 1}]
    assert sources_of(shards, {"b": 0.5, "a": 2}) == {
        "a": {"samples": 2, "shards": 1, "weight": 2},
        "b": {"samples": 4, "shards": 2, "weight": 0.5},
    }
    assert list(sources_of(shards, {"b": 0.5, "a": 2})) == ["a", "b"], "in an order that the config's does not change"


def tar_like(style: int, rng: np.random.Generator) -> bytes:
    """A tar of members with plain and odd headers, shuffled."""
    buffer = io.BytesIO()
    names = ["a.jpg", "b/c.json", "x" * 99, "y" * 100, "p" * 90 + "/" + "q" * 50, "ä.jpg", "empty", "d.jpg", "e.jpg"]
    names += ["z" * 160] if style != tarfile.USTAR_FORMAT else []
    with tarfile.open(fileobj=buffer, mode="w", format=style) as tar:
        for name in rng.permutation(names):
            member = tarfile.TarInfo(str(name))
            member.size = 0 if name == "empty" else int(rng.integers(1, 1500))
            member.mtime = 1.5 if rng.random() < 0.2 else 3
            tar.addfile(member, io.BytesIO(bytes(member.size)))
            if rng.random() < 0.2:
                odd = tarfile.TarInfo("folder")
                odd.type = (tarfile.DIRTYPE, tarfile.SYMTYPE, tarfile.FIFOTYPE, tarfile.AREGTYPE)[rng.integers(4)]
                tar.addfile(odd)
    return buffer.getvalue()


def outcome(members: Callable[[], Iterable[tuple[str, int, int]]]) -> object:
    """What comes, then the class of the error if one ends it."""
    seen: list[object] = []
    try:
        seen.extend(members())
    except tarfile.TarError as error:
        seen.append(type(error))
    return seen


@pytest.mark.parametrize("style", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_members_are_those_that_tarfile_finds_also_in_damaged_tars(style):
    rng = np.random.default_rng(style)
    for _ in range(40):
        data = tar_like(style, rng)
        damaged = np.frombuffer(data, np.uint8).copy()
        at = rng.integers(0, len(data) // 512, 2) * 512 + rng.integers(0, 512, 2)
        damaged[at] = rng.integers(0, 256, 2)
        for tar in (data, data[: rng.integers(1, len(data))], damaged.tobytes()):

            def slowly(tar=tar):
                return ((m.name, m.offset_data, m.size) for m, _ in tar_entries(io.BytesIO(tar)) if m.isreg())

            assert outcome(lambda tar=tar: tar_members(io.BytesIO(tar))) == outcome(slowly)
