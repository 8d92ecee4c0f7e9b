"""A descriptor without learned weights: where edges run and what colours there are, on a grid.

`classical/hog-colour-8x8` keeps the layout, so it tells copies from look-alikes; `classical/hog-colour-4x4` keeps it
roughly, as GIST does (Oliva and Torralba 2001), which says most of what a photo shows; `classical/hog-colour-1x1` pools
over the whole image, for textures. It is no SSCD and no DINO: it serves where there are no weights and no network, and
is always named as what it is.
"""

import itertools
import math
import re
from collections.abc import Iterable, Sequence
from typing import Self

import numpy as np
from PIL import Image

from curation.arrays import Float32Array, UInt8Array
from curation.config import ModelConfig
from curation.errors import ModelError
from curation.models.hog import cell_histograms
from curation.models.whitening import Whitening, fit_whitening

__all__ = ["ClassicalDescriptor"]

VERSION = 1
SIDE = 128
CELL = 8
COLOUR_SIDE = 32
LIGHTNESS_BINS, COLOUR_BINS, COLOUR_RANGE = 6, 12, 60.0
EDGE_WEIGHT = 0.8
LAYOUT_DIMS, CONTENT_DIMS = 320, 48
"""Dimensions to keep. Measured on the demo's web: fewer let look-alikes of one photograph through as copies, more let
slightly cropped copies escape; without a layout, more are noise to k-means."""
MOST_ALTERED = 1000


class ClassicalDescriptor:
    """HOG and Lab colour, PCA-whitened: by cell of an n x n grid, or for n = 1 over the whole image.

    It is fitted once per run: `fit` looks at a sample of its images, and `with_whitening` gives the descriptor that
    can `embed`.
    """

    at_once = 1  # images are looked at one by one

    def __init__(self, grid: int, whitening: Whitening | None = None) -> None:
        self.grid = grid
        self.whitening = whitening
        self.name = f"classical/hog-colour-{grid}x{grid}"
        self.side = SIDE
        self.dim = (CONTENT_DIMS if grid == 1 else LAYOUT_DIMS) if whitening is None else whitening.projection.shape[1]
        self.needs_fit = whitening is None

    @classmethod
    def from_settings(cls, settings: ModelConfig) -> Self:
        """The descriptor that a name such as `classical/hog-colour-8x8` stands for.

        Raises:
            ModelError: the name is unknown, or weights are given, of which it has none.
        """
        match = re.fullmatch(r"classical/hog-colour-(\d+)x(\d+)", settings.model)
        if match is None or match[1] != match[2] or int(match[1]) not in (1, 2, 4, 8):
            raise ModelError(
                f"model {settings.model!r}: unknown classical descriptor; "
                "name classical/hog-colour-<n>x<n> with n one of 1, 2, 4, 8"
            )
        if settings.weights is not None or settings.sha256 is not None:
            raise ModelError(f"model {settings.model!r}: has no weights; remove the weights and sha256 settings")
        return cls(int(match[1]))

    def with_whitening(self, whitening: Whitening) -> Self:
        """The same descriptor, ready to embed."""
        return type(self)(self.grid, whitening)

    def fingerprint(self) -> str:
        """Name and version; the whitening is the run's own input, and is digested with it."""
        return f"{self.name} v{VERSION}"

    def setup(self) -> None:
        """Nothing to load."""

    def fit(self, images: Iterable[UInt8Array]) -> Whitening:
        """The whitening for a run, fitted to a sample of its images; the same sample gives the same bytes.

        With a layout, up to 1,000 images are also looked at slightly cropped and, half of the time, reduced, and what
        this changes least is kept: copies are told from look-alikes by what survives copying.
        """
        images = list(images)
        raw = self.raw(images)
        if self.grid == 1:
            return fit_whitening(raw, self.dim)
        rng = np.random.default_rng(0)
        altered = self.raw([_altered(image, rng) for image in images[:MOST_ALTERED]])
        return fit_whitening(raw, self.dim, altered - raw[:MOST_ALTERED])

    def raw(self, images: Sequence[UInt8Array]) -> Float32Array:
        """Descriptors before whitening.

        Args:
            images: N arrays of (H, W, 3) uint8 RGB, each of any size.

        Returns:
            (N, D) float32 of the order of 1; D is 15 n^2, and 884 for n = 1.
        """
        describe = _content if self.grid == 1 else self._layout
        rows = [describe(_gradients(image), _lab(image)) for image in images]
        return np.stack(rows) if rows else np.empty((0, 0), np.float32)

    def embed(self, images: Sequence[UInt8Array]) -> Float32Array:
        """Whitened descriptors, (N, dim) float32 rows of length 1; `with_whitening` comes first."""
        assert self.whitening is not None, f"{self.name} is used before it is fitted"
        return self.whitening.apply(self.raw(images)) if len(images) else np.empty((0, self.dim), np.float32)

    def _layout(self, cells: Float32Array, lab: Float32Array) -> Float32Array:
        """By grid cell: orientation histogram, and mean and deviation of L, a and b."""
        edges = np.sqrt(_pool(cells, self.grid)).ravel()
        mean = _pool(lab, self.grid)
        deviation = np.sqrt(np.maximum(_pool(lab**2, self.grid) - mean**2, 0.0))
        colours = np.concatenate((mean, deviation), axis=2).ravel() / (100.0 * self.grid)
        return np.concatenate((_unit(edges), colours)).astype(np.float32)


def _altered(image: UInt8Array, rng: np.random.Generator) -> UInt8Array:
    """The image with 2 to 10 % of its width and height cut off, half of the time at half to its full size."""
    height, width = image.shape[:2]
    new_width, new_height = (max(1, round(side * rng.uniform(0.90, 0.98))) for side in (width, height))
    left, top = int(rng.integers(width - new_width + 1)), int(rng.integers(height - new_height + 1))
    crop = Image.fromarray(image[top : top + new_height, left : left + new_width])
    scale = rng.uniform(0.5, 1.0) if rng.random() < 0.5 else 1.0
    size = (max(1, round(new_width * scale)), max(1, round(new_height * scale)))
    return np.asarray(crop.resize(size, Image.Resampling.BILINEAR))


def _content(cells: Float32Array, lab: Float32Array) -> Float32Array:
    """Over the whole image: orientations, how they vary, how strong edges are, and a joint histogram of colours.

    The histogram is square-rooted, so that dot products compare distributions (the Hellinger kernel).
    """
    edges = np.concatenate((np.sqrt(cells.mean(axis=(0, 1))), np.sqrt(cells).std(axis=(0, 1))))
    strength = np.sqrt(cells.sum(axis=2))
    colours = np.sqrt(_joint_histogram(lab.reshape(-1, 3)))
    parts = (EDGE_WEIGHT * _unit(edges), np.array((strength.mean(), strength.std())), colours)
    return np.concatenate(parts).astype(np.float32)


def _gradients(image: UInt8Array) -> Float32Array:
    """(16, 16, 9) orientation histograms of the image squeezed to 128 x 128."""
    grey = Image.fromarray(image).convert("L").resize((SIDE, SIDE), Image.Resampling.BILINEAR)
    return cell_histograms(np.asarray(grey, np.float32) / 255.0, CELL)


def _lab(image: UInt8Array) -> Float32Array:
    """(32, 32, 3) float32 Lab of the image squeezed to 32 x 32."""
    small = Image.fromarray(image).resize((COLOUR_SIDE, COLOUR_SIDE), Image.Resampling.BOX)
    from skimage.color import rgb2lab

    return np.asarray(rgb2lab(np.asarray(small)), np.float32)


def _pool(cells: Float32Array, grid: int) -> Float32Array:
    """(C, C, K) to (grid, grid, K): means under overlapping triangles, so that a shift moves values smoothly."""
    step = len(cells) / grid
    centres = (np.arange(grid) + 0.5) * step
    distance = np.abs(np.arange(len(cells)) + 0.5 - centres[:, None]) / step
    weights = np.maximum(1.0 - distance, 0.0)
    weights /= weights.sum(axis=1, keepdims=True)
    return np.asarray(np.einsum("ip,jq,pqk->ijk", weights, weights, cells, optimize=True), np.float32)


def _joint_histogram(lab: Float32Array) -> Float32Array:
    """(P, 3) Lab to the share of each of 6 x 12 x 12 colours; a pixel is divided among the bins around it."""
    shape = (LIGHTNESS_BINS, COLOUR_BINS, COLOUR_BINS)
    low, high = np.array((0.0, -COLOUR_RANGE, -COLOUR_RANGE)), np.array((100.0, COLOUR_RANGE, COLOUR_RANGE))
    position = np.clip((lab - low) / (high - low), 0.0, 1.0 - 1e-6) * (np.array(shape) - 1)
    below = position.astype(np.intp)
    part = position - below
    histogram = np.zeros(math.prod(shape))
    for corner in itertools.product((0, 1), repeat=3):
        weight = np.prod(np.where(corner, part, 1.0 - part), axis=1)
        index = np.ravel_multi_index(tuple((below + corner).T), shape)
        histogram += np.bincount(index, weight, minlength=len(histogram))
    return (histogram / len(lab)).astype(np.float32)


def _unit(vector: Float32Array) -> Float32Array:
    return vector / np.float32(max(float(np.linalg.norm(vector)), 1e-6))
