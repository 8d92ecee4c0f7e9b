"""The classical descriptor."""

import pickle

import numpy as np
import pytest
import skimage.data
from PIL import Image

from curation.config import ModelConfig
from curation.errors import ModelError
from curation.models import ClassicalDescriptor, open_embedder

EACH = 90  # of 4 photographs: more than the 320 dimensions
LAYOUT, CONTENT = "classical/hog-colour-8x8", "classical/hog-colour-1x1"


def crops(photograph, count, seed=0, side=100):
    rng = np.random.default_rng(seed)
    height, width = photograph.shape[:2]
    corners = zip(rng.integers(height - side, size=count), rng.integers(width - side, size=count), strict=True)
    return [photograph[top : top + side, left : left + side] for top, left in corners]


def artifact(name, images):
    embedder = open_embedder(ModelConfig(model=name))
    assert embedder.needs_fit
    embedder = embedder.with_whitening(embedder.fit(images))
    assert not embedder.needs_fit
    embedder.setup()
    return embedder


@pytest.fixture(scope="module")
def pictures():
    photographs = (skimage.data.astronaut(), skimage.data.coffee(), skimage.data.chelsea(), skimage.data.rocket())
    return [crop for number, photograph in enumerate(photographs) for crop in crops(photograph, EACH, number)]


@pytest.fixture(scope="module")
def embedders(pictures):
    return {name: artifact(name, pictures) for name in (LAYOUT, CONTENT)}


@pytest.mark.parametrize(("name", "width", "dim"), [(LAYOUT, 960, 320), (CONTENT, 884, 48)])
def test_vectors_have_the_promised_shape(pictures, embedders, name, width, dim):
    embedder = embedders[name]
    assert (embedder.name, embedder.side, embedder.dim) == (name, 128, dim)
    assert embedder.raw(pictures[:3]).shape == (3, width)
    vectors = embedder.embed(pictures[:7])
    assert (vectors.shape, vectors.dtype) == ((7, dim), np.float32)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), np.ones(7), rtol=1e-5)
    assert embedder.embed([]).shape == (0, dim)


def test_with_a_layout_a_slightly_cropped_copy_is_nearer_than_any_other_picture(pictures, embedders):
    embedder = embedders[LAYOUT]
    originals = embedder.embed(pictures)
    copies = embedder.embed([picture[3:98, 2:97] for picture in pictures])
    assert ((copies @ originals.T).argmax(axis=1) == np.arange(len(pictures))).mean() > 0.98
    mirrored = embedder.embed([picture[:, ::-1] for picture in pictures])
    assert np.median(np.sum(originals * copies, axis=1)) > 0.8
    assert np.median(np.sum(originals * mirrored, axis=1)) < 0.4


def test_the_fit_is_the_same_every_time(pictures, embedders):
    for name, embedder in embedders.items():
        again = open_embedder(ModelConfig(model=name)).fit(pictures)
        assert again.mean.tobytes() == embedder.whitening.mean.tobytes()
        assert again.projection.tobytes() == embedder.whitening.projection.tobytes()


def test_without_a_layout_pictures_of_one_photograph_find_each_other(pictures, embedders):
    embedder = embedders[CONTENT]
    vectors = embedder.embed(pictures)
    similarity = vectors @ vectors.T
    np.fill_diagonal(similarity, -1)
    concept = np.arange(len(pictures)) // EACH
    assert (concept[similarity.argmax(axis=1)] == concept).mean() > 0.9
    rotated = embedder.embed([picture[:, ::-1] for picture in pictures])
    assert np.median(np.sum(vectors * rotated, axis=1)) > 0.6


@pytest.mark.parametrize("name", [LAYOUT, CONTENT])
def test_a_vector_depends_on_its_picture_alone(pictures, embedders, name):
    embedder = embedders[name]
    together = embedder.embed(pictures[:10])
    alone = np.concatenate([embedder.embed([picture]) for picture in pictures[:10]])
    assert together.tobytes() == alone.tobytes()
    sent = pickle.loads(pickle.dumps(embedder))
    assert sent.embed(pictures[:10]).tobytes() == together.tobytes()


@pytest.mark.parametrize("name", [LAYOUT, CONTENT])
@pytest.mark.parametrize("shape", [(1, 1), (1, 3000), (3000, 1), (2, 2), (32, 500)])
def test_odd_shapes_and_blank_pictures_give_finite_vectors(embedders, name, shape):
    embedder = embedders[name]
    rng = np.random.default_rng(0)
    odd = [np.zeros((*shape, 3), np.uint8), np.full((*shape, 3), 255, np.uint8)]
    odd.append(rng.integers(0, 256, (*shape, 3)).astype(np.uint8))
    vectors = embedder.embed(odd)
    assert np.isfinite(vectors).all()
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), np.ones(3), rtol=1e-5)


def test_the_colour_histogram_adds_up_to_one_and_is_smooth():
    from curation.models.classical import _joint_histogram

    lab = np.array([[50.0, 0.0, 0.0], [100.0, 90.0, -90.0], [0.0, -60.0, 60.0]], np.float32)  # one is out of range
    histogram = _joint_histogram(lab)
    assert histogram.shape == (6 * 12 * 12,)
    assert histogram.sum() == pytest.approx(1.0, abs=1e-5)
    near = _joint_histogram(lab + np.float32(0.1))
    assert 0 < np.abs(near - histogram).sum() < 0.1


def test_resizing_hardly_changes_the_layout_descriptor(pictures, embedders):
    embedder = embedders[LAYOUT]
    smaller = [np.asarray(Image.fromarray(p).resize((70, 70), Image.Resampling.LANCZOS)) for p in pictures[:50]]
    similarity = np.sum(embedder.embed(pictures[:50]) * embedder.embed(smaller), axis=1)
    assert similarity.min() > 0.65


@pytest.mark.parametrize("name", ["classical/hog-colour-3x3", "classical/hog-colour-8x4", "classical/sift"])
def test_unknown_names_are_refused_with_the_known_ones(name):
    with pytest.raises(ModelError, match=r"unknown classical descriptor; name classical/hog-colour-<n>x<n>"):
        open_embedder(ModelConfig(model=name))


@pytest.mark.parametrize("setting", [{"weights": "some.pth"}, {"sha256": "0" * 64}])
def test_weights_are_refused_as_it_has_none(setting):
    with pytest.raises(ModelError, match="has no weights; remove the weights and sha256 settings"):
        open_embedder(ModelConfig(model=LAYOUT, **setting))


def test_it_does_not_embed_before_it_is_fitted():
    with pytest.raises(AssertionError, match="before it is fitted"):
        ClassicalDescriptor(8).embed([np.zeros((32, 32, 3), np.uint8)])


def test_its_fingerprint_names_it_and_its_version():
    assert ClassicalDescriptor(8).fingerprint() == "classical/hog-colour-8x8 v1"
    assert ClassicalDescriptor(8).fingerprint() != ClassicalDescriptor(1).fingerprint()
