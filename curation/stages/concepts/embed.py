"""Embeds images: one stage class for the copy descriptor and for the concept embedding, which differ in their model."""

import functools
from collections.abc import Callable, Iterable, Sequence

import numpy as np
import pyarrow as pa

from curation.drops import Dropped, DropReason
from curation.engine.contract import Output, StageSpec
from curation.engine.locations import image_columns
from curation.imaging.decode import Pixels
from curation.models import Embedder, Fittable, NetworkEmbedder, Whitening
from curation.run.artifacts import Arrays, Artifact
from curation.stages.knn.vectors import VECTOR

__all__ = ["Embed", "whitening"]


class Embed:
    """The stages `copies` and `embeddings`.

    Args:
        name: the stage's name.
        after: the stage whose live rows it takes.
        whitening: where the whitening of a model that needs fitting was stored.
        side: the side that the pass decodes for.
        fingerprint: `embedder.fingerprint()`, taken once where the run is planned.
        changed: whether a safety stage changes images before it.
    """

    def __init__(
        self,
        name: str,
        after: str,
        embedder: Embedder,
        whitening: Artifact | None,
        side: int,
        fingerprint: str,
        *,
        changed: bool = False,
    ) -> None:
        self._name = name
        self._reads = image_columns(changed)
        self._after = after
        self._embedder = embedder
        self._whitening = whitening
        self._settings = {"model": fingerprint, "whitening": whitening.digest if whitening else None, "side": side}
        self._dim = 0  # known once the model is loaded, which only workers do

    @property
    def spec(self) -> StageSpec:
        return StageSpec(
            name=self._name,
            version=2,
            after=self._after,
            reads=self._reads,
            schema=pa.schema([(VECTOR, pa.list_(pa.float16(), self._dim))]),
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

    def process_images(self, images: Sequence[Pixels]) -> Output:
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


def whitening(model: Fittable) -> Callable[[Iterable[Pixels]], Arrays]:
    """The fit of a model that needs one."""
    return functools.partial(_whitening, model)


def _whitening(model: Fittable, images: Iterable[Pixels]) -> Arrays:
    artifact = model.fit(images)
    return {"mean": np.asarray(artifact.mean), "projection": np.asarray(artifact.projection)}
