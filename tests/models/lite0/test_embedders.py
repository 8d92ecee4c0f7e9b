"""One look gives copy descriptor and embedding; of an image in a frame the descriptor is that of its picture."""

import hashlib

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import load_file
from skimage import data

from curation.config import ModelConfig
from curation.errors import ModelError
from curation.models import open_embedder
from curation.models.lite0.embedders import WHITENING, Lite0Embedder

COPY, CONCEPT = "lvd/lite0-copy", "lvd/lite0-in1k"


def opened(model):
    embedder = open_embedder(ModelConfig(model=model))
    embedder.setup()
    return embedder


@pytest.fixture(scope="module")
def copies():
    return opened(COPY)


@pytest.fixture(scope="module")
def concepts():
    return opened(CONCEPT)


@pytest.fixture(scope="module")
def photos():
    return [data.astronaut(), data.chelsea(), data.coffee(), data.rocket()]


def padded(image):
    canvas = np.zeros((image.shape[0] + 160, image.shape[1] + 200, 3), np.uint8)
    canvas[80:-80, 100:-100] = image
    return canvas


def test_vectors_have_256_dimensions_and_length_one(copies, concepts, photos):
    for embedder in (copies, concepts):
        vectors = embedder.embed(photos)
        assert vectors.shape == (4, embedder.dim) == (4, 256)
        assert vectors.dtype == np.float32
        np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
        assert embedder.embed([]).shape == (0, 256)


def test_one_look_gives_what_two_would(copies, concepts, photos):
    images = [*photos, padded(photos[0])]
    both = copies.embed_with(concepts, images)
    np.testing.assert_allclose(both[0], copies.embed(images), atol=1e-5)
    np.testing.assert_allclose(both[1], concepts.embed(images), atol=1e-5)


def test_a_copy_is_alike_and_another_photo_is_not(copies, photos):
    small = [np.asarray(Image.fromarray(photo).reduce(2)) for photo in photos]
    similar = copies.embed(photos) @ copies.embed(small).T
    assert np.diag(similar).min() > 0.8
    assert similar[~np.eye(4, dtype=bool)].max() < 0.4


def test_a_picture_in_a_frame_is_described_by_what_is_in_it(copies, photos):
    framed = copies.embed([padded(photo) for photo in photos])
    assert (framed * copies.embed(photos)).sum(axis=1).min() > 0.9


@pytest.mark.parametrize("light", ["fog", "dark", "tint"])
def test_unlike_photos_are_unlike_in_one_light(copies, photos, light):
    """Whatever the light, as others would drop them for it."""
    change = {
        "fog": lambda image: 0.25 * image + 0.75 * 230,
        "dark": lambda image: 0.15 * image,
        "tint": lambda image: 0.4 * image + 0.6 * np.array([180, 60, 160]),
    }[light]
    vectors = copies.embed([change(photo.astype(np.float32)).astype(np.uint8) for photo in photos])
    assert (vectors @ vectors.T)[~np.eye(4, dtype=bool)].max() < 0.55


def test_the_whitening_is_the_one_that_the_card_names(copies):
    digest = hashlib.sha256(WHITENING.read_bytes()).hexdigest()
    assert digest in WHITENING.with_suffix(".md").read_text()
    assert digest in copies.fingerprint()
    assert {name: array.shape for name, array in load_file(WHITENING).items()} == {
        "copy_mean": (320,),
        "copy_projection": (320, 256),
        "concept_mean": (1280,),
        "concept_projection": (1280, 256),
    }


def test_it_has_weights_of_its_own():
    with pytest.raises(ModelError, match="comes with its own weights"):
        Lite0Embedder(ModelConfig(model=COPY, weights="w.safetensors"))
