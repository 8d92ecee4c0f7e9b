"""PCA whitening with shrinkage: the part of the classical descriptor that is fitted to a run."""

from dataclasses import dataclass

import numpy as np

from curation.arrays import Float32Array, Float64Array

__all__ = ["Whitening", "fit_whitening"]

CANDIDATES = 1.6


@dataclass(frozen=True, slots=True)
class Whitening:
    """`(raw - mean) @ projection`: centred, decorrelated, directions of like variance brought to like length."""

    mean: Float32Array
    """(D,) float32."""
    projection: Float32Array
    """(D, dim) float32."""

    def apply(self, raw: Float32Array) -> Float32Array:
        """Whitened rows of length 1; a row that equals the mean stays zero.

        Each row is multiplied on its own, so that a vector never depends, not even in its last bit, on the batch
        that it came in.

        Args:
            raw: (N, D) float32.

        Returns:
            (N, dim) float32.
        """
        transposed = np.ascontiguousarray(self.projection.T)
        out = np.empty((len(raw), transposed.shape[0]), np.float32)
        for row, values in zip(out, raw, strict=True):
            np.matmul(transposed, values - self.mean, out=row)
            row /= max(float(np.sqrt(np.dot(row, row))), 1e-12)
        return out


def fit_whitening(raw: Float32Array, dim: int, changes: Float32Array | None = None, power: float = 0.5) -> Whitening:
    """Fit a whitening to a sample; the same rows give the same bytes.

    The covariance is shrunk towards a multiple of the identity by the oracle approximating shrinkage (Chen et al.
    2010, arXiv 0907.4698, eq. 23), which needs no tuning: a large sample is whitened, a tiny one hardly at all. With
    no more rows than `dim`, all D directions are kept, as the sample cannot tell which matter. Where all rows are one
    and the same, the mean is taken as zero: subtracted, it would leave nothing of that image.

    Args:
        raw: (N, D) float32, N >= 1.
        dim: directions kept; at most D.
        changes: (M, D) float32, by how much slight alterations of images change their rows. If given, the directions
            kept are those, out of the 1.6 `dim` of largest variance, that change least (as in linear discriminant
            analysis, with an image and its altered self as a class); else those of largest variance.
        power: of the variances that directions are divided by; 0.5 whitens, 0.25 whitens by half.
    """
    rows = len(raw)
    sample = raw.astype(np.float64)
    mean = sample.mean(axis=0)
    centred = sample - mean
    if not centred.any():
        mean[:] = 0.0
    variances, directions = np.linalg.eigh(_shrunk(centred))
    order = np.argsort(-variances, kind="stable")
    projection = directions[:, order] / variances[order] ** power
    if rows > dim:
        projection = projection[:, :dim] if changes is None else _steady(projection, changes, dim)
    largest = projection[np.abs(projection).argmax(axis=0), np.arange(projection.shape[1])]
    return Whitening(mean.astype(np.float32), (projection * np.where(largest < 0, -1.0, 1.0)).astype(np.float32))


def _steady(projection: Float64Array, changes: Float32Array, dim: int) -> Float64Array:
    """Turn the leading directions of a whitening so that the first change least, and keep `dim` of them."""
    candidates = projection[:, : round(CANDIDATES * dim)]
    moved = changes @ candidates
    _, turn = np.linalg.eigh(moved.T @ moved)  # in ascending order
    return np.asarray(candidates @ turn[:, :dim])


def _shrunk(centred: Float64Array) -> Float64Array:
    """The covariance of (N, D) rows of mean 0, shrunk; positive definite whatever comes in."""
    from sklearn.covariance import oas  # takes more than a second to import, and a run fits once

    width = centred.shape[1]
    if not centred.any():
        return np.eye(width)
    covariance, weight = oas(centred, assume_centered=True)
    if weight < 0:  # by rounding, where the covariance is a multiple of the identity already
        return np.eye(width) * np.mean(centred**2)
    return np.asarray(covariance)
