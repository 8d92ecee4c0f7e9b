"""Each reference image's nearest pool images, whatever parts they lie in."""

import numpy as np
import pyarrow as pa
import pytest

from curation.engine.contract import Output, StageSpec, commit_output
from curation.engine.work import GlobalWork
from curation.run.parts import Collection
from curation.run.store import Store
from curation.stages.dedup.reference_knn import ReferenceKnn
from curation.stages.knn.vectors import VECTOR

DIM = 8


def collection_of(store, path, vectors, sizes, dead=()):
    """A collection with a finished stage `copy_descriptors`, cut into parts of these sizes."""
    collection, start = Collection(store, path), 0
    for part, size in enumerate(sizes):
        rows = vectors[start : start + size]
        live = np.array([row not in dead for row in range(start, start + size)], dtype=bool)
        for name, schema in (("fetch", []), ("copy_descriptors", [(VECTOR, pa.list_(pa.float16(), DIM))])):
            flat = pa.array(rows[live].astype(np.float16).ravel())
            columns = {VECTOR: pa.FixedSizeListArray.from_arrays(flat, DIM)} if schema else {}
            spec = StageSpec(name, 1, None, {}, pa.schema(schema), {})
            commit_output(spec, collection, part, live, Output(columns), digest=f"{name}-{part}-{rows.tobytes().hex()}")
        start += size
    return collection


def unit(rng, count):
    vectors = rng.normal(size=(count, DIM))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float16).astype(np.float32)


def work_of(references, pool, k=5):
    return GlobalWork(references, ReferenceKnn(references, pool, k))


def result(collection, part):
    return [
        list(zip(row["neighbour_part"], row["neighbour_row"], np.round(row["neighbour_similarity"], 4), strict=True))
        for row in collection.read("reference_knn", part).to_pylist()
        if row["neighbour_part"] is not None
    ]


@pytest.mark.parametrize("sizes", [[30], [10, 10, 10], [1, 28, 1]])
def test_the_nearest_are_those_of_a_plain_sort(tmp_path, sizes):
    rng = np.random.default_rng(0)
    images, queries = unit(rng, 30), unit(rng, 6)
    dead = {2, 9, 29}
    pool = collection_of(Store(str(tmp_path)), "pool", images, sizes, dead)
    references = collection_of(Store(str(tmp_path)), "references/a", queries, [4, 2])
    work_of(references, pool).run()
    place = [(part, row) for part, size in enumerate(sizes) for row in range(size)]
    for number, answer in enumerate(result(references, 0) + result(references, 1)):
        similarity = images @ queries[number]
        order = sorted(set(range(30)) - dead, key=lambda at: -similarity[at])[:5]
        assert [match[:2] for match in answer] == [place[at] for at in order]
        np.testing.assert_allclose([match[2] for match in answer], similarity[order], atol=2e-4)


def test_a_pool_smaller_than_k_gives_what_it_has(tmp_path):
    rng = np.random.default_rng(1)
    pool = collection_of(Store(str(tmp_path)), "pool", unit(rng, 3), [3], dead={1})
    references = collection_of(Store(str(tmp_path)), "references/a", unit(rng, 2), [2])
    work_of(references, pool).run()
    assert [len(answer) for answer in result(references, 0)] == [2, 2]


def test_only_what_is_out_of_date_is_searched_again(tmp_path):
    rng = np.random.default_rng(2)
    store = Store(str(tmp_path))
    pool = collection_of(store, "pool", unit(rng, 9), [9])
    first = collection_of(store, "references/a", unit(rng, 2), [1, 1])
    work = work_of(first, pool)
    assert not work.is_current()
    work.run()
    assert work.is_current()
    files = [tmp_path / f"references/a/reference_knn/part-0000{part}.parquet" for part in range(2)]
    written = [file.stat().st_mtime_ns for file in files]
    second = collection_of(store, "references/b", unit(rng, 2), [2])
    assert not work_of(second, pool).is_current()
    work_of(second, pool).run()
    first.remove("reference_knn", 1)
    assert not work_of(first, pool).is_current()
    work_of(first, pool).run()
    assert work_of(first, pool).is_current()
    assert work_of(second, pool).is_current()
    again = [file.stat().st_mtime_ns for file in files]
    assert (again[0] == written[0], again[1] == written[1]) == (True, False)
    assert not work_of(first, pool, 4).is_current()
