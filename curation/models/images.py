"""Images to an array of vectors, without a run."""

import itertools
import os
from collections.abc import Sequence

import numpy as np

from curation.arrays import Float32Array
from curation.config import CopyConfig, EmbedConfig, ModelConfig
from curation.drops import Dropped, DropReason
from curation.errors import ConfigError, DatasetError
from curation.imaging.pixels import Image, name_of, pixels_of
from curation.models.embedder import Embedder, open_embedder
from curation.models.whitened import Fittable

__all__ = ["describe_images", "embed_images", "try_to_embed"]

AT_ONCE = 64
"""Decoded images that are held at a time."""
SAMPLE = 4096
"""Images that a model is fitted to, at most, as in a run."""


def embed_images(images: Sequence[Image], *, model: str | EmbedConfig = "lvd/lite0-in1k") -> Float32Array:
    """Embed images: vectors whose dot product, the cosine similarity, says how alike what they show is.

    A model that needs fitting (`classical/...`) is fitted to the first 4,096 of the images, so its vectors compare with
    others of the same call only.

    Args:
        images: N images, each a path or fsspec URL, encoded bytes, or an array (H, W, 3) uint8 RGB.
        model: by name or with its settings; `timm/<model>` for any of timm's.

    Returns:
        (N, D) float32, rows of length 1.

    Raises:
        DatasetError: an image cannot be read or decoded; the message names it.
        ConfigError: an array is of another shape.
        ModelError: the model is unknown, or its weights cannot be had.
    """
    return _need_all(images, model if isinstance(model, EmbedConfig) else EmbedConfig(model=model))


def describe_images(images: Sequence[Image], *, model: str | CopyConfig = "lvd/lite0-copy") -> Float32Array:
    """Describe images for copy detection: vectors that are alike for a picture and its edited copies alone.

    SSCD (Pizzi et al. 2022, arXiv 2202.10261) is `sscd/disc_mixup`; arguments, result and errors are those of
    `embed_images`.
    """
    return _need_all(images, model if isinstance(model, CopyConfig) else CopyConfig(model=model))


def try_to_embed(images: Sequence[Image], settings: ModelConfig) -> tuple[Float32Array, dict[int, Dropped]]:
    """Vectors as `embed_images` has them, zeros in the rows of images that have none, and why they have none."""
    if isinstance(images, str | bytes | os.PathLike):
        raise ConfigError("images: is a single one; give a list of them")
    embedder = open_embedder(settings)
    bad: dict[int, Dropped] = {}
    if embedder.needs_fit:
        assert isinstance(embedder, Fittable)
        decoded = (pixels_of(images, row, embedder.side) for row in range(len(images)))
        readable = (pixels for pixels in decoded if not isinstance(pixels, Dropped))
        if (first := next(readable, None)) is not None:  # else there is nothing to embed either
            sample = itertools.islice(itertools.chain([first], readable), SAMPLE)
            embedder = embedder.with_whitening(embedder.fit(sample))
    embedder.setup()
    vectors = np.zeros((len(images), embedder.dim), np.float32)
    for start in range(0, len(images), AT_ONCE):
        _embed_batch(embedder, images, range(start, min(start + AT_ONCE, len(images))), vectors, bad)
    return vectors, bad


def _embed_batch(
    embedder: Embedder, images: Sequence[Image], rows: range, vectors: Float32Array, bad: dict[int, Dropped]
) -> None:
    decoded = {row: pixels_of(images, row, embedder.side) for row in rows}
    bad |= {row: pixels for row, pixels in decoded.items() if isinstance(pixels, Dropped)}
    good = {row: pixels for row, pixels in decoded.items() if not isinstance(pixels, Dropped)}
    if not good:
        return
    for row, vector in zip(good, embedder.embed(list(good.values())), strict=True):
        if np.isfinite(vector).all() and vector.any():
            vectors[row] = vector
        else:
            bad[row] = Dropped(DropReason.NON_FINITE, f"{embedder.name} gave no direction")


def _need_all(images: Sequence[Image], settings: ModelConfig) -> Float32Array:
    vectors, bad = try_to_embed(images, settings)
    if bad:
        row, why = min(bad.items())
        more = f" (and {len(bad) - 1} more)" if len(bad) > 1 else ""
        raise DatasetError(f"{name_of(images, row)}: {why}{more}; leave out what is no image")
    return vectors
