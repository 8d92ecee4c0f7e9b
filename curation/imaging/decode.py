"""The one safe decoder, and image bytes by range read.

Everything here takes bytes that a stranger made. The header is judged before any pixel is decoded: only formats on
the list are opened (so no interpreter for PostScript or the like can be reached), and the pixel cap bounds memory.
Whatever a decoder then does wrong, a bad image is a `Dropped` with its reason, never an exception.
"""

import functools
import io
import logging
import warnings
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageCms, ImageFile, ImageOps, TiffImagePlugin, UnidentifiedImageError

from curation.arrays import UInt8Array
from curation.config import ImageConfig
from curation.drops import Dropped, DropReason
from curation.errors import RunError
from curation.imaging.metadata import late_exif
from curation.run.store import Store, is_url, read_range

__all__ = [
    "Header",
    "Pixels",
    "decode",
    "decode_image",
    "encode_jpeg",
    "holds_metadata",
    "identify",
    "read_image",
    "scale_down",
]

Pixels = UInt8Array
"""(H, W, 3) uint8, RGB."""

ORIENTATION = 0x0112  # the EXIF tag
TURNED = (5, 6, 7, 8)  # its values that turn the picture by 90 degrees

PICTURE_TAGS = frozenset(
    (*range(254, 270), 273, 274, *range(277, 285), 288, 289, 290, 291, 292, 293, 296, 297, 301, 317)
)
PICTURE_TAGS |= {318, 319, 320, 321, *range(322, 326), 332, 334, 336, 338, 339, 340, 341, 347, *range(512, 522)}
PICTURE_TAGS |= {529, 530, 531, 532, 34675}
"""The TIFF tags that pixels are read by; 34675 is the colour profile."""

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF")
"""What is opened. A JPEG of several pictures (MPO) is opened as JPEG, and reports itself as MPO."""

# Pillow's own guard only warns up to twice its limit; ours is `ImageConfig.max_pixels`, applied to every header.
Image.MAX_IMAGE_PIXELS = None
ImageFile.LOAD_TRUNCATED_IMAGES = False
# Broken EXIF and the like make Pillow warn and log for each image: noise, since such images are decoded or dropped.
logging.getLogger("PIL").setLevel(logging.CRITICAL)
warnings.filterwarnings("ignore", module=r"PIL\..*")


@dataclass(frozen=True, slots=True)
class Header:
    """What an image's header announces; width and height in pixels as shown, after EXIF orientation."""

    format: str
    width: int
    height: int
    orientation: int = 1
    """EXIF's: 1 as stored, 2 to 8 mirrored or turned."""


def identify(data: bytes) -> Header | Dropped:
    """Read an image's header, and no pixel: whether it is of an accepted format, and how large it says it is."""
    image = _open(data)
    if isinstance(image, Dropped):
        return image
    width, height = image.size
    orientation = _orientation(image, data)
    if orientation in TURNED:
        width, height = height, width
    return Header(str(image.format), width, height, orientation)


def decode(data: bytes, limits: ImageConfig, side: int | None = None) -> Pixels | Dropped:
    """Decode to RGB, as a viewer would show it.

    EXIF orientation is applied, colour profiles are converted to sRGB, transparency is laid over white, 16-bit
    samples are scaled to 8, and of an animation the first frame is taken.

    Args:
        side: decode no finer than needed for a shorter side of this many pixels. JPEGs are then decoded at the
            smallest power-of-two scale that is still at least as large; other formats come at full size.

    Returns:
        uint8 array of shape (H, W, 3), or why there is none.
    """
    image = _decoded(data, limits, side)
    return image if isinstance(image, Dropped) else np.asarray(image)


def decode_image(data: bytes, limits: ImageConfig, side: int | None = None) -> Image.Image | Dropped:
    """As `decode`, giving a Pillow image of mode RGB that holds no metadata."""
    image = _decoded(data, limits, side)
    if isinstance(image, Dropped):
        return image
    return Image.frombuffer("RGB", image.size, image.tobytes(), "raw", "RGB", 0, 1)


def _decoded(data: bytes, limits: ImageConfig, side: int | None) -> Image.Image | Dropped:
    """The Pillow image of mode RGB, which holds metadata and all."""
    image = _open(data)
    if isinstance(image, Dropped):
        return image
    width, height = image.size
    if width * height > limits.max_pixels:
        return Dropped(DropReason.TOO_MANY_PIXELS, f"{width} x {height}")
    if min(width, height) < limits.min_side:
        return Dropped(DropReason.TOO_SMALL, f"{width} x {height}")
    try:
        if side is not None and side < min(width, height) and image.format in ("JPEG", "MPO"):
            image.draft(None, (side * width // min(width, height), side * height // min(width, height)))
        image.load()
        ImageOps.exif_transpose(image, in_place=True)
        return _in_rgb(image)
    except Exception as error:  # decoders raise anything at all on hostile bytes
        return _refused(error)


def scale_down(data: bytes, header: Header, limits: ImageConfig) -> tuple[bytes, Header] | Dropped:
    """Decode, scale the longer side down to `limits.max_side` if it is longer, encode as JPEG at `limits.quality`.

    A large JPEG is decoded at the smallest power-of-two scale that is not below the size wanted, which takes less than
    half the time; a filtered resize does the rest. Of the limits, the pixel cap holds here. No metadata is left.

    Args:
        header: what `identify` says of the bytes.
    """
    width, height = header.width, header.height
    if width * height > limits.max_pixels:
        return Dropped(DropReason.TOO_MANY_PIXELS, f"{width} x {height}")
    image = _open(data)
    if isinstance(image, Dropped):
        return image
    scale = min(1.0, (limits.max_side or max(width, height)) / max(width, height))
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    try:
        if image.format in ("JPEG", "MPO"):
            image.draft(None, size[::-1] if header.orientation in TURNED else size)
        image.load()
        ImageOps.exif_transpose(image, in_place=True)
        if image.mode not in ("L", "RGB", "CMYK"):  # these can be scaled before their colours are converted
            image = _in_rgb(image)
        if image.size != size:
            image = image.resize(size, Image.Resampling.HAMMING, reducing_gap=3.0)
        image = _in_rgb(image)
        image.info = {}  # or a comment would be written too
        return encode_jpeg(image, limits.quality), Header("JPEG", *size)
    except Exception as error:  # decoders raise anything at all on hostile bytes
        return _refused(error)


def holds_metadata(data: bytes) -> bool:
    """Whether an image's header says more than its pixels, colours and size, as far as Pillow reads it."""
    image = _open(data)
    if isinstance(image, Dropped):
        return False
    tags = set(image.tag_v2) if isinstance(image, TiffImagePlugin.TiffImageFile) else set()
    return bool(image.info.keys() & {"exif", "xmp", "comment"} or tags - PICTURE_TAGS)


def encode_jpeg(image: Image.Image, quality: int) -> bytes:
    """Encode as baseline JPEG without metadata; equal pixels give equal bytes."""
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality)
    return buffer.getvalue()


def read_image(store: Store, folder: str, tar: str, offset: int, length: int) -> bytes:
    """The stored bytes of one sample, by one range read.

    Args:
        folder: the sample's collection, which a relative `tar` is in; an absolute path or URL stands for itself.

    Raises:
        RunError: the file is gone or shorter than it was.
    """
    path = tar if tar.startswith("/") or is_url(tar) else store.url(f"{folder}/{tar}")
    try:
        data = read_range(path, offset, length)
    except OSError as error:
        raise RunError(
            f"{path}: cannot be read ({error.strerror or error}); bring the file back, or make a new run"
        ) from error
    if len(data) != length:
        raise RunError(f"{path}: is shorter than when it was listed; bring the file back, or make a new run")
    return data


def _open(data: bytes) -> Image.Image | Dropped:
    if not data:
        return Dropped(DropReason.EMPTY_BODY)
    try:
        image = Image.open(io.BytesIO(data), formats=FORMATS)
    except UnidentifiedImageError:
        return Dropped(DropReason.NOT_AN_IMAGE, f"starts with {data[:12]!r}")
    except Exception as error:
        return Dropped(DropReason.CORRUPT, _text(error))
    return image


def _orientation(image: Image.Image, data: bytes) -> int:
    """EXIF's orientation, by the header alone: Pillow's own `getexif` decodes a whole PNG to look behind its pixels."""
    if image.format == "TIFF":  # whose size is as shown from the start, and whose pixels are turned as they are loaded
        return 1
    try:
        exif = Image.Image.getexif(image)
        if image.format == "PNG" and ORIENTATION not in exif and (late := late_exif(data)) is not None:
            exif.load(late)
        orientation = exif.get(ORIENTATION, 1)
    except Exception:  # an unreadable EXIF block means no orientation, as in `ImageOps.exif_transpose`
        return 1
    return orientation if orientation in range(1, 9) else 1


def _refused(error: Exception) -> Dropped:
    text = _text(error)
    cut_short = isinstance(error, EOFError) or "truncated" in text.lower()
    return Dropped(DropReason.TRUNCATED if cut_short else DropReason.CORRUPT, text)


def _text(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"


def _in_rgb(image: Image.Image) -> Image.Image:
    profile = image.info.get("icc_profile")
    if image.mode.startswith("I;16") or image.mode in ("I", "F"):
        image = _eight_bit(image)
    if image.mode in ("LA", "PA", "RGBA", "La", "RGBa") or "transparency" in image.info:
        image = _over_white(image.convert("RGBA"))
    elif image.mode == "P":
        image = image.convert("RGB")
    if profile and image.mode in ("L", "RGB", "CMYK"):
        image = _to_srgb(image, profile)
    return image if image.mode == "RGB" else image.convert("RGB")


def _eight_bit(image: Image.Image) -> Image.Image:
    """16-bit samples keep their high byte; 32-bit integers that fit 16 bits are taken as such, floats as [0, 1]."""
    values = np.asarray(image)
    if values.dtype.kind == "f":
        scaled = np.clip(np.nan_to_num(values), 0.0, 1.0) * 255.0
    else:
        clipped = np.clip(values.astype(np.int64), 0, 65535)
        sixteen = image.mode.startswith("I;16") or clipped.max(initial=0) > 255
        scaled = clipped / 257.0 if sixteen else clipped
    return Image.fromarray(np.rint(scaled).astype(np.uint8))


def _over_white(image: Image.Image) -> Image.Image:
    canvas = Image.new("RGBA", image.size, "white")
    canvas.alpha_composite(image)
    return canvas.convert("RGB")


def _to_srgb(image: Image.Image, profile: bytes) -> Image.Image:
    transform = _srgb_transform(profile, image.mode)
    return image if transform is None else ImageCms.applyTransform(image, transform) or image


@functools.lru_cache(maxsize=32)
def _srgb_transform(profile: bytes, mode: str) -> ImageCms.ImageCmsTransform | None:
    """A cached transform, as photos share a few profiles; None where the profile is sRGB already or unusable."""
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        if "srgb" in ImageCms.getProfileDescription(source).lower():
            return None
        return ImageCms.buildTransform(source, ImageCms.createProfile("sRGB"), mode, "RGB")
    except Exception:  # a broken profile is ignored, as viewers do
        return None
