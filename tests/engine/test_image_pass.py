"""The pass over pixels: fused or alone, every stage's table is the same, and only what is out of date is redone."""

import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from curation.config import HashConfig, ImageConfig
from curation.drops import Dropped, DropReason
from curation.engine.contract import Output, StageSpec, commit_output
from curation.engine.image_pass import ImageWork
from curation.engine.work import GpuWork
from curation.errors import RunError
from curation.imaging.decode import decode
from curation.run.artifacts import Artifact
from curation.run.parts import Collection
from curation.run.store import Store
from curation.stages.dedup.hashes import Hashes, fit_basis, thumbnails
from curation.stages.filters.decode import Decode

PLACE = {"fetch": ["tar", "offset", "length"]}
LIMITS = ImageConfig(min_side=8)


class Brightness:
    """Adds the mean of each image, drops those that are too dark, and notes the batches it was given."""

    def __init__(self, name="bright", after="decode", darkest=0.0):
        self.batches = []
        self._darkest = darkest
        schema = pa.schema([("mean", pa.float64()), ("batch", pa.int64())])
        self.spec = StageSpec(name, 1, after, PLACE, schema, {"darkest": darkest})

    def setup(self):
        pass

    def process(self, images, sources):
        means = [float(image.mean()) for image in images]
        self.batches.append(len(images))
        drops = {at: Dropped(DropReason.NON_FINITE) for at, mean in enumerate(means) if mean < self._darkest}
        return Output({"mean": pa.array(means), "batch": pa.array([len(images)] * len(images), pa.int64())}, drops)


@pytest.fixture
def collection(tmp_path, photo, encoded):
    """25 pictures in one part, some of them broken, all in files of their own."""
    collection = Collection(Store(str(tmp_path / "run")), "pool")
    paths = []
    for number in range(25):
        path = tmp_path / f"{number}.jpg"
        data = encoded(photo(number, number % 3).point(lambda value, n=number: value * (n + 1) // 25))
        path.write_bytes(data[:-400] if number % 9 == 4 else data)
        paths.append(path)
    columns = {"tar": [str(p) for p in paths], "offset": [0] * 25, "length": [p.stat().st_size for p in paths]}
    schema = pa.schema([("tar", pa.string()), ("offset", pa.int64()), ("length", pa.int64())])
    spec = StageSpec("fetch", 1, None, {}, schema, {})
    live = np.arange(25) != 7
    output = Output({name: pa.array(values).filter(pa.array(live)) for name, values in columns.items()})
    commit_output(spec, collection, 0, live, output, digest="s")
    return collection


def work(collection, *stages, batch=4, threads=1):
    return ImageWork(
        collection,
        stages,
        LIMITS,
        side=32,
        batch=batch,
        threads=threads,
    )


def test_fused_stages_write_what_they_write_one_by_one(collection, tmp_path):
    one, two = Brightness(darkest=30), Brightness("second", "bright", darkest=60)
    work(collection, Decode(LIMITS), one, two).run(0)
    fused = {name: collection.read(name, 0) for name in ("decode", "bright", "second")}
    for name in fused:
        collection.remove(name, 0)
    for stages in ((Decode(LIMITS),), (Brightness(darkest=30),), (Brightness("second", "bright", darkest=60),)):
        work(collection, *stages).run(0)
    for name, table in fused.items():
        assert collection.read(name, 0).equals(table), name
    drops = [collection.footer(name, 0).ledger.drops for name in fused]
    assert drops[0] == {"truncated": 3}
    assert drops[1]["non_finite"] > 0
    assert drops[2]["non_finite"] > 0


@pytest.mark.parametrize("threads", [1, 4])
def test_images_come_in_order_and_in_full_batches_whatever_else_runs(collection, threads):
    one, two = Brightness(darkest=30), Brightness("second", "bright")
    work(collection, Decode(LIMITS), one, two, threads=threads).run(0)
    assert one.batches == [4] * 5 + [1]
    assert set(two.batches[:-1]) == {4}
    table = collection.read("bright", 0).to_pydict()
    samples = collection.read("fetch", 0).to_pydict()
    for row, mean in enumerate(table["mean"]):
        if mean is not None:
            data = Path(samples["tar"][row]).read_bytes()
            assert decode(data, LIMITS, 32).mean() == pytest.approx(mean)


def test_a_stage_that_wants_more_at_once_gets_it_and_the_others_keep_their_batches(collection):
    few, many = Brightness(), Brightness("second", "bright")
    many.at_once = 10
    work(collection, Decode(LIMITS), few, many).run(0)
    assert few.batches == [4] * 5 + [1]
    assert many.batches == [10, 10, 1]
    alone = Brightness("third", "bright")
    alone.at_once = 10
    work(collection, alone).run(0)
    assert alone.batches == [10, 10, 1]
    less = Brightness("fourth", "bright")
    less.at_once = 2
    work(collection, less).run(0)
    assert less.batches == [4] * 5 + [1]


def test_only_the_stage_that_is_out_of_date_is_redone(collection):
    stages = (Decode(LIMITS), Brightness(darkest=30), Brightness("second", "bright"))
    work(collection, *stages).run(0)
    before = {name: collection.footer(name, 0) for name in ("decode", "bright", "second")}
    kept = [Path(collection.store.path(collection.file(name, 0))) for name in ("fetch", "decode", "bright")]
    written = [path.stat().st_mtime_ns for path in kept]
    collection.remove("second", 0)
    again = (Decode(LIMITS), Brightness(darkest=30), Brightness("second", "bright"))
    job = work(collection, *again)
    assert not job.is_current(0)
    job.run(0)
    assert job.is_current(0)
    assert again[1].batches == []
    assert [path.stat().st_mtime_ns for path in kept] == written
    assert collection.footer("second", 0).digest == before["second"].digest


def test_a_stage_that_drops_others_than_before_makes_the_next_one_redo(collection):
    work(collection, Decode(LIMITS), Brightness(darkest=30), Brightness("second", "bright")).run(0)
    last = Brightness("second", "bright")
    work(collection, Decode(LIMITS), Brightness(darkest=90), last).run(0)
    live = collection.live("bright", 0)
    assert collection.footer("second", 0).ledger.live_in == int(live.sum())
    same = Brightness("second", "bright")
    work(collection, Decode(LIMITS), Brightness(darkest=90.001), same).run(0)
    assert collection.footer("second", 0).ledger.live_in == int(collection.live("bright", 0).sum())


def test_a_file_that_no_longer_decodes_is_an_error_for_a_stage_that_runs_alone(collection, tmp_path):
    work(collection, Decode(LIMITS)).run(0)
    path = tmp_path / "0.jpg"
    path.write_bytes(b"\xff\xd8\xff" + bytes(path.stat().st_size - 3))
    with pytest.raises(RunError, match=r"row 0 decoded before and does not now .* bring it back or make a new run"):
        work(collection, Brightness()).run(0)
    assert collection.footer("bright", 0) is None


def test_the_hash_basis_is_that_of_a_singular_value_decomposition_of_a_big_sample():
    rng = np.random.default_rng(0)
    mixing = rng.normal(size=(12, 1024)) * np.linspace(40, 8, 12)[:, None]
    sample = (rng.normal(size=(3000, 12)) @ mixing).astype(np.float32)
    basis = fit_basis(sample, 8)["components"]
    _, _, expected = np.linalg.svd(sample - sample.mean(axis=0), full_matrices=False)
    overlap = np.abs(basis @ expected[:8].T)
    np.testing.assert_allclose(np.diag(overlap), 1, atol=0.01)
    np.testing.assert_allclose(basis @ basis.T, np.eye(8), atol=1e-5)


def test_a_basis_can_be_fitted_on_nothing_and_does_not_depend_on_the_order_of_the_sample():
    empty = fit_basis(np.empty((0, 1024), np.float32), 64)
    assert empty["components"].shape == (64, 1024)
    assert not empty["mean"].any()


def test_hashes_survive_brightness_contrast_and_size_and_tell_pictures_apart(tmp_path, photo):
    images = [np.asarray(photo(number)) for number in range(40)]
    basis = Artifact(Store(str(tmp_path)), "basis", "digest")
    basis.save(fit_basis(thumbnails(images), 64))
    stage = Hashes(HashConfig(), basis, 32)
    stage.setup()

    def bits(pictures):
        hashes = stage.process(pictures, [b""] * len(pictures)).columns["hash"].to_pylist()
        return np.unpackbits(np.frombuffer(b"".join(hashes), np.uint8).reshape(len(pictures), -1), axis=1)

    plain = bits(images)
    paler = bits([(image // 2 + 40).astype(np.uint8) for image in images])
    smaller = bits([np.asarray(photo(number).resize((64, 54))) for number in range(40)])
    for other in (paler, smaller):
        assert (plain != other).sum(axis=1).max() <= 8
    apart = (plain[:, None] != plain[None]).sum(axis=2)[np.triu_indices(40, 1)]
    assert apart.min() >= 10
    np.testing.assert_array_equal(bits(images[3:4])[0], plain[3])


def test_a_blank_image_has_a_thumbnail_of_zeros():
    assert not thumbnails([np.full((50, 60, 3), 77, np.uint8)]).any()


@pytest.mark.slow
def test_phash_is_that_of_imagededup(photo, tmp_path):
    from imagededup.methods import PHash

    stage = Hashes(HashConfig(method="phash"), None, 32)
    stage.setup()
    images = [np.asarray(photo(number)) for number in range(5)]
    hashes = stage.process(images, [b""] * 5).columns["hash"].to_pylist()
    for number, value in enumerate(hashes):
        photo(number).save(tmp_path / "x.png")
        assert value.hex() == PHash(verbose=False).encode_image(image_file=str(tmp_path / "x.png"))


class OnGpu(Brightness):
    """A stage that is nearly all a network's."""

    wants_gpu = True


def test_a_pass_wants_a_gpu_where_all_its_stages_do(collection):
    assert isinstance(work(collection, OnGpu()), GpuWork)
    assert work(collection, OnGpu()).wants_gpu
    assert not work(collection, Decode(LIMITS), OnGpu()).wants_gpu
    assert not work(collection, Brightness()).wants_gpu


def test_images_decoded_beside_a_gpu_come_in_the_same_order_and_batches(collection):
    work(collection, Decode(LIMITS)).run(0)
    tables = []
    for threads in (1, 7):
        stage = OnGpu()
        passing = work(collection, stage)
        passing.decode_with(threads)
        passing.run(0)
        tables.append(collection.read("bright", 0))
        assert stage.batches == [4, 4, 4, 4, 4, 1]
        collection.remove("bright", 0)
    assert tables[0].equals(tables[1])


def test_images_are_decoded_while_a_batch_is_worked_on(collection, monkeypatch):
    work(collection, Decode(LIMITS)).run(0)
    decoded, at_work = [], []

    def noted(data, limits, side):
        decoded.append(len(decoded))
        return decode(data, limits, side)

    class Waiting(OnGpu):
        def process(self, images, sources):
            if not self.batches:  # none of the next batch is asked for meanwhile, so who decodes it works beside
                deadline = time.monotonic() + 20
                while len(decoded) < 8 and time.monotonic() < deadline:
                    time.sleep(0.005)
                at_work.append(len(decoded))
            return super().process(images, sources)

    monkeypatch.setattr("curation.engine.image_pass.decode", noted)
    passing = work(collection, Waiting())
    passing.decode_with(2)
    passing.run(0)
    assert at_work[0] >= 8
