"""Neighbours, hash links, components and representatives, against plain independent implementations."""

import numpy as np
import pytest

from curation.search import links as neighbours
from curation.search.components import components_of, first_of_each, keep_order
from curation.search.links import hash_links, nearest
from tests.stages.dedup.linking import similarity_links


def unit(rng, rows, dim=16):
    vectors = rng.normal(size=(rows, dim)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def reachable(nodes, edges):
    """The smallest node that each node can reach, by breadth-first search."""
    beside = {node: set() for node in range(nodes)}
    for one, other in edges:
        beside[one].add(other)
        beside[other].add(one)
    smallest = {}
    for start in range(nodes):
        if start in smallest:
            continue
        todo = [start]
        while todo:
            node = todo.pop()
            if node not in smallest:
                smallest[node] = start
                todo.extend(beside[node])
    return [smallest[node] for node in range(nodes)]


@pytest.mark.parametrize(("queries", "base", "k"), [(20, 50, 5), (1, 1, 3), (5, 3, 10), (0, 10, 2), (200, 900, 64)])
def test_nearest_is_what_sorting_all_similarities_gives(queries, base, k):
    rng = np.random.default_rng(0)
    one, other = unit(rng, queries), unit(rng, base)
    similarities, rows = nearest(one, other, k)
    every = one @ other.T
    expected = np.argsort(-every, axis=1, kind="stable")[:, :k]
    assert rows.shape == (queries, min(k, base))
    np.testing.assert_allclose(similarities, np.take_along_axis(every, expected, axis=1), atol=1e-6)
    np.testing.assert_array_equal(rows, expected)


def test_equally_near_rows_come_in_their_order():
    base = np.repeat(unit(np.random.default_rng(0), 2), 4, axis=0)
    _, rows = nearest(base, base, 4)
    assert rows.tolist() == [[0, 1, 2, 3]] * 4 + [[4, 5, 6, 7]] * 4


@pytest.mark.parametrize("count", [0, 1, 2, 60])
def test_similarity_links_are_all_pairs_above_the_threshold_where_k_is_enough(count):
    vectors = unit(np.random.default_rng(1), count, 4)
    links, similarities = similarity_links(vectors, 100, 0.5)
    every = vectors @ vectors.T
    expected = {(a, b) for a in range(count) for b in range(a + 1, count) if every[a, b] > 0.5}
    assert {tuple(pair) for pair in links.tolist()} == expected
    assert len(links) == len(expected)
    np.testing.assert_allclose(similarities, [every[a, b] for a, b in links.tolist()], atol=1e-6)


def test_links_need_to_be_strictly_above_the_threshold():
    vectors = np.array([[1, 0], [0.5, 0.75**0.5], [0, 1]], np.float32)
    exact = float((vectors @ vectors.T)[0, 1])
    assert len(similarity_links(vectors, 2, exact)[0]) == 1
    assert len(similarity_links(vectors, 2, exact - 1e-3)[0]) == 2


@pytest.mark.parametrize("k", [1, 2, 5])
def test_a_crowd_larger_than_k_still_hangs_together(k):
    """50 copies of one image, and k neighbours of each: one component."""
    rng = np.random.default_rng(2)
    crowd = np.repeat(unit(rng, 1), 50, axis=0)
    links, _ = similarity_links(np.concatenate([crowd, unit(rng, 10)]), k, 0.99)
    assert set(components_of(60, links)[:50].tolist()) == {0}


@pytest.mark.parametrize("radius", [0, 1, 2, 5, 16])
@pytest.mark.parametrize("size", [1, 3, 8, 9])
@pytest.mark.parametrize("crowded", [1, 4, 64])
def test_hash_links_connect_exactly_what_all_pairs_within_the_radius_connect(radius, size, crowded, monkeypatch):
    """Whether buckets are searched one by one or all at a time."""
    monkeypatch.setattr(neighbours, "CROWDED", crowded)
    rng = np.random.default_rng(radius)
    hashes = rng.integers(0, 256, (12, size), dtype=np.uint8)
    near = hashes[rng.integers(0, 12, 30)].copy()
    for row in near:
        for _ in range(int(rng.integers(0, 5))):
            row[rng.integers(size)] ^= 1 << rng.integers(8)
    hashes = np.concatenate([hashes, near])
    distance = np.unpackbits(hashes[:, None] ^ hashes[None], axis=2).sum(axis=2)
    pairs = np.argwhere(np.triu(distance <= radius, 1))
    links = hash_links(hashes, radius)
    assert all(distance[a, b] <= radius for a, b in links)
    assert components_of(len(hashes), links).tolist() == reachable(len(hashes), pairs.tolist())


def test_a_crowd_of_equal_hashes_costs_one_link_each():
    assert len(hash_links(np.zeros((1000, 8), np.uint8), 3)) == 999
    assert hash_links(np.zeros((0, 8), np.uint8), 3).shape == (0, 2)


@pytest.mark.parametrize(("nodes", "edges"), [(0, 0), (1, 0), (5, 0), (40, 20), (40, 60), (300, 150)])
def test_components_are_what_a_search_over_the_graph_finds(nodes, edges):
    rng = np.random.default_rng(nodes + edges)
    pairs = rng.integers(0, nodes, (edges, 2)) if edges else np.empty((0, 2), np.int64)
    assert components_of(nodes, pairs).tolist() == reachable(nodes, pairs.tolist())


def test_components_survive_repeated_links_in_both_directions():
    pairs = np.array([[0, 1], [1, 0], [0, 1]] * 200)
    assert components_of(3, pairs).tolist() == [0, 0, 2]


def test_the_one_with_most_pixels_then_bytes_then_the_smallest_id_is_kept():
    pixels = np.array([10, 20, 20, 20, 20])
    size = np.array([9, 5, 7, 7, 7])
    ids = np.array([b"a", b"b", b"d", b"c", b"e"], dtype="S16")
    rank = keep_order(pixels, size, ids)
    assert rank.tolist() == [4, 3, 1, 0, 2]
    assert first_of_each(np.array([0, 0, 0, 3, 0]), rank).tolist() == [2, 2, 2, 3, 2]


def test_the_rank_does_not_depend_on_the_order_of_the_images():
    rng = np.random.default_rng(0)
    pixels, size = rng.integers(0, 3, 50), rng.integers(0, 3, 50)
    ids = np.array([rng.bytes(15) + b"x" for _ in range(50)], dtype="S16")
    order = rng.permutation(50)
    np.testing.assert_array_equal(
        keep_order(pixels[order], size[order], ids[order]), keep_order(pixels, size, ids)[order]
    )
