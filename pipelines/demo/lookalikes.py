"""Different pictures that look much alike: before one background, in one drawn frame, in one fog, dark or tint.

None is a copy of another, so a run that drops one is wrong. Backgrounds are photographed anew for each thing: moved,
turned, exposed and noisy in another way. Frames are drawn, so they are the same to the pixel.
"""

import math
from collections.abc import Callable, Mapping

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from curation.arrays import Float32Array

__all__ = ["FRAMES", "VEILS", "before", "framed", "veiled"]

SCENE = 320
"""Width and height in pixels of a thing with its background."""
THING = 0.62
"""Its width and height, of those."""
FRAMED = (300, 260)
"""Width and height in pixels of what is in a frame."""


def before(background: Image.Image, thing: Image.Image, rng: np.random.Generator) -> Image.Image:
    """A thing before a background, as one of many photographs that were taken there."""
    ground = background.convert("RGB").resize((400, 400), Image.Resampling.BICUBIC)
    scale, angle = rng.uniform(0.95, 1.05), math.radians(rng.uniform(-2, 2))
    cos, sin = math.cos(angle) / scale, math.sin(angle) / scale
    x, y = 200 + rng.uniform(-12, 12, 2)
    half = SCENE / 2
    place = (cos, sin, x - half * (cos + sin), -sin, cos, y - half * (cos - sin))
    scene = ground.transform((SCENE, SCENE), Image.Transform.AFFINE, place, Image.Resampling.BICUBIC)
    side = round(SCENE * THING)
    mask = Image.new("L", (side, side), 0)
    ImageDraw.Draw(mask).rounded_rectangle((3, 3, side - 4, side - 4), radius=side // 4, fill=255)
    left, top = (int(value) for value in (SCENE - side) / 2 + rng.uniform(-15, 15, 2))
    shown = thing.convert("RGB").resize((side, side), Image.Resampling.LANCZOS)
    scene.paste(shown, (left, top), mask.filter(ImageFilter.GaussianBlur(1.5)))
    return _exposed(np.asarray(scene, np.float32), rng.uniform(0.85, 1.15), rng)


def framed(picture: Image.Image, frame: str) -> Image.Image:
    """A picture in one of `FRAMES`, cut to the shape of the frame."""
    return FRAMES[frame](_filling(picture, FRAMED))


def veiled(picture: Image.Image, veil: str, rng: np.random.Generator) -> Image.Image:
    """A picture in one of `VEILS`, a little thicker or thinner."""
    pixels = np.asarray(picture.convert("RGB"), np.float32)
    return _exposed(VEILS[veil](pixels, float(rng.uniform(0.9, 1.1))), 1.0, rng)


def _exposed(pixels: Float32Array, exposure: float, rng: np.random.Generator) -> Image.Image:
    noisy = pixels * exposure + rng.normal(0, 2.0, pixels.shape)
    return Image.fromarray(np.clip(np.round(noisy), 0, 255).astype(np.uint8))


def _filling(picture: Image.Image, size: tuple[int, int]) -> Image.Image:
    """The middle of a picture, as large as it can be."""
    image = picture.convert("RGB")
    scale = max(size[0] / image.width, size[1] / image.height)
    width, height = math.ceil(image.width * scale), math.ceil(image.height * scale)
    left, top = (width - size[0]) // 2, (height - size[1]) // 2
    larger = image.resize((width, height), Image.Resampling.LANCZOS)
    return larger.crop((left, top, left + size[0], top + size[1]))


def _browser(picture: Image.Image) -> Image.Image:
    """A window with tabs, an address, and text beside the picture."""
    image = Image.new("RGB", (480, 380), (246, 246, 248))
    draw = ImageDraw.Draw(image)
    draw.rectangle((0, 0, 479, 27), fill=(52, 58, 70))
    for at, colour in enumerate(((236, 92, 84), (240, 188, 64), (98, 196, 84))):
        draw.ellipse((10 + 18 * at, 8, 21 + 18 * at, 19), fill=colour)
    draw.rectangle((80, 8, 200, 27), fill=(246, 246, 248))
    draw.rectangle((0, 28, 479, 57), fill=(226, 228, 234))
    draw.rounded_rectangle((60, 33, 420, 52), radius=9, fill=(255, 255, 255))
    draw.text((76, 37), "pictures.example/of/the/day", fill=(70, 74, 84))
    draw.text((20, 66), "Picture of the day", fill=(20, 20, 24))
    for line in range(13):
        draw.rectangle((338, 90 + 20 * line, 460 - 37 * (line % 3), 97 + 20 * line), fill=(196, 198, 206))
    image.paste(picture, (20, 90))
    return image


def _phone(picture: Image.Image) -> Image.Image:
    """An application's bars above and below the picture."""
    image = Image.new("RGB", (picture.width, picture.height + 210), (16, 18, 22))
    draw = ImageDraw.Draw(image)
    draw.text((12, 8), "12:04", fill=(255, 255, 255))
    draw.rectangle((258, 8, 286, 18), fill=(120, 214, 120))
    draw.ellipse((12, 34, 48, 70), fill=(226, 104, 148))
    draw.text((60, 40), "a_friend", fill=(255, 255, 255))
    draw.text((60, 56), "Somewhere", fill=(168, 172, 180))
    bottom = 84 + picture.height
    for at in range(4):
        draw.ellipse((14 + 42 * at, bottom + 14, 40 + 42 * at, bottom + 40), outline=(255, 255, 255), width=3)
    draw.text((14, bottom + 54), "1,204 likes", fill=(255, 255, 255))
    draw.text((14, bottom + 72), "a_friend  what a day!", fill=(168, 172, 180))
    draw.rectangle((90, bottom + 112, 210, bottom + 116), fill=(255, 255, 255))
    image.paste(picture, (0, 84))
    return image


def _caption(picture: Image.Image) -> Image.Image:
    """A white border with words above and below."""
    image = Image.new("RGB", (picture.width + 32, picture.height + 130), (255, 255, 255))
    draw = ImageDraw.Draw(image)
    for place, words in ((14, "NOBODY:"), (36, "ME ON A MONDAY MORNING:"), (picture.height + 92, "every single time")):
        draw.text((image.width // 2, place + 8), words, fill=(0, 0, 0), anchor="mm")
    image.paste(picture, (16, 64))
    return image


FRAMES: Mapping[str, Callable[[Image.Image], Image.Image]] = {
    "browser": _browser,
    "phone": _phone,
    "caption": _caption,
}


def _fog(pixels: Float32Array, thick: float) -> Float32Array:
    """Thicker towards the top."""
    share = thick * np.linspace(0.72, 0.5, len(pixels), dtype=np.float32)[:, None, None]
    return np.asarray(pixels * (1 - share) + np.array([222, 226, 230], np.float32) * share, np.float32)


def _dark(pixels: Float32Array, thick: float) -> Float32Array:
    """A fifth of the light, and less of it at the edges."""
    down, across = (np.linspace(-1, 1, length, dtype=np.float32) for length in pixels.shape[:2])
    far = np.minimum(down[:, None] ** 2 + across[None, :] ** 2, 1.0)
    return np.asarray(pixels * (0.24 / thick * (1 - 0.5 * far))[..., None], np.float32)


def _tint(pixels: Float32Array, thick: float) -> Float32Array:
    """Grey laid between a brown and a pale yellow."""
    grey = pixels.mean(axis=2, keepdims=True) / 255
    dark, light = np.array([58, 34, 20], np.float32), np.array([250, 226, 178], np.float32)
    return np.asarray(dark + (light - dark) * grey * thick, np.float32)


VEILS: Mapping[str, Callable[[Float32Array, float], Float32Array]] = {"fog": _fog, "dark": _dark, "tint": _tint}
