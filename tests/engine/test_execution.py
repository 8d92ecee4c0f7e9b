"""A pipeline of a few nodes over a run: what is switched off goes, what is finished stays, hooks come in time."""

from pathlib import Path

import pyarrow as pa
import pytest

import curation.stages.ingest.list as list_module
from curation.config import RetrievalConfig, parse_config
from curation.engine.contract import Output, StageSpec
from curation.engine.graph import Job, Node, Pipeline
from curation.engine.locations import changed_tar
from curation.errors import PartsFailed
from curation.pipeline import CURATE
from curation.run.directory import Run
from curation.stages.knn import knn as knn_module
from curation.stages.knn.knn import COPY_KNN, Knn
from curation.stages.knn.pool_index import PoolIndex
from tests.engine.toys import INGEST, Darkens, Looks, LooksClosely, Sizes, Vectors, done

POOL, BOTH = ("pool",), ("pool", "seed")


@pytest.fixture
def run(tmp_path, photo, encoded, monkeypatch):
    """Nothing yet, of ten pictures in the pool, which make three parts, and of three in a seed set."""
    monkeypatch.setattr(list_module, "BUCKETS", 4)  # each is a file, and ten names need no 512
    for folder, numbers in (("pool", range(10)), ("seed", range(20, 23))):
        (tmp_path / folder).mkdir()
        for number in numbers:
            (tmp_path / folder / f"{number}.jpg").write_bytes(encoded(photo(number)))
    values = {
        "pool": [str(tmp_path / "pool")],
        "seeds": [{"name": "s", "data": str(tmp_path / "seed")}],
        "parts": {"rows": 4},
        "runner": {"kind": "inline"},
    }
    return Run(str(tmp_path / "run"), parse_config(values))


def switch(on):
    return lambda config, path: on


def column(collection, stage, name):
    return [value for part in collection.parts(stage) for value in collection.read(stage, part)[name].to_pylist()]


def searching(partition, exact_up_to=1000):
    """Two nodes: vectors, and the two images of the pool that are nearest to each of the pool and of the seed set."""
    settings = RetrievalConfig(partition=partition, exact_up_to=exact_up_to, probes=100)

    def stage(site):
        index = site.shared("index", lambda: PoolIndex(site.pool, "vectors", settings, 0))
        return Knn(COPY_KNN, site.collection, index, after=site.after, neighbours=2)

    return Node("vectors", "part", BOTH, Vectors), Node("copy_knn", "part", BOTH, stage)


def neighbours(run):
    return [
        (collection.path, part, collection.read("copy_knn", part).to_pylist())
        for collection in (run.pool, run.seeds("s"))
        for part in collection.parts("copy_knn")
    ]


def test_what_is_switched_off_is_removed_with_its_files_and_later_stages_see_what_there_was_without_it(run):
    def nodes(on):
        return Node("safety", "image", BOTH, Darkens, "", switch(on)), Node("looks", "image", BOTH, Looks)

    done(run, *nodes(on=False))
    plain = column(run.pool, "looks", "mean")
    done(run, *nodes(on=True))
    tars = [f"{changed_tar(part)}".removeprefix("images/") for part in range(3)]
    assert run.store.names("pool/images") == tars
    assert run.store.names("seeds/s/images") == tars[:1]
    assert column(run.pool, "looks", "mean") == pytest.approx([mean / 2 for mean in plain], abs=0.5)
    assert done(run, *nodes(on=False)) == ["decode to looks"]
    assert run.pool.parts("safety") == run.seeds("s").parts("safety") == []
    assert run.store.names("pool/images") == run.store.names("seeds/s/images") == []
    assert column(run.pool, "looks", "mean") == plain


def test_what_is_off_on_one_collection_stays_on_the_others(run):
    done(run, Node("sizes", "part", BOTH, Sizes))
    done(run, Node("sizes", "part", BOTH, Sizes, "", lambda config, path: path == "seeds/s"))
    assert run.pool.parts("sizes") == []
    assert run.seeds("s").parts("sizes") == [0]


def test_what_is_kept_stays_while_it_is_off_and_is_not_made_again(run, snapshot):
    def nodes(on):
        return (
            Node("sizes", "part", POOL, Sizes, "", switch(on), keep=True),
            Node("looks", "image", POOL, Looks),
        )

    done(run, *nodes(on=True))
    root = run.store.path()
    before = snapshot(Path(root))
    assert done(run, *nodes(on=False)) == []
    assert snapshot(Path(root)) == before
    assert run.pool.parts("sizes") == [0, 1, 2]
    assert done(run, *nodes(on=True)) == []
    assert snapshot(Path(root)) == before


def test_a_run_that_was_stopped_at_quality_goes_on_without_redoing_anything(run, snapshot):
    nodes = (CURATE.node("quality"), Node("looks", "image", BOTH, LooksClosely), Node("sizes", "part", POOL, Sizes))
    root = Path(run.store.path())
    assert done(run, *nodes, until="list") == []
    assert run.pool.parts("fetch") == []
    assert done(run, *nodes, until="quality") == ["fetch", "decode to quality"]
    assert (run.pool.parts("quality"), run.pool.parts("looks")) == ([0, 1, 2], [])
    before = snapshot(root)
    assert done(run, *nodes, until="quality") == []
    assert done(run, *nodes) == ["decode to looks", "sizes"]
    after = snapshot(root)
    assert {name: after[name] for name in before} == before
    assert {name.rsplit("/", 1)[0] for name in set(after) - set(before)} == {
        "pool/looks",
        "pool/sizes",
        "seeds/s/looks",
    }


def test_images_are_decoded_for_all_stages_of_the_pass_in_all_collections_wherever_a_job_stops(run):
    nodes = Node("looks", "image", BOTH, Looks), Node("closely", "image", POOL, LooksClosely)
    done(run, *nodes, until="looks")
    assert set(column(run.pool, "looks", "side") + column(run.seeds("s"), "looks", "side")) == {80}
    pipeline = Pipeline((*INGEST, *nodes))
    assert [Job(run, pipeline, until).side("looks") for until in ("looks", None)] == [64, 64]
    done(run, nodes[0])
    assert set(column(run.pool, "looks", "side") + column(run.seeds("s"), "looks", "side")) == {10}


@pytest.mark.parametrize(
    ("at_once", "passes"), [(1, ["pass 1", "pass 2", "pass 3"]), (256, ["pass 1"])], ids=["one lane", "three lanes"]
)
@pytest.mark.parametrize("exact_up_to", [1000, 1], ids=["exact", "index"])
def test_a_search_in_several_partitions_finds_what_one_finds_and_leaves_only_its_answer(
    run, monkeypatch, at_once, passes, exact_up_to
):
    monkeypatch.setattr(knn_module, "AT_ONCE", at_once)
    whole = done(run, *searching(1000))
    assert whole[-2:] == ["vectors", "copy_knn"]
    expected = neighbours(run)
    assert [len(rows) for _, _, rows in expected] == [4, 4, 2, 3]
    for collection in (run.pool, run.seeds("s")):
        for part in collection.parts("copy_knn"):
            collection.remove("copy_knn", part)
    built = ["index for copy_knn"] if exact_up_to == 1 else []
    assert done(run, *searching(4, exact_up_to)) == [*built, *(f"copy_knn, {each}" for each in passes), "copy_knn"]
    without_recall = [
        (path, part, [{**row, "neighbour_recall": None} for row in rows]) for path, part, rows in neighbours(run)
    ]
    assert without_recall == expected
    assert run.store.folders("pool/copy_knn") == run.store.folders("seeds/s/copy_knn") == []
    assert len(run.store.names("artifacts/copy_knn")) == 3 * len(built)
    assert done(run, *searching(4, exact_up_to)) == []


def test_what_a_search_in_passes_left_when_it_was_killed_at_its_very_end_is_removed(run, monkeypatch):
    monkeypatch.setattr(Knn, "forget_lanes", lambda self: None)
    done(run, *searching(4))
    assert run.store.folders("pool/copy_knn") != []
    monkeypatch.undo()
    assert done(run, *searching(4)) == []
    assert run.store.folders("pool/copy_knn") == run.store.folders("seeds/s/copy_knn") == []


class Numbers:
    """A part stage that makes rows: one number in each part."""

    def __init__(self, numbers):
        self._numbers = numbers
        self.spec = StageSpec("numbers", 1, None, {}, pa.schema([("number", pa.int64())]), {})

    def setup(self):
        pass

    def parts(self):
        return list(range(len(self._numbers)))

    def digest(self, part):
        return f"number {self._numbers[part]}"

    def process(self, rows, place):
        return Output({"number": pa.array([self._numbers[place.part]], pa.int64())})


class Files:
    """A part stage that writes the number to a file beside its table; zero it cannot write."""

    def __init__(self, site):
        self.spec = StageSpec("files", 1, site.after, {"numbers": ["number"]}, pa.schema([]), {})

    def setup(self):
        pass

    def is_written(self, place):
        return place.collection.store.exists(f"written/{place.part}")

    def remove_files(self, place):
        place.collection.store.remove(f"written/{place.part}")

    def process(self, rows, place):
        (number,) = rows["number"].to_pylist()
        if number == 0:
            raise ValueError("no good")
        place.collection.store.write_bytes(f"written/{place.part}", str(number).encode())
        return Output({})


class Sums:
    """A file that says what all those of `Files` add up to, kept by hooks; each call of these, and the files then."""

    def __init__(self, run):
        self._store = run.store
        self._calls = []

    def nodes(self, *numbers):
        return (
            Node("numbers", "part", ("shards",), lambda site: Numbers(numbers)),
            Node("files", "part", ("shards",), Files, withdraw=self.withdraw, finish=self.finish),
        )

    def withdraw(self, site):
        self._calls.append(("withdraw", self.files()))
        self._store.remove("sum")

    def finish(self, site):
        self._calls.append(("finish", self.files()))
        self._store.write_bytes("sum", str(sum(self.files())).encode())

    def files(self):
        return [int(self._store.read_bytes(f"written/{name}")) for name in self._store.names("written")]

    def newest(self):
        calls, self._calls = self._calls, []
        return calls


def test_what_vouches_for_the_files_of_a_stage_is_withdrawn_before_any_changes_and_made_when_all_are_there(run):
    sums = Sums(run)
    assert done(run, *sums.nodes(1, 2, 3))[-2:] == ["numbers", "files"]
    assert sums.newest() == [("withdraw", []), ("finish", [1, 2, 3])]
    assert run.store.read_bytes("sum") == b"6"
    assert done(run, *sums.nodes(1, 2, 3)) == []
    assert sums.newest() == [("finish", [1, 2, 3])], "nothing changes, so nothing is withdrawn"
    assert done(run, *sums.nodes(1, 5, 3)) == ["numbers", "files"]
    assert sums.newest() == [("withdraw", [1, 2, 3]), ("finish", [1, 5, 3])]
    assert run.store.read_bytes("sum") == b"9"


def test_it_is_also_withdrawn_before_the_files_of_parts_go_that_there_are_no_more(run):
    sums = Sums(run)
    done(run, *sums.nodes(1, 2, 3))
    sums.newest()
    assert done(run, *sums.nodes(1, 2)) == []
    assert sums.newest() == [("withdraw", [1, 2, 3]), ("finish", [1, 2])]
    shards = run.collection("")
    assert shards.parts("numbers") == shards.parts("files") == [0, 1]


def test_a_file_that_is_gone_is_written_again_with_its_table(run):
    sums = Sums(run)
    done(run, *sums.nodes(1, 2))
    sums.newest()
    run.store.remove("written/1")
    assert done(run, *sums.nodes(1, 2)) == ["files"]
    assert sums.newest() == [("withdraw", [1]), ("finish", [1, 2])]


def test_nothing_is_finished_while_a_part_cannot_be_made(run):
    sums = Sums(run)
    done(run, *sums.nodes(1, 2, 3))
    sums.newest()
    with pytest.raises(PartsFailed, match="no good"):
        done(run, *sums.nodes(4, 0, 3))
    assert sums.newest() == [("withdraw", [1, 2, 3])]
    assert not run.store.exists("sum")
    done(run, *sums.nodes(4, 2, 3))
    assert run.store.read_bytes("sum") == b"9"
