"""A new stage is a file and a line: toys of each kind, added to the pipeline by one line each."""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from curation import pipeline
from curation.drops import Dropped, DropReason
from curation.engine.contract import Output, StageSpec, expected_digest, global_digest
from curation.engine.graph import Node, Pipeline
from curation.errors import UserError
from curation.report.funnel import funnel
from curation.report.steps import steps_table
from curation.report.verify import verify
from curation.run.artifacts import Artifact
from pipelines.curate import curate

ON = {"toy_part", "toy_image", "toy_global"}


class ToyPart:
    """The stage `toy_part`: every seventh image is dropped, by the last byte of its hash."""

    def __init__(self, after):
        self.spec = StageSpec("toy_part", 1, after, {"fetch": ["sha256"]}, pa.schema([("last", pa.int32())]), {})

    @classmethod
    def at(cls, site):
        return cls(site.after)

    def setup(self):
        pass

    def process(self, rows, place):
        last = [digest[-1] for digest in rows["sha256"].to_pylist()]
        drops = {at: Dropped(DropReason.BLURRY, "toy") for at, byte in enumerate(last) if byte % 7 == 0}
        return Output({"last": pa.array(last, pa.int32())}, drops)


class ToyImage:
    """The stage `toy_image`: the mean of all pixels."""

    def __init__(self, after, reads):
        self.spec = StageSpec("toy_image", 1, after, reads, pa.schema([("mean", pa.float32())]), {})

    @classmethod
    def at(cls, site):
        return cls(site.after, site.image_columns)

    def setup(self):
        pass

    def process(self, images, sources):
        assert [len(source) > 0 for source in sources] == [True] * len(images)
        return Output({"mean": pa.array([image.mean() for image in images], pa.float32())})


class ToyFit:
    """The mean of all means of the pool."""

    scratch = ()

    def __init__(self, pool):
        self._pool = pool
        self.artifact = Artifact(pool.store, "toy", str(pool.state("toy_image")))

    @classmethod
    def at(cls, site):
        return cls(site.pool)

    def process(self, group):
        means = [self._pool.read("toy_image", part, ["mean"])["mean"] for part in self._pool.parts("toy_image")]
        return {"mean": np.array([pc.mean(pa.chunked_array([c for m in means for c in m.chunks])).as_py()])}


class ToyGlobal:
    """The stage `toy_global`: the brightest image of all parts is dropped; it says how far each is from the mean."""

    def __init__(self, pool, after, mean):
        self._pool = pool
        self._mean = mean
        self.spec = StageSpec(
            "toy_global", 1, after, {"toy_image": []}, pa.schema([("off", pa.float32())]), {"mean": mean.digest}
        )

    @classmethod
    def at(cls, site):
        return cls(site.pool, site.after, ToyFit.at(site).artifact)

    def setup(self):
        pass

    def expected(self):
        return dict.fromkeys(self._pool.parts("toy_image"), global_digest(self.spec, [(self._pool, "toy_image")]))

    def process(self, stale):
        means = {}
        for part in self._pool.parts("toy_image"):
            live = pa.array(self._pool.live(self.spec.after, part))
            means[part] = self._pool.read("toy_image", part, ["mean"])["mean"].filter(live).to_numpy()
        brightest = max(float(values.max()) for values in means.values() if len(values))
        (mean,) = self._mean.need()["mean"]
        for part in stale:
            drops = {int(at): Dropped(DropReason.BLANK) for at in np.flatnonzero(means[part] == brightest)}
            yield part, Output({"off": pa.array((means[part] - mean).astype(np.float32))}, drops)


@pytest.fixture
def toys(monkeypatch):
    """The pipeline with a line for each toy, while `ON` names it."""
    on = set(ON)

    def is_on(name):
        return lambda config, path: name in on

    before, after = pipeline.CURATE.until("hashes").nodes, pipeline.CURATE.nodes
    lines = (
        Node("toy_image", "image", ("pool",), ToyImage, "", is_on("toy_image")),
        Node("toy_part", "part", ("pool",), ToyPart, "", is_on("toy_part")),
        Node("toy_global", "global", ("pool",), ToyGlobal, "", is_on("toy_global"), needs=(ToyFit.at,)),
    )
    monkeypatch.setattr(pipeline, "CURATE", Pipeline((*before, *lines, *after[len(before) :])))
    return on


def rows_of(run):
    return {row.stage: row.ledger for row in funnel(run) if row.collection == "pool"}


def test_toys_of_each_kind_run_are_counted_and_are_checked(toys, configure, tmp_path):
    run = curate(configure(), str(tmp_path / "run"))
    rows = rows_of(run)
    assert set(rows) > ON
    assert rows["toy_image"].drops == {}
    assert 0 < rows["toy_part"].drops["blurry"] < rows["toy_part"].live_in == rows["hashes"].live_out
    assert rows["toy_global"].drops["blank"] >= 1
    assert rows["copy_descriptors"].live_in == rows["toy_global"].live_out
    assert run.store.exists("artifacts/toy.safetensors")
    assert list(verify(run)) == []
    (tmp_path / "run" / "pool" / "toy_part" / "part-00001.parquet").unlink()
    assert any("toy_part/part-00001" in breach.where and "missing" in breach.what for breach in verify(run))


def test_toys_resume_and_redo_only_what_depends_on_what_is_gone(toys, configure, tmp_path, snapshot):
    root = tmp_path / "run"
    run = curate(configure(), str(root), until="dedup")
    before = snapshot(root)
    curate(configure(), str(root), until="dedup")
    assert snapshot(root) == before
    (root / "pool" / "toy_global" / "part-00000.parquet").unlink()
    curate(configure(), str(root), until="dedup")
    after = snapshot(root)
    assert {name for name in before if before[name] != after.get(name)} == {"pool/toy_global/part-00000.parquet"}
    assert expected_digest(ToyPart("toy_image").spec, run.pool, 0) == run.pool.footer("toy_part", 0).digest


def test_a_toy_that_is_switched_off_leaves_nothing_and_what_came_after_it_is_as_without_it(toys, configure, tmp_path):
    run = curate(configure(), str(tmp_path / "run"))
    assert run.pool.parts("toy_part")
    toys.clear()
    curate(configure(), str(tmp_path / "run"))
    assert [run.pool.parts(name) for name in sorted(ON)] == [[], [], []]
    assert not ON & set(rows_of(run))
    assert list(verify(run)) == []
    plain = curate(configure(), str(tmp_path / "plain"))
    assert [row.to_dict() for row in funnel(run)] == [row.to_dict() for row in funnel(plain)]


def test_a_toy_can_be_stopped_at_and_is_named_among_the_steps_and_in_the_docs_table(toys, configure, tmp_path):
    run = curate(configure(), str(tmp_path / "run"), until="toy_part")
    assert run.pool.parts("toy_part")
    assert not run.pool.parts("toy_global")
    with pytest.raises(
        UserError, match=r"no such step; the steps are .*hashes, toy_image, toy_part, toy_global, copy_"
    ):
        curate(configure(), str(tmp_path / "run"), until="toy")
    assert "| `toy_part` | pool | every seventh image is dropped, by the last byte of its hash |" in steps_table(
        pipeline.CURATE
    )
