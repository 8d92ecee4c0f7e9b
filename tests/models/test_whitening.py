"""PCA whitening with shrinkage."""

import numpy as np
import pytest
from sklearn.covariance import oas

from curation.models import Whitening, fit_whitening


def sample(rows, width, seed=0):
    rng = np.random.default_rng(seed)
    mixing = rng.normal(size=(width, width)) * np.geomspace(3, 0.01, width)
    return (rng.normal(size=(rows, width)) @ mixing.T + rng.normal(size=width)).astype(np.float32)


def test_a_whitened_sample_has_the_covariance_that_shrinkage_leaves():
    raw = sample(500, 20)
    artifact = fit_whitening(raw, 20)
    shrunk, _ = oas(raw.astype(np.float64))  # scikit-learn's, an independent computation
    np.testing.assert_allclose(artifact.projection.T @ shrunk @ artifact.projection, np.eye(20), atol=1e-3)
    np.testing.assert_allclose(artifact.mean, raw.mean(axis=0), rtol=1e-5)


def test_the_directions_kept_are_those_of_largest_variance():
    raw = sample(300, 30)
    all_of_them, few = fit_whitening(raw, 30), fit_whitening(raw, 5)
    assert few.projection.shape == (30, 5)
    np.testing.assert_array_equal(few.projection, all_of_them.projection[:, :5])
    _, directions = np.linalg.eigh(np.cov(raw.T.astype(np.float64)))
    for column in range(5):
        cosine = few.projection[:, column] @ directions[:, -1 - column]
        assert abs(cosine) == pytest.approx(np.linalg.norm(few.projection[:, column]), rel=1e-3)


def test_with_changes_the_directions_kept_are_those_that_change_least():
    raw = sample(400, 16)
    shaken = np.linalg.eigh(np.cov(raw.T.astype(np.float64)))[1][:, -1]  # the direction of largest variance
    changes = (np.random.default_rng(3).normal(size=(400, 1)) * 5 * shaken).astype(np.float32)
    steady, plain = fit_whitening(raw, 10, changes), fit_whitening(raw, 10)
    assert steady.projection.shape == (16, 10)
    assert np.abs(changes @ steady.projection).max() < 1e-3 * np.abs(changes @ plain.projection).max()
    shrunk, _ = oas(raw.astype(np.float64))
    np.testing.assert_allclose(steady.projection.T @ shrunk @ steady.projection, np.eye(10), atol=1e-3)


def test_the_same_sample_gives_the_same_bytes_and_signs_are_fixed():
    raw = sample(200, 15)
    first, again = fit_whitening(raw, 10), fit_whitening(raw.copy(), 10)
    assert first.mean.tobytes() == again.mean.tobytes()
    assert first.projection.tobytes() == again.projection.tobytes()
    largest = first.projection[np.abs(first.projection).argmax(axis=0), np.arange(10)]
    assert (largest > 0).all()


@pytest.mark.parametrize("width", range(2, 12))
def test_a_covariance_that_is_a_multiple_of_the_identity_is_left_as_it_is(width):
    for scale in np.random.default_rng(0).uniform(0.1, 1, 20).astype(np.float32):
        raw = np.concatenate([np.eye(width), -np.eye(width)]).astype(np.float32) * scale
        projection = fit_whitening(raw, width).projection.astype(np.float64)
        np.testing.assert_allclose(projection @ projection.T, np.eye(width) * width / scale**2, rtol=1e-5, atol=1e-4)


def test_an_artifact_is_float32_whatever_its_sample_is():
    artifact = fit_whitening(sample(50, 8).astype(np.float64), 4)
    assert (artifact.mean.dtype, artifact.projection.dtype) == (np.float32, np.float32)
    assert artifact.apply(sample(3, 8)).dtype == np.float32


@pytest.mark.parametrize("rows", [1, 2, 3, 16])
def test_a_tiny_sample_keeps_every_direction_and_stays_finite(rows):
    raw = sample(rows, 40)
    artifact = fit_whitening(raw, 16)
    assert artifact.projection.shape == (40, 40)
    assert np.isfinite(artifact.projection).all()
    vectors = artifact.apply(raw)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), np.ones(rows), rtol=1e-5)


def test_pictures_that_a_tiny_sample_has_not_seen_are_told_apart():
    pictures = sample(30, 40, seed=1)
    artifact = fit_whitening(pictures[:3], 16)
    similarity = artifact.apply(pictures) @ artifact.apply(pictures).T
    np.fill_diagonal(similarity, 0)
    assert similarity.max() < 0.95


@pytest.mark.parametrize("rows", [1, 5])
def test_a_sample_of_one_picture_alone_still_knows_that_picture(rows):
    raw = np.repeat(sample(1, 12), rows, axis=0)
    vectors = fit_whitening(raw, 4).apply(raw)
    np.testing.assert_allclose(vectors @ vectors.T, np.ones((rows, rows)), rtol=1e-5)


def test_a_vector_does_not_depend_on_its_batch_in_a_single_bit():
    raw = sample(64, 50)
    artifact = fit_whitening(sample(400, 50, seed=2), 20)
    together = artifact.apply(raw)
    alone = np.concatenate([artifact.apply(raw[row : row + 1]) for row in range(64)])
    assert together.tobytes() == alone.tobytes()


def test_a_row_at_the_mean_is_zero_not_nan():
    artifact = Whitening(np.ones(3, np.float32), np.eye(3, 2, dtype=np.float32))
    np.testing.assert_array_equal(artifact.apply(np.ones((1, 3), np.float32)), np.zeros((1, 2), np.float32))
