"""Colour operations on one image as planes `(3, H, W)` float32 with whole values in 0..255, in place.

Each ends on whole values again, as the 8-bit operations of the official transforms do: they round towards zero.
"""

import numpy as np

__all__ = ["LUMA", "blur", "brighten", "contrast", "gaussian", "grey", "rotate_hue", "saturate", "solarise"]

LUMA = np.array([0.299, 0.587, 0.114], dtype=np.float32)


def brighten(x: np.ndarray, factor: float) -> None:
    """Multiply by `factor`."""
    x *= np.float32(factor)
    _settle(x)


def contrast(x: np.ndarray, factor: float) -> None:
    """Scale the distance from the mean luma by `factor`."""
    mean = np.floor(_luma(x).mean() + 0.5)
    x *= np.float32(factor)
    x += np.float32((1 - factor) * mean)
    _settle(x)


def saturate(x: np.ndarray, factor: float) -> None:
    """Scale the distance from each pixel's luma by `factor`."""
    luma = _luma(x)
    luma *= np.float32(1 - factor)
    x *= np.float32(factor)
    x += luma
    _settle(x)


def grey(x: np.ndarray) -> None:
    """Replace the channels by the luma."""
    x[:] = _luma(x)


def solarise(x: np.ndarray) -> None:
    """Invert values from 128 on."""
    np.subtract(255, x, out=x, where=x >= 128)


def rotate_hue(x: np.ndarray, turn: float) -> None:
    """Turn the hue by `turn` (1 is a full circle); largest and smallest channel of a pixel keep their values.

    With hue h in sixths of a circle, channel n of (5, 3, 1) is max - chroma * clip(min(k, 4 - k), 0, 1) for
    k = n + h mod 6.
    """
    red, green, blue = x
    top = np.maximum(np.maximum(red, green), blue)
    chroma = top - np.minimum(np.minimum(red, green), blue)
    scale = np.float32(1) / np.maximum(chroma, np.float32(1e-6))
    hue = np.where(
        top == red, (green - blue) * scale, np.where(top == green, (blue - red) * scale + 2, (red - green) * scale + 4)
    )
    hue += np.float32(6 * turn + 6)
    for plane, offset in zip(x, (5, 3, 1), strict=True):
        k = hue + np.float32(offset)
        k -= np.float32(6) * np.floor(k * np.float32(1 / 6))
        np.minimum(k, np.float32(4) - k, out=k)
        np.clip(k, 0, 1, out=k)
        k *= chroma
        np.subtract(top, k, out=plane)
    x += np.float32(0.5)
    _settle(x)


def blur(x: np.ndarray, sigma: float) -> None:
    """Gaussian blur with mirrored edges."""
    weights = gaussian(sigma)
    if len(weights) == 1:
        return
    for axis in (1, 2):
        _filter(x, weights, axis)
    x += np.float32(0.5)
    _settle(x)


def gaussian(sigma: float) -> np.ndarray:
    """Weights by distance 0, 1, ... of a Gaussian of 9 taps; those that cannot change an 8-bit value are left out."""
    distances = np.arange(5)
    taps = np.exp(-0.5 * (distances / sigma) ** 2)
    taps /= taps[0] + 2 * taps[1:].sum()
    radius = int(np.nonzero(taps > 1 / 1024)[0].max())
    weights = taps[: radius + 1].astype(np.float32)
    weights /= weights[0] + 2 * weights[1:].sum()
    return weights


def _filter(x: np.ndarray, weights: np.ndarray, axis: int) -> None:
    radius, length = len(weights) - 1, x.shape[axis]
    widths = [(radius, radius) if i == axis else (0, 0) for i in range(3)]
    padded = np.pad(x, widths, mode="reflect")

    def shifted(by: int) -> np.ndarray:
        return padded[:, by : by + length] if axis == 1 else padded[:, :, by : by + length]

    np.multiply(shifted(radius), weights[0], out=x)
    for distance in range(1, radius + 1):
        pair = shifted(radius - distance) + shifted(radius + distance)
        pair *= weights[distance]
        x += pair


def _luma(x: np.ndarray) -> np.ndarray:
    luma = np.tensordot(LUMA, x, axes=1)
    luma += np.float32(0.5)
    return np.floor(luma, out=luma)


def _settle(x: np.ndarray) -> None:
    np.clip(x, 0, 255, out=x)
    np.floor(x, out=x)
