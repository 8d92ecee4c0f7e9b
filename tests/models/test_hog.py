"""Gradient histograms, against scikit-image's own."""

import numpy as np
import pytest
import skimage.data
from skimage.feature import hog

from curation.models.hog import ORIENTATIONS, cell_histograms

PICTURES = {
    "photograph": skimage.data.camera()[100:228, 200:328].astype(np.float32) / 255,
    "noise": np.random.default_rng(0).random((128, 128), np.float32),
    "stripes": np.tile(np.arange(128, dtype=np.float32) % 8 / 8, (128, 1)),
    "steep stripes": np.tile(np.arange(128, dtype=np.float32) % 8 / 8, (128, 1)).T.copy(),
}


@pytest.mark.parametrize("cell", [4, 8, 16])
@pytest.mark.parametrize("picture", PICTURES.values(), ids=PICTURES.keys())
def test_histograms_are_those_of_scikit_image(picture, cell):
    cells = len(picture) // cell
    theirs = hog(picture, ORIENTATIONS, (cell, cell), (cells, cells), block_norm="L2")  # one block: one common factor
    ours = cell_histograms(picture, cell)
    assert ours.shape == (cells, cells, ORIENTATIONS)
    assert ours.dtype == np.float32
    np.testing.assert_allclose(ours.ravel() / np.linalg.norm(ours), theirs, atol=2e-6)


def test_the_scale_is_mean_magnitude():
    ramp = np.tile(np.arange(16, dtype=np.float32), (16, 1))  # 2 per pixel across, but for the first and last column
    histograms = cell_histograms(ramp, 8)
    np.testing.assert_allclose(histograms[:, :, 0], np.full((2, 2), 2 * 7 / 8))
    assert not histograms[:, :, 1:].any()


def test_a_flat_picture_has_no_edges():
    assert not cell_histograms(np.full((32, 32), 0.5, np.float32), 8).any()


def test_gradients_just_below_the_horizontal_are_in_the_last_bin_or_none_as_in_scikit_image():
    picture = np.tile(np.arange(32, dtype=np.float32), (32, 1))
    picture[::2] += np.float32(1e-7)  # angles of a hair's breadth under 0, which the modulo makes 180
    ours = cell_histograms(picture, 8)
    theirs = hog(picture, ORIENTATIONS, (8, 8), (4, 4), block_norm="L2")
    np.testing.assert_allclose(ours.ravel() / np.linalg.norm(ours), theirs, atol=2e-6)
