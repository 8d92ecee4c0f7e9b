"""A tar loses samples, and nothing else of it changes."""

import io
import tarfile

import pytest

from curation.decontaminate.webdataset import mates_of, write_shard

LONG = "a/" + "very-long-name-" * 12 + "é.jpg"


def tar_of(members, format=tarfile.PAX_FORMAT, **options):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=format, **options) as tar:
        for name, data in members:
            info = tarfile.TarInfo(name)
            if data is None:
                info.type = tarfile.DIRTYPE
            elif isinstance(data, tuple):
                info.type, info.linkname = data
            else:
                info.size = len(data)
            tar.addfile(info, io.BytesIO(data) if isinstance(data, bytes) else None)
    return buffer.getvalue()


def offsets_of(data):
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        return [(member.name, member.offset_data) for member in tar]


def without(data, *names):
    target = io.BytesIO()
    removed = {offset for name, offset in offsets_of(data) if name in names}
    written = write_shard(io.BytesIO(data), target, removed)
    assert (written.size, len(written.sha256)) == (len(target.getvalue()), 64)
    return target.getvalue()


@pytest.mark.parametrize("format", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_what_is_kept_has_the_bytes_of_a_tar_made_without_the_rest(format):
    names = ["0.jpg", "0.json", "x/1.jpg", "x/1.cls", "2.png"]
    names += [] if format == tarfile.USTAR_FORMAT else [LONG, LONG.replace(".jpg", ".txt"), "日本.jpg"]
    members = [(name, name.encode() * 300) for name in names]
    for gone in ("0.jpg", "x/1.jpg", "2.png", names[-1]):
        stem = gone.rsplit(".", 1)[0]
        rest = [member for member in members if member[0].rsplit(".", 1)[0] != stem]
        assert without(tar_of(members, format), gone) == tar_of(rest, format)


def test_nothing_removed_is_the_same_tar():
    data = tar_of([("a.jpg", b"1"), ("a.txt", b""), ("b.jpg", b"2" * 1000)])
    assert without(data) == data


def test_headers_that_hold_for_all_members_stay():
    data = tar_of([("a.jpg", b"1"), ("b.jpg", b"2")], pax_headers={"comment": "of all"})
    with tarfile.open(fileobj=io.BytesIO(without(data, "a.jpg"))) as tar:
        assert tar.getnames() == ["b.jpg"]
        assert tar.pax_headers == {"comment": "of all"}


def test_folders_stay_and_links_go():
    members = [("d", None), ("d/a.jpg", b"1"), ("d/b.jpg", (tarfile.LNKTYPE, "d/a.jpg")), ("l", (tarfile.SYMTYPE, "/"))]
    data = tar_of([*members, ("d/c.jpg", b"3")])
    assert [name for name, _ in offsets_of(without(data, "d/a.jpg"))] == ["d", "d/c.jpg"]


def test_samples_are_neighbours_with_one_key_as_webdataset_has_it():
    data = tar_of([("a.jpg", b"1"), ("a.b.txt", b"2"), ("b.jpg", b"3"), ("a.json", b"4"), ("x/a.jpg", b"5")])
    (first, *_, last) = [offset for _, offset in offsets_of(data)]
    mates = mates_of(io.BytesIO(data), {first, last})
    assert {at: len(members) for at, members in mates.items()} == {first: 2, last: 1}
    assert [name for name, _ in offsets_of(without(data, "a.jpg"))] == ["b.jpg", "a.json", "x/a.jpg"]


def test_a_tar_without_its_last_bytes_is_refused():
    data = tar_of([("a.jpg", b"1" * 5000), ("b.jpg", b"2" * 5000)])
    with pytest.raises(tarfile.ReadError, match="unexpected end of data"):
        write_shard(io.BytesIO(data[:7000]), io.BytesIO(), {512})
