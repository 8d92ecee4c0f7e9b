"""Perceptual hashes: the cheap first look for duplicates.

The PCA hash is the sign of the leading principal components of a 32 x 32 grey thumbnail. The basis is fitted once in a
run, on a sample of its own images, and stored with it.
"""

import functools
from collections.abc import Callable, Iterable, Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from PIL import Image

from curation.config import HashConfig
from curation.engine.contract import Output, StageSpec
from curation.engine.locations import image_columns
from curation.imaging.decode import Pixels
from curation.run.artifacts import Arrays, Artifact

__all__ = ["THUMBNAIL", "Hashes", "fit_basis", "hash_basis", "thumbnails"]

THUMBNAIL = 32
"""Side of the thumbnail in pixels."""

PRIOR_ROWS = 1024
"""How many images the prior of `fit_basis` counts for."""


class Hashes:
    """The stage `hashes`.

    Args:
        basis: where `fit_basis` stored the PCA basis; None for imagededup's PHash, which needs none.
        side: the side that the pass decodes for.
        after: the stage whose live rows it takes.
        changed: whether a safety stage changes images before it.
    """

    def __init__(
        self, settings: HashConfig, basis: Artifact | None, side: int, *, after: str = "decode", changed: bool = False
    ) -> None:
        self._settings = settings
        self._basis = basis
        self.bits = 64 if settings.method == "phash" else settings.bits
        self.spec = StageSpec(
            name="hashes",
            version=1,
            after=after,
            reads=image_columns(changed),
            schema=pa.schema([("hash", pa.binary(self.bits // 8))]),
            settings={
                "method": settings.method,
                "bits": self.bits,
                "basis": basis.digest if basis else None,
                "side": side,
            },
        )

    def setup(self) -> None:
        if self._basis is not None:
            self._components = self._basis.need()["components"]
            self._mean = self._basis.need()["mean"]

    def process_images(self, images: Sequence[Pixels]) -> Output:
        bits = self._phash(images) if self._basis is None else self._pca(images)
        packed = np.packbits(bits, axis=1)
        return Output({"hash": pa.array([row.tobytes() for row in packed], self.spec.schema.field("hash").type)})

    def _pca(self, images: Sequence[Pixels]) -> npt.NDArray[np.bool_]:
        # Row by row: a product of many rows may round differently with their number, and a sign near zero would flip.
        return np.stack([self._components @ row > 0 for row in thumbnails(images) - self._mean])

    def _phash(self, images: Sequence[Pixels]) -> npt.NDArray[np.bool_]:
        from imagededup.methods import PHash  # takes seconds to import

        hasher = PHash(verbose=False)
        words = [bytes.fromhex(hasher.encode_image(image_array=image)) for image in images]
        return np.unpackbits(np.frombuffer(b"".join(words), np.uint8).reshape(len(images), -1), axis=1).astype(bool)


def thumbnails(images: Sequence[Pixels]) -> npt.NDArray[np.float32]:
    """Grey thumbnails with brightness and contrast taken out: (N, 1024) float32 of mean 0 and deviation 1.

    A blank image gives zeros.
    """
    size = (THUMBNAIL, THUMBNAIL)
    grey = [Image.fromarray(image).convert("L").resize(size, Image.Resampling.BOX) for image in images]
    flat = np.stack([np.asarray(image, dtype=np.float32).reshape(-1) for image in grey])
    flat -= flat.mean(axis=1, keepdims=True)
    deviation = flat.std(axis=1, keepdims=True)
    return np.asarray(np.where(deviation > 1e-3, flat / np.maximum(deviation, 1e-3), 0.0), dtype=np.float32)


def hash_basis(bits: int) -> Callable[[Iterable[Pixels]], Arrays]:
    """The fit of the PCA hash."""
    return functools.partial(_hash_basis, bits)


def _hash_basis(bits: int, images: Iterable[Pixels]) -> Arrays:
    return fit_basis(thumbnails(list(images)), bits)


def fit_basis(sample: npt.NDArray[np.float32], bits: int) -> dict[str, npt.NDArray[np.float32]]:
    """Fit the hash basis: mean and leading principal components of thumbnails.

    A sample smaller than the 1,024 dimensions does not determine them, so the covariance is shrunk towards what
    photographs have on average: power that falls with the square of the spatial frequency.

    Args:
        sample: (N, 1024) float32, as `thumbnails` gives; N may be 0.

    Returns:
        `mean` (1024,) and `components` (bits, 1024), float32.
    """
    count = len(sample)
    mean = sample.mean(axis=0, dtype=np.float64) if count else np.zeros(THUMBNAIL**2)
    centred = sample.astype(np.float64) - mean
    covariance = (centred.T @ centred + PRIOR_ROWS * _photograph_covariance()) / (count + PRIOR_ROWS)
    _, vectors = np.linalg.eigh(covariance)
    components = vectors[:, ::-1].T[:bits]
    largest = components[np.arange(bits), np.abs(components).argmax(axis=1)]
    components = components * np.sign(largest)[:, None]  # eigenvectors have no sign of their own
    return {"mean": mean.astype(np.float32), "components": components.astype(np.float32)}


def _photograph_covariance() -> npt.NDArray[np.float64]:
    """Covariance (1024, 1024) of thumbnails whose cosine components are independent with power 1 / (u^2 + v^2)."""
    frequency = np.arange(THUMBNAIL, dtype=np.float64)
    power = 1.0 / np.maximum(frequency[:, None] ** 2 + frequency[None, :] ** 2, 1.0)
    power[0, 0] = 0.0  # the mean is taken out of every thumbnail
    # A small tilt breaks the tie between u and v, so that the eigenvectors are unique.
    power *= 1.0 + 1e-3 * (frequency[:, None] - frequency[None, :]) / THUMBNAIL
    power *= THUMBNAIL**2 / power.sum()
    from scipy.fft import idct

    cosines = idct(np.eye(THUMBNAIL), norm="ortho", axis=0).T  # a row per frequency
    basis = np.kron(cosines, cosines)
    return np.asarray((basis.T * power.ravel()) @ basis)
