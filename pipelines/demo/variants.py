"""What happens to pictures on the web: saved again, resized, cut at the edges, broken on the way."""

import io

import numpy as np
from PIL import Image

__all__ = ["cropped", "first_save", "garbage", "reencoded", "resized", "too_small", "trimmed", "truncated"]

SMALLEST_SIDE = 96


def first_save(image: Image.Image, rng: np.random.Generator) -> tuple[bytes, str]:
    """An image as its photographer saved it, and the suffix: most are JPEG of good quality, some PNG or WebP."""
    chance = rng.random()
    if chance < 0.12:
        return _save(image, "PNG"), "png"
    if chance < 0.22:
        return _save(image.convert("RGB"), "WEBP", quality=int(rng.integers(82, 96))), "webp"
    return _save(image, "JPEG", quality=int(rng.integers(82, 96)), progressive=bool(rng.random() < 0.3)), "jpg"


def reencoded(image: Image.Image, rng: np.random.Generator) -> tuple[bytes, str]:
    """The same pixels, saved with a quality of 60 to 80, less than at first."""
    quality = int(rng.integers(60, 81))
    if rng.random() < 0.25:
        return _save(image.convert("RGB"), "WEBP", quality=quality), "webp"
    return _save(image, "JPEG", quality=quality), "jpg"


def resized(image: Image.Image, rng: np.random.Generator) -> tuple[bytes, str]:
    """Half to 1.5 times the size, never under 96 pixels, saved again."""
    scale = rng.choice([rng.uniform(0.5, 0.85), rng.uniform(1.15, 1.5)])
    scale = max(scale, SMALLEST_SIDE / min(image.size))
    size = (round(image.width * scale), round(image.height * scale))
    return _saved_again(image.resize(size, Image.Resampling.LANCZOS), rng)


def cropped(image: Image.Image, rng: np.random.Generator) -> tuple[bytes, str]:
    """15 to 30 % of the width and of the height cut off, divided at random between the two edges; saved again."""
    return _cut_at_edges(image, 0.70, 0.85, rng)


def trimmed(image: Image.Image, rng: np.random.Generator) -> tuple[bytes, str]:
    """The same of 3 to 8 %."""
    return _cut_at_edges(image, 0.92, 0.97, rng)


def _cut_at_edges(image: Image.Image, least: float, most: float, rng: np.random.Generator) -> tuple[bytes, str]:
    keep_x, keep_y = rng.uniform(least, most, 2)
    width, height = round(image.width * keep_x), round(image.height * keep_y)
    left = int(rng.integers(image.width - width + 1))
    top = int(rng.integers(image.height - height + 1))
    return _saved_again(image.crop((left, top, left + width, top + height)), rng)


def too_small(image: Image.Image, rng: np.random.Generator) -> tuple[bytes, str]:
    """An icon: the shorter side has 1 to 31 pixels."""
    side = int(rng.integers(1, 32))
    scale = side / min(image.size)
    size = tuple(max(side, round(length * scale)) for length in image.size)
    return _save(image.resize((size[0], size[1]), Image.Resampling.BOX), "PNG"), "png"


def truncated(image: Image.Image, rng: np.random.Generator) -> tuple[bytes, str]:
    """A JPEG or PNG that ends after 30 to 80 % of its bytes."""
    data, suffix = (_save(image, "PNG"), "png") if rng.random() < 0.3 else (_save(image, "JPEG", quality=90), "jpg")
    return data[: int(len(data) * rng.uniform(0.3, 0.8))], suffix


def garbage(rng: np.random.Generator) -> bytes:
    """200 to 4,000 random bytes, one in three behind the first bytes of a JPEG."""
    head = b"\xff\xd8\xff\xe0" if rng.random() < 1 / 3 else b""
    return head + rng.bytes(int(rng.integers(200, 4000)))


def _saved_again(image: Image.Image, rng: np.random.Generator) -> tuple[bytes, str]:
    return _save(image, "JPEG", quality=int(rng.integers(75, 93))), "jpg"


def _save(image: Image.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()
