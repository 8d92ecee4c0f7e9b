"""Pictures that look like copies and are none: what a judge of copies has to tell apart.

A second photograph of a place is drawn from the first: the camera has moved a little, near things have moved against
far ones, the light is another, and the noise is its own. Things are cut out by masks and stood before one background,
each photographed anew. Different pictures are put into one frame, under one text, into one fog.
"""

import math
from collections.abc import Callable, Sequence

import cv2
import numpy as np
from numpy.random import Generator
from PIL import Image, ImageDraw

from curation.arrays import BoolArray, Float32Array, UInt8Array
from curation.models.copy import frames, overlays

__all__ = ["FRAMES", "Cut", "in_one_frame", "in_one_weather", "second_photograph", "stood_before", "under_one"]

Cut = tuple[UInt8Array, BoolArray]
"""A thing: (h, w, 3) uint8, and (h, w) where it is."""


def second_photograph(image: UInt8Array, rng: Generator) -> UInt8Array:
    """The same scene photographed again from nearly the same place, of the same size, (H, W, 3) uint8."""
    height, width = image.shape[:2]
    warped = cv2.remap(image, *_way(height, width, rng), cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT)
    light = warped.astype(np.float32) / 255
    gain = np.exp(rng.normal(0, 0.12)) * np.exp(rng.normal(0, 0.04, 3))
    light = np.clip(light * gain.astype(np.float32), 0, 1) ** np.float32(np.exp(rng.normal(0, 0.12)))
    if rng.random() < 0.4:  # the focus is never quite the same
        light = cv2.GaussianBlur(light, (0, 0), rng.uniform(0.3, 1.0))
    return np.asarray((np.clip(light + _noise(light, rng), 0, 1) * 255).round(), dtype=np.uint8)


def _way(height: int, width: int, rng: Generator) -> tuple[Float32Array, Float32Array]:
    """Where each pixel comes from: a camera that was moved and turned a little, and things at several depths."""
    size = max(height, width)
    amount = math.exp(rng.uniform(math.log(0.15), 0))
    turn, scale = math.radians(rng.normal(0, 2.5)) * amount, math.exp(rng.normal(0, 0.05) * amount)
    shift = rng.normal(0, 0.03, 2) * size * amount
    tilt = rng.normal(0, 0.04, 2) * amount / size
    y, x = np.mgrid[:height, :width].astype(np.float32)
    x, y = x - width / 2, y - height / 2
    depth = 1 + tilt[0] * x + tilt[1] * y
    across = (math.cos(turn) * x - math.sin(turn) * y) * scale / depth + shift[0] + width / 2
    down = (math.sin(turn) * x + math.cos(turn) * y) * scale / depth + shift[1] + height / 2
    if rng.random() < 0.7:
        grid = int(rng.integers(3, 9))
        field = rng.standard_normal((grid, grid)).astype(np.float32)
        if rng.random() < 0.5:  # things that stand before each other, not a cloth
            field = np.sign(field) * np.float32(0.7)
        field = cv2.resize(field, (width, height), interpolation=cv2.INTER_CUBIC)
        reach = math.exp(rng.uniform(math.log(0.002), math.log(0.02))) * size
        angle = rng.uniform(0, math.tau)
        across, down = across + field * reach * math.cos(angle), down + field * reach * math.sin(angle)
    return across.astype(np.float32), down.astype(np.float32)


def _noise(light: Float32Array, rng: Generator) -> Float32Array:
    """Of the sensor: more where it is bright, and partly in coarse grains, as a camera's software leaves."""
    spread = math.exp(rng.uniform(math.log(0.003), math.log(0.04)))
    noise = rng.standard_normal(light.shape, np.float32)
    if rng.random() < 0.6:
        noise = cv2.GaussianBlur(noise, (0, 0), 0.7) * np.float32(2.2)
    return np.asarray(noise * spread * np.sqrt(0.3 + light), dtype=np.float32)


def stood_before(background: UInt8Array, things: Sequence[Cut], rng: Generator) -> list[UInt8Array]:
    """Each thing before the same background, in about the same place and size, as a hand holds packs."""
    height, width = background.shape[:2]
    share, x, y = rng.uniform(0.3, 0.75), rng.uniform(0.3, 0.7), rng.uniform(0.35, 0.7)
    return [_stood(background, thing, share * height, x * width, y * height, rng) for thing in things]


def _stood(background: UInt8Array, thing: Cut, high: float, x: float, y: float, rng: Generator) -> UInt8Array:
    picture, mask = thing
    height, width = background.shape[:2]
    scale = high * math.exp(rng.normal(0, 0.08)) / picture.shape[0]
    scale = min(scale, 0.75 * width / picture.shape[1])
    angle, (x, y) = rng.normal(0, 4), (x + rng.normal(0, 0.02) * width, y + rng.normal(0, 0.02) * height)
    centre = (picture.shape[1] / 2, picture.shape[0] / 2)
    matrix = cv2.getRotationMatrix2D(centre, angle, scale)
    matrix[:, 2] += np.array([x, y]) - centre
    laid = cv2.warpAffine(picture, matrix, (width, height), flags=cv2.INTER_AREA)
    alpha = cv2.warpAffine(mask.astype(np.float32), matrix, (width, height))
    alpha = cv2.GaussianBlur(alpha, (0, 0), 0.8)[..., None]
    return np.asarray((laid * alpha + background * (1 - alpha)).round(), dtype=np.uint8)


def _card(image: Image.Image, rng: Generator) -> Image.Image:
    """A white card with a head, a name and some lines of text around the picture, as feeds show it."""
    width, height = image.size
    top, bottom = round(height * rng.uniform(0.1, 0.3)), round(height * rng.uniform(0.1, 0.4))
    paper = (255, 255, 255) if rng.random() < 0.7 else (24, 26, 30)
    ink = (20, 20, 20) if paper[0] > 128 else (230, 230, 230)
    canvas = Image.new("RGB", (width, top + height + bottom), paper)
    draw = ImageDraw.Draw(canvas)
    draw.ellipse((0.15 * top, 0.15 * top, 0.85 * top, 0.85 * top), fill=overlays.random_colour(rng))
    words = overlays.random_text(rng, 3), overlays.random_text(rng, 12)
    draw.text((top, 0.2 * top), words[0], fill=ink, font=overlays.font(max(6, round(0.3 * top))))
    draw.text((0.05 * width, top + height + 0.15 * bottom), words[1], fill=ink, font=overlays.font(max(6, bottom // 4)))
    for button in range(int(rng.integers(2, 5))):
        left = (0.05 + 0.2 * button) * width
        draw.ellipse(
            (left, top + height + 0.6 * bottom, left + 0.25 * bottom, top + height + 0.85 * bottom), outline=ink
        )
    canvas.paste(image, (0, top))
    return canvas


def _polaroid(image: Image.Image, rng: Generator) -> Image.Image:
    """A broad rim, wider below, on a coloured table with a grain."""
    width, height = image.size
    rim, below = round(width * rng.uniform(0.04, 0.1)), round(height * rng.uniform(0.15, 0.3))
    outside = round(width * rng.uniform(0.0, 0.25))
    size = (width + 2 * (rim + outside), height + rim + below + 2 * outside)
    table = np.array(overlays.random_colour(rng), np.float32) + rng.normal(0, 12, (size[1], size[0], 1))
    canvas = Image.fromarray(np.clip(np.broadcast_to(table, (size[1], size[0], 3)), 0, 255).astype(np.uint8))
    ImageDraw.Draw(canvas).rectangle((outside, outside, size[0] - outside, size[1] - outside), fill=(246, 244, 238))
    canvas.paste(image, (outside + rim, outside + rim))
    return canvas


def _chat(image: Image.Image, rng: Generator) -> Image.Image:
    """A telephone: bars with time and battery, bubbles with text, the picture among them."""
    width = image.width + round(image.width * rng.uniform(0.1, 0.5))
    height = round(max(width * rng.uniform(1.4, 2.1), image.height * rng.uniform(1.3, 1.8)))
    ground = int(rng.integers(0, 40)) if rng.random() < 0.4 else int(rng.integers(215, 256))
    canvas = Image.new("RGB", (width, height), (ground, ground, ground))
    draw = ImageDraw.Draw(canvas)
    bubble, line = overlays.random_colour(rng), max(7, height // 40)
    ink = (255 - ground,) * 3
    y = 3.0 * line
    while y < height - 4 * line:
        left = 0.05 * width if rng.random() < 0.5 else 0.4 * width
        draw.rounded_rectangle((left, y, left + 0.55 * width, y + 2.4 * line), line, fill=bubble)
        draw.text((left + line, y + 0.6 * line), overlays.random_text(rng, 4), fill=ink, font=overlays.font(line))
        y += line * rng.uniform(2.8, 6)
    draw.rectangle((0, 0, width, 2 * line), fill=overlays.random_colour(rng))
    draw.text((line, 0.5 * line), overlays.random_text(rng, 2), fill=(255, 255, 255), font=overlays.font(line))
    draw.rectangle((0.85 * width, 0.6 * line, 0.93 * width, 1.4 * line), outline=(255, 255, 255))
    left, top = round(rng.uniform(0, width - image.width)), round(rng.uniform(0.1, 0.9) * (height - image.height))
    canvas.paste(image, (left, top))
    return canvas


FRAMES: tuple[Callable[[Image.Image, Generator], Image.Image], ...] = (
    frames.screenshot,
    frames.meme,
    frames.padded,
    _card,
    _polaroid,
    _chat,
)
OVERLAYS: tuple[Callable[[Image.Image, Generator], Image.Image], ...] = (
    overlays.with_text,
    overlays.with_stickers,
    overlays.with_stripes,
)


def in_one_frame(photos: Sequence[UInt8Array], rng: Generator) -> list[UInt8Array]:
    """Each photo, brought to the size of the first, in the same frame."""
    return _alike(FRAMES[int(rng.integers(len(FRAMES)))], photos, rng)


def under_one(photos: Sequence[UInt8Array], rng: Generator) -> list[UInt8Array]:
    """Each photo, brought to the size of the first, under the same text, stickers or stripes, often two of these."""
    for _ in range(int(rng.integers(1, 3))):
        photos = _alike(OVERLAYS[int(rng.integers(len(OVERLAYS)))], photos, rng)
    return list(photos)


def _alike(
    draw: Callable[[Image.Image, Generator], Image.Image], photos: Sequence[UInt8Array], rng: Generator
) -> list[UInt8Array]:
    height, width = photos[0].shape[:2]
    seed = int(rng.integers(2**31))
    drawn = []
    for photo in photos:
        image = Image.fromarray(photo).resize((width, height), Image.Resampling.BILINEAR)
        drawn.append(np.asarray(draw(image, np.random.default_rng(seed))))
    return drawn


def _light(height: int, width: int, rng: Generator) -> Float32Array:
    """A slow change over the picture, in [0, 1]: (H, W, 1)."""
    field = cv2.resize(rng.random((3, 3)).astype(np.float32), (width, height), interpolation=cv2.INTER_CUBIC)
    return np.asarray(np.clip(field, 0, 1)[..., None], dtype=np.float32)


def _fog(photos: Sequence[UInt8Array], rng: Generator) -> list[UInt8Array]:
    height, width = photos[0].shape[:2]
    dense = rng.uniform(0.5, 0.93) + 0.2 * (_light(height, width, rng) - 0.5)
    dense = np.clip(dense, 0, 0.97)
    colour = rng.uniform(150, 240) + 40 * (_light(height, width, rng) - 0.5)
    return [np.clip(photo * (1 - dense) + colour * dense, 0, 255).astype(np.uint8) for photo in photos]


def _dark(photos: Sequence[UInt8Array], rng: Generator) -> list[UInt8Array]:
    height, width = photos[0].shape[:2]
    lamp = _light(height, width, rng) ** 3 * rng.uniform(0, 120)
    level = rng.uniform(0.04, 0.25)
    return [np.clip(photo * level + lamp + rng.normal(0, 3, photo.shape), 0, 255).astype(np.uint8) for photo in photos]


def _tint(photos: Sequence[UInt8Array], rng: Generator) -> list[UInt8Array]:
    height, width = photos[0].shape[:2]
    colour, strength = rng.uniform(0, 255, 3), rng.uniform(0.3, 0.8)
    shade = 0.4 + 0.6 * _light(height, width, rng)
    return [np.clip((photo * (1 - strength) + colour * strength) * shade, 0, 255).astype(np.uint8) for photo in photos]


def in_one_weather(photos: Sequence[UInt8Array], rng: Generator) -> list[UInt8Array]:
    """Each photo, brought to the size of the first, under one fog, in one darkness, or in one colour."""
    height, width = photos[0].shape[:2]
    sized = [np.asarray(cv2.resize(photo, (width, height)), dtype=np.uint8) for photo in photos]
    return (_fog, _dark, _tint)[int(rng.integers(3))](sized, rng)
