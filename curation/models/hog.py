"""Histograms of oriented gradients: scikit-image's, in numpy, some ten times as fast.

`skimage.feature.hog` takes 6 ms for 128 x 128 pixels, most of it in a Python loop over blocks; a test holds the
histograms here equal to its own.
"""

import numpy as np

from curation.arrays import Float32Array

__all__ = ["ORIENTATIONS", "cell_histograms"]

ORIENTATIONS = 9


def cell_histograms(grey: Float32Array, cell: int) -> Float32Array:
    """Mean gradient magnitude by unsigned orientation, in each cell.

    Args:
        grey: (S, S) float32, S a multiple of `cell`.
        cell: side of a square cell in pixels.

    Returns:
        (S / cell, S / cell, 9) float32; orientation k covers angles from 20 k to 20 (k + 1) degrees.
    """
    across = np.zeros_like(grey)
    down = np.zeros_like(grey)
    across[:, 1:-1] = grey[:, 2:] - grey[:, :-2]
    down[1:-1] = grey[2:] - grey[:-2]
    angle = np.rad2deg(np.arctan2(down, across)) % 180.0
    # an angle of -0.0000001 comes out of the modulo as 180 itself, which scikit-image counts in no bin
    orientation = (angle * (ORIENTATIONS / 180.0)).astype(np.intp)
    magnitude = np.where(orientation < ORIENTATIONS, np.hypot(across, down), 0.0)
    cells = len(grey) // cell
    row = np.arange(len(grey)) // cell
    index = (row[:, None] * cells + row[None, :]) * ORIENTATIONS + np.minimum(orientation, ORIENTATIONS - 1)
    sums = np.bincount(index.ravel(), magnitude.ravel(), minlength=cells * cells * ORIENTATIONS)
    return (sums / cell**2).reshape(cells, cells, ORIENTATIONS).astype(np.float32)
