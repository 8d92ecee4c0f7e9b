"""Images to an array of vectors, without a run."""

import numpy as np
import pytest

from curation import describe_images, embed_images
from curation.errors import ConfigError, DatasetError, ModelError

CLASSICAL = "classical/hog-colour-4x4"


@pytest.fixture
def images(photo):
    return [np.asarray(photo(number, number % 2)) for number in range(8)]


def test_a_vector_for_each_image_in_their_order(images):
    vectors = embed_images(images)
    assert (vectors.dtype, len(vectors)) == (np.float32, 8)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    assert embed_images(images, model="lvd/lite0-in1k").tobytes() == vectors.tobytes()


def test_more_images_than_are_held_at_a_time_have_vectors_too(images):
    vectors = embed_images(images * 9)
    assert len(vectors) == 72
    assert vectors[:8].tobytes() == vectors[64:].tobytes()


def test_a_copy_descriptor_is_alike_for_an_image_and_its_copy_alone(images):
    vectors = describe_images([*images[:3], images[0][:, ::-1].copy()])
    assert len(vectors) == 4
    similar = vectors @ vectors.T
    assert similar[0, 3] > max(similar[0, 1], similar[0, 2])


def test_no_images_make_no_rows():
    assert embed_images([]).shape[0] == 0
    assert describe_images([]).shape[0] == 0


def test_a_file_that_is_no_image_is_named(images, tmp_path):
    path = tmp_path / "notes.jpg"
    path.write_text("no picture")
    with pytest.raises(DatasetError) as raised:
        embed_images([images[0], path])
    assert str(raised.value).startswith(f"images[1] ({path}): ")
    assert str(raised.value).endswith("; leave out what is no image")
    with pytest.raises(DatasetError, match=r"^images\[0\]: .* \(and 1 more\)"):
        embed_images([b"none", b"none either"])
    with pytest.raises(DatasetError, match="cannot be read"):
        embed_images([tmp_path / "missing.jpg"])


def test_a_single_path_is_no_list_of_images():
    with pytest.raises(ConfigError, match=r"^images: is a single one; give a list of them$"):
        embed_images("photo.jpg")


def test_an_unknown_model_is_answered_with_those_that_there_are(images):
    with pytest.raises(ModelError, match="unknown; name timm/<model>"):
        embed_images(images, model="resnet50")
