"""Fingerprints find copies without the images, show no picture, remove nothing, and are read as a stranger's file."""

import io
import json
import shutil
import tarfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import skimage.data
from PIL import Image, ImageOps

from curation.errors import DatasetError, ModelError, RunError
from curation.formats.dataset import detect
from curation.formats.fingerprints import (
    KEY,
    MOST_ROWS,
    NAME_LENGTH,
    FingerprintFile,
    Made,
    is_fingerprints,
    plain_name,
    write_fingerprints,
)
from curation.imaging.framed import WHOLE
from pipelines.decontaminate import decontaminate
from pipelines.fingerprints import fingerprints

PHOTOS = ("astronaut", "coffee", "rocket")
OTHERS = ("cat", "brick", "coins")
QUICK = {"runner": {"kind": "inline"}}
SIDE = 320


@pytest.fixture(scope="module")
def photos():
    images = {name: Image.fromarray(getattr(skimage.data, name)()).convert("RGB") for name in (*PHOTOS, *OTHERS)}
    for image in images.values():
        image.thumbnail((SIDE, SIDE))
    return images


@pytest.fixture(scope="module")
def benchmark(photos, encoded, tmp_path_factory):
    """A folder of three photos and a file that is none."""
    root = tmp_path_factory.mktemp("benchmark")
    for name in PHOTOS:
        (root / f"{name}.jpg").write_bytes(encoded(photos[name], quality=92))
    (root / "notes.jpg").write_bytes(b"no image")
    return root


@pytest.fixture(scope="module")
def pool(photos, benchmark, encoded, tmp_path_factory):
    """Copies of the three photos, one of equal bytes, and other photos."""
    root = tmp_path_factory.mktemp("pool")
    width, height = photos["coffee"].size
    crop = photos["coffee"].crop((width // 10, height // 10, width - width // 12, height - height // 12))
    images = {
        "again.jpg": encoded(photos["astronaut"], quality=70),
        "mirror.jpg": encoded(ImageOps.mirror(photos["astronaut"])),
        "crop.jpg": encoded(crop),
        "same.jpg": (benchmark / "rocket.jpg").read_bytes(),
        **{f"{name}.jpg": encoded(photos[name]) for name in OTHERS},
    }
    for name, data in images.items():
        (root / name).write_bytes(data)
    return root


@pytest.fixture(scope="module")
def made(benchmark, tmp_path_factory):
    return fingerprints(str(benchmark), str(tmp_path_factory.mktemp("made") / "test.fingerprints"))


@pytest.fixture(scope="module")
def found(pool, made, tmp_path_factory):
    """The certificate and the folder of a run against fingerprints alone."""
    out = tmp_path_factory.mktemp("found") / "out"
    return decontaminate(str(pool), [made.path], str(out), settings=QUICK), out


def names_in(folder):
    return sorted(path.name for path in folder.iterdir())


# -- what is found -----------------------------------------------------------------------------------------------------


def test_copies_are_suspects_and_other_photos_are_none(found):
    certificate, _ = found
    suspects = {(item.image.name, item.fingerprint, item.link) for item in certificate.suspects}
    assert suspects == {
        ("again.jpg", "astronaut.jpg", "points"),
        ("mirror.jpg", "astronaut.jpg", "points"),
        ("crop.jpg", "coffee.jpg", "points"),
        ("same.jpg", "rocket.jpg", "bytes"),
    }
    assert all(item.inliers >= 25 for item in certificate.suspects if item.link == "points")
    assert all(item.similarity > 0.25 for item in certificate.suspects)


def test_nothing_is_removed(found, pool):
    certificate, out = found
    assert names_in(out / "data") == names_in(pool)
    assert certificate.counts["removed"] == 0
    assert (out / "removed.jsonl").read_text() == ""


def test_the_certificate_lists_them_says_what_they_are_worth_and_shows_them(found, made):
    _, out = found
    written = json.loads((out / "certificate.json").read_text())
    assert written["suspects"] == [json.loads(line) for line in (out / "suspects.jsonl").read_text().splitlines()]
    assert len(written["suspects"]) == 4
    (item,) = written["fingerprint_sets"]
    assert (item["name"], item["data"], item["images"]) == ("test", made.path, 3)
    assert any("never removed" in sentence for sentence in written["limits"])
    page = (out / "certificate.html").read_text()
    assert "Suspects: 4" in page
    assert "test: astronaut.jpg" in page


def test_the_same_call_again_finds_the_same_without_looking(found, pool, made, monkeypatch):
    certificate, out = found
    monkeypatch.setattr("curation.decontaminate.suspects.points_alone", None)
    again = decontaminate(str(pool), [made.path], str(out), settings=QUICK)
    assert again.to_dict() == certificate.to_dict()


def test_dedup_lists_them_too_and_the_terminal_counts_them(lvd, pool, made, tmp_path):
    answer = lvd(
        "dedup", pool, "--against", made.path, "--out", tmp_path / "out", "--list-only", "--plant", "0",
        "--set", "runner.kind=inline", "--yes",
    )  # fmt: skip
    assert answer.code == 0, answer.err
    assert "suspects: 4 image(s) may be copies of 3 of 3 fingerprints; none was removed for it" in answer.out
    listed, gone = (
        [json.loads(line) for line in (tmp_path / "out" / name).read_text().splitlines()]
        for name in ("suspects.jsonl", "removed.jsonl")
    )
    assert gone  # `mirror.jpg` and `again.jpg` are copies of each other
    assert {item["name"] for item in listed if not item["kept"]} == {item["name"] for item in gone}


def test_shards_that_were_rewritten_are_compared_with_no_other_fingerprints(benchmark, pool, made, tmp_path):
    """Their images are no longer all there; the same fingerprints again are no new work."""
    with tarfile.open(tmp_path / "0.tar", "w") as tar:
        for name in ("again.jpg", "cat.jpg"):
            tar.add(pool / name, name)
    call = {"settings": QUICK, "action": "in-place"}
    data, out = str(tmp_path / "0.tar"), str(tmp_path / "out")
    certificate = decontaminate(data, [made.path], out, **call)
    assert [item.image.name for item in certificate.suspects] == ["0.tar/again.jpg"]
    assert decontaminate(data, [made.path], out, **call).to_dict() == certificate.to_dict()
    other = fingerprints(str(benchmark), str(tmp_path / "other"), names=False)
    with pytest.raises(RunError, match="has rewritten shards before they were compared"):
        decontaminate(data, [other.path], out, **call)


# -- what the file holds -----------------------------------------------------------------------------------------------


def test_the_file_holds_no_picture(made, benchmark):
    rows = FingerprintFile(made.path).read(0)
    assert [row.name for row in rows] == [f"{name}.jpg" for name in sorted(PHOTOS)]
    for row in rows:
        assert row.features.picture.tolist() == [[0]]
        assert row.features.frame == WHOLE
        assert 0 < len(row.features.points) <= 400
    data = Path(made.path).read_bytes()
    table = pq.read_table(made.path)
    plain = b"".join(value for value in table["points"].to_pylist())
    for magic in (b"\xff\xd8\xff", b"\x89PNG", b"JFIF"):
        assert magic not in data
        assert magic not in plain
    assert set(table.column_names) == {"name", "sha256", "width", "height", "vector", "points"}
    assert len(plain) <= len(rows) * (27 + 132 * 400)
    assert made.unreadable == ["notes.jpg"]


def test_equal_input_gives_equal_bytes_and_names_can_be_left_out(benchmark, made, tmp_path):
    again = fingerprints(str(benchmark), str(tmp_path / "again"))
    assert Path(again.path).read_bytes() == Path(made.path).read_bytes()
    nameless = fingerprints(str(benchmark), str(tmp_path / "nameless"), names=False)
    assert [row.name for row in FingerprintFile(nameless.path).read(0)] == [None] * 3
    assert b"astronaut" not in Path(nameless.path).read_bytes()
    assert is_fingerprints(nameless.path)


def test_without_names_fingerprints_are_numbered(benchmark, pool, found, tmp_path):
    nameless = fingerprints(str(benchmark), str(tmp_path / "x.parquet"), names=False)
    shutil.copytree(found[1] / "run", tmp_path / "out" / "run")
    certificate = decontaminate(str(pool), [nameless.path], str(tmp_path / "out"), settings=QUICK, action="list")
    assert {item.fingerprint for item in certificate.suspects} == {0, 1, 2}


# -- mistakes ----------------------------------------------------------------------------------------------------------


def test_the_command_says_what_was_made_and_overwrites_nothing(lvd, benchmark, tmp_path):
    file = tmp_path / "a.fingerprints"
    answer = lvd("fingerprints", benchmark, "--out", file)
    assert answer.code == 0
    assert f"3 fingerprints: {file}" in answer.out
    assert "1 file(s) could not be read and have no fingerprint: notes.jpg" in answer.out
    before = file.read_bytes()
    answer = lvd("fingerprints", benchmark, "--out", file)
    assert (answer.code, file.read_bytes()) == (2, before)
    assert answer.err == f"lvd: {file}: is there already; choose another --out, or remove it first\n"


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ([], "--out: missing; name a file for the fingerprints"),
        (["--out", "FILE", "--set", "dedup.probability=0.5"], "dedup: no setting of lvd fingerprints"),
        (["--out", "FILE", "--set", "copy_descriptors.model=classical/hog-colour-4x4"], "is fitted to the images"),
        (["--out", "FILE/"], "is a folder; name a file"),
    ],
)
def test_a_mistake_is_one_line(lvd, benchmark, tmp_path, options, says):
    answer = lvd("fingerprints", benchmark, *(item.replace("FILE", str(tmp_path / "f")) for item in options))
    assert (answer.code, answer.err.count("\n")) == (2, 1)
    assert says in answer.err
    assert not (tmp_path / "f").exists()


def test_a_dataset_without_images_leaves_no_file(tmp_path):
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "a.jpg").write_bytes(b"no image")
    with pytest.raises(DatasetError, match="holds no image that can be read"):
        fingerprints(str(tmp_path / "set"), str(tmp_path / "file"))
    assert names_in(tmp_path) == ["set"]


def test_a_pool_seeds_or_references_of_lvd_curate_that_are_fingerprints_are_refused_in_one_line(
    lvd, made, pool, tmp_path
):
    for name in ("x.fingerprints", "x.parquet"):
        file = shutil.copy(made.path, tmp_path / name)
        for options in (
            ["--pool", file, "--seed", pool],
            ["--pool", pool, "--seed", file],
            ["--pool", pool, "--seed", pool, "--against", file],
        ):
            answer = lvd("curate", *options, "--out", tmp_path / "run")
            assert answer.code == 2
            assert answer.err == (
                f"lvd: {file}: is a file of fingerprints, which hold no images; "
                "give it to lvd decontaminate as --against\n"
            )
        with pytest.raises(DatasetError, match="is a file of fingerprints"):
            detect(str(file))


def test_fingerprints_of_another_model_or_version_are_refused(pool, made, tmp_path):
    rows = FingerprintFile(made.path).read(0)
    mine = FingerprintFile(made.path).made
    for other, says in (
        (replace(mine, model="sscd/x"), "was made with sscd/x, this run uses lvd/lite0-copy"),
        (replace(mine, features=1), "another version of lvd/lite0-copy"),
        (replace(mine, fingerprint="other weights"), "another version of lvd/lite0-copy"),
    ):
        file = tmp_path / "other"
        with open(file, "wb") as opened:
            write_fingerprints(opened, rows, other, 256)
        with pytest.raises(DatasetError, match=f"{says}.*make it anew with lvd fingerprints"):
            decontaminate(str(pool), [str(file)], str(tmp_path / "out"), settings=QUICK)
    assert not (tmp_path / "out" / "run" / "pool").exists()


def test_a_descriptor_that_is_fitted_to_the_dataset_compares_with_none(pool, made, tmp_path):
    settings = {**QUICK, "copy_descriptors": {"model": "classical/hog-colour-4x4"}}
    with pytest.raises(ModelError, match="compare with no fingerprints"):
        decontaminate(str(pool), [made.path], str(tmp_path / "out"), settings=settings)


def changed(made, file, **columns):
    """A file of fingerprints with other values in its first row, and other metadata where `says` is given."""
    table = pq.read_table(made.path)
    says = columns.pop("says", None)
    for name, value in columns.items():
        values = [value, *table[name].to_pylist()[1:]]
        at, kind = table.column_names.index(name), table.schema.field(name)
        table = table.set_column(at, kind, pa.array(values, kind.type))
    if says is not None:
        table = table.replace_schema_metadata({KEY: says})
    pq.write_table(table, file)
    return file


def points(made):
    return bytearray(pq.read_table(made.path)["points"][0].as_py())


def with_count(made, count):
    data = points(made)
    data[4:6] = count.to_bytes(2, "little")
    return bytes(data)


def with_picture(made):
    data = points(made)
    data[6:10] = (2).to_bytes(2, "little") * 2
    return bytes(data) + b"\x07" * 3


NAN = np.full(256, np.nan, np.float16).tolist()
HOSTILE = {
    "NaN": lambda made: {"vector": NAN},
    "length": lambda made: {"vector": np.ones(256, np.float16).tolist()},
    "count": lambda made: {"points": with_count(made, 65535)},
    "no points": lambda made: {"points": b""},
    "picture": lambda made: {"points": with_picture(made)},
    "grey": lambda made: {"points": bytes(points(made)[:-1]) + b"\x80"},
    "long": lambda made: {"points": bytes(60_000)},
    "name": lambda made: {"name": "x" * (NAME_LENGTH + 1)},
    "control": lambda made: {"name": "a\x1b[31m\nb"},
    "size": lambda made: {"width": -1},
    "no JSON": lambda made: {"says": b"\xff"},
    "a list": lambda made: {"says": b"[]"},
    "version": lambda made: {
        "says": json.dumps(
            {"format": "lvd-fingerprints", "version": 9, "model": "m", "fingerprint": "f", "features": 2, "matching": 2}
        ).encode()
    },
}


@pytest.mark.parametrize("what", HOSTILE)
def test_hostile_values_are_one_line_that_names_the_file(lvd, made, pool, tmp_path, what):
    file = changed(made, tmp_path / "hostile.fingerprints", **HOSTILE[what](made))
    answer = lvd("decontaminate", pool, "--against", file, "--out", tmp_path / "out")
    assert (answer.code, answer.err.count("\n")) == (2, 1), answer.err
    assert str(file) in answer.err
    assert "lvd fingerprints" in answer.err
    assert "\x1b" not in answer.err
    assert not (tmp_path / "out").exists()


def test_a_damaged_file_and_one_with_other_columns_are_refused(made, tmp_path):
    data = bytearray(Path(made.path).read_bytes())
    data[len(data) // 2] ^= 0xFF
    (tmp_path / "damaged").write_bytes(data)
    with pytest.raises(DatasetError, match="is no sound file of fingerprints"):
        FingerprintFile(str(tmp_path / "damaged")).read(0)
    table = pq.read_table(made.path)
    pq.write_table(table.drop_columns(["sha256"]), tmp_path / "columns")
    with pytest.raises(DatasetError, match="its columns are not those of fingerprints"):
        FingerprintFile(str(tmp_path / "columns"))
    (tmp_path / "cut").write_bytes(data[:-20])
    assert not is_fingerprints(str(tmp_path / "cut"))
    assert not is_fingerprints(str(tmp_path / "not-there"))
    assert not is_fingerprints(str(tmp_path))


def test_a_row_group_of_more_than_lvd_writes_is_not_read(made, tmp_path):
    table = pq.read_table(made.path)
    rows = pa.concat_tables([table] * (MOST_ROWS // len(table) + 1))
    pq.write_table(rows, tmp_path / "large", row_group_size=len(rows))
    with pytest.raises(DatasetError, match="larger than fingerprints have"):
        FingerprintFile(str(tmp_path / "large"))


def test_names_are_made_plain_before_they_are_stored(made):
    assert plain_name("a\nb\x1b\udc80c") == "a\ufffdb\ufffd\ufffdc"
    row = FingerprintFile(made.path).read(0)[0]
    file = io.BytesIO()
    assert write_fingerprints(file, [replace(row, name=None)] * 300, Made("m", "f"), 256) == 300


def test_fingerprints_in_several_row_groups_are_numbered_through(made, tmp_path):
    row = FingerprintFile(made.path).read(0)[0]
    with open(tmp_path / "many", "wb") as opened:
        write_fingerprints(opened, [replace(row, name=f"{at}") for at in range(300)], Made("m", "f"), 256)
    file = FingerprintFile(str(tmp_path / "many"))
    assert file.groups == [256, 44]
    assert file.read(1)[0].name == "256"
    assert file.index[0].shape == (300, 256)
    assert len(file.index[1]) == 300
