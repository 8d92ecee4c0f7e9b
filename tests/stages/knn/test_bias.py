"""Normalised similarities: those of a plain computation, alike from both sides, however the pool is cut."""

import numpy as np
import pyarrow as pa
import pytest

from curation.config import NormaliseConfig, RetrievalConfig
from curation.engine.contract import Output, StageSpec, commit_output, is_current
from curation.engine.fit import SAMPLE_FILE
from curation.engine.work import GlobalWork
from curation.errors import UserError
from curation.run.parts import Collection
from curation.stages.dedup.reference_knn import ReferenceKnn
from curation.stages.knn.bias import BIAS, Bias, FitBackground, Offsets
from curation.stages.knn.knn import COPY_KNN, Knn
from curation.stages.knn.pool_index import PoolIndex
from curation.stages.knn.vectors import VECTOR
from tests.engine.running import run_fit, run_parts, searched

SIZES = (50, 30, 40)
SETTINGS = NormaliseConfig(weight=0.8, first=2, last=5)
K = 6


def described(store, path, parts):
    """A collection with the stages `fetch` and `copy_descriptors`; every seventh image has no descriptor."""
    collection = Collection(store, path)
    for part, vectors in enumerate(parts):
        live = np.arange(len(vectors)) % 7 != 3
        samples = StageSpec("fetch", 1, None, {}, pa.schema([]), {})
        commit_output(samples, collection, part, live, Output({}), digest=f"samples {part}")
        spec = StageSpec(
            "copy_descriptors", 1, None, {}, pa.schema([(VECTOR, pa.list_(pa.float16(), vectors.shape[1]))]), {}
        )
        column = pa.FixedSizeListArray.from_arrays(pa.array(vectors[live].ravel()), vectors.shape[1])
        digest = f"copies {part} {vectors.tobytes().hex()[:40]}"
        commit_output(spec, collection, part, live, Output({VECTOR: column}), digest=digest)
    return collection


@pytest.fixture
def pool(store, clustered):
    """Three parts. A third of each are one image, to the bit."""
    made = [clustered(size, dim=24, centres=8, seed=part) for part, size in enumerate(SIZES)]
    for each in made:
        each[1 : 1 + len(each) // 3] = made[0][0]
    return described(store, "pool", made)


@pytest.fixture
def references(store, pool, clustered):
    made = clustered(15, dim=24, centres=8, seed=70)
    made[0] = of(pool)[1][0]
    return described(store, "references/r", [made, clustered(4, dim=24, centres=8, seed=71)])


def of(collection):
    """(part, row) and vector of each image."""
    places, vectors = [], []
    for part in collection.parts("copy_descriptors"):
        for row, fields in enumerate(collection.read("copy_descriptors", part).to_pylist()):
            if fields["live"]:
                places.append((part, row))
                vectors.append(fields[VECTOR])
    return places, np.array(vectors, np.float64)


def measured(pool, *others, settings=SETTINGS):
    fit = run_fit(FitBackground(pool, settings))
    for collection in (pool, *others):
        run_parts(collection, Bias(fit.artifact, settings, own=collection is pool))
    return Offsets.of(pool, settings)


def biases(collection):
    tables = [collection.read(BIAS, part) for part in collection.parts(BIAS)]
    return [row[BIAS] for table in tables for row in table.to_pylist() if row["live"]]


def plainly(queries, base, own):
    """Mean of ranks 2 to 5 by a plain sort, an image itself left out."""
    scores = queries @ base.T
    if own:
        np.fill_diagonal(scores, -9)
    return np.sort(scores, axis=1)[:, ::-1][:, 1:5].mean(axis=1)


def test_biases_are_mean_similarities_to_the_nearest_of_the_background_without_the_image_itself(pool, references):
    measured(pool, references)
    _, base = of(pool)
    _, queries = of(references)
    np.testing.assert_allclose(biases(pool), plainly(base, base, own=True), atol=1e-6)
    np.testing.assert_allclose(biases(references), plainly(queries, base, own=False), atol=1e-6)
    assert not any(row[BIAS] for row in pool.read(BIAS, 0).to_pylist() if not row["live"])


def test_parts_that_are_added_later_change_no_background_and_no_bias(store, pool, clustered):
    measured(pool)
    noted, before = store.read_bytes(SAMPLE_FILE), biases(pool)
    state = pool.state(BIAS)
    _, base = of(pool)
    spec = StageSpec("fetch", 1, None, {}, pa.schema([]), {})
    commit_output(spec, pool, 3, np.ones(2, bool), Output({}), digest="samples 3")
    more = clustered(2, dim=24, centres=8, seed=9)
    kind = pa.schema([(VECTOR, pa.list_(pa.float16(), 24))])
    column = pa.FixedSizeListArray.from_arrays(pa.array(more.ravel()), 24)
    copies = StageSpec("copy_descriptors", 1, None, {}, kind, {})
    commit_output(copies, pool, 3, np.ones(2, bool), Output({VECTOR: column}), digest="copies 3")
    measured(pool)
    assert store.read_bytes(SAMPLE_FILE) == noted
    assert (pool.state(BIAS)[:3], biases(pool)[: len(before)]) == (state[:3], before)
    np.testing.assert_allclose(biases(pool)[-2:], plainly(more.astype(np.float64), base, own=False), atol=1e-6)


def test_a_rank_that_the_background_does_not_have_is_one_line(pool):
    images = len(of(pool)[0])
    with pytest.raises(UserError, match=f"rank {images} cannot be had .* {images} images.* set last to {images - 1}"):
        measured(pool, settings=NormaliseConfig(weight=1, last=images))
    measured(pool, settings=NormaliseConfig(weight=1, last=images - 1))


def knn(collection, index, offsets, above=None):
    return Knn(COPY_KNN, collection, index, after="copy_descriptors", neighbours=K, copies_above=above, offsets=offsets)


def near(collection, index, offsets, above=None):
    searched(knn(collection, index, offsets, above))
    return lists(collection)


def lists(collection):
    """Of each image its neighbours: place -> similarity, in order."""
    rows = [row for part in collection.parts("copy_knn") for row in collection.read("copy_knn", part).to_pylist()]
    names = ("neighbour_part", "neighbour_row", "neighbour_similarity")
    return [
        {(part, row): similar for part, row, similar in zip(*(item[name] for name in names), strict=True)}
        for item in rows
        if item["live"]
    ]


def test_neighbours_are_the_nearest_by_their_vectors_in_the_order_of_normalised_similarity(pool):
    index = PoolIndex(pool, "copy_descriptors", RetrievalConfig(), 0)
    plain = near(pool, index, None)
    result = near(pool, index, measured(pool))
    places, base = of(pool)
    bias = plainly(base, base, own=True)
    at = {place: number for number, place in enumerate(places)}
    for number, (raw, reported) in enumerate(zip(plain, result, strict=True)):
        assert set(reported) == set(raw), "the candidates are those of the vectors"
        assert list(reported.values()) == sorted(reported.values(), reverse=True)
        for place, similar in reported.items():
            expected = base[number] @ base[at[place]] - 0.8 * (bias[number] + bias[at[place]]) / 2
            assert similar == pytest.approx(expected, abs=1e-6)
            other = result[at[place]]
            assert other.get(places[number], similar) == similar, "a pair has one similarity, to the bit"


@pytest.mark.parametrize("most", [30, 60], ids=["three partitions", "two"])
def test_partitions_and_lanes_change_no_normalised_similarity(pool, references, most):
    offsets = measured(pool, references)
    whole, cut = (PoolIndex(pool, "copy_descriptors", RetrievalConfig(partition=size), 0) for size in (1000, most))
    assert len(whole.partitions) == 1 < len(cut.partitions)
    expected = near(pool, whole, offsets), near(references, whole, offsets, above=0.1)
    for collection in (pool, references):
        for part in collection.parts("copy_knn"):
            collection.remove("copy_knn", part)
    assert (near(pool, cut, offsets), near(references, cut, offsets, above=0.1)) == expected


@pytest.mark.parametrize("most", [30, 1000])
def test_no_image_whose_normalised_similarity_to_a_reference_is_above_the_limit_is_left_out(pool, references, most):
    offsets = measured(pool, references)
    places, base = of(pool)
    _, queries = of(references)
    halves = 0.4 * plainly(queries, base, own=False), 0.4 * plainly(base, base, own=True)
    similar = queries @ base.T - halves[0][:, None] - halves[1]
    result = near(
        references, PoolIndex(pool, "copy_descriptors", RetrievalConfig(partition=most), 0), offsets, above=0.1
    )
    assert max(int((row > 0.1).sum()) for row in similar) > K, "or the limit is put to no test"
    for row, reported in zip(similar, result, strict=True):
        assert {places[at] for at in np.flatnonzero(row > 0.1)} <= set(reported)


def test_another_weight_redoes_neighbours_and_no_bias(pool):
    offsets = measured(pool)
    index = PoolIndex(pool, "copy_descriptors", RetrievalConfig(), 0)
    near(pool, index, offsets)
    state = pool.state(BIAS)
    other = measured(pool, settings=SETTINGS.model_copy(update={"weight": 0.4}))
    assert pool.state(BIAS) == state
    assert not is_current(knn(pool, index, other).spec, pool, 0)


def test_the_nearest_images_of_references_are_those_by_normalised_similarity(pool, references):
    offsets = measured(pool, references)
    GlobalWork(references, ReferenceKnn(references, pool, 3, offsets)).run()
    places, base = of(pool)
    _, queries = of(references)
    halves = 0.4 * plainly(queries, base, own=False), 0.4 * plainly(base, base, own=True)
    similar = queries @ base.T - halves[0][:, None] - halves[1]
    rows = [row for part in range(2) for row in references.read("reference_knn", part).to_pylist() if row["live"]]
    for own, row in zip(similar, rows, strict=True):
        np.testing.assert_allclose(row["neighbour_similarity"], np.sort(own)[::-1][:3], atol=1e-5)
        at = [places.index(place) for place in zip(row["neighbour_part"], row["neighbour_row"], strict=True)]
        np.testing.assert_allclose(own[at], row["neighbour_similarity"], atol=1e-5)
