"""Any model's vectors, whitened: an embedder around another one, fitted to a sample of a run."""

from collections.abc import Iterable, Sequence
from itertools import islice

import numpy as np

from curation.arrays import Float32Array, UInt8Array
from curation.models.classical import ClassicalDescriptor
from curation.models.embedder import Embedder, NetworkEmbedder
from curation.models.whitening import Whitening, fit_whitening

__all__ = ["Fittable", "WhitenedEmbedder"]

VERSION = 1
AT_ONCE = 64
"""Images of the sample that are held at a time."""


class WhitenedEmbedder:
    """Vectors of another embedder, PCA-whitened and at length 1 again; all dimensions are kept.

    What many images have in common no longer counts, so unlike images are less alike than before, and so are copies:
    thresholds of the other embedder do not hold here.
    """

    def __init__(self, embedder: Embedder, whitening: Whitening | None = None) -> None:
        self._embedder = embedder
        self._whitening = whitening
        self.name = embedder.name
        self.needs_fit = whitening is None
        self.wants_gpu = isinstance(embedder, NetworkEmbedder) and embedder.wants_gpu

    @property
    def side(self) -> int:
        """The other's."""
        return self._embedder.side

    def with_whitening(self, whitening: Whitening) -> "WhitenedEmbedder":
        """The same embedder, ready to embed once it is set up."""
        return WhitenedEmbedder(self._embedder, whitening)

    def fingerprint(self) -> str:
        """The other's, and that it is whitened; the whitening is the run's own input, and is digested with it."""
        return f"{self._embedder.fingerprint()} whitened v{VERSION}"

    def setup(self) -> None:
        """Sets the other up. Raises ModelError as that does."""
        self._embedder.setup()
        self.dim, self.at_once = self._embedder.dim, self._embedder.at_once

    def fit(self, images: Iterable[UInt8Array]) -> Whitening:
        """The whitening for a run. Images without a finite vector are passed over.

        Raises:
            ModelError: as `setup`.
        """
        self.setup()
        given, result = iter(images), [np.empty((0, self.dim), np.float32)]
        while some := list(islice(given, AT_ONCE)):
            vectors = self._embedder.embed(some)
            result.append(vectors[np.isfinite(vectors).all(axis=1)])
        sample = np.concatenate(result)
        return fit_whitening(sample if len(sample) else np.zeros((1, self.dim), np.float32), self.dim)

    def embed(self, images: Sequence[UInt8Array]) -> Float32Array:
        """(N, dim) float32 rows of length 1; `with_whitening` and `setup` come first."""
        assert self._whitening is not None, f"{self.name} is used before it is whitened"
        vectors = self._embedder.embed(images)
        finite = np.isfinite(vectors).all(axis=1)
        out = np.full(vectors.shape, np.nan, np.float32)
        out[finite] = self._whitening.apply(vectors[finite])
        return out


Fittable = ClassicalDescriptor | WhitenedEmbedder
"""What needs to be fitted: `fit` makes a whitening of a sample of a run, `with_whitening` the embedder that has it."""
