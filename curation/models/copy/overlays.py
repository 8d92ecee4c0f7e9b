"""Edits that lay something over a picture: text, stickers, stripes, another picture."""

import functools
import math

import numpy as np
from numpy.random import Generator
from PIL import Image, ImageDraw, ImageFont

__all__ = ["random_colour", "random_text", "with_picture", "with_stickers", "with_stripes", "with_text"]

Colour = tuple[int, int, int]

LETTERS = np.array(list("etaoinshrdlucmfwypvbgkETAOINSHRD0123456789!?.,:"))


def random_colour(rng: Generator) -> Colour:
    """Black, white, or any colour."""
    kind = rng.random()
    if kind < 0.25:
        return (0, 0, 0)
    if kind < 0.5:
        return (255, 255, 255)
    red, green, blue = (int(level) for level in rng.integers(0, 256, 3))
    return (red, green, blue)


def random_text(rng: Generator, words: int) -> str:
    """Words of random letters."""
    return " ".join("".join(rng.choice(LETTERS, int(rng.integers(2, 9)))) for _ in range(words))


@functools.cache
def font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """Pillow's own font at a size in pixels."""
    return ImageFont.load_default(size)


def with_text(image: Image.Image, rng: Generator) -> Image.Image:
    """One to three lines of text anywhere on the picture."""
    image = image.copy()
    draw = ImageDraw.Draw(image)
    for _ in range(int(rng.integers(1, 4))):
        size = max(6, round(min(image.size) * rng.uniform(0.08, 0.25)))
        place = (rng.uniform(-0.1, 0.6) * image.width, rng.uniform(0, 0.9) * image.height)
        draw.text(place, random_text(rng, int(rng.integers(1, 5))), fill=random_colour(rng), font=font(size))
    return image


def with_stickers(image: Image.Image, rng: Generator) -> Image.Image:
    """One to four flat drawings: faces, hearts of two circles, stars, boxes."""
    image = image.copy()
    draw = ImageDraw.Draw(image)
    for _ in range(int(rng.integers(1, 5))):
        radius = min(image.size) * rng.uniform(0.06, 0.25)
        x, y = rng.uniform(0, 1) * image.width, rng.uniform(0, 1) * image.height
        STICKERS[int(rng.integers(len(STICKERS)))](draw, x, y, radius, rng)
    return image


def _face(draw: ImageDraw.ImageDraw, x: float, y: float, radius: float, rng: Generator) -> None:
    skin = (255, int(rng.integers(180, 230)), int(rng.integers(0, 90)))
    draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=skin)
    for eye in (x - 0.35 * radius, x + 0.35 * radius):
        draw.ellipse((eye - 0.13 * radius, y - 0.4 * radius, eye + 0.13 * radius, y - 0.05 * radius), fill=(70, 45, 20))
    mouth = (x - 0.55 * radius, y - 0.3 * radius, x + 0.55 * radius, y + 0.6 * radius)
    draw.arc(mouth, 20, 160, fill=(70, 45, 20), width=max(1, round(radius / 8)))


def _heart(draw: ImageDraw.ImageDraw, x: float, y: float, radius: float, rng: Generator) -> None:
    red = (int(rng.integers(200, 256)), int(rng.integers(0, 80)), int(rng.integers(0, 110)))
    draw.ellipse((x - radius, y - 0.8 * radius, x, y + 0.2 * radius), fill=red)
    draw.ellipse((x, y - 0.8 * radius, x + radius, y + 0.2 * radius), fill=red)
    draw.polygon([(x - 0.95 * radius, y), (x + 0.95 * radius, y), (x, y + radius)], fill=red)


def _star(draw: ImageDraw.ImageDraw, x: float, y: float, radius: float, rng: Generator) -> None:
    turn = rng.uniform(0, math.tau)
    corners = [
        (x + math.cos(turn + step * math.pi / 5) * reach, y + math.sin(turn + step * math.pi / 5) * reach)
        for step, reach in enumerate([radius, 0.4 * radius] * 5)
    ]
    draw.polygon(corners, fill=random_colour(rng))


def _box(draw: ImageDraw.ImageDraw, x: float, y: float, radius: float, rng: Generator) -> None:
    high = radius * rng.uniform(0.3, 1.0)
    draw.rectangle((x - radius, y - high, x + radius, y + high), fill=random_colour(rng))


STICKERS = (_face, _heart, _star, _box)


def with_stripes(image: Image.Image, rng: Generator) -> Image.Image:
    """Parallel bars across the picture, at any angle, more or less opaque."""
    width, height = image.size
    angle, period = rng.uniform(0, math.pi), min(image.size) * rng.uniform(0.08, 0.4)
    share, opacity = rng.uniform(0.15, 0.6), rng.uniform(0.4, 1.0)
    rows, columns = np.ogrid[:height, :width]
    across = (math.cos(angle) * columns + math.sin(angle) * rows) / period + rng.uniform(0, 1)
    mask = Image.fromarray((((across % 1.0) < share) * round(255 * opacity)).astype(np.uint8))
    return Image.composite(Image.new("RGB", image.size, random_colour(rng)), image, mask)


def with_picture(image: Image.Image, other: Image.Image, rng: Generator) -> Image.Image:
    """Another picture laid over a part of this one, or faintly over all of it."""
    image = image.copy()
    if rng.random() < 0.35:
        return Image.blend(image, other.resize(image.size, Image.Resampling.BILINEAR), rng.uniform(0.15, 0.45))
    width, height = (max(4, round(length * rng.uniform(0.2, 0.6))) for length in image.size)
    place = (int(rng.integers(image.width - width + 1)), int(rng.integers(image.height - height + 1)))
    image.paste(other.resize((width, height), Image.Resampling.BILINEAR), place)
    return image
