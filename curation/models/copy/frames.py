"""Edits that set a picture into something larger: borders, captions, screens, other pictures."""

import numpy as np
from numpy.random import Generator
from PIL import Image, ImageDraw

from curation.models.copy.overlays import font, random_colour, random_text

__all__ = ["meme", "on_picture", "padded", "screenshot"]

Colour = tuple[int, int, int]


def padded(image: Image.Image, rng: Generator) -> Image.Image:
    """Borders of one colour: to a square, or of any width on any side."""
    width, height = image.size
    if rng.random() < 0.35:
        canvas = Image.new("RGB", (max(image.size),) * 2, random_colour(rng))
        canvas.paste(image, ((canvas.width - width) // 2, (canvas.height - height) // 2))
        return canvas
    even = rng.random() < 0.5
    shares = np.full(4, rng.uniform(0.05, 0.5)) if even else rng.uniform(0, 0.5, 4) * (rng.random(4) < 0.7)
    left, right = (round(float(share) * width) for share in shares[:2])
    above, below = (round(float(share) * height) for share in shares[2:])
    canvas = Image.new("RGB", (left + width + right, above + height + below), random_colour(rng))
    canvas.paste(image, (left, above))
    return canvas


def meme(image: Image.Image, rng: Generator) -> Image.Image:
    """A caption above the picture, below it, or both."""
    width, height = image.size
    above, below = (round(height * rng.uniform(0.12, 0.45)) if rng.random() < 0.75 else 0 for _ in range(2))
    if above + below == 0:
        above = round(height * 0.25)
    paper, ink = ((255, 255, 255), (0, 0, 0)) if rng.random() < 0.7 else (random_colour(rng), random_colour(rng))
    canvas = Image.new("RGB", (width, above + height + below), paper)
    canvas.paste(image, (0, above))
    draw = ImageDraw.Draw(canvas)
    for top, room in ((0, above), (above + height, below)):
        lines = int(rng.integers(1, 4))
        size = round(room / (lines + 1))
        if size >= 6:
            for line in range(lines):
                place = (width * rng.uniform(0.02, 0.2), top + (line + 0.4) * size)
                draw.text(place, random_text(rng, int(rng.integers(1, 5))), fill=ink, font=font(size))
    return canvas


def on_picture(image: Image.Image, other: Image.Image, rng: Generator) -> Image.Image:
    """The picture, small, anywhere on another one."""
    share = rng.uniform(0.35, 0.85)
    scale = share * min(other.width / image.width, other.height / image.height)
    if rng.random() < 0.3:  # as the background is often scaled to the picture rather than the other way round
        width, height = (max(8, round(length * share)) for length in other.size)
    else:
        width, height = (max(8, round(length * scale)) for length in image.size)
    canvas = other.copy()
    place = (int(rng.integers(max(1, other.width - width))), int(rng.integers(max(1, other.height - height))))
    canvas.paste(image.resize((width, height), Image.Resampling.BILINEAR), place)
    return canvas


def screenshot(image: Image.Image, rng: Generator) -> Image.Image:
    """The picture on a page or in an app, with bars, buttons and lines of text around it."""
    upright = rng.random() < 0.5
    short = round(min(image.size) * rng.uniform(1.0, 1.3))
    long = round(short * rng.uniform(1.3, 2.1))
    width, height = (short, long) if upright else (long, short)
    dark = rng.random() < 0.3
    level = int(rng.integers(0, 45)) if dark else int(rng.integers(225, 256))
    page: Colour = (level, level, level) if rng.random() < 0.8 else random_colour(rng)
    canvas = Image.new("RGB", (width, height), page)
    draw = ImageDraw.Draw(canvas)
    _text_lines(draw, width, height, dark, rng)
    left, top, wide, high = _window(image, width, height, upright, rng)
    canvas.paste(image.resize((wide, high), Image.Resampling.BILINEAR), (left, top))
    _bars(draw, width, height, rng)
    return canvas


def _window(image: Image.Image, width: int, height: int, upright: bool, rng: Generator) -> tuple[int, int, int, int]:
    """Where on the screen the picture is: left, top, width, height; in its own proportions, or stretched."""
    wide = round(width * (rng.uniform(0.7, 1.0) if upright else rng.uniform(0.35, 0.85)))
    stretch = 1.0 if rng.random() < 0.5 else float(rng.uniform(0.65, 1.5))
    high = round(wide * image.height / image.width * stretch)
    if high > 0.85 * height:
        wide, high = max(8, round(wide * 0.85 * height / high)), round(0.85 * height)
    left = int(rng.integers(width - wide + 1))
    top = int(rng.integers(round(0.05 * height), height - high + 1))
    return left, top, max(8, wide), max(8, high)


def _text_lines(draw: ImageDraw.ImageDraw, width: int, height: int, dark: bool, rng: Generator) -> None:
    """Columns of grey lines, as small text looks, and blocks where other pictures would be."""
    ink = int(rng.integers(130, 240)) if dark else int(rng.integers(20, 180))
    step = max(3, round(height * rng.uniform(0.025, 0.06)))
    left, right = sorted(rng.uniform(0.0, 1.0, 2) * width)
    for y in range(0, height, step):
        if rng.random() < 0.75:
            end = left + (right - left) * rng.uniform(0.3, 1.0)
            draw.rectangle((left, y, end, y + step // 3), fill=(ink, ink, ink))
    for _ in range(int(rng.integers(0, 5))):
        x, top, size = rng.uniform(0, width), rng.uniform(0, height), rng.uniform(0.05, 0.25) * width
        draw.rectangle((x, top, x + size, top + size * rng.uniform(0.4, 1.2)), fill=random_colour(rng))


def _bars(draw: ImageDraw.ImageDraw, width: int, height: int, rng: Generator) -> None:
    """A title bar, often with buttons and an address, and sometimes a bar at the bottom."""
    for top, share in ((True, 0.85), (False, 0.5)):
        if rng.random() > share:
            continue
        high = round(height * rng.uniform(0.03, 0.13))
        y = 0 if top else height - high
        draw.rectangle((0, y, width, y + high), fill=random_colour(rng))
        if high < 4:
            continue
        for button in range(int(rng.integers(0, 6))):
            x = (0.3 + 1.2 * button) * high
            draw.ellipse((x, y + 0.25 * high, x + 0.5 * high, y + 0.75 * high), fill=random_colour(rng))
        if rng.random() < 0.5:
            draw.rectangle((0.35 * width, y + 0.25 * high, 0.85 * width, y + 0.75 * high), fill=random_colour(rng))
