"""Embeds images: one stage class for the copy descriptor and for the concept embedding, which differ in their model.

Where both are made of one network's look at an image, as by default, the pool is looked at once: `copy_descriptors`
keeps what `embeddings` will need of it.
"""

import functools
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import pyarrow as pa

from curation.arrays import Float16Array, Float32Array
from curation.config import LITE0_CONCEPT, ModelConfig
from curation.drops import Dropped, DropReason
from curation.engine.contract import Output, Place, StageSpec
from curation.engine.fit import FitOnSample
from curation.engine.graph import Site
from curation.engine.locations import IMAGES
from curation.imaging.decode import Pixels
from curation.models import Embedder, Fittable, NetworkEmbedder, Whitening
from curation.models.lite0.embedders import Lite0Embedder
from curation.run.artifacts import Arrays, Artifact
from curation.stages.knn.vectors import VECTOR

__all__ = ["Embed", "KeptEmbeddings", "embeddings", "whitening"]

CONCEPT = "concept"
"""The column of `copy_descriptors` with the embedding of the same look."""


class Embed:
    """The stages `copy_descriptors` and `embeddings`: a vector of each image, by the model that the settings name.

    Args:
        name: the stage's name.
        after: the stage whose live rows it takes.
        whitening: where the whitening of a model that needs fitting was stored.
        side: the side that the pass decodes for.
        fingerprint: `embedder.fingerprint()`, taken once where the run is planned.
        reads: where the images are.
        beside: the embedder of `embeddings`, where one look gives both.
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
        beside: Lite0Embedder | None = None,
    ) -> None:
        self._name = name
        self._reads = reads
        self._after = after
        self._embedder = embedder
        self._whitening = whitening
        self._beside = beside
        self._settings = {"model": fingerprint, "whitening": whitening.digest if whitening else None, "side": side}
        if beside is not None:
            self._settings["beside"] = beside.fingerprint()
        self._dim = 0  # known once the model is loaded, which only workers do

    @classmethod
    def at(cls, site: Site) -> "Embed":
        fit, model = site.fit(whitening), site.embedder
        artifact = fit.artifact if fit else None
        beside = _beside(model) if site.path == "pool" else None
        where = site.image_columns
        return cls(site.node, site.after, model, artifact, site.side, model.fingerprint(), reads=where, beside=beside)

    @property
    def spec(self) -> StageSpec:
        return StageSpec(
            name=self._name,
            version=2,
            after=self._after,
            reads=self._reads,
            adds=pa.schema([(name, pa.list_(pa.float16(), self._dim)) for name in self._columns]),
            settings=self._settings,
        )

    def setup(self) -> None:
        if self._whitening is not None:
            assert isinstance(self._embedder, Fittable)
            self._embedder = self._embedder.with_whitening(Whitening(**self._whitening.need()))
        self._embedder.setup()
        self._dim = self._embedder.dim
        if self._beside is not None:
            self._beside.setup()
            assert self._beside.dim == self._dim, "both are columns of one width"

    @property
    def _columns(self) -> list[str]:
        return [VECTOR] if self._beside is None else [VECTOR, CONCEPT]

    @property
    def wants_gpu(self) -> bool:
        return isinstance(self._embedder, NetworkEmbedder) and self._embedder.wants_gpu

    @property
    def at_once(self) -> int:
        return self._embedder.at_once

    def process(self, images: Sequence[Pixels], sources: Sequence[bytes]) -> Output:
        if self._beside is None:
            return self._answer(self._embedder.embed(images))
        assert isinstance(self._embedder, Lite0Embedder)
        vectors, concepts = self._embedder.embed_with(self._beside, images)
        output = self._answer(vectors)
        return Output({**output.columns, CONCEPT: self._column(concepts.astype(np.float16))}, output.drops)

    def _answer(self, vectors: Float32Array) -> Output:
        finite = np.asarray(np.isfinite(vectors).all(axis=1))
        halves = np.where(finite[:, None], vectors, 0.0).astype(np.float16)
        drops = {
            row: Dropped(
                DropReason.NON_FINITE, f"{self._embedder.name} gave {'zeros' if finite[row] else 'NaN or infinity'}"
            )
            for row in np.flatnonzero(~halves.any(axis=1)).tolist()  # without a direction it resembles nothing
        }
        return Output({VECTOR: self._column(halves)}, drops)

    def _column(self, halves: Float16Array) -> pa.Array:
        return pa.FixedSizeListArray.from_arrays(pa.array(halves.ravel()), self._dim)


class KeptEmbeddings:
    """The stage `embeddings` where `copy_descriptors` kept them: no image is looked at again."""

    from_columns = True

    def __init__(self, after: str, embedder: Embedder) -> None:
        self._after = after
        self._embedder = embedder
        self._model = embedder.fingerprint()
        self._dim = 0

    @property
    def spec(self) -> StageSpec:
        return StageSpec(
            name="embeddings",
            version=1,
            after=self._after,
            reads={"copy_descriptors": [CONCEPT]},
            adds=pa.schema([(VECTOR, pa.list_(pa.float16(), self._dim))]),
            settings={"model": self._model},
        )

    def setup(self) -> None:
        self._embedder.setup()
        self._dim = self._embedder.dim

    def process(self, rows: pa.Table, place: Place) -> Output:
        return Output({VECTOR: rows[CONCEPT].combine_chunks()})


def embeddings(site: Site) -> "Embed | KeptEmbeddings":
    """The stage `embeddings`: a vector of each image, by the model that the settings name."""
    kept = _beside(site.job.embedder("copy_descriptors")) if site.path == "pool" else None
    if kept is not None and kept.name == site.embedder.name:
        return KeptEmbeddings(site.after, site.embedder)
    return Embed.at(site)


def _beside(model: Embedder) -> Lite0Embedder | None:
    """The concept embedder whose vectors come of the look that a copy descriptor takes, whether they are used or not:
    another `embed.model` then redoes no copy descriptor."""
    if isinstance(model, Lite0Embedder) and model.purpose == "copy":
        return Lite0Embedder(ModelConfig(model=LITE0_CONCEPT))
    return None


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
