"""Embeds images: one stage class for the copy descriptor and for the concept embedding, which differ in their model."""

import functools
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import pyarrow as pa

from curation.drops import Dropped, DropReason
from curation.engine.contract import Output, StageSpec
from curation.engine.fit import FitOnSample
from curation.engine.graph import Site
from curation.engine.locations import IMAGES
from curation.imaging.decode import Pixels
from curation.models import Embedder, Fittable, NetworkEmbedder, Whitening
from curation.run.artifacts import Arrays, Artifact
from curation.stages.knn.vectors import VECTOR

__all__ = ["Embed", "whitening"]


class Embed:
    """The stages `copy_descriptors` and `embeddings`: a vector of each image, by the model that the settings name.

    Args:
        name: the stage's name.
        after: the stage whose live rows it takes.
        whitening: where the whitening of a model that needs fitting was stored.
        side: the side that the pass decodes for.
        fingerprint: `embedder.fingerprint()`, taken once where the run is planned.
        reads: where the images are.
    """

    milliseconds = 15

    def __init__(
        self,
        name: str,
        after: str,
        embedder: Embedder,
        whitening: Artifact | None,
        side: int,
        fingerprint: str,
        *,
        reads: Mapping[str, Sequence[str]] = IMAGES,
    ) -> None:
        self._name = name
        self._reads = reads
        self._after = after
        self._embedder = embedder
        self._whitening = whitening
        self._settings = {"model": fingerprint, "whitening": whitening.digest if whitening else None, "side": side}
        self._dim = 0  # known once the model is loaded, which only workers do

    @classmethod
    def at(cls, site: Site) -> "Embed":
        fit, model = site.fit(whitening), site.embedder
        artifact = fit.artifact if fit else None
        return cls(site.node, site.after, model, artifact, site.side, model.fingerprint(), reads=site.image_columns)

    @property
    def spec(self) -> StageSpec:
        return StageSpec(
            name=self._name,
            version=2,
            after=self._after,
            reads=self._reads,
            adds=pa.schema([(VECTOR, pa.list_(pa.float16(), self._dim))]),
            settings=self._settings,
        )

    def setup(self) -> None:
        if self._whitening is not None:
            assert isinstance(self._embedder, Fittable)
            self._embedder = self._embedder.with_whitening(Whitening(**self._whitening.need()))
        self._embedder.setup()
        self._dim = self._embedder.dim

    @property
    def wants_gpu(self) -> bool:
        return isinstance(self._embedder, NetworkEmbedder) and self._embedder.wants_gpu

    @property
    def at_once(self) -> int:
        return self._embedder.at_once

    def process(self, images: Sequence[Pixels], sources: Sequence[bytes]) -> Output:
        vectors = self._embedder.embed(images)
        finite = np.asarray(np.isfinite(vectors).all(axis=1))
        halves = np.where(finite[:, None], vectors, 0.0).astype(np.float16)
        drops = {
            row: Dropped(
                DropReason.NON_FINITE, f"{self._embedder.name} gave {'zeros' if finite[row] else 'NaN or infinity'}"
            )
            for row in np.flatnonzero(~halves.any(axis=1)).tolist()  # without a direction it resembles nothing
        }
        flat = pa.array(halves.ravel())
        return Output({VECTOR: pa.FixedSizeListArray.from_arrays(flat, self._dim)}, drops)


def whitening(site: Site) -> FitOnSample | None:
    """The fit of a model that needs one, on a sample of the pool."""
    model = site.embedder
    if not model.needs_fit:
        return None
    assert isinstance(model, Fittable)
    settings = {"model": model.fingerprint()}
    fit = functools.partial(_whitening, model)
    return FitOnSample(site.pool, f"{site.node}_whitening", settings, site.config.image, model.side, fit)


def _whitening(model: Fittable, images: Iterable[Pixels]) -> Arrays:
    artifact = model.fit(images)
    return {"mean": np.asarray(artifact.mean), "projection": np.asarray(artifact.projection)}
