"""Copies are told from other pictures, how one lies in the other is found, and nothing depends on what ran before."""

import numpy as np
import pytest
from PIL import Image
from skimage import data

from curation.imaging.local_features import Features, extract
from curation.imaging.matching import match

SCORE = 1.9


@pytest.fixture(scope="module")
def photo():
    return Image.fromarray(data.chelsea())


@pytest.fixture(scope="module")
def other():
    return Image.fromarray(data.coffee())


def compare(first, second):
    return match(extract(np.asarray(first)), extract(np.asarray(second)))


EDITS = {
    "same": lambda image: image,
    "quarter": lambda image: image.resize((image.width // 4, image.height // 4)),
    "middle": lambda image: image.crop(
        (image.width // 4, image.height // 4, 3 * image.width // 4, 3 * image.height // 4)
    ),
    "mirrored": lambda image: image.transpose(Image.Transpose.FLIP_LEFT_RIGHT),
    "turned": lambda image: image.rotate(10),
    "grey": lambda image: image.convert("L").convert("RGB"),
    "pixelated": lambda image: image.resize((60, 40)).resize(image.size, Image.Resampling.NEAREST),
}


@pytest.mark.parametrize("edit", EDITS)
def test_a_copy_is_verified_and_another_picture_under_the_same_edit_is_not(photo, other, edit):
    assert compare(EDITS[edit](photo), photo).score > SCORE
    assert compare(EDITS[edit](other), photo).score < SCORE / 2


def test_only_a_mirrored_copy_is_said_to_be_mirrored(photo):
    assert {edit: compare(apply(photo), photo).mirrored for edit, apply in EDITS.items()} == {
        edit: edit == "mirrored" for edit in EDITS
    }


def test_the_transform_takes_the_corners_of_a_crop_to_where_they_were_cut(photo):
    result = compare(EDITS["middle"](photo), photo)
    matrix = np.array(result.transform).reshape(2, 3)
    corners = np.array([[0, 0, 1], [1, 1, 1]]) @ matrix.T
    np.testing.assert_allclose(corners, [[0.25, 0.25], [0.75, 0.75]], atol=0.01)


def test_a_transform_of_a_mirrored_crop_counts_from_the_mirrored_image(photo):
    left = photo.crop((0, 0, photo.width // 2, photo.height)).transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    result = compare(left, photo)
    assert result.mirrored
    np.testing.assert_allclose(np.array(result.transform).reshape(2, 3), [[0.5, 0, 0], [0, 1, 0]], atol=0.01)


def test_equal_pictures_give_equal_matches_whatever_ran_before(photo, other):
    first, second, third = (extract(np.asarray(image)) for image in (photo, EDITS["turned"](photo), other))
    before = match(first, second)
    match(third, second)
    assert match(first, second) == before


@pytest.mark.parametrize("shape", [(1, 1, 3), (1, 400, 3), (300, 1, 3), (8, 8, 3)])
def test_tiny_and_blank_images_match_nothing_and_break_nothing(photo, shape):
    blank = np.full(shape, 128, np.uint8)
    assert compare(blank, photo).score == 0
    assert compare(photo, blank).score == 0
    assert compare(blank, blank).score == 0


def test_features_survive_storage(photo):
    features = extract(np.asarray(photo))
    again = Features.from_bytes(features.to_bytes())
    assert (again.width, again.height) == (features.width, features.height)
    np.testing.assert_allclose(again.points, features.points, atol=1e-5)
    np.testing.assert_array_equal(again.descriptors, features.descriptors)
    np.testing.assert_array_equal(again.picture, features.picture)
