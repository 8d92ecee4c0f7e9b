"""A dataset of any kind keeps one of each image and loses nothing else; copies under different labels are reported."""

import io
import json
import os
import tarfile

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from curation.config import parse_overrides
from curation.errors import ConfigError, LvdError, RunError
from pipelines.decontaminate import decontaminate
from pipelines.dedup import dedup, dedup_settings
from pipelines.demo.photographs import open_photograph
from tests.pages import Page, assert_harmless

QUICK = ["runner.kind=inline", "dedup.max_share=1.0"]  # most of so few images are planted copies
PHOTOS = ("astronaut", "cat", "coffee", "rocket", "motorcycle", "pagoda", "flower", "coins")
REFERENCES = ("rocket", "flower")
"""Of these the dataset has the photo, its bytes a second time, and a copy at half size."""
SINGLE = ("motorcycle", "pagoda", "coins")
SIDE = 256


@pytest.fixture(scope="module")
def photos(encoded):
    """Name -> JPEG of a photograph, and of the same at half its size."""
    whole = {}
    for name in PHOTOS:
        image = Image.fromarray(open_photograph(name).pixels).convert("RGB")
        image.thumbnail((SIDE, SIDE))
        whole[name] = image
    half = {name: image.resize((image.width // 2, image.height // 2)) for name, image in whole.items()}
    return {
        "whole": {name: encoded(image, quality=92) for name, image in whole.items()},
        "half": {name: encoded(image, quality=80) for name, image in half.items()},
    }


@pytest.fixture(scope="module")
def items(photos):
    """Name -> (bytes, label): photos, copies of five of them, two of these under another label, and a text."""
    whole, half = photos["whole"], photos["half"]
    result = {f"{name}.jpg": (whole[name], "thing") for name in PHOTOS}
    result |= {
        "astronaut-half.jpg": (half["astronaut"], "person"),
        "cat-same.jpg": (whole["cat"], "thing"),
        "coffee-half.jpg": (half["coffee"], "thing"),
        "coffee-same.jpg": (whole["coffee"], "drink"),
        "notes.jpg": (b"no image", "thing"),
    }
    for name in REFERENCES:
        result |= {f"{name}-same.jpg": (whole[name], "thing"), f"{name}-half.jpg": (half[name], "thing")}
    return result


def family(name):
    """The photo that an image of the dataset shows."""
    return os.path.basename(name).split(".")[0].split("-")[0]


@pytest.fixture(scope="module")
def reference(photos, tmp_path_factory):
    images = {f"{name}.jpg": photos["half"][name] for name in REFERENCES}
    return write_folder(tmp_path_factory.mktemp("reference"), images)


def write_folder(root, images):
    for name, data in images.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(data)
    return root


@pytest.fixture(scope="module")
def folder(items, tmp_path_factory):
    """Sub-folders are labels."""
    return write_folder(
        tmp_path_factory.mktemp("folder"), {f"{label}/{name}": data for name, (data, label) in items.items()}
    )


def write_tar(path, members):
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as tar:
        for number, (name, data) in enumerate(members):
            info = tarfile.TarInfo(name)
            info.size, info.mtime, info.mode = len(data), 1000 + number, 0o640
            tar.addfile(info, io.BytesIO(data))
    return path


@pytest.fixture(scope="module")
def shards(items, tmp_path_factory):
    """Three shards, with a class, a JSON and a caption beside each image."""
    root = tmp_path_factory.mktemp("shards")
    for shard in range(3):
        members = []
        for name, (data, label) in list(items.items())[shard::3]:
            stem = name.removesuffix(".jpg")
            sides = [("cls", label.encode()), ("json", json.dumps({"of": name}).encode()), ("txt", "straße".encode())]
            members += [(name, data), *((f"{stem}.{ending}", content) for ending, content in sides)]
        write_tar(root / f"{shard:03d}.tar", members)
    return root


@pytest.fixture(scope="module")
def parquet(items, tmp_path_factory):
    table = pa.table(
        {
            "image": [{"bytes": data, "path": name} for name, (data, _) in items.items()],
            "label": pa.array([label for _, label in items.values()]).dictionary_encode(),
            "number": range(len(items)),
        }
    ).replace_schema_metadata({b"mine": b"1"})
    path = tmp_path_factory.mktemp("parquet") / "x.parquet"
    pq.write_table(table, path, row_group_size=4, compression="zstd")
    return path


def run(dataset, out, *overrides, **options):
    return dedup(str(dataset), str(out), settings=parse_overrides([*QUICK, *overrides]), **options)


def sets():
    return [word for item in QUICK for word in ("--set", item)]


def files_of(root):
    return {str(path.relative_to(root)): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}


def members_of(path):
    """Name, bytes, time and mode of the regular files of a tar, in order."""
    with tarfile.open(path) as tar:
        return [(m.name, tar.extractfile(m).read(), m.mtime, m.mode) for m in tar if m.isreg()]


def report_of(out):
    return json.loads((out / "dedup.json").read_text())


def removed_of(out):
    return [json.loads(line) for line in (out / "removed.jsonl").read_text().splitlines()]


def assert_one_of_each(kept, items):
    """Of each photo one image is kept, and what is no image."""
    assert sorted(map(family, kept)) == sorted({*PHOTOS, "notes"})
    assert not [name for name in kept if "-half" in name], "the image with more pixels is kept"
    assert len(items) - len(kept) == 8


# -- folders -----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def folder_run(folder, tmp_path_factory):
    out = tmp_path_factory.mktemp("folder-out")
    run(folder, out)
    return out


def test_a_folder_keeps_one_of_each_image_and_every_byte_of_it(folder, folder_run, items):
    before, after = files_of(folder), files_of(folder_run / "data")
    assert after == {name: before[name] for name in after}
    assert_one_of_each(list(after), items)
    assert sorted([*after, *(line["name"] for line in removed_of(folder_run))]) == sorted(before)


def test_kept_files_are_hard_links_unless_copies_are_asked_for(folder, folder_run, tmp_path):
    assert all(os.path.samefile(folder / name, folder_run / "data" / name) for name in files_of(folder_run / "data"))
    run(folder, tmp_path / "out", link=False)
    assert files_of(tmp_path / "out" / "data") == files_of(folder_run / "data")
    assert not any(
        os.path.samefile(folder / name, tmp_path / "out" / "data" / name) for name in files_of(folder_run / "data")
    )


def test_each_removed_copy_has_its_evidence_and_names_an_image_that_is_kept(folder_run):
    after = files_of(folder_run / "data")
    for line in removed_of(folder_run):
        assert line["reason"] in ("copy", "hash_duplicate")
        assert line["copy_of"] in after
        assert family(line["copy_of"]) == family(line["name"])
        assert line["link"]
    report = report_of(folder_run)
    assert report["format"] == "lvd-dedup/1"
    assert report["removed"] == removed_of(folder_run)


def test_the_counts_add_up(folder_run):
    assert report_of(folder_run)["counts"] == {
        "read": 17,
        "kept": 8,
        "removed": 8,
        "unreadable": 1,
        "removed_as_copies": 8,
        "removed_as_copies_of_references": 0,
        "removed_with_their_sample": 0,
        "unreadable_kept": 1,
        "unreadable_removed": 0,
        "groups_of_copies": 5,
        "copies_kept": 0,
        "label_conflicts": 2,
    }


def conflicts_of(out):
    """By photo, the labels of its images."""
    return {
        family(conflict["images"][0]["name"]): (
            conflict["labels"],
            sorted((os.path.basename(image["name"]), image["label"]) for image in conflict["images"]),
            [image["kept"] for image in conflict["images"]].count(True),
        )
        for conflict in report_of(out)["label_conflicts"]
    }


IN_CONFLICT = {
    "astronaut": (["person", "thing"], [("astronaut-half.jpg", "person"), ("astronaut.jpg", "thing")], 1),
    "coffee": (
        ["drink", "thing"],
        [("coffee-half.jpg", "thing"), ("coffee-same.jpg", "drink"), ("coffee.jpg", "thing")],
        1,
    ),
}


def test_copies_in_folders_of_different_labels_are_reported(folder_run):
    assert conflicts_of(folder_run) == IN_CONFLICT


def test_the_page_shows_the_groups_and_their_labels(folder_run):
    page = (folder_run / "dedup.html").read_text()
    assert_harmless(page)
    read = Page(page)
    assert "Copies under different labels: 2" in read.all_text
    assert "Other groups of copies: 3" in read.all_text
    assert "kept, label thing" in read.all_text
    assert ", label person" in read.all_text
    assert "(not readable)" not in read.all_text
    assert len(read.pairs) == 5
    assert "Reference" not in read.all_text


def test_running_again_changes_nothing(folder, folder_run, snapshot):
    before = {name: state for name, state in snapshot(folder_run).items() if not name.startswith(("dedup.", "removed"))}
    texts = [(folder_run / name).read_bytes() for name in ("dedup.html", "dedup.json", "removed.jsonl")]
    run(folder, folder_run)
    after = {name: state for name, state in snapshot(folder_run).items() if not name.startswith(("dedup.", "removed"))}
    assert after == before
    assert [(folder_run / name).read_bytes() for name in ("dedup.html", "dedup.json", "removed.jsonl")] == texts


def test_a_run_that_was_stopped_goes_on(folder, folder_run, tmp_path, monkeypatch):
    def stop(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("pipelines.rewrite.write_certificate", stop)
    with pytest.raises(KeyboardInterrupt):
        run(folder, tmp_path / "out")
    monkeypatch.undo()
    run(folder, tmp_path / "out")
    assert files_of(tmp_path / "out" / "data") == files_of(folder_run / "data")
    assert report_of(tmp_path / "out") == report_of(folder_run)


def test_what_was_deduplicated_has_no_copies(folder_run, tmp_path):
    certificate = run(folder_run / "data", tmp_path / "out", action="list")
    assert (certificate.counts["read"], certificate.counts["removed"]) == (9, 0)


def test_a_list_alone_writes_no_dataset(folder, folder_run, tmp_path, snapshot):
    before = snapshot(folder)
    run(folder, tmp_path / "out", action="list")
    names = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert names == ["dedup.html", "dedup.json", "removed.jsonl", "run"]
    assert removed_of(tmp_path / "out") == removed_of(folder_run)
    assert snapshot(folder) == before


def test_files_that_are_no_image_can_be_dropped(folder, tmp_path):
    certificate = run(folder, tmp_path / "out", unreadable="drop")
    assert certificate.counts["unreadable_removed"] == 1
    assert not (tmp_path / "out" / "data" / "thing" / "notes.jpg").exists()


# -- references --------------------------------------------------------------------------------------------------------


def test_copies_of_references_go_too_all_of_them(folder, folder_run, reference, items, tmp_path):
    certificate = run(folder, tmp_path / "out", against=[str(reference)])
    unique = files_of(folder_run / "data")
    expected = {name: data for name, data in unique.items() if family(name) not in REFERENCES}
    assert files_of(tmp_path / "out" / "data") == expected
    counts = certificate.counts
    assert (counts["removed_as_copies"], counts["removed_as_copies_of_references"]) == (10, 6)
    leaks = [line for line in removed_of(tmp_path / "out") if line["reason"] == "reference_leak"]
    assert {family(line["name"]) for line in leaks} == set(REFERENCES)
    assert {line["reference"] for line in leaks} == {f"{name}.jpg" for name in REFERENCES}
    page = Page((tmp_path / "out" / "dedup.html").read_text()).all_text
    assert "Reference images with copies in the dataset: 2" in page
    assert "Other groups of copies: 1" in page


def test_copies_of_references_are_those_that_decontaminate_removes(folder, reference, tmp_path):
    run(folder, tmp_path / "dedup", against=[str(reference)], action="list")
    settings = parse_overrides(QUICK)
    decontaminate(str(folder), [str(reference)], str(tmp_path / "clean"), settings=settings, action="list")
    leaks = {line["name"] for line in removed_of(tmp_path / "dedup") if "reference" in line}
    assert leaks == {line["name"] for line in removed_of(tmp_path / "clean")}


# -- WebDataset --------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def shards_run(shards, tmp_path_factory):
    out = tmp_path_factory.mktemp("shards-out")
    run(shards, out)
    return out


def test_kept_samples_of_shards_keep_all_members_their_order_times_and_modes(shards, shards_run, items):
    names = {line["name"].split("/")[1].removesuffix(".jpg") for line in removed_of(shards_run)}
    kept = []
    for shard in sorted(shards.glob("*.tar")):
        expected = [member for member in members_of(shard) if member[0].split(".")[0] not in names]
        assert members_of(shards_run / "data" / shard.name) == expected
        kept += [name for name, *_ in expected if name.endswith(".jpg")]
    assert_one_of_each(kept, items)


def test_copies_of_different_classes_in_shards_are_reported(shards_run):
    assert conflicts_of(shards_run) == IN_CONFLICT


def test_in_place_rewrites_the_shards_that_hold_copies(shards, shards_run, photos, tmp_path, snapshot):
    dataset = write_folder(tmp_path / "shards", files_of(shards))
    write_tar(dataset / "single.tar", [("grey.jpg", b"no image")])
    before = snapshot(dataset)
    run(dataset, tmp_path / "out", action="in-place")
    new = files_of(shards_run / "data")
    assert {name: data for name, data in files_of(dataset).items() if name != "single.tar"} == new
    after = snapshot(dataset)
    assert after["single.tar"] == before["single.tar"]
    page = (tmp_path / "out" / "dedup.html").read_text()
    run(dataset, tmp_path / "out", action="in-place")
    assert snapshot(dataset) == after
    assert (tmp_path / "out" / "dedup.html").read_text() == page
    assert not (tmp_path / "out" / "data").exists()
    with pytest.raises(RunError, match="this run rewrites the dataset in place; choose another `out`"):
        run(dataset, tmp_path / "out")


def test_no_shard_is_rewritten_in_place_where_an_image_that_is_to_stay_has_changed(photos, tmp_path):
    dataset = tmp_path / "shards"
    singles = [(f"{name}.jpg", photos["whole"][name]) for name in SINGLE]
    write_tar(dataset / "0.tar", [("copy.jpg", photos["half"]["cat"]), *singles])
    write_tar(dataset / "1.tar", [("cat.jpg", photos["whole"]["cat"])])
    run(dataset, tmp_path / "out", action="list")
    assert [line["name"] for line in removed_of(tmp_path / "out")] == ["0.tar/copy.jpg"]
    write_tar(dataset / "1.tar", [("cat.jpg", photos["whole"]["coffee"])])
    before = files_of(dataset)
    with pytest.raises(LvdError, match=r"1.tar: cat.jpg has changed since it was read; run the command again with"):
        run(dataset, tmp_path / "out", action="in-place")
    assert files_of(dataset) == before


def test_a_sample_that_also_holds_what_is_no_copy_is_kept_whole(photos, tmp_path):
    whole, half = photos["whole"], photos["half"]
    members = [
        ("first.jpg", whole["cat"]),
        ("pair.left.jpg", half["cat"]),
        ("pair.right.jpg", whole["coffee"]),
        ("copies.left.jpg", half["cat"]),
        ("copies.right.jpg", half["coffee"]),
        *((f"{name}.jpg", whole[name]) for name in SINGLE),
    ]
    write_tar(tmp_path / "in" / "0.tar", members)
    certificate = run(tmp_path / "in" / "0.tar", tmp_path / "out")
    kept = [(name, data) for name, data, *_ in members_of(tmp_path / "out" / "data" / "0.tar")]
    assert kept == [member for member in members if not member[0].startswith("copies.")]
    (stays,) = report_of(tmp_path / "out")["copies_kept"]
    assert (stays["name"], stays["copy_of"]) == ("0.tar/pair.left.jpg", "0.tar/first.jpg")
    assert stays["detail"] == "its WebDataset sample holds what is no copy"
    assert (certificate.counts["copies_kept"], certificate.counts["removed"]) == (1, 2)


def test_a_sample_of_one_image_in_two_sizes_is_kept(photos, tmp_path):
    members = [("cat.jpg", photos["whole"]["cat"]), ("cat.small.jpg", photos["half"]["cat"])]
    members += [(f"{name}.jpg", photos["whole"][name]) for name in SINGLE]
    write_tar(tmp_path / "in" / "0.tar", members)
    run(tmp_path / "in" / "0.tar", tmp_path / "out")
    assert [(name, data) for name, data, *_ in members_of(tmp_path / "out" / "data" / "0.tar")] == members


def test_a_copy_stays_where_its_image_goes_with_a_sample_that_leaks(photos, reference, tmp_path):
    whole, half = photos["whole"], photos["half"]
    members = [
        ("pair.left.jpg", whole["cat"]),
        ("pair.right.jpg", whole["rocket"]),  # a reference image
        ("copy.jpg", half["cat"]),
        *((f"{name}.jpg", whole[name]) for name in SINGLE),
    ]
    write_tar(tmp_path / "in" / "0.tar", members)
    run(tmp_path / "in" / "0.tar", tmp_path / "out", against=[str(reference)])
    kept = [(name, data) for name, data, *_ in members_of(tmp_path / "out" / "data" / "0.tar")]
    assert kept == members[2:]
    reasons = {line["name"]: line["reason"] for line in removed_of(tmp_path / "out")}
    assert reasons == {"0.tar/pair.left.jpg": "sample_removed", "0.tar/pair.right.jpg": "reference_leak"}
    (stays,) = report_of(tmp_path / "out")["copies_kept"]
    assert (stays["name"], stays["detail"]) == (
        "0.tar/copy.jpg",
        "the image that stands for it is removed with its sample",
    )


# -- Parquet -----------------------------------------------------------------------------------------------------------


def test_a_parquet_file_keeps_schema_metadata_and_one_row_of_each_image(parquet, items, tmp_path):
    run(parquet, tmp_path)
    before, after = pq.ParquetFile(parquet), pq.ParquetFile(tmp_path / "data" / "x.parquet")
    gone = {int(line["name"].split("/")[1]) for line in removed_of(tmp_path)}
    keep = [row not in gone for row in range(len(items))]
    assert after.read().equals(before.read().filter(keep))
    assert after.schema_arrow.equals(before.schema_arrow, check_metadata=True)
    assert_one_of_each([row["path"] for row in after.read()["image"].to_pylist()], items)


def test_copies_of_different_labels_in_parquet_are_reported(parquet, items, tmp_path):
    run(parquet, tmp_path, action="list")
    names = list(items)
    labels = {
        tuple(sorted(names[int(image["name"].split("/")[1])] for image in conflict["images"])): conflict["labels"]
        for conflict in report_of(tmp_path)["label_conflicts"]
    }
    assert labels == {tuple(name for name, _ in images): labels for labels, images, _ in IN_CONFLICT.values()}


# -- the command -------------------------------------------------------------------------------------------------------


def test_the_command_says_in_its_last_lines_what_was_removed_and_where_to_look(folder, tmp_path, lvd):
    out = tmp_path / "out"
    answer = lvd("dedup", folder, "--out", out, *sets())
    assert answer.code == 0, answer.err
    last = [line for line in answer.out.splitlines() if not line.startswith(("models: ", "detection power: "))][-5:]
    assert last == [
        "17 images read: 8 kept, 8 removed, 1 unreadable (1 of them kept)",
        "removed: 8 as copies of images that are kept",
        f"warning: 2 group(s) of copies have more than one label; see {out}/dedup.html",
        f"dataset without copies: {out}/data",
        f"what was removed and why: {out}/dedup.html; of one image: lvd why {out}/run NAME",
    ]
    name = removed_of(out)[0]["name"]
    assert lvd("why", out / "run", name).code == 0


def test_a_list_alone_says_what_would_be_removed(folder, reference, tmp_path, lvd):
    answer = lvd("dedup", folder, "--against", reference, "--out", tmp_path / "out", "--list-only", *sets())
    assert answer.code == 0, answer.err
    line = "would be removed: 4 as copies of images that are kept, 6 as copies of reference images"
    assert line in answer.out
    assert not (tmp_path / "out" / "data").exists()


def test_the_help_has_examples(lvd):
    answer = lvd("dedup", "--help")
    assert answer.code == 0
    assert answer.out.count("Example: lvd dedup") == 3
    assert "--against" in answer.out


# -- mistakes ----------------------------------------------------------------------------------------------------------


def test_settings_are_those_of_curate_with_all_filters_off():
    config = dedup_settings("pool", [], parse_overrides(["dedup.self.threshold=0.8"]))
    assert (config.dedup.self_.enabled, config.dedup.self_.threshold) == (True, 0.8)
    assert (config.quality.on, config.safety.nsfw, config.safety.faces, config.seeds) == ([], "off", "keep", [])
    assert (config.references, config.image.metadata) == ([], "keep")


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("quality.on=[pool]", r"quality: no setting of lvd dedup; those begin with seed, parts"),
        ("dedup.self.treshold=1", r"dedup.self.treshold: unknown key"),
        ("dedup.self.enabled=false", r"dedup.self.enabled: lvd dedup removes copies within the dataset; lvd decontam"),
        ("image.metadata=strip", r"image: metadata and max_side change images; lvd dedup carries them as they are"),
    ],
)
def test_a_setting_without_bearing_is_refused(override, message):
    with pytest.raises(ConfigError, match=message):
        dedup_settings("pool", [], parse_overrides([override]))


def test_mistakes_are_one_line_and_write_nothing(folder, shards, tmp_path, lvd):
    (tmp_path / "urls.txt").write_text("http://a/b.jpg")
    full = write_folder(tmp_path / "full", {"mine.txt": b"x"})
    out = tmp_path / "out"
    for arguments, message in (
        ([folder], "--out: missing; name a folder for the result"),
        ([tmp_path / "no", "--out", out], "no: does not exist; check the path of the dataset"),
        ([folder, "--against", tmp_path / "no", "--out", out], "no: does not exist; check the path of the dataset"),
        ([tmp_path / "urls.txt", "--out", out], "is text files of URLs; name a folder of images"),
        ([folder, "--out", full], "full: is not empty and holds no run of lvd dedup (mine.txt); choose another --out"),
        ([folder, "--out", folder / "x"], "lies inside the dataset"),
        ([folder, "--out", out, "--in-place"], "--in-place rewrites WebDataset tars only"),
        ([folder, "--out", out, "--unreadable", "x"], "--unreadable x: should be keep or drop"),
        ([shards, "--out", out, "--in-place", "--list-only"], "contradict each other"),
        ([folder, "--out", out, "--set", "seeds=[]"], "seeds: no setting of lvd dedup"),
    ):
        answer = lvd("dedup", *arguments, *sets())
        assert (answer.code, answer.err.count("\n")) == (2, 1), answer.err
        assert message in answer.err
        assert not out.exists()
    assert files_of(full) == {"mine.txt": b"x"}


def test_the_folder_of_another_job_is_refused(folder, folder_run, reference, snapshot):
    before = snapshot(folder_run)
    with pytest.raises(RunError, match="holds no run of lvd decontaminate"):
        decontaminate(str(folder), [str(reference)], str(folder_run), settings=parse_overrides(QUICK))
    assert snapshot(folder_run) == before


def test_curate_without_seeds_names_the_command(folder, tmp_path, lvd):
    answer = lvd("curate", "--pool", folder, "--out", tmp_path / "out")
    assert (answer.code, answer.err.count("\n")) == (2, 1)
    assert "without seeds, lvd dedup keeps one of each image of a dataset" in answer.err
