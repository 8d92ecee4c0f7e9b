"""Datasets are told apart by what they are, and list every image that they hold, in a fixed order."""

import io
import json
import tarfile

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from curation.errors import DatasetError
from curation.formats.dataset import Kind, detect, link_files, list_rows
from curation.formats.parquet import read_image_rows, read_url_rows


def tar_of(members):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


def table(**columns):
    buffer = io.BytesIO()
    pq.write_table(pa.table(columns), buffer, row_group_size=2)
    return buffer.getvalue()


IMAGES = table(image=[b"1", b"2", None], label=[1, 2, 3])
URLS = table(url=["http://a/1", "http://a/2"], TEXT=["one", None])
KINDS = [
    ({"a.jpg": b"", "sub/b.png": b""}, "", Kind.FOLDER),
    ({}, "", Kind.FOLDER),
    ({"0.tar": tar_of({}), "1.tar": tar_of({})}, "", Kind.TARS),
    ({"0.tar": tar_of({}), "index.json": b"{}", "meta.parquet": URLS}, "", Kind.TARS),
    ({"0.tar": tar_of({}), "a.jpg": b""}, "", Kind.FOLDER),
    ({"0.tar": tar_of({}), "sub/a.jpg": b""}, "", Kind.FOLDER),
    ({"0.tar": tar_of({}), "1.tar": tar_of({})}, "{0..1}.tar", Kind.TARS),
    ({"0.tar": tar_of({})}, "*.tar", Kind.TARS),
    ({"a.parquet": IMAGES}, "", Kind.PARQUET_IMAGES),
    ({"a.parquet": IMAGES}, "a.parquet", Kind.PARQUET_IMAGES),
    ({"a.parquet": URLS, "b.parquet": URLS}, "", Kind.PARQUET_URLS),
    ({"a.txt": b"http://a/1"}, "a.txt", Kind.TEXT),
    ({"a.warc.gz": b"", "b.warc": b""}, "", Kind.CRAWL),
    ({"a.warc.gz": b""}, "a.warc.gz", Kind.CRAWL),
    ({"a.warc.wat.gz": b""}, "*.wat.gz", Kind.CRAWL),
]


@pytest.mark.parametrize("where", ["local", "memory"])
@pytest.mark.parametrize(("files", "argument", "kind"), KINDS, ids=[f"{list(f)} {a}" for f, a, _ in KINDS])
def test_a_dataset_is_told_by_what_it_is(tmp_path, files, argument, kind, where):
    root = str(tmp_path) if where == "local" else f"memory:/{tmp_path}"
    fs, inner = fsspec.core.url_to_fs(root)
    fs.makedirs(inner, exist_ok=True)
    for name, data in files.items():
        fs.makedirs(f"{inner}/{name}".rsplit("/", 1)[0], exist_ok=True)
        fs.pipe_file(f"{inner}/{name}", data)
    data = f"{root}/{argument}" if argument else root
    assert detect(data) is kind
    assert kind.has_urls == (kind in (Kind.PARQUET_URLS, Kind.TEXT, Kind.CRAWL))
    if kind.has_urls:
        assert link_files(data) == sorted(link_files(data))
        assert all(fsspec.core.url_to_fs(file)[0].exists(file) for file in link_files(data))


def test_a_folder_lists_every_file_with_its_folder_as_label_but_hidden_ones(tmp_path):
    for name in ("b.jpg", "a/2.png", "a/deep/3.gif", "notes.txt", ".hidden.jpg", ".git/x.jpg"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"12345")
    rows = list(list_rows(str(tmp_path)))
    assert [(row.key, row.path, row.label) for row in rows] == [
        ("a/2.png", "a/2.png", "a"),
        ("a/deep/3.gif", "a/deep/3.gif", "a/deep"),
        ("b.jpg", "b.jpg", None),
        ("notes.txt", "notes.txt", None),
    ]
    assert all((row.offset, row.length, row.tar) == (0, 5, str(tmp_path / row.path)) for row in rows)
    assert [row.key for row in list_rows(f"{tmp_path}/")] == [row.key for row in rows]


def test_tar_members_are_listed_in_place_with_what_stands_beside_them(tmp_path):
    members = {
        "0.jpg": b"aaa",
        "0.json": json.dumps({"caption": "a cat", "page_url": "http://p", "label": 7, "other": [1]}).encode(),
        "1.cls": b"dog\n",
        "1.png": b"bb",
        "1.txt": b"a dog",
        "d/2.left.jpg": b"l",
        "d/2.right.JPEG": b"r",
        "3.json": b"[" * 5000,
        "3.webp": b"c",
        "4.mp3": b"no picture",
    }
    (tmp_path / "x.tar").write_bytes(tar_of(members))
    rows = list(list_rows(str(tmp_path / "x.tar")))
    assert [(row.key, row.alt, row.page_url, row.label) for row in rows] == [
        ("x.tar/0.jpg", "a cat", "http://p", "7"),
        ("x.tar/1.png", "a dog", None, "dog"),
        ("x.tar/d/2.left.jpg", None, None, None),
        ("x.tar/d/2.right.JPEG", None, None, None),
        ("x.tar/3.webp", None, None, None),
    ]
    whole = (tmp_path / "x.tar").read_bytes()
    assert [whole[row.offset : row.offset + row.length] for row in rows] == [b"aaa", b"bb", b"l", b"r", b"c"]


def test_a_tar_that_ends_early_is_one_error(tmp_path):
    whole = tar_of({"0.jpg": b"x" * 3000, "1.jpg": b"y" * 3000})
    (tmp_path / "x.tar").write_bytes(whole[:4000])
    with pytest.raises(DatasetError, match=r"x.tar: is not a readable tar \(.*\); fix or leave out this shard"):
        list(list_rows(str(tmp_path / "x.tar")))


@pytest.mark.parametrize("form", ["bytes", "struct", "large"])
def test_parquet_images_are_read_by_row(tmp_path, form):
    values = [b"zero", b"one", None, b"three", b""]
    column = {
        "bytes": pa.array(values, pa.binary()),
        "large": pa.array(values, pa.large_binary()),
        "struct": pa.array([{"bytes": value, "path": "p"} for value in values]),
    }[form]
    pq.write_table(pa.table({"image": column, "label": list("abcde")}), tmp_path / "x.parquet", row_group_size=2)
    file = str(tmp_path / "x.parquet")
    rows = list(list_rows(file))
    assert [(row.key, row.row, row.label, row.tar) for row in rows] == [
        (f"x.parquet/{number}", number, "abcde"[number], file) for number in range(5)
    ]
    assert list(read_image_rows(file, [0, 2, 3, 4])) == [(0, b"zero"), (2, b""), (3, b"three"), (4, b"")]


def test_parquet_urls_are_read_with_their_texts(tmp_path):
    (tmp_path / "x.parquet").write_bytes(URLS)
    assert list(read_url_rows(str(tmp_path / "x.parquet"))) == [("http://a/1", "", "one"), ("http://a/2", "", "")]


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("x.parquet", b"no", "is not a readable Parquet file"),
        ("x.parquet", table(image=["text"]), "has no column of images"),
        ("x.bin", b"", "is no dataset that lvd knows"),
    ],
)
def test_what_is_no_dataset_is_one_error_that_says_what_would_be(tmp_path, name, data, message):
    (tmp_path / name).write_bytes(data)
    with pytest.raises(DatasetError, match=message) as caught:
        detect(str(tmp_path / name))
    assert "\n" not in str(caught.value)
