"""A dataset of any kind loses the copies of reference images, and nothing else; the certificate says so."""

import hashlib
import io
import json
import os
import subprocess
import sys
import tarfile
import warnings

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import webdataset
from PIL import Image

from curation.config import parse_overrides
from curation.errors import ConfigError, DatasetError, RunError, UserError
from pipelines.decontaminate import decontaminate, settings_for
from tests.matrix import first_of

PLAIN = ["dedup.verify=off", "dedup.grouping=components", "dedup.max_share=1.0"]
QUICK = ["runner.kind=inline", "copy_descriptors.model=classical/hog-colour-4x4", *PLAIN]


@pytest.fixture(scope="module")
def pictures(photo, encoded):
    """Name -> bytes: 12 clean photos, 4 copies of the 3 reference photos, a file that is none; and the references."""
    clean = {f"clean-{n:02d}.jpg": encoded(photo(n, n % 3)) for n in range(12)}
    references = {f"test-{n}.png": encoded(photo(500 + n, n), "PNG") for n in range(3)}
    opened = [Image.open(io.BytesIO(data)) for data in references.values()]
    leaks = {
        "leak-0.jpg": encoded(opened[0], quality=60),
        "leak-1.jpg": encoded(opened[1].resize((60, 50))),
        "leak-2.png": references["test-2.png"],
        "leak-3.png": references["test-2.png"],  # the same bytes a second time
    }
    names = iter([*leaks, "bad.jpg"])
    mixed = {}
    for at, (name, data) in enumerate(clean.items()):
        mixed[name] = data
        if at % 2 == 0 and (other := next(names, None)):
            mixed[other] = leaks.get(other, b"no image")
    return {"mixed": mixed, "references": references, "leaks": leaks, "clean": clean}


@pytest.fixture(scope="module")
def reference(pictures, tmp_path_factory):
    return write_folder(tmp_path_factory.mktemp("reference"), pictures["references"])


def write_folder(root, images):
    for name, data in images.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(data)
    return root


def write_tar(path, members):
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as tar:
        for number, (name, data) in enumerate(members):
            info = tarfile.TarInfo(name)
            info.size, info.mtime, info.mode = len(data), 1000 + number, 0o640
            tar.addfile(info, io.BytesIO(data))


def members_of(path):
    """Name, bytes, time and mode of the regular files of a tar, in order."""
    with tarfile.open(path) as tar:
        return [(m.name, tar.extractfile(m).read(), m.mtime, m.mode) for m in tar if m.isreg()]


def write_shards(root, images, count=5):
    """Shards with a JSON, a caption and a class beside each image."""
    for shard in range(count):
        members = []
        for number, (name, data) in list(enumerate(images.items()))[shard::count]:
            stem, ending = name.rsplit(".", 1)
            extra = [(f"{stem}.json", json.dumps({"n": number}).encode()), (f"{stem}.cls", b"%d" % number)]
            members += [(f"{stem}.{ending}", data), *extra, (f"{stem}.txt", "straße".encode())]
        write_tar(root / f"{shard:03d}.tar", members)
    return root


def run(dataset, references, out, *overrides, **options):
    against = [str(item) for item in (references if isinstance(references, list) else [references])]
    return decontaminate(str(dataset), against, str(out), settings=parse_overrides([*QUICK, *overrides]), **options)


def files_of(root):
    return {str(path.relative_to(root)): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}


def removed_names(out):
    return [json.loads(line)["name"] for line in (out / "removed.jsonl").read_text().splitlines()]


def certificate_of(out):
    return json.loads((out / "certificate.json").read_text())


# -- folders -----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def folder_run(pictures, reference, tmp_path_factory):
    """A folder with sub-folders, and the result: (dataset, out)."""
    root = tmp_path_factory.mktemp("folder")
    images = {f"{'a/b' if at % 2 else 'ü x'}/{name}": data for at, (name, data) in enumerate(pictures["mixed"].items())}
    dataset = write_folder(root / "photos", images)
    run(dataset, reference, root / "out")
    return dataset, root / "out"


def test_a_folder_keeps_its_tree_and_every_byte_of_what_is_kept(folder_run, pictures):
    dataset, out = folder_run
    before = files_of(dataset)
    leaked = [name for name in before if name.rsplit("/", 1)[1] in pictures["leaks"]]
    assert len(leaked) == 4
    assert files_of(out / "data") == {name: data for name, data in before.items() if name not in leaked}
    assert sorted(removed_names(out)) == sorted(leaked)


def test_kept_files_are_hard_links_unless_copies_are_asked_for(folder_run, reference, tmp_path):
    dataset, out = folder_run
    for name in files_of(out / "data"):
        assert os.path.samefile(dataset / name, out / "data" / name)
    run(dataset, reference, tmp_path / "copies", link=False)
    for name, data in files_of(tmp_path / "copies" / "data").items():
        assert not os.path.samefile(dataset / name, tmp_path / "copies" / "data" / name)
        assert (out / "data" / name).read_bytes() == data


def test_the_certificate_adds_up_and_lists_every_copy(folder_run, pictures):
    _, out = folder_run
    certificate = certificate_of(out)
    counts = certificate["counts"]
    assert counts == {
        "read": 17,
        "kept": 12,
        "removed": 4,
        "unreadable": 1,
        "removed_as_copies": 4,
        "removed_with_their_sample": 0,
        "unreadable_kept": 1,
        "unreadable_removed": 0,
    }
    copied = {item["name"].rsplit("/", 1)[1]: item["reference"] for item in certificate["removed"]}
    assert copied == {
        "leak-0.jpg": "test-0.png",
        "leak-1.jpg": "test-1.png",
        "leak-2.png": "test-2.png",
        "leak-3.png": "test-2.png",
    }
    assert {item["sha256"] for item in certificate["removed"]} == {
        hashlib.sha256(data).hexdigest() for data in pictures["leaks"].values()
    }
    (unreadable,) = certificate["unreadable"]
    assert (unreadable["name"].rsplit("/", 1)[1], unreadable["reason"], unreadable["kept"]) == (
        "bad.jpg",
        "not_an_image",
        True,
    )
    by_name = {item["name"]: item for item in certificate["reference_images"]}
    assert len(by_name["test-2.png"]["removed"]) == 2
    for item in by_name.values():
        similarities = [match["similarity"] for match in item["nearest"]]
        assert len(similarities) == 5
        assert similarities == sorted(similarities, reverse=True)
        assert [match["name"] for match in item["nearest"] if match["removed"]] == item["removed"]
    (of_set,) = certificate["reference_sets"]
    assert (of_set["images"], of_set["unreadable"], of_set["found"], of_set["removed"]) == (3, 0, 3, 4)


def test_content_hashes_can_be_computed_by_anybody(folder_run, reference):
    dataset, out = folder_run
    certificate = certificate_of(out)

    def digest(root):
        lines = [f"{hashlib.sha256(data).hexdigest()}  {name}\n" for name, data in files_of(root).items()]
        return hashlib.sha256("".join(lines).encode()).hexdigest()

    assert certificate["dataset"]["sha256"] == digest(dataset)
    assert certificate["clean"]["sha256"] == digest(out / "data")
    assert certificate["reference_sets"][0]["sha256"] == digest(reference)


def test_running_again_changes_nothing(folder_run, reference, snapshot):
    dataset, out = folder_run
    page, before = (out / "certificate.html").read_bytes(), snapshot(out / "data")
    run_before = snapshot(out / "run")
    run(dataset, reference, out)
    assert snapshot(out / "data") == before
    assert snapshot(out / "run") == run_before
    assert (out / "certificate.html").read_bytes() == page


def test_the_clean_dataset_is_clean(folder_run, reference, tmp_path):
    _, out = folder_run
    certificate = run(out / "data", reference, tmp_path / "again", action="list")
    assert (certificate.counts["read"], certificate.counts["removed"]) == (13, 0)


def test_a_file_that_is_lost_from_the_clean_dataset_comes_back(folder_run, reference, tmp_path):
    dataset, _ = folder_run
    run(dataset, reference, tmp_path / "out")
    first = sorted(path for path in (tmp_path / "out" / "data").rglob("*") if path.is_file())[0]
    first.unlink()
    run(dataset, reference, tmp_path / "out")
    assert first.exists()


def test_another_reference_takes_only_its_own_work(folder_run, pictures, reference, tmp_path, snapshot):
    dataset, _ = folder_run
    out = tmp_path / "out"
    run(dataset, reference, out)
    pool = {name: state for name, state in snapshot(out / "run" / "pool").items() if not name.startswith("dedup")}
    other = write_folder(tmp_path / "other", {"x.jpg": pictures["clean"]["clean-05.jpg"]})
    certificate = run(dataset, [reference, other], out)
    after = {name: state for name, state in snapshot(out / "run" / "pool").items() if not name.startswith("dedup")}
    assert after == pool
    assert [item.removed for item in certificate.reference_sets] == [4, 1]
    assert "clean-05.jpg" not in {path.name for path in (out / "data").rglob("*")}


def test_unreadable_files_can_be_dropped(folder_run, reference, tmp_path):
    dataset, _ = folder_run
    certificate = run(dataset, reference, tmp_path / "out", unreadable="drop")
    assert (certificate.counts["unreadable_kept"], certificate.counts["unreadable_removed"]) == (0, 1)
    assert "bad.jpg" not in {path.name for path in (tmp_path / "out" / "data").rglob("*")}
    assert len(removed_names(tmp_path / "out")) == 5


def test_a_certificate_says_how_good_a_search_with_an_index_was(folder_run, reference, tmp_path):
    dataset, out = folder_run
    options = ("dedup.exact_up_to=0", "dedup.probes=1")
    certificate = run(dataset, reference, tmp_path / "out", *options, action="list")
    (said,) = [sentence for sentence in certificate.limits if "searched with an index" in sentence]
    # 16 images of the dataset and 3 of the references are fewer than what one list holds.
    assert said.endswith("Of 19 images that were searched exactly as well, it found 100.00% of the true neighbours.")
    assert not any("searched with an index" in sentence for sentence in certificate_of(out)["limits"])
    assert removed_names(tmp_path / "out") == removed_names(out)


def test_list_only_writes_no_dataset(folder_run, reference, tmp_path, snapshot):
    dataset, out = folder_run
    before = snapshot(dataset)
    certificate = run(dataset, reference, tmp_path / "out", action="list")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "certificate.html",
        "certificate.json",
        "removed.jsonl",
        "run",
    ]
    assert removed_names(tmp_path / "out") == removed_names(out)
    assert snapshot(dataset) == before
    assert certificate.clean["sha256"] == certificate_of(out)["clean"]["sha256"]


def test_a_dataset_that_is_its_own_reference_is_removed_whole(folder_run, tmp_path):
    dataset, _ = folder_run
    certificate = run(dataset, dataset, tmp_path / "out")
    assert (certificate.counts["kept"], certificate.counts["removed"], certificate.counts["unreadable"]) == (0, 16, 1)
    assert [path.name for path in (tmp_path / "out" / "data").rglob("*") if path.is_file()] == ["bad.jpg"]
    assert "could not be read" in (tmp_path / "out" / "certificate.html").read_text()


def test_links_and_hidden_files_are_passed_over_and_counted(pictures, reference, tmp_path):
    secret = tmp_path / "secret.jpg"
    secret.write_bytes(pictures["clean"]["clean-00.jpg"])
    dataset = write_folder(tmp_path / "photos", {**pictures["clean"], ".hidden/b.jpg": b"x"})
    (dataset / "out.jpg").symlink_to(secret)
    (dataset / "etc").symlink_to("/etc")
    (dataset / "gone").symlink_to(dataset / "nothing")
    os.mkfifo(dataset / "pipe")
    certificate = run(dataset, reference, tmp_path / "out")
    assert certificate.dataset["passed_over"] == {"hidden": 1, "links": 3, "special": 1}
    assert files_of(tmp_path / "out" / "data") == pictures["clean"]
    assert "3 links" in (tmp_path / "out" / "certificate.html").read_text()


ODD = [
    "-rf.jpg",
    "<img src=x onerror=alert(1)>.jpg",
    "a'b\"c&d.jpg",
    "日本語 😀.jpg",
    "new\nline.jpg",
    "\u202egpj.jpg",
    "$(x).jpg",
]


def test_odd_names_are_carried_and_never_markup(photo, encoded, tmp_path):
    images = {name: encoded(photo(40 + at)) for at, name in enumerate(ODD)}
    dataset = write_folder(tmp_path / "photos", images)
    reference = write_folder(tmp_path / "ref", dict(list(images.items())[:4]))
    run(dataset, reference, tmp_path / "out")
    assert files_of(tmp_path / "out" / "data") == {name: images[name] for name in ODD[4:]}
    assert sorted(removed_names(tmp_path / "out")) == sorted(ODD[:4])
    page = (tmp_path / "out" / "certificate.html").read_text()
    assert "<img src=x" not in page
    assert "&lt;img src=x onerror=alert(1)&gt;.jpg" in page
    assert "\u202e" not in page
    assert "<script" not in page
    assert "http://" not in page.replace("http-equiv", "")


def test_reference_images_that_cannot_be_read_are_reported(folder_run, pictures, tmp_path, lvd):
    dataset, _ = folder_run
    reference = write_folder(tmp_path / "ref", {**pictures["references"], "broken.png": b"\x89PNG nothing"})
    answer = lvd("decontaminate", dataset, "--against", reference, "--out", tmp_path / "out", "--list-only", *sets())
    assert answer.code == 0
    assert "warning: 1 reference image(s) could not be read; copies of them were not looked for" in answer.out
    certificate = certificate_of(tmp_path / "out")
    (broken,) = [item for item in certificate["reference_images"] if "unreadable" in item]
    assert (broken["name"], broken["nearest"], broken["removed"]) == ("broken.png", [], [])
    assert certificate["reference_sets"][0]["unreadable"] == 1
    assert "Nothing is certified about copies of them" in (tmp_path / "out" / "certificate.html").read_text()


def test_an_image_of_two_reference_sets_is_counted_for_the_first(folder_run, reference, tmp_path):
    dataset, _ = folder_run
    twin = write_folder(tmp_path / "twin", files_of(reference))
    certificate = run(dataset, [twin, reference], tmp_path / "out", action="list")
    assert [(item.with_copies, item.removed) for item in certificate.reference_sets] == [(3, 4), (0, 0)]
    nearest = [match.removed for item in certificate.reference_images[3:] for match in item.nearest]
    assert sum(nearest) == 4  # and the second set's images show the same copies


def test_small_images_are_compared_too(photo, encoded, tmp_path):
    """Benchmarks such as CIFAR have images of 32 x 32."""
    images = {f"{n}.png": encoded(photo(n, n % 3, 24, 24), "PNG") for n in range(8)}
    dataset = write_folder(tmp_path / "photos", images)
    reference = write_folder(tmp_path / "ref", {"x.png": images["3.png"]})
    run(dataset, reference, tmp_path / "out", action="list")
    assert removed_names(tmp_path / "out") == ["3.png"]


NORMALISED = ("dedup.normalise.weight=1", "dedup.normalise.first=2", "dedup.normalise.last=5")


def test_normalised_similarities_find_the_same_copies_and_the_certificate_says_what_they_are(
    folder_run, reference, tmp_path
):
    dataset, out = folder_run
    lower = "dedup.relative.threshold=0.2"
    for _ in range(2):
        run(dataset, reference, tmp_path / "out", *NORMALISED, lower)
        assert files_of(tmp_path / "out" / "data") == files_of(out / "data")
    plain, normalised = certificate_of(out), certificate_of(tmp_path / "out")
    assert any("Similarities are normalised: of the cosine similarity" in line for line in normalised["limits"])
    assert not any("normalised" in line for line in plain["limits"])
    nearest = {item["name"]: item["nearest"] for item in normalised["reference_images"]}
    before = {item["name"]: item["nearest"] for item in plain["reference_images"]}
    for item in normalised["removed"]:
        (match,) = [match for match in nearest[item["reference"]] if match["name"] == item["name"]]
        assert item["similarity"] == pytest.approx(match["similarity"], abs=1e-5)
        (raw,) = [match for match in before[item["reference"]] if match["name"] == item["name"]]
        assert item["similarity"] > 0.2
        assert abs(item["similarity"] - raw["similarity"]) > 0.01


def test_more_ranks_than_images_are_one_line(folder_run, reference, tmp_path):
    dataset, _ = folder_run
    with pytest.raises(
        UserError, match=r"^dedup.normalise: rank 20 cannot be had of a background of 16 images, .*15 or"
    ):
        run(dataset, reference, tmp_path / "out", "dedup.normalise.weight=1")
    with pytest.raises(ConfigError, match=r"dedup.normalise: first is 9 and last 3; last should be no smaller"):
        run(dataset, reference, tmp_path / "out", "dedup.normalise.first=9", "dedup.normalise.last=3")


# -- WebDataset --------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def shards(pictures, tmp_path_factory):
    return write_shards(tmp_path_factory.mktemp("shards"), pictures["mixed"])


@pytest.fixture(scope="module")
def shards_run(shards, reference, tmp_path_factory):
    out = tmp_path_factory.mktemp("shards-out")
    run(shards, reference, out)
    return out


def leaked_stems(pictures):
    return {name.rsplit(".", 1)[0] for name in pictures["leaks"]}


def test_kept_samples_of_shards_keep_all_members_their_order_times_and_modes(shards, shards_run, pictures):
    gone = leaked_stems(pictures)
    for shard in sorted(shards.glob("*.tar")):
        expected = [member for member in members_of(shard) if member[0].rsplit(".", 1)[0] not in gone]
        assert members_of(shards_run / "data" / shard.name) == expected
    assert sorted(path.name for path in (shards_run / "data").iterdir()) == [f"{n:03d}.tar" for n in range(5)]


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # webdataset leaves its files open
def test_clean_shards_read_with_webdataset(shards_run, pictures):
    files = sorted(str(path) for path in (shards_run / "data").glob("*.tar"))
    samples = list(webdataset.WebDataset(files, shardshuffle=False))
    keys = {name.rsplit(".", 1)[0] for name in pictures["mixed"]}
    assert {sample["__key__"] for sample in samples} == keys - leaked_stems(pictures)
    for sample in samples:
        assert {"json", "cls", "txt"} <= set(sample)


def test_the_certificate_names_shards_and_their_hashes(shards_run):
    certificate = certificate_of(shards_run)
    for file in certificate["clean"]["files"]:
        data = (shards_run / "data" / file["name"]).read_bytes()
        assert (file["bytes"], file["sha256"]) == (len(data), hashlib.sha256(data).hexdigest())
    assert sum(file["kept"] for file in certificate["clean"]["files"]) == certificate["clean"]["images"] == 13
    assert {item["name"].split("/")[0] for item in certificate["removed"]} == {f"{n:03d}.tar" for n in (0, 1, 2, 4)}


def test_clean_shards_are_the_same_bytes_every_time(shards, shards_run, reference, tmp_path):
    run(shards, reference, tmp_path / "out", "parts.rows=5", link=False)
    assert files_of(tmp_path / "out" / "data") == files_of(shards_run / "data")


def test_in_place_rewrites_only_the_shards_that_hold_copies(pictures, reference, tmp_path, snapshot):
    clean_first = dict(sorted(pictures["mixed"].items(), key=lambda item: item[0] in pictures["leaks"]))
    dataset = tmp_path / "shards"
    items = list(clean_first.items())
    write_shards(dataset / "x", dict(items[:8]), 1)
    write_shards(dataset / "y", dict(items[8:]), 1)
    os.chmod(dataset / "y" / "000.tar", 0o600)
    before = snapshot(dataset)
    expected = [
        m for m in members_of(dataset / "y" / "000.tar") if m[0].rsplit(".", 1)[0] not in leaked_stems(pictures)
    ]
    pattern = str(dataset / "{x,y}" / "000.tar")
    run(pattern, reference, tmp_path / "out", action="in-place")
    after = snapshot(dataset)
    assert after["x/000.tar"] == before["x/000.tar"]
    assert after.keys() == before.keys()
    assert members_of(dataset / "y" / "000.tar") == expected
    assert os.stat(dataset / "y" / "000.tar").st_mode & 0o777 == 0o600
    assert not (tmp_path / "out" / "data").exists()
    page = (tmp_path / "out" / "certificate.html").read_text()
    run(pattern, reference, tmp_path / "out", action="in-place")
    assert snapshot(dataset) == after
    assert (tmp_path / "out" / "certificate.html").read_text() == page  # thumbnails of what is gone are still there
    assert "(not readable)" not in page
    with pytest.raises(RunError, match="this run rewrites the dataset in place; choose another `out`"):
        run(pattern, reference, tmp_path / "out")
    with pytest.raises(RunError, match="has rewritten shards for other settings or references"):
        run(pattern, reference, tmp_path / "out", action="in-place", unreadable="drop")
    assert snapshot(dataset) == after
    certificate = run(pattern, reference, tmp_path / "new", action="list")
    assert certificate.counts["removed"] == 0


def test_in_place_goes_on_after_a_stop_between_shards(shards, reference, tmp_path, monkeypatch, shards_run):
    """Stopped before the second shard is renamed: the first is new, the others are old, and nothing lies about."""
    dataset = write_folder(tmp_path / "shards", files_of(shards))
    before = files_of(dataset)
    replaced, stopped = os.replace, []

    def stop(source, target):
        if str(target).startswith(str(dataset)) and stopped.append(target) is None and len(stopped) == 2:
            raise KeyboardInterrupt
        replaced(source, target)

    monkeypatch.setattr(os, "replace", stop)
    with pytest.raises(KeyboardInterrupt):
        run(dataset, reference, tmp_path / "out", action="in-place")
    monkeypatch.undo()
    new, half = files_of(shards_run / "data"), files_of(dataset)
    assert half.keys() == before.keys()
    states = [("new" if half[name] == new[name] else "old" if half[name] == before[name] else "?") for name in half]
    assert states == ["new", "old", "old", "new", "old"]  # the fourth had nothing to lose
    run(dataset, reference, tmp_path / "out", action="in-place")
    assert files_of(dataset) == new


KILLED = """
import os, signal, sys
from curation.config import parse_overrides
from pipelines.decontaminate import decontaminate
replace, renamed = os.replace, []
def kill(source, target):
    if str(target).endswith(".tar"):
        renamed.append(target)
        if len(renamed) == int(sys.argv[4]) and sys.argv[5] == "before":
            os.kill(os.getpid(), signal.SIGKILL)
    replace(source, target)
    if len(renamed) == int(sys.argv[4]):
        os.kill(os.getpid(), signal.SIGKILL)
os.replace = kill
decontaminate(sys.argv[1], [sys.argv[2]], sys.argv[3], settings=parse_overrides(sys.argv[6:]), action="in-place")
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("shard", "moment"), first_of((2, "before"), (1, "before"), (1, "after"), (2, "after"), (4, "after"))
)
def test_in_place_survives_a_kill_at_any_shard(shards, shards_run, reference, tmp_path, shard, moment):
    """Every shard is the old or the new one, and the next run ends as one that was not killed."""
    dataset = write_folder(tmp_path / "shards", files_of(shards))
    before, new = files_of(dataset), files_of(shards_run / "data")
    arguments = [str(dataset), str(reference), str(tmp_path / "out"), str(shard), moment, *QUICK]
    assert subprocess.run([sys.executable, "-c", KILLED, *arguments], check=False).returncode == -9
    half = {name: data for name, data in files_of(dataset).items() if ".tmp-" not in name}
    assert half.keys() == before.keys()
    assert all(half[name] in (before[name], new[name]) for name in half)
    changed = sum(half[name] != before[name] for name in half)
    assert changed == (shard if moment == "after" else shard - 1)
    with pytest.raises(RunError, match="has rewritten shards for other settings or references"):
        run(dataset, reference, tmp_path / "out", action="in-place", unreadable="drop")
    run(dataset, reference, tmp_path / "out", action="in-place")
    assert files_of(dataset) == new
    undisturbed = write_folder(tmp_path / "undisturbed", files_of(shards))
    run(undisturbed, reference, tmp_path / "whole", action="in-place")
    assert certified(tmp_path / "out", dataset) == certified(tmp_path / "whole", undisturbed)


def certified(out, dataset):
    """The three files of a certificate, without the name of the dataset."""
    names = ("certificate.json", "certificate.html", "removed.jsonl")
    return [(out / name).read_text().replace(str(dataset), "DATASET") for name in names]


@pytest.mark.parametrize("action", ["write", "in-place"])
def test_the_certificate_names_the_reference_set_that_was_asked_for_last(pictures, shards, reference, tmp_path, action):
    """The same images are removed, and the certificate names the set that was asked for last."""
    dataset = write_folder(tmp_path / "shards", files_of(shards))
    twin = write_folder(tmp_path / "twin", files_of(reference))
    run(dataset, reference, tmp_path / "out", action="list")
    certificate = run(dataset, twin, tmp_path / "out", action=action)
    assert {item["reference_set"] for item in certificate_of(tmp_path / "out")["removed"]} == {"twin"}
    assert certificate.counts["removed"] == len(pictures["leaks"])


def test_a_sample_of_two_images_goes_whole(pictures, reference, tmp_path):
    members = [
        ("pair.left.jpg", pictures["clean"]["clean-00.jpg"]),
        ("pair.right.png", pictures["leaks"]["leak-2.png"]),
        ("pair.json", b"{}"),
        ("other.jpg", pictures["clean"]["clean-01.jpg"]),
    ]
    write_tar(tmp_path / "in" / "0.tar", members)
    certificate = run(tmp_path / "in" / "0.tar", reference, tmp_path / "out")
    assert [name for name, *_ in members_of(tmp_path / "out" / "data" / "0.tar")] == ["other.jpg"]
    counts = certificate.counts
    assert (counts["read"], counts["kept"], counts["removed"]) == (3, 1, 2)
    assert (counts["removed_as_copies"], counts["removed_with_their_sample"]) == (1, 1)
    assert [(item.image.name, item.reason, item.detail) for item in certificate.removed] == [
        ("0.tar/pair.left.jpg", "sample_removed", "pair.right.png"),
        ("0.tar/pair.right.png", "reference_leak", ""),
    ]


def test_a_name_that_occurs_twice_in_a_tar_is_two_images(pictures, reference, tmp_path):
    clean, leaks = pictures["clean"], pictures["leaks"]
    members = [("a.jpg", clean["clean-00.jpg"]), ("b.jpg", clean["clean-01.jpg"]), ("a.jpg", leaks["leak-0.jpg"])]
    write_tar(tmp_path / "in" / "0.tar", members)
    certificate = run(tmp_path / "in" / "0.tar", reference, tmp_path / "out")
    assert (certificate.counts["read"], certificate.counts["removed"]) == (3, 1)
    kept = [(name, data) for name, data, *_ in members_of(tmp_path / "out" / "data" / "0.tar")]
    assert kept == members[:2]


def test_shards_of_the_same_name_in_two_folders_stay_apart(pictures, reference, tmp_path):
    for folder, picture in (("a", "clean-00.jpg"), ("b", "clean-01.jpg")):
        write_tar(tmp_path / "in" / folder / "0.tar", [(picture, pictures["clean"][picture])])
    run(tmp_path / "in" / "{a,b}" / "0.tar", reference, tmp_path / "out")
    names = {name: members_of(tmp_path / "out" / "data" / name)[0][0] for name in ("a/0.tar", "b/0.tar")}
    assert names == {"a/0.tar": "clean-00.jpg", "b/0.tar": "clean-01.jpg"}


def test_shards_that_lose_everything_or_hold_no_image_are_still_there(pictures, reference, tmp_path):
    write_tar(tmp_path / "in" / "0.tar", [("x.png", pictures["leaks"]["leak-2.png"])])
    write_tar(tmp_path / "in" / "1.tar", [("x.txt", b"no image")])
    write_tar(tmp_path / "in" / "2.tar", [("y.jpg", pictures["clean"]["clean-00.jpg"])])
    run(tmp_path / "in", reference, tmp_path / "out")
    result = [[name for name, *_ in members_of(tmp_path / "out" / "data" / f"{n}.tar")] for n in range(3)]
    assert result == [[], ["x.txt"], ["y.jpg"]]


def test_a_truncated_shard_is_one_clear_error(shards, reference, tmp_path, lvd):
    dataset = write_folder(tmp_path / "shards", files_of(shards))
    (dataset / "001.tar").write_bytes((dataset / "001.tar").read_bytes()[:3000])
    answer = lvd("decontaminate", dataset, "--against", reference, "--out", tmp_path / "out", *sets())
    assert answer.code == 2
    assert answer.err.count("\n") == 1
    assert "001.tar: is not a readable tar (unexpected end of data); fix or leave out this shard" in answer.err


def test_a_shard_that_changes_after_it_was_read_is_not_carried(shards, reference, tmp_path):
    dataset = write_folder(tmp_path / "shards", files_of(shards))
    run(dataset, reference, tmp_path / "out", action="list")
    data = bytearray((dataset / "002.tar").read_bytes())
    data[700] ^= 0xFF
    (dataset / "002.tar").write_bytes(bytes(data))
    with pytest.raises(UserError, match=r"has changed since it was read; run the command again with another `out`"):
        run(dataset, reference, tmp_path / "out")


# -- Parquet -----------------------------------------------------------------------------------------------------------


def write_parquet(path, images, **columns):
    table = pa.table({"image": [{"bytes": data, "path": name} for name, data in images.items()], **columns})
    metadata = {
        b"huggingface": json.dumps({"info": {"features": {"image": {"_type": "Image"}}}}).encode(),
        b"mine": b"1",
    }
    pq.write_table(table.replace_schema_metadata(metadata), path, row_group_size=5, compression="zstd")
    return path


@pytest.fixture(scope="module")
def parquet(pictures, tmp_path_factory):
    images = pictures["mixed"]
    numbers = list(range(len(images)))
    root = tmp_path_factory.mktemp("parquet")
    return write_parquet(
        root / "x.parquet", images, number=numbers, caption=pa.array([f"n{n}" for n in numbers]).dictionary_encode()
    )


@pytest.fixture(scope="module")
def parquet_run(parquet, reference, tmp_path_factory):
    out = tmp_path_factory.mktemp("parquet-out")
    run(parquet, reference, out)
    return out


def test_a_parquet_file_keeps_schema_metadata_row_groups_and_rows(parquet, parquet_run, pictures):
    before, after = pq.ParquetFile(parquet), pq.ParquetFile(parquet_run / "data" / "x.parquet")
    assert after.schema_arrow.equals(before.schema_arrow, check_metadata=True)
    keep = [row["path"] not in pictures["leaks"] for row in before.read()["image"].to_pylist()]
    assert after.read().equals(before.read().filter(keep))
    groups = [sum(keep[start : start + 5]) for start in range(0, 17, 5)]
    assert [after.metadata.row_group(n).num_rows for n in range(after.num_row_groups)] == [n for n in groups if n]
    assert {after.metadata.row_group(0).column(n).compression for n in range(4)} == {"ZSTD"}


def test_a_clean_parquet_file_reads_with_datasets(parquet_run, pictures, tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what datasets does with files and processes is not ours
        from datasets import load_dataset

        data = load_dataset(
            "parquet", data_files=str(parquet_run / "data" / "x.parquet"), split="train", cache_dir=str(tmp_path)
        )
        assert [row["number"] for row in data.remove_columns("image")] == [
            at for at, name in enumerate(pictures["mixed"]) if name not in pictures["leaks"]
        ]


def test_parquet_rows_are_named_by_file_and_number(parquet_run, pictures):
    rows = [at for at, name in enumerate(pictures["mixed"]) if name in pictures["leaks"]]
    assert removed_names(parquet_run) == [f"x.parquet/{row}" for row in rows]


def test_null_images_of_a_parquet_file_are_unreadable_rows(pictures, reference, tmp_path):
    images = [*pictures["clean"].values(), None]
    table = pa.table({"image": pa.array(images, pa.binary()), "n": range(len(images))})
    pq.write_table(table, tmp_path / "x.parquet")
    certificate = run(tmp_path / "x.parquet", reference, tmp_path / "out")
    assert [(item.image.name, item.reason) for item in certificate.unreadable] == [("x.parquet/12", "empty_body")]
    assert pq.read_table(tmp_path / "out" / "data" / "x.parquet").equals(table)


# -- mistakes ----------------------------------------------------------------------------------------------------------


def sets():
    return [word for item in QUICK for word in ("--set", item)]


def test_settings_are_those_of_curate_with_all_filters_off():
    config = settings_for("pool", ["a/test", "b/test"], parse_overrides(["dedup.relative.threshold=0.5"]))
    assert config.dedup.relative.threshold == 0.5
    assert config.dedup.self_.enabled is False
    assert [item.name for item in config.references] == ["test", "test-2"]
    assert (config.quality.on, config.safety.nsfw, config.safety.faces, config.seeds) == ([], "off", "keep", [])


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("quality.on=[pool]", r"quality: no setting of lvd decontaminate; those begin with seed, parts"),
        ("pool=[x]", r"pool: no setting of lvd decontaminate"),
        ("dedup.relative.treshold=1", r"dedup.relative.treshold: unknown key; valid keys here: threshold"),
        ("dedup.relative.threshold=7", r"dedup.relative.threshold: input should be less than or equal to 1"),
        (
            "dedup.self.enabled=true",
            r"dedup.self: is about copies within a dataset, which lvd decontaminate leave",
        ),
        ("dedup=self", r"lvd decontaminate: dedup: input should be a valid dictionary"),
    ],
)
def test_a_setting_without_bearing_is_refused(override, message):
    with pytest.raises(ConfigError, match=message):
        settings_for("pool", ["a"], parse_overrides([override]))


def test_mistakes_are_one_line_and_write_nothing(folder_run, shards, reference, tmp_path, lvd):
    dataset, _ = folder_run
    (tmp_path / "empty").mkdir()
    (tmp_path / "urls.txt").write_text("http://a/b.jpg")
    full = write_folder(tmp_path / "full", {"mine.txt": b"x"})
    out = tmp_path / "out"
    for arguments, message in (
        ([dataset, "--out", out], "--against: missing; name the images that must not be in the dataset"),
        ([dataset, "--against", reference], "--out: missing; name a folder for the result"),
        ([dataset, "--against", tmp_path / "no", "--out", out], "no: does not exist; check the path of the dataset"),
        ([tmp_path / "no", "--against", reference, "--out", out], "no: does not exist; check the path"),
        (
            [tmp_path / "urls.txt", "--against", reference, "--out", out],
            "is text files of URLs; name a folder of images",
        ),
        ([dataset, "--against", tmp_path / "urls.txt", "--out", out], "is text files of URLs; name a folder of images"),
        ([dataset, "--against", reference, "--out", full], "full: is not empty and holds no run of lvd decontaminate"),
        ([dataset, "--against", reference, "--out", dataset / "x"], "lies inside the dataset"),
        ([dataset, "--against", reference, "--out", out, "--in-place"], "--in-place rewrites WebDataset tars only"),
        (
            [dataset, "--against", reference, "--out", out, "--unreadable", "x"],
            "--unreadable x: should be keep or drop",
        ),
        ([shards, "--against", reference, "--out", out, "--in-place", "--list-only"], "contradict each other"),
        ([dataset, "--against", reference, "--out", out, "--set", "seeds=[]"], "seeds: no setting of lvd decon"),
    ):
        answer = lvd("decontaminate", *arguments, *sets())
        assert (answer.code, answer.err.count("\n")) == (2, 1), answer.err
        assert message in answer.err
        assert not out.exists()
    assert files_of(full) == {"mine.txt": b"x"}


def test_an_empty_reference_set_is_a_mistake(folder_run, tmp_path, lvd):
    (tmp_path / "empty").mkdir()
    dataset, _ = folder_run
    answer = lvd("decontaminate", dataset, "--against", tmp_path / "empty", "--out", tmp_path / "out", *sets())
    assert answer.code == 2
    assert "references/empty: no images found in" in answer.err


def test_another_dataset_does_not_get_into_a_run(folder_run, shards, reference):
    _, out = folder_run
    before = files_of(out / "data")
    with pytest.raises(RunError, match=r"holds a run of another pool"):
        run(shards, reference, out)
    assert files_of(out / "data") == before


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_cannot_be_written_is_a_mistake(folder_run, reference, tmp_path):
    dataset, _ = folder_run
    (tmp_path / "locked").mkdir(mode=0o500)
    with pytest.raises(RunError, match="cannot be used as a run directory"):
        run(dataset, reference, tmp_path / "locked" / "out")


def test_an_out_that_is_a_file_is_a_mistake(folder_run, reference, tmp_path):
    dataset, _ = folder_run
    (tmp_path / "file").write_text("x")
    with pytest.raises(RunError, match=r"cannot be used as a run directory|is not empty"):
        run(dataset, reference, tmp_path / "file")


def test_linked_shards_are_not_rewritten_in_place(shards, reference, tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "0.tar").symlink_to(shards / "000.tar")
    with pytest.raises(DatasetError, match=r"0.tar: is a symbolic link; name the shard that it leads to"):
        run(tmp_path / "in" / "0.tar", reference, tmp_path / "out", action="in-place")


def test_the_command_prints_what_it_did(folder_run, reference, tmp_path, lvd):
    dataset, _ = folder_run
    answer = lvd("decontaminate", dataset, "--against", reference, "--out", tmp_path / "out", *sets())
    assert answer.code == 0
    assert "17 images read: 12 kept, 4 removed, 1 unreadable (1 of them kept)" in answer.out
    assert f"certificate: {tmp_path / 'out'}/certificate.html" in answer.out
    assert "decode to copy_descriptors" in answer.err


def test_the_help_has_examples(lvd):
    answer = lvd("decontaminate", "--help")
    assert answer.code == 0
    assert answer.out.count("Example: lvd decontaminate") == 3
    assert "--unreadable" in answer.out
