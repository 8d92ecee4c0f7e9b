"""What is compared where: on the cores as ever, and on a GPU what its kernels take. Stand-ins do a GPU's work here."""

import faiss
import numpy as np
import pytest

from curation.search import devices
from curation.search.knn import Searcher, build_index


@pytest.fixture
def vectors(clustered):
    return clustered(3000, dim=16, centres=40).astype(np.float32)


@pytest.fixture
def calls(monkeypatch):
    """Two GPUs, whose work is noted and done on the cores."""
    noted = []

    def knn_gpu(resources, queries, base, k, *, metric, device):
        noted.append(("knn", resources, device, k))
        return faiss.knn(queries, base, k, metric=metric)

    def index_cpu_to_gpu(resources, device, index):
        noted.append(("index", resources, device, index.nprobe))
        return faiss.clone_index(index)

    monkeypatch.setattr(faiss, "get_num_gpus", lambda: 2)
    monkeypatch.setattr(faiss, "knn_gpu", knn_gpu, raising=False)
    monkeypatch.setattr(faiss, "index_cpu_to_gpu", index_cpu_to_gpu, raising=False)
    monkeypatch.setattr(faiss, "StandardGpuResources", lambda: "resources", raising=False)
    devices._resources.cache_clear()
    yield noted
    devices._resources.cache_clear()


def test_workers_take_gpus_in_turn_and_cores_where_there_is_none(calls, monkeypatch):
    monkeypatch.setattr(devices.os, "getpid", lambda: 7)
    assert devices.gpu() == 1
    monkeypatch.setattr(faiss, "get_num_gpus", lambda: 0)
    assert devices.gpu() is None


def test_exact_search_and_probing_run_on_the_gpu_and_find_the_same(vectors, calls, monkeypatch):
    index = build_index(vectors, compressed=False, seed=0)
    on_gpu = [Searcher(vectors).search(vectors[:9], 5), Searcher(vectors, index, 3).search(vectors[:9], 5)]
    number = devices.gpu()
    assert calls == [("knn", "resources", number, 5 + 16), ("index", "resources", number, 3)]
    monkeypatch.setattr(faiss, "get_num_gpus", lambda: 0)
    on_cores = [Searcher(vectors).search(vectors[:9], 5), Searcher(vectors, index, 3).search(vectors[:9], 5)]
    for one, two in zip(on_gpu, on_cores, strict=True):
        np.testing.assert_array_equal(one[0], two[0])
        np.testing.assert_array_equal(one[1], two[1])
    assert len(calls) == 2


def test_what_a_gpu_does_not_take_stays_on_the_cores(vectors, calls):
    """Codes of four bits, and more neighbours or lists than its kernels have room for."""
    codes = Searcher(vectors, build_index(vectors, compressed=True, seed=0), 3)
    assert codes.search(vectors[:2], 5)[1][:, 0].tolist() == [0, 1]
    many = Searcher(vectors, build_index(vectors, compressed=False, seed=0), devices.MOST + 1)
    assert many.search(vectors[:2], 5)[1][:, 0].tolist() == [0, 1]
    assert Searcher(vectors).search(vectors[:2], 2500)[1].shape == (2, 2500)
    assert calls == []
    few = Searcher(vectors, build_index(vectors, compressed=False, seed=0), 75)
    calls.clear()
    few._index._near = None  # what is asked for beyond its room must not be asked of it
    assert few.search(vectors[:2], 2500)[1].shape == (2, 2500)


@pytest.mark.skipif(faiss.get_num_gpus() == 0, reason="faiss finds no GPU here")
def test_a_gpu_finds_what_the_cores_find(vectors, monkeypatch):
    index = build_index(vectors, compressed=False, seed=0)
    ways = [Searcher(vectors), Searcher(vectors, index, 16)]
    result = [way.search(vectors[:200], 10) for way in ways]
    monkeypatch.setattr(devices, "gpu", lambda: None)
    ways = [Searcher(vectors), Searcher(vectors, index, 16)]
    for (similar, rows), way, least in zip(result, ways, (1.0, 0.99), strict=True):
        expected = way.search(vectors[:200], 10)
        assert (rows == expected[1]).mean() >= least
        same = rows == expected[1]
        np.testing.assert_array_equal(similar[same], expected[0][same])
