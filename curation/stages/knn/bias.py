"""Similarity normalisation: what an image resembles all the same is taken off its similarities.

As in SSCD (Pizzi et al. 2022, arXiv 2202.10261), with the biases of both images, so that a pair has one
similarity whichever of the two is asked. Descriptors of a sample of the pool are the background. The stage `bias` gives
each image its mean similarity to those of the background that resemble it most; where `copy_knn` and later steps say
what the similarity of two images is, half the weighted biases of each are taken off. Which images are proposed as
neighbours is a matter of the vectors alone.
"""

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa

from curation.arrays import Float32Array
from curation.config import Config, NormaliseConfig
from curation.engine.contract import Output, Place, StageSpec
from curation.engine.fit import SAMPLE, note_sample, sample_parts
from curation.engine.graph import Site
from curation.errors import UserError
from curation.run.artifacts import Arrays, Artifact
from curation.run.parts import Collection, digest_of
from curation.search.knn import Searcher
from curation.search.lists import Lists
from curation.search.worker_group import WorkerGroup
from curation.stages.knn.vectors import VECTOR, gather_vectors, halves_of, live_counts, part_states

__all__ = ["BIAS", "Bias", "FitBackground", "Offsets"]

BIAS = "bias"
"""The stage, and its column: float32, null at rows that are not live."""


class FitBackground:
    """The fit that keeps the copy descriptors of a sample of the pool, and where each comes from."""

    scratch: Sequence[Artifact] = ()

    def __init__(self, pool: Collection, settings: NormaliseConfig) -> None:
        self._pool = pool
        self._settings = settings
        self._parts = sample_parts(pool)
        states = part_states(pool, "copy_descriptors", "copy_descriptors")
        state = [[part, states[part]] for part in self._parts if part in states]
        self.artifact = Artifact(pool.store, "background", digest_of(["background", SAMPLE, settings.last, state]))

    @classmethod
    def at(cls, site: Site) -> "FitBackground":
        return cls(site.pool, site.config.dedup.normalise)

    def process(self, group: WorkerGroup | None) -> Arrays:
        """Raises UserError where the sample has too few images for the ranks that are set."""
        counts = live_counts(self._pool, "copy_descriptors")
        result = gather_vectors(
            self._pool,
            "copy_descriptors",
            "copy_descriptors",
            {part: counts[part] for part in self._parts if part in counts},
        )
        images = min(len(result), SAMPLE)
        if images <= self._settings.last:
            raise UserError(
                f"dedup.normalise: rank {self._settings.last} cannot be had of a background of {images} images, where "
                f"an image is no neighbour of itself; set last to {max(1, images - 1)} or less, or weight to 0"
            )
        note_sample(self._pool, self._parts)
        return {"vectors": result.halves[:SAMPLE], "part": result.part[:SAMPLE], "row": result.row[:SAMPLE]}


class Bias:
    """The stage `bias`: the mean similarity of each image to those of the background from rank `first` to `last`, which
    is taken off its similarities.

    Args:
        background: what `FitBackground` stores.
        own: whether the images are of the pool, where they may be in the background themselves.
    """

    def __init__(self, background: Artifact, settings: NormaliseConfig, *, own: bool) -> None:
        self._background = background
        self._first, self._last = settings.first, settings.last
        self._own = own

    @classmethod
    def at(cls, site: Site) -> "Bias":
        fit = site.fit(FitBackground.at)
        return cls(fit.artifact, site.config.dedup.normalise, own=site.path == "pool")

    @staticmethod
    def is_on(config: Config, path: str) -> bool:
        return config.dedup.normalise.weight > 0

    @property
    def spec(self) -> StageSpec:
        return StageSpec(
            name=BIAS,
            version=1,
            after="copy_descriptors",
            reads={"copy_descriptors": [VECTOR]},
            adds=pa.schema([(BIAS, pa.float32())]),
            settings={"background": self._background.digest, "ranks": [self._first, self._last], "own": self._own},
        )

    def setup(self) -> None:
        arrays = self._background.need()
        self._part, self._row = arrays["part"], arrays["row"]
        self._searcher = Searcher(arrays["vectors"])

    def process(self, rows: pa.Table, place: Place) -> Output:
        file = place.collection.store.url(place.collection.file("copy_descriptors", place.part))
        similar, result = self._searcher.search(halves_of(rows[VECTOR], file), self._last + 1)
        if self._own:
            numbers = np.flatnonzero(place.collection.live("copy_descriptors", place.part))
            itself = (self._part[result] == place.part) & (self._row[result] == numbers[:, None])
            order = np.argsort(itself, axis=1, kind="stable")  # last, so that it has no rank
            similar = np.take_along_axis(similar, order, axis=1)
        bias = similar[:, self._first - 1 : self._last].mean(axis=1, dtype=np.float64)
        return Output({BIAS: pa.array(bias.astype(np.float32))})


class Offsets:
    """What is taken off similarities: of each image half its weighted bias.

    Args:
        pool: holds the stage `bias`, as do the other collections that are asked for.
    """

    def __init__(self, pool: Collection, weight: float) -> None:
        self._pool = pool
        self._half = np.float32(weight / 2)

    @classmethod
    def of(cls, pool: Collection, settings: NormaliseConfig) -> "Offsets | None":
        """None where similarities are left as they are."""
        return cls(pool, settings.weight) if settings.weight else None

    def __getstate__(self) -> dict[str, Any]:
        return {
            name: value for name, value in self.__dict__.items() if name != "_of_pool"
        }  # each process reads its own

    @property
    def settings(self) -> dict[str, object]:
        """What similarities depend on, for digests."""
        return {"weight": float(self._half), "pool": digest_of(self._pool.state(BIAS))}

    def of_part(self, collection: Collection, part: int) -> Float32Array:
        """Those of the images of a part that have a copy descriptor, in order."""
        column = collection.read(BIAS, part, [BIAS])[BIAS].filter(pa.array(collection.live("copy_descriptors", part)))
        return np.asarray(self._half * column.to_numpy(), np.float32)

    def of_collection(self, collection: Collection) -> Float32Array:
        """The same, of all parts."""
        parts = [self.of_part(collection, part) for part in collection.parts("copy_descriptors")]
        return np.concatenate([np.empty(0, np.float32), *parts])

    def least(self) -> np.float32:
        """The smallest of the pool, and not above zero."""
        parts = [np.zeros(1, np.float32), *self._of_pool.values()]
        return np.float32(np.nanmin(np.concatenate(parts)))

    def lowered(self, lists: Lists, own: Float32Array) -> Lists:
        """Lists of neighbours by normalised similarity.

        Args:
            own: (Q,) of the images that the lists belong to.
        """
        part, row = lists.place >> 32, lists.place & ((1 << 32) - 1)
        theirs = np.empty(len(part), np.float32)
        for number in np.unique(part).tolist():
            chosen = part == number
            theirs[chosen] = self._of_pool[number][row[chosen]]
        image = lists.image
        return Lists.of(len(lists.lengths), image, lists.similarity - (own[image] + theirs), lists.place)

    @cached_property
    def _of_pool(self) -> Mapping[int, Float32Array]:
        """Of each part of the pool all rows: four bytes an image."""
        result = {}
        for part in self._pool.parts(BIAS):
            column = self._pool.read(BIAS, part, [BIAS])[BIAS]
            result[part] = self._half * column.to_numpy().astype(np.float32)  # NaN where an image has no descriptor
        return result
