"""The images most similar to fingerprints, over all parts of a pool."""

import numpy as np

from curation.decontaminate.suspects import CHUNK, _Nearest


def unit(rng, count):
    vectors = rng.standard_normal((count, 8)).astype(np.float32)
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float16)


def test_the_nearest_over_parts_are_those_of_all_at_once():
    rng = np.random.default_rng(0)
    asked = unit(rng, CHUNK + 3)
    parts = {at: unit(rng, count) for at, count in ((0, 5), (2, 40), (3, 1), (7, 20))}
    nearest = _Nearest(asked, 6)
    for part, vectors in parts.items():
        nearest.add(part, 10 * np.arange(len(vectors)), vectors)
    places = [(part, 10 * row) for part, vectors in parts.items() for row in range(len(vectors))]
    similar = asked.astype(np.float32) @ np.concatenate(list(parts.values())).astype(np.float32).T
    for number in range(len(asked)):
        best = np.argsort(-similar[number], kind="stable")[:6]
        found = list(nearest.of(number, -2))
        assert [item[:2] for item in found] == [places[at] for at in best]
        assert np.allclose([item[2] for item in found], similar[number][best], atol=1e-5)
        assert len(list(nearest.of(number, 0.5))) == (similar[number][best] > 0.5).sum()


def test_of_fewer_images_than_asked_for_there_are_so_many():
    asked = unit(np.random.default_rng(1), 2)
    nearest = _Nearest(asked, 8)
    nearest.add(4, np.array([3]), asked[:1])
    assert [item[:2] for item in nearest.of(0, 0.25)] == [(4, 3)]
    assert nearest.similarity(0, asked[0]) > 0.99
