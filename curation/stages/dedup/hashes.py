"""Perceptual hashes: the cheap first look for duplicates.

The PCA hash is the sign of the leading principal components of a 32 x 32 grey thumbnail. The basis is fitted once in a
run, on a sample of its own images, and stored with it.
"""

import functools
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import pyarrow as pa
from PIL import Image

from curation.arrays import BoolArray, Float32Array, Float64Array
from curation.config import Config, HashConfig
from curation.engine.contract import Output, StageSpec
from curation.engine.fit import FitOnSample
from curation.engine.graph import Site
from curation.engine.locations import IMAGES
from curation.imaging.decode import Pixels
from curation.run.artifacts import Arrays, Artifact

__all__ = ["THUMBNAIL", "Hashes", "fit_basis", "hash_basis", "thumbnails"]

THUMBNAIL = 32
"""Side of the thumbnail in pixels."""

PRIOR_ROWS = 1024
"""How many images the prior of `fit_basis` counts for."""


class Hashes:
    """The stage `hashes`: a perceptual hash, signs of PCA components of a 32 x 32 grey thumbnail or imagededup's PHash.

    Args:
        basis: where `fit_basis` stored the PCA basis; None for imagededup's PHash, which needs none.
        side: the side that the pass decodes for.
        after: the stage whose live rows it takes.
        reads: where the images are.
    """

    def __init__(
        self,
        settings: HashConfig,
        basis: Artifact | None,
        side: int,
        *,
        after: str = "decode",
        reads: Mapping[str, Sequence[str]] = IMAGES,
    ) -> None:
        self._settings = settings
        self._basis = basis
        self.bits = 64 if settings.method == "phash" else settings.bits
        self.spec = StageSpec(
            name="hashes",
            version=1,
            after=after,
            reads=reads,
            adds=pa.schema([("hash", pa.binary(self.bits // 8))]),
            settings={
                "method": settings.method,
                "bits": self.bits,
                "basis": basis.digest if basis else None,
                "side": side,
            },
        )

    @classmethod
    def at(cls, site: Site) -> "Hashes":
        fit = site.fit(hash_basis)
        basis = fit.artifact if fit else None
        return cls(site.config.hash, basis, site.side, after=site.after, reads=site.image_columns)

    @staticmethod
    def decoded_for(config: Config) -> int:
        return THUMBNAIL

    def setup(self) -> None:
        if self._basis is not None:
            self._components = self._basis.need()["components"]
            self._mean = self._basis.need()["mean"]

    def process(self, images: Sequence[Pixels], sources: Sequence[bytes]) -> Output:
        bits = self._phash(images) if self._basis is None else self._pca(images)
        packed = np.packbits(bits, axis=1)
        return Output({"hash": pa.array([row.tobytes() for row in packed], self.spec.adds.field("hash").type)})

    def _pca(self, images: Sequence[Pixels]) -> BoolArray:
        # Row by row: a product of many rows may round differently with their number, and a sign near zero would flip.
        return np.stack([self._components @ row > 0 for row in thumbnails(images) - self._mean])

    def _phash(self, images: Sequence[Pixels]) -> BoolArray:
        from imagededup.methods import PHash  # takes seconds to import

        hasher = PHash(verbose=False)
        words = [bytes.fromhex(hasher.encode_image(image_array=image)) for image in images]
        return np.unpackbits(np.frombuffer(b"".join(words), np.uint8).reshape(len(images), -1), axis=1).astype(bool)


def thumbnails(images: Sequence[Pixels]) -> Float32Array:
    """Grey thumbnails with brightness and contrast taken out: (N, 1024) float32 of mean 0 and deviation 1.

    A blank image gives zeros.
    """
    size = (THUMBNAIL, THUMBNAIL)
    grey = [Image.fromarray(image).convert("L").resize(size, Image.Resampling.BOX) for image in images]
    flat = np.stack([np.asarray(image, dtype=np.float32).reshape(-1) for image in grey])
    flat -= flat.mean(axis=1, keepdims=True)
    deviation = flat.std(axis=1, keepdims=True)
    return np.asarray(np.where(deviation > 1e-3, flat / np.maximum(deviation, 1e-3), 0.0), dtype=np.float32)


def hash_basis(site: Site) -> FitOnSample | None:
    """The fit of the PCA hash, on a sample of the pool; None for a hash that needs none."""
    settings = site.config.hash
    if settings.method != "pca":
        return None
    needs = {"bits": settings.bits}
    side = max(THUMBNAIL, site.job.embedder("copy_descriptors").side)
    return FitOnSample(site.pool, "pca_hash", needs, site.config.image, side, functools.partial(_fit, settings.bits))


def _fit(bits: int, images: Iterable[Pixels]) -> Arrays:
    return fit_basis(thumbnails(list(images)), bits)


def fit_basis(sample: Float32Array, bits: int) -> dict[str, Float32Array]:
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


def _photograph_covariance() -> Float64Array:
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
