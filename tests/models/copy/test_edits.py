"""Edits for training: what they take and give, and that each does something."""

import numpy as np
import pytest
from PIL import Image
from skimage.data import astronaut, coffee

from curation.models.copy.edits import EDITS, edited_copy, near_original

SHAPES = [(224, 300), (300, 224), (33, 33), (40, 200), (200, 40)]


@pytest.fixture(scope="module")
def photos():
    return [np.ascontiguousarray(astronaut()[::2, ::2]), np.ascontiguousarray(coffee()[::2, ::2])]


def test_views_are_squares_of_bytes_and_a_function_of_the_generator(photos):
    for seed in range(60):
        view = edited_copy(photos[0], photos, 64, np.random.default_rng(seed))
        assert view.shape == (64, 64, 3)
        assert view.dtype == np.uint8
        assert np.array_equal(view, edited_copy(photos[0], photos, 64, np.random.default_rng(seed)))
    near = near_original(photos[0], 64, np.random.default_rng(0))
    assert np.array_equal(near, near_original(photos[0], 64, np.random.default_rng(0)))


@pytest.mark.parametrize("shape", SHAPES)
def test_photos_of_any_shape_are_edited(shape):
    rng = np.random.default_rng(3)
    photos = [rng.integers(0, 256, (*side, 3)).astype(np.uint8) for side in (shape, *SHAPES)]
    for seed in range(80):
        assert edited_copy(photos[0], photos, 48, np.random.default_rng(seed)).shape == (48, 48, 3)


@pytest.mark.parametrize("edit", EDITS, ids=lambda edit: edit.name)
def test_each_edit_changes_a_photo_and_leaves_the_original_alone(edit, photos):
    image, other = Image.fromarray(photos[0]), Image.fromarray(photos[1])
    before = image.tobytes()
    results = []
    for seed in range(5):
        rng = np.random.default_rng(seed)
        results.append(edit.compose(image, other, rng) if edit.compose else edit.apply(image, rng))
    assert all(result.mode == "RGB" for result in results)
    assert any(result.size != image.size or result.tobytes() != before for result in results)
    assert image.tobytes() == before


def test_the_near_original_is_nearer_to_the_photo_than_edited_copies_are(photos):
    plain = np.asarray(Image.fromarray(photos[0]).resize((64, 64), Image.Resampling.BILINEAR), float).ravel()

    def likeness(view):
        return np.corrcoef(view.astype(float).ravel(), plain)[0, 1]

    near = [likeness(near_original(photos[0], 64, np.random.default_rng(seed))) for seed in range(40)]
    edited = [likeness(edited_copy(photos[0], photos, 64, np.random.default_rng(seed))) for seed in range(40)]
    assert np.median(near) > 0.95
    assert np.median(edited) < 0.5
