"""The stage: images of all parts are one graph, and each says which image or reference stands for it, by which link."""

import numpy as np
import pyarrow as pa
import pytest

from curation.config import DedupConfig, HashConfig, ReferenceConfig
from curation.engine.contract import Output, StageSpec, commit_output
from curation.engine.work import GlobalWork
from curation.run.parts import Collection
from curation.stages.dedup.dedup import Dedup
from curation.stages.knn.knn import COPY_KNN, Knn
from curation.stages.knn.pool_index import PoolIndex
from tests.engine.running import searched
from tests.stages.dedup.test_components import at_angles


def commit_images(collection, part, vectors, hashes):
    """A part that is done up to `copy_descriptors`; every image has more pixels than those before it."""
    count = len(vectors)
    flat = pa.FixedSizeListArray.from_arrays(pa.array(vectors.astype(np.float16).ravel()), vectors.shape[1])
    sizes = pa.array([100 * part + row + 1 for row in range(count)], pa.int64())
    stages = {
        "fetch": {
            "id": pa.array([name_of(collection, part, row) for row in range(count)], pa.binary(16)),
            "sha256": pa.array([name_of(collection, part, row) * 2 for row in range(count)], pa.binary(32)),
            **{"width": sizes, "height": sizes, "length": sizes},
        },
        "hashes": {"hash": pa.array([bytes([value]) for value in hashes], pa.binary(1))},
        "copy_descriptors": {"vector": flat},
    }
    for stage, columns in stages.items():
        schema = pa.schema([(name, array.type) for name, array in columns.items()])
        spec = StageSpec(stage, 1, None, {}, schema, {})
        commit_output(spec, collection, part, np.ones(count, bool), Output(columns), digest=f"{stage} {part}")


def name_of(collection, part, row):
    return f"{collection.path} {part} {row}".encode().ljust(16)


@pytest.mark.parametrize("partition", [2, 1000], ids=["partitions", "one partition"])
def test_the_stage_joins_images_of_all_parts_and_says_which_image_or_reference_stands_for_each(store, partition):
    pool, reference = Collection(store, "pool"), Collection(store, "references/t")
    commit_images(pool, 0, at_angles(0, 90, 200), hashes=[1, 2, 3])
    commit_images(pool, 1, at_angles(10, 180, 0), hashes=[4, 5, 1])
    commit_images(reference, 0, at_angles(100), hashes=[9])
    thresholds = {"self": {"threshold": 0.6}, "relative": {"threshold": 0.6}}
    config = DedupConfig.model_validate({"verify": "off", "grouping": "components", "max_share": 1.0, **thresholds})
    index = PoolIndex(pool, "copy_descriptors", config.model_copy(update={"partition": partition}), 0)
    for collection, above in ((pool, None), (reference, 0.6)):
        searched(Knn(COPY_KNN, collection, index, after="copy_descriptors", neighbours=2, copies_above=above))
    sets = [ReferenceConfig(name="t", data="d", threshold=0.6)]
    work = GlobalWork(pool, Dedup(pool, [reference], sets, config, HashConfig(radius=0)))
    assert not work.is_current()
    work.run()
    assert work.is_current()
    rows = [row for part in (0, 1) for row in pool.read("dedup", part).to_pylist()]
    kept, other, leak = name_of(pool, 1, 2), name_of(pool, 1, 1), name_of(reference, 0, 0)
    assert [(row["drop_reason"], row["representative"], row["reference"]) for row in rows] == [
        ("hash_duplicate", kept, None),
        ("reference_leak", leak, "t"),
        ("copy", other, None),
        ("copy", kept, None),
        (None, other, None),
        (None, kept, None),
    ]
    assert [row["drop_detail"] for row in rows[:4]] == [name.hex() for name in (kept, leak, other, kept)]
    assert [row["link"] for row in rows] == ["hash", "similar", "similar", "similar", None, None]
    assert [pool.footer("dedup", part).ledger.live_out for part in (0, 1)] == [0, 2]
