"""Kinds of datasets, and what is said of broken ones."""

import io
import json
import pickle
import tarfile
from pathlib import Path

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import webdataset

from curation.dinov2.config import SourceConfig
from curation.dinov2.data.sources import open_sources
from curation.errors import DatasetError

from .made import jpeg, shards, write_parquet, write_shards


def contents(path: Path | str, **options: str) -> list[bytes]:
    (opened,) = open_sources(SourceConfig(path=str(path), **options))
    source = opened.source
    return [source.read(unit, index) for unit, size in enumerate(source.sizes) for index in range(size)]


def test_shards_give_their_images_by_unit_and_index(tmp_path: Path) -> None:
    assert contents(shards(tmp_path, [3, 2])) == [jpeg(n) for n in range(5)]
    assert contents(tmp_path / "manifest.json") == [jpeg(n) for n in range(5)]
    assert contents(f"file://{tmp_path}") == [jpeg(n) for n in range(5)]


def test_remote_shards_are_copied_once(tmp_path: Path) -> None:
    shards(tmp_path / "made", [2])
    memory = fsspec.filesystem("memory")
    for file in (tmp_path / "made").iterdir():
        memory.pipe(f"/bucket/{file.name}", file.read_bytes())
    (opened,) = open_sources(SourceConfig(path="memory://bucket"), cache=str(tmp_path / "cache"))
    source = opened.source
    assert source.read(0, 1) == jpeg(1)
    assert len(list((tmp_path / "cache" / "lvd-shards").iterdir())) == 1


def test_remote_tars_of_others_are_copied_to_be_counted(tmp_path: Path) -> None:
    shards(tmp_path / "made", [2, 1])
    memory = fsspec.filesystem("memory")
    for file in (tmp_path / "made").glob("*.tar"):
        memory.pipe(f"/others/{file.name}", file.read_bytes())
    (opened,) = open_sources(SourceConfig(path="memory://others"), cache=str(tmp_path / "cache"))
    assert opened.source.sizes == [2, 1]
    assert opened.source.read(1, 0) == jpeg(2)
    assert opened.source.name(1, 0) == "memory://others/shard-000001.tar/000000000.jpg"
    assert len(list((tmp_path / "cache" / "lvd-shards").iterdir())) == 2


def test_a_folder_gives_all_images_however_deep(tmp_path: Path) -> None:
    for number, name in enumerate(["a/b/1.jpg", "a/2.JPEG", "c/3.png"]):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(jpeg(number))
    (tmp_path / "notes.txt").write_text("no image")
    assert sorted(contents(tmp_path)) == sorted(jpeg(n) for n in range(3))


@pytest.mark.parametrize("struct", [False, True])
def test_parquet_gives_its_column_of_bytes(tmp_path: Path, struct: bool) -> None:
    path = write_parquet(tmp_path / "t.parquet", [*(jpeg(n) for n in range(4)), None], struct=struct)
    assert contents(path) == contents(tmp_path) == [*(jpeg(n) for n in range(4)), b""]


def test_sources_pickle_after_use(tmp_path: Path) -> None:
    source = open_sources(SourceConfig(path=str(shards(tmp_path, [2]))))[0].source
    source.read(0, 0)
    assert pickle.loads(pickle.dumps(source)).read(0, 1) == jpeg(1)


def broken(tmp_path: Path, kind: str) -> Path:
    folder = shards(tmp_path, [4])
    tar, manifest = folder / "shard-000000.tar", folder / "manifest.json"
    raw = json.loads(manifest.read_text())
    if kind == "truncated":
        tar.write_bytes(tar.read_bytes()[:5000])
    elif kind == "cut":
        content = tar.read_bytes()[:5000]
        tar.write_bytes(content)
        raw["shards"][0]["bytes"] = len(content)
    elif kind == "noise":
        tar.write_bytes(b"\xff" * raw["shards"][0]["bytes"])
    elif kind == "missing":
        tar.unlink()
    elif kind == "lying":
        raw["shards"][0]["samples"] = 5
    elif kind == "empty":
        raw["shards"] = [raw["shards"][0] | {"samples": 0}]
    elif kind == "escaping":
        raw["shards"][0]["name"] = "../shard-000000.tar"
    elif kind == "other format":
        raw["format"] = "lvd-shards/9"
    manifest.write_text("{" if kind == "no json" else json.dumps(raw))
    return folder


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("truncated", r"shard-000000\.tar: 5000 bytes, manifest\.json says \d+"),
        ("cut", r"shard-000000\.tar: is not a readable tar \(unexpected end of data\); make or copy the shard again"),
        ("noise", r"shard-000000\.tar: is not a readable tar \(bad checksum\); make or copy the shard again"),
        ("missing", r"shard-000000\.tar: listed in manifest\.json but not there"),
        ("lying", r"shard-000000\.tar: 4 images, manifest\.json says 5"),
        ("empty", r"manifest\.json: lists no samples"),
        ("escaping", r"manifest\.json: not a manifest of shards: .*plain file name"),
        ("other format", r"format 'lvd-shards/9' is not known; expected 'lvd-shards/1'"),
        ("no json", r"manifest\.json: not a manifest of shards"),
    ],
)
def test_a_broken_shards_folder_is_one_error_that_names_the_file(tmp_path: Path, kind: str, message: str) -> None:
    with pytest.raises(DatasetError, match=message) as caught:
        contents(broken(tmp_path, kind))
    assert "\n" not in str(caught.value)


def test_a_parquet_file_without_image_bytes_is_refused(tmp_path: Path) -> None:
    path = write_parquet(tmp_path / "t.parquet", [jpeg(0)])
    with pytest.raises(DatasetError, match="no column 'photo' of image bytes"):
        contents(path, column="photo")
    path.write_bytes(b"PAR1 nonsense")
    with pytest.raises(DatasetError, match="not a readable Parquet file"):
        contents(path)


def test_what_is_no_dataset_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"nowhere: does not exist; check the path of the dataset"):
        contents(tmp_path / "nowhere")
    with pytest.raises(DatasetError, match=r"holds no images; check that this is the dataset"):
        contents(tmp_path)


def test_a_folder_names_what_it_passes_over(tmp_path: Path) -> None:
    for name in ("1.jpg", "2.JFIF", "3.avif", "4.tif", "sub/5.Jpeg", "a.txt", "b.txt", "README", ".hidden.jpg"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(jpeg(0))
    (opened,) = open_sources(SourceConfig(path=str(tmp_path)))
    assert opened.source.sizes == [5]
    assert opened.passed_over == "3 files passed over as no images (2 .txt, 1 without an ending)"
    assert [opened.source.name(0, index) for index in (0, 4)] == [f"{tmp_path}/1.jpg", f"{tmp_path}/sub/5.Jpeg"]
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "a.txt").write_text("")
    with pytest.raises(DatasetError, match=r"holds no images \(1 files passed over as no images \(1 \.txt\)\); check"):
        open_sources(SourceConfig(path=str(tmp_path / "other")))


def test_a_dataset_of_urls_is_to_be_fetched_first(tmp_path: Path) -> None:
    pq.write_table(pa.table({"url": ["http://a/1"]}), tmp_path / "urls.parquet")
    with pytest.raises(DatasetError, match="holds Parquet files with URLs, without the images; fetch them first, with"):
        open_sources(SourceConfig(path=str(tmp_path)))


def foreign(folder: Path, kind: str) -> Path:
    """Two tars of three images as others write them, with side members in between and beside."""
    folder.mkdir()
    for number in range(2):
        images = [jpeg(3 * number + at) for at in range(3)]
        if kind == "webdataset":  # its writer's times are fractions, which plain headers cannot hold
            with webdataset.TarWriter(str(folder / f"{number}.tar"), encoder=False) as writer:
                for at, image in enumerate(images):
                    writer.write({"__key__": f"{at:04d}", "jpg": image, "cls": b"3", "txt": b"a caption"})
        else:
            style = tarfile.GNU_FORMAT if kind == "gnu" else tarfile.USTAR_FORMAT
            with tarfile.open(folder / f"{number}.tar", "w", format=style) as tar:
                for at, image in enumerate(images):
                    for ending, data in (("json", b"{}"), ("jpg", image), ("txt", b"a caption")):
                        member = tarfile.TarInfo(
                            f"./{number:05d}/{'long' * 30 if kind == 'gnu' else ''}{at:09d}.{ending}"
                        )
                        member.size = len(data)
                        tar.addfile(member, io.BytesIO(data))
        (folder / f"{number}_stats.json").write_text("{}")  # as img2dataset leaves them
    return folder


@pytest.mark.parametrize("kind", ["webdataset", "gnu", "ustar"])
def test_tars_of_others_need_no_manifest(tmp_path: Path, kind: str) -> None:
    folder = foreign(tmp_path / "tars", kind)
    assert contents(folder) == contents(f"{folder}/{{0..1}}.tar") == [jpeg(n) for n in range(6)]
    (opened,) = open_sources(SourceConfig(path=f"{folder}/1.tar"))
    assert opened.source.sizes == [3]
    assert opened.source.name(0, 2).startswith(f"{folder}/1.tar/")
    assert opened.source.name(0, 2).endswith("2.jpg")
    (folder / "1.tar").write_bytes((folder / "0.tar").read_bytes()[:-12_000])
    with pytest.raises(DatasetError, match=r"1\.tar: is not a readable tar \(unexpected end of data\)"):
        open_sources(SourceConfig(path=str(folder)))


def test_captions_of_own_shards_are_no_images(tmp_path: Path) -> None:
    folder = write_shards(tmp_path, [[jpeg(0)]])
    with tarfile.open(folder / "shard-000000.tar", "a") as tar:
        tar.addfile(tarfile.TarInfo("000000000.txt"))
    raw = json.loads((folder / "manifest.json").read_text())
    raw["shards"][0].pop("bytes")
    (folder / "manifest.json").write_text(json.dumps(raw))
    assert contents(folder) == [jpeg(0)]


def test_a_manifest_may_have_more_keys_than_the_trainer_knows(tmp_path: Path) -> None:
    folder = write_shards(tmp_path, [[jpeg(0)]], funnel=[], config={}, composition=[], code_version="1")
    assert contents(folder) == [jpeg(0)]
