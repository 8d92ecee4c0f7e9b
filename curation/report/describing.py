"""Describes images that are no part of a run as the run describes its own."""

from collections.abc import Iterator, Sequence

import numpy as np
import pyarrow as pa

from curation.arrays import Float16Array
from curation.engine.contract import Place
from curation.engine.graph import Job, Site
from curation.imaging.decode import Pixels
from curation.pipeline import CURATE
from curation.run.directory import Run
from curation.stages.concepts.embed import Embed
from curation.stages.knn.bias import BIAS, Bias, FitBackground
from curation.stages.knn.vectors import VECTOR

__all__ = ["Describer"]

DESCRIPTORS = "copy_descriptors"


class Describer:
    """The run's copy descriptor, whitened as there, and what is taken off the similarities of each image.

    Attributes:
        side: the shorter side that images are to be decoded for.
    """

    def __init__(self, run: Run) -> None:
        """Loads the model; ModelError where its weights cannot be had."""
        site = Site(Job(run, CURATE), "pool", DESCRIPTORS)
        self._stage = Embed.at(site)
        self._stage.setup()
        self.side = site.side
        self._place = Place(run.pool, 0, run.config.seed)
        settings = run.config.dedup.normalise
        self._half = settings.weight / 2
        self._bias: Bias | None = None
        if settings.weight:
            self._bias = Bias(FitBackground(run.pool, settings).artifact, settings, own=False)
            self._bias.setup()

    def describe(self, images: Sequence[Pixels], sources: Sequence[bytes]) -> Iterator[tuple[Float16Array, float]]:
        """Vector and offset of each image; zeros where it has no direction.

        Args:
            images: (H, W, 3) uint8, decoded for `side`.
            sources: the bytes that each was decoded from.
        """
        if not images:
            return
        column = self._stage.process(images, sources).columns[VECTOR]
        vectors = column.flatten().to_numpy(zero_copy_only=False).reshape(len(images), -1)
        offsets = np.zeros(len(images), np.float32)
        if self._bias is not None:
            bias = self._bias.process(pa.table({VECTOR: column}), self._place).columns[BIAS]
            offsets = np.float32(self._half) * bias.to_numpy(zero_copy_only=False)
        yield from zip(vectors, offsets.tolist(), strict=True)
