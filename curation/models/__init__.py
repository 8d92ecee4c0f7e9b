"""Models that turn images into vectors: named, verified and loaded in one way.

from curation.models import open_embedder

embedder = open_embedder(settings)   # no I/O; ModelError if the name is unknown
embedder.setup()                     # weights are found, verified and loaded; ModelError if they cannot be had
vectors = embedder.embed(images)     # (N, dim) float32 rows of length 1
"""

from curation.models.classical import ClassicalDescriptor
from curation.models.embedder import Embedder, NetworkEmbedder, open_embedder
from curation.models.whitened import Fittable, WhitenedEmbedder
from curation.models.whitening import Whitening, fit_whitening

__all__ = [
    "ClassicalDescriptor",
    "Embedder",
    "Fittable",
    "NetworkEmbedder",
    "WhitenedEmbedder",
    "Whitening",
    "fit_whitening",
    "open_embedder",
]
