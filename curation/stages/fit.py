"""Fits what a run fits once, on a sample of its own images: the hash basis, and the whitening of a classical model.

The sample is the first part of the pool. Parts are random slices, so the first is as good a sample as any, and parts
that are added later never change what was fitted.
"""

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from curation.config import ImageConfig
from curation.drops import Dropped
from curation.errors import UserError
from curation.fitted import Arrays, Fitted
from curation.images import Pixels, decode, read_image
from curation.models import ClassicalDescriptor, fit_whitening
from curation.parts import Collection, digest_of
from curation.stages.execute import LOCATION
from curation.stages.hashes import fit_basis, thumbnails

__all__ = ["FitOnSample", "hash_basis", "whitening"]

SAMPLE = 4096
"""Images that are looked at, at most: several for each dimension that is fitted."""


class FitOnSample:
    """One fit.

    Args:
        name: what to store it as.
        settings: what the fit depends on besides the sample.
        side: shorter side in pixels that images are decoded for.
        fit: from decoded images to arrays; must pickle.
    """

    def __init__(
        self,
        pool: Collection,
        name: str,
        settings: Mapping[str, Any],
        limits: ImageConfig,
        side: int,
        fit: Callable[[Sequence[Pixels]], Arrays],
    ) -> None:
        self._pool = pool
        self._limits = limits
        self._side = side
        self._fit = fit
        sample = pool.state("samples")[:1]
        self.fitted = Fitted(pool.store, name, digest_of([name, dict(settings), side, limits.model_dump(), sample]))

    def is_current(self) -> bool:
        return self.fitted.load() is not None

    def run(self) -> None:
        """Raises UserError where no image of the first part decodes."""
        first = self._pool.parts("samples")[0]
        table = self._pool.read("samples", first, ["live", *LOCATION])
        rows = [row for row in table.to_pylist() if row["live"]][:SAMPLE]
        decoded = [self._decode(row["tar"], row["offset"], row["length"]) for row in rows]
        images = [image for image in decoded if not isinstance(image, Dropped)]
        if not images:
            raise UserError(
                f"pool: none of the {len(table)} samples of its first part is a usable image; "
                "see `lvd funnel` for the reasons"
            )
        self.fitted.save(self._fit(images))

    def _decode(self, tar: str, offset: int, length: int) -> Pixels | Dropped:
        data = read_image(self._pool.store, self._pool.path, tar, offset, length)
        return decode(data, self._limits, self._side)


def hash_basis(bits: int) -> Callable[[Sequence[Pixels]], Arrays]:
    """The fit of the PCA hash."""
    return functools.partial(_hash_basis, bits)


def whitening(model: ClassicalDescriptor) -> Callable[[Sequence[Pixels]], Arrays]:
    """The fit of a classical descriptor."""
    return functools.partial(_whitening, model)


def _hash_basis(bits: int, images: Sequence[Pixels]) -> Arrays:
    return fit_basis(thumbnails(images), bits)


def _whitening(model: ClassicalDescriptor, images: Sequence[Pixels]) -> Arrays:
    fitted = fit_whitening(model.raw(images), model.dim)
    return {"mean": np.asarray(fitted.mean), "projection": np.asarray(fitted.projection)}
