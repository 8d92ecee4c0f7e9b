"""What people do to pictures before they post them again, as random edits for training a copy descriptor.

An edit takes a picture and a generator and gives the edited picture. `edited_copy` applies a few, in the order in which
a picture meets them: it is cropped, its pixels are changed, it is turned, things are laid over it, it is set into
something larger, and it is encoded. The list follows the edits of "A Self-Supervised Descriptor for Image Copy
Detection" (arXiv 2202.10261, section 4.2) and of the image similarity challenge (arXiv 2106.09672, section 3.3).
"""

import io
import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.random import Generator
from PIL import Image, ImageEnhance, ImageFilter, ImageOps

from curation.arrays import Float64Array
from curation.imaging.decode import Pixels
from curation.models.copy import frames, overlays

__all__ = ["EDITS", "Edit", "edited_copy", "near_original"]

SLACK = 1.25
"""Edits work at this many times the size of the view, so that what they leave is not blurred by a second resize."""


class Edit(NamedTuple):
    """An edit, when it happens (earlier phases first), and how often relative to the others."""

    name: str
    phase: int
    weight: float
    apply: Callable[[Image.Image, Generator], Image.Image] | None = None
    compose: Callable[[Image.Image, Image.Image, Generator], Image.Image] | None = None
    """In place of `apply`, for an edit that takes another picture too."""


def near_original(photo: Pixels, side: int, rng: Generator) -> Pixels:
    """The picture scaled to a square, (side, side, 3) uint8, at most with a little cut off and encoded once more."""
    image = Image.fromarray(photo)
    if rng.random() < 0.3:
        image = _crop(image, rng.uniform(0.8, 1.0), math.exp(rng.uniform(-0.1, 0.1)), rng)
    image = _square(image, side)
    if rng.random() < 0.3:
        image = _reencoded(image, int(rng.integers(50, 95)))
    return np.asarray(image)


def edited_copy(photo: Pixels, others: Sequence[Pixels], side: int, rng: Generator) -> Pixels:
    """A picture after one to four random edits, scaled to a square.

    Args:
        photo: (H, W, 3) uint8.
        others: pictures to set this one into, or to lay over it.

    Returns:
        (side, side, 3) uint8; equal generators give equal bytes.
    """
    count = int(rng.choice([1, 2, 3, 4], p=[0.3, 0.35, 0.25, 0.1]))
    chosen = rng.choice(len(EDITS), size=count, replace=False, p=WEIGHTS)
    image = Image.fromarray(photo)
    shrunk = False
    for edit in sorted((EDITS[index] for index in chosen), key=lambda edit: edit.phase):
        if edit.phase > 0 and not shrunk:
            image, shrunk = _to_working_size(image, side), True
        if edit.compose is not None:
            other = Image.fromarray(others[int(rng.integers(len(others)))])
            image = edit.compose(image, other, rng)
        else:
            assert edit.apply is not None
            image = edit.apply(image, rng)
    return np.asarray(_square(image, side))


def _to_working_size(image: Image.Image, side: int) -> Image.Image:
    """The same picture with its shorter side at most `SLACK` views long, its longer side at most twice that."""
    scale = min(1.0, SLACK * side / min(image.size), 2 * SLACK * side / max(image.size))
    if scale == 1.0:
        return image
    return _scaled(image, scale, 8)


def _scaled(image: Image.Image, scale: float, least: int) -> Image.Image:
    """The picture at a size of its own proportions, no side shorter than `least` pixels."""
    width, height = (max(least, round(length * scale)) for length in image.size)
    return image.resize((width, height), Image.Resampling.BILINEAR)


def _square(image: Image.Image, side: int) -> Image.Image:
    return image.resize((side, side), Image.Resampling.BILINEAR)


def _crop(image: Image.Image, area: float, aspect: float, rng: Generator) -> Image.Image:
    """A random window of a share `area` of the picture, `aspect` times as wide for its height as the picture."""
    width, height = image.size
    wide = min(1.0, math.sqrt(area * aspect))
    high = min(1.0, area / wide)
    new_width, new_height = max(8, round(width * wide)), max(8, round(height * high))
    left = int(rng.integers(max(1, width - new_width + 1)))
    top = int(rng.integers(max(1, height - new_height + 1)))
    return image.crop((left, top, min(width, left + new_width), min(height, top + new_height)))


def _cropped(image: Image.Image, rng: Generator) -> Image.Image:
    area = math.exp(rng.uniform(math.log(0.12), math.log(0.8)))
    return _crop(image, area, math.exp(rng.uniform(-0.3, 0.3)), rng)


def _cropped_middle(image: Image.Image, rng: Generator) -> Image.Image:
    """The middle of the picture, as a centre crop of half its width and height and the like keep it."""
    return _middle(image, image.size, rng.uniform(0.4, 0.9))


def _middle(image: Image.Image, size: tuple[int, int], share: float) -> Image.Image:
    """The middle of a picture, as large as a share of a size."""
    width, height = (max(8, round(length * share)) for length in size)
    left, top = (image.width - width) // 2, (image.height - height) // 2
    return image.crop((left, top, left + width, top + height))


def _flipped(image: Image.Image, rng: Generator) -> Image.Image:
    return ImageOps.mirror(image) if rng.random() < 0.75 else ImageOps.flip(image)


def _turned(image: Image.Image, rng: Generator) -> Image.Image:
    """Rotated: by quarters, or by any angle with corners filled, or so far that only a crop without corners is left."""
    kind = rng.random()
    if kind < 0.25:
        return image.rotate((90, 180, 270)[int(rng.integers(3))], expand=True)
    angle = float(rng.uniform(3, 30)) * (1 if rng.random() < 0.5 else -1)
    turned = image.rotate(angle, Image.Resampling.BILINEAR, expand=kind < 0.7, fillcolor=overlays.random_colour(rng))
    if kind < 0.7:
        return turned
    keep = 1.0 / (math.cos(math.radians(abs(angle))) + math.sin(math.radians(abs(angle))))
    return _middle(turned, image.size, keep)


def _tilted(image: Image.Image, rng: Generator) -> Image.Image:
    """Seen at an angle: each corner is moved by up to a quarter of the side."""
    width, height = image.size
    corners = np.array([[0, 0], [0, height], [width, height], [width, 0]], np.float64)
    moved = corners + rng.uniform(-1, 1, (4, 2)) * rng.uniform(0.05, 0.22) * np.array([width, height])
    transform = Image.Transform.PERSPECTIVE, _perspective(corners, moved), Image.Resampling.BILINEAR
    return image.transform(image.size, *transform, fillcolor=overlays.random_colour(rng))


def _perspective(target: Float64Array, source: Float64Array) -> list[float]:
    """Pillow's eight coefficients of the map that takes four `target` points to four `source` points."""
    rows = []
    for (x, y), (u, v) in zip(target, source, strict=True):
        rows.append([x, y, 1, 0, 0, 0, -u * x, -u * y])
        rows.append([0, 0, 0, x, y, 1, -v * x, -v * y])
    return [float(value) for value in np.linalg.solve(np.array(rows), source.reshape(8))]


def _stretched(image: Image.Image, rng: Generator) -> Image.Image:
    factor = math.exp(rng.uniform(0.2, 0.8))
    width, height = image.size
    wider = rng.random() < 0.5
    size = (round(width * factor), height) if wider else (width, round(height * factor))
    return image.resize(size, Image.Resampling.BILINEAR)


def _shrunk(image: Image.Image, rng: Generator) -> Image.Image:
    return _scaled(image, math.exp(rng.uniform(math.log(0.15), math.log(0.6))), 12)


def _pixelated(image: Image.Image, rng: Generator) -> Image.Image:
    scale = rng.uniform(0.1, 0.5)
    small = image.resize([max(10, round(length * scale)) for length in image.size], Image.Resampling.BOX)
    return small.resize(image.size, Image.Resampling.NEAREST)


def _recoloured(image: Image.Image, rng: Generator) -> Image.Image:
    """Brightness, contrast, saturation, each changed or not."""
    for enhancer in (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color):
        if rng.random() < 0.6:
            image = enhancer(image).enhance(math.exp(rng.uniform(-0.9, 0.7)))
    return image


def _tinted(image: Image.Image, rng: Generator) -> Image.Image:
    """Hues turned, or each channel scaled by itself."""
    if rng.random() < 0.5:
        hue, saturation, value = image.convert("HSV").split()
        shift = int(rng.integers(256))
        return Image.merge("HSV", (hue.point(lambda level: (level + shift) % 256), saturation, value)).convert("RGB")
    gains = rng.uniform(0.5, 1.5, 3)
    return image.point([min(255, int(level * gain)) for gain in gains.tolist() for level in range(256)])


def _greyed(image: Image.Image, rng: Generator) -> Image.Image:
    grey = image.convert("L")
    if rng.random() < 0.25:
        return ImageOps.colorize(grey, overlays.random_colour(rng), overlays.random_colour(rng))
    return grey.convert("RGB")


def _levelled(image: Image.Image, rng: Generator) -> Image.Image:
    kind = int(rng.integers(4))
    if kind == 0:
        return ImageOps.equalize(image)
    if kind == 1:
        return ImageOps.posterize(image, int(rng.integers(2, 5)))
    if kind == 2:
        return ImageOps.invert(image)
    gamma = math.exp(rng.uniform(-0.7, 0.7))
    return image.point([round(255 * (level / 255) ** gamma) for level in range(256)] * 3)


def _blurred(image: Image.Image, rng: Generator) -> Image.Image:
    return image.filter(ImageFilter.GaussianBlur(rng.uniform(0.008, 0.035) * min(image.size)))


def _sharpened(image: Image.Image, rng: Generator) -> Image.Image:
    return ImageEnhance.Sharpness(image).enhance(rng.uniform(2, 12))


def _noisy(image: Image.Image, rng: Generator) -> Image.Image:
    pixels = np.asarray(image, np.int16)
    spread = rng.uniform(8, 50)
    if rng.random() < 0.3:
        noise = rng.choice([-255, 0, 255], size=pixels.shape[:2], p=[spread / 500, 1 - spread / 250, spread / 500])
    else:
        noise = rng.standard_normal(pixels.shape[:2], np.float32) * spread
    return Image.fromarray(np.clip(pixels + noise.astype(np.int16)[..., None], 0, 255).astype(np.uint8))


def _shuffled(image: Image.Image, rng: Generator) -> Image.Image:
    """A share of the pixels swapped among themselves."""
    pixels = np.array(image).reshape(-1, 3)
    chosen = rng.choice(len(pixels), size=round(len(pixels) * rng.uniform(0.05, 0.3)), replace=False)
    pixels[chosen] = pixels[rng.permutation(chosen)]
    return Image.fromarray(pixels.reshape(image.height, image.width, 3))


def _reencoded_badly(image: Image.Image, rng: Generator) -> Image.Image:
    return _reencoded(image, int(rng.integers(5, 50)))


def _reencoded(image: Image.Image, quality: int) -> Image.Image:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality)
    with Image.open(buffer) as encoded:
        encoded.load()
        return encoded.convert("RGB")


EDITS = (
    Edit("crop", 0, 4.0, _cropped),
    Edit("crop middle", 0, 2.0, _cropped_middle),
    Edit("colours", 1, 2.0, _recoloured),
    Edit("tint", 1, 1.0, _tinted),
    Edit("grey", 1, 1.0, _greyed),
    Edit("levels", 1, 0.7, _levelled),
    Edit("blur", 1, 1.2, _blurred),
    Edit("sharpen", 1, 0.6, _sharpened),
    Edit("pixelate", 1, 0.8, _pixelated),
    Edit("noise", 1, 0.8, _noisy),
    Edit("shuffle", 1, 0.5, _shuffled),
    Edit("flip", 2, 2.5, _flipped),
    Edit("turn", 2, 2.5, _turned),
    Edit("tilt", 2, 1.5, _tilted),
    Edit("stretch", 2, 1.0, _stretched),
    Edit("text", 3, 1.2, overlays.with_text),
    Edit("sticker", 3, 1.2, overlays.with_stickers),
    Edit("stripes", 3, 1.0, overlays.with_stripes),
    Edit("picture on it", 3, 1.0, compose=overlays.with_picture),
    Edit("pad", 4, 2.0, frames.padded),
    Edit("meme", 4, 1.5, frames.meme),
    Edit("screen", 4, 4.0, frames.screenshot),
    Edit("on a picture", 4, 2.5, compose=frames.on_picture),
    Edit("shrink", 5, 1.0, _shrunk),
    Edit("encode", 5, 2.0, _reencoded_badly),
)
"""All edits; the frames and crops, of which little of the picture is left in a view, come most often."""

WEIGHTS = np.array([edit.weight for edit in EDITS]) / sum(edit.weight for edit in EDITS)
