"""`read_dataset`: the samples of every form of dataset that has its bytes at hand."""

import io
import tarfile

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from curation import Sample, read_dataset
from curation.errors import DatasetError


def write_tar(path, members):
    with tarfile.open(path, "w") as tar:
        for name, data in members:
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))


def test_a_folder_is_read_in_the_order_of_paths_with_sub_folders_as_labels(tmp_path):
    (tmp_path / "photos" / "cats").mkdir(parents=True)
    (tmp_path / "photos" / "b.jpg").write_bytes(b"b")
    (tmp_path / "photos" / "cats" / "a.jpg").write_bytes(b"aa")
    assert list(read_dataset(tmp_path / "photos")) == [Sample("b.jpg", b"b"), Sample("cats/a.jpg", b"aa", "cats")]


def test_tars_are_read_with_what_stands_beside_each_image(tmp_path):
    sides = b'{"caption": "a cat", "page_url": "http://a.example/"}'
    write_tar(tmp_path / "0.tar", [("x.jpg", b"x"), ("x.json", sides), ("x.cls", b"7"), ("y.png", b"yy")])
    write_tar(tmp_path / "1.tar", [("x.jpg", b"z"), ("x.txt", b"a dog")])
    assert list(read_dataset(f"{tmp_path}/{{0..1}}.tar")) == [
        Sample("0.tar/x.jpg", b"x", "7", "a cat", "http://a.example/"),
        Sample("0.tar/y.png", b"yy"),
        Sample("1.tar/x.jpg", b"z", caption="a dog"),
    ]


def test_parquet_files_are_read_row_by_row_and_a_null_has_no_bytes(tmp_path):
    for number, images in enumerate(([b"0", None, b"2"], [b"3"])):
        table = pa.table({"image": pa.array(images, pa.binary()), "label": [1] * len(images)})
        pq.write_table(table, tmp_path / f"{number}.parquet", row_group_size=2)
    assert [(sample.key, sample.data, sample.label) for sample in read_dataset(tmp_path)] == [
        ("0.parquet/0", b"0", "1"),
        ("0.parquet/1", b"", "1"),
        ("0.parquet/2", b"2", "1"),
        ("1.parquet/0", b"3", "1"),
    ]


def test_what_cannot_be_read_is_refused_in_one_line(tmp_path):
    (tmp_path / "urls.txt").write_text("http://a.example/a.jpg\n")
    with pytest.raises(DatasetError, match="holds URLs, not images"):
        next(read_dataset(tmp_path / "urls.txt"))
    with pytest.raises(DatasetError, match="does not exist"):
        next(read_dataset(tmp_path / "nothing"))
    (tmp_path / "photos").mkdir()
    for name in ("a.jpg", "b.jpg"):
        (tmp_path / "photos" / name).write_bytes(b"four")
    samples = read_dataset(tmp_path / "photos")
    next(samples)
    (tmp_path / "photos" / "b.jpg").write_bytes(b"two")
    with pytest.raises(DatasetError, match="is shorter than when it was listed"):
        next(samples)
