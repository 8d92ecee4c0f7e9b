"""Whitening around any embedder: what a plain computation gives, whatever the batches; damage passes through."""

import numpy as np
import pytest

from curation.config import CopyConfig, ModelConfig
from curation.errors import ModelError
from curation.models import Fittable, WhitenedEmbedder, open_embedder

DIM = 6


class Means:
    """An embedder of a few numbers: mean colours of the two halves of an image, all of them much alike."""

    name, side, dim, at_once, needs_fit = "means", 8, DIM, 4, False

    def fingerprint(self):
        return "means v1"

    def setup(self):
        self.is_set_up = True

    def embed(self, images):
        assert self.is_set_up
        halves = [np.concatenate([half.reshape(-1, 3).mean(axis=0) for half in np.split(i, 2)]) for i in images]
        vectors = np.array(halves, np.float32).reshape(-1, DIM)
        vectors[vectors[:, 0] == 0] = np.nan
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


@pytest.fixture
def images():
    rng = np.random.default_rng(0)
    return [rng.integers(1, 255, 6, np.uint8).reshape(2, 1, 3).repeat(4, 0).repeat(4, 1) for _ in range(150)]


@pytest.fixture
def artifact(images):
    embedder = WhitenedEmbedder(Means())
    return embedder.with_whitening(embedder.fit(iter(images)))


def test_whitened_vectors_have_length_one_no_mean_and_no_correlation(images, artifact):
    raw = Means()
    raw.setup()
    vectors = raw.embed(images).astype(np.float64)
    artifact.setup()
    result = artifact.embed(images)
    np.testing.assert_allclose(np.linalg.norm(result, axis=1), 1, atol=1e-6)
    centred = vectors - vectors.mean(axis=0)
    # the covariance is shrunk a little, so a plain whitening gives nearly the same similarities
    plain = centred @ np.linalg.inv(np.linalg.cholesky(np.cov(centred.T) + 1e-9 * np.eye(DIM))).T
    plain /= np.linalg.norm(plain, axis=1, keepdims=True)
    assert np.corrcoef((plain @ plain.T).ravel(), (result @ result.T).ravel())[0, 1] > 0.95
    unlike = ~np.eye(len(images), dtype=bool)
    assert (vectors @ vectors.T)[unlike].mean() > 0.7
    assert abs((result @ result.T)[unlike].mean()) < 0.02


def test_batches_change_nothing_and_the_same_sample_gives_the_same_bytes(images, artifact):
    artifact.setup()
    together = artifact.embed(images)
    one_by_one = np.concatenate([artifact.embed([image]) for image in images])
    assert together.tobytes() == one_by_one.tobytes()
    again = WhitenedEmbedder(Means())
    again = again.with_whitening(again.fit(images))
    again.setup()
    assert again.embed(images).tobytes() == together.tobytes()


def test_an_image_without_a_vector_counts_for_nothing_and_stays_without_one(images, artifact):
    black = np.zeros((8, 4, 3), np.uint8)
    embedder = WhitenedEmbedder(Means())
    embedder = embedder.with_whitening(embedder.fit([black, *images]))
    embedder.setup()
    artifact.setup()
    result = embedder.embed([images[0], black])
    assert np.isnan(result[1]).all()
    assert result[:1].tobytes() == artifact.embed(images[:1]).tobytes()


def test_its_fingerprint_says_that_it_is_whitened():
    embedder = WhitenedEmbedder(Means())
    assert isinstance(embedder, Fittable)
    assert embedder.needs_fit
    assert embedder.fingerprint() == "means v1 whitened v1"


def test_a_copy_descriptor_is_whitened_where_the_settings_say_so():
    plain, whitened = (open_embedder(CopyConfig(whiten=value)) for value in (False, True))
    assert (plain.needs_fit, whitened.needs_fit) == (False, True)
    assert whitened.fingerprint() == f"{plain.fingerprint()} whitened v1"
    assert (whitened.name, whitened.side) == (plain.name, plain.side)


def test_a_classical_descriptor_is_not_whitened_twice():
    with pytest.raises(ModelError, match=r"classical/hog-colour-8x8.*whitened as it is; remove the whiten setting"):
        open_embedder(CopyConfig(model="classical/hog-colour-8x8", whiten=True))
    assert open_embedder(ModelConfig(model="classical/hog-colour-8x8")).needs_fit
