"""The trainer sees the pixels that the pipeline sees, of whatever Pillow can write and of hostile files."""

import io
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageCms, ImageOps

from curation.config import ImageConfig
from curation.dinov2.config import SourceConfig
from curation.dinov2.data.folder import FolderSource
from curation.dinov2.data.loader import Images
from curation.dinov2.data.order import Cursor, Order
from curation.dinov2.data.sources import Source, open_sources
from curation.drops import Dropped
from curation.formats.row import ListedRow
from curation.imaging.decode import decode

from .made import jpeg, picture, write_parquet, write_tar

MODES = ["1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr", "LAB", "HSV", "I", "I;16", "I;16B", "F"]
ENDINGS = {
    "PNG": "png",
    "JPEG": "jpg",
    "WEBP": "webp",
    "TIFF": "tif",
    "GIF": "gif",
    "BMP": "bmp",
    "AVIF": "avif",
    "MPO": "jpg",
}
WRITTEN = {
    "PNG": "1 I;16 I;16B L LA P RGB RGBA",
    "JPEG": "1 CMYK L RGB RGBX YCbCr",
    "WEBP": "1 CMYK F HSV I I;16 I;16B L LA LAB P PA RGB RGBA RGBX YCbCr",
    "TIFF": "1 CMYK F I I;16 I;16B L LA LAB P PA RGB RGBA RGBX YCbCr",
    "GIF": "1 F I I;16 I;16B L LA P RGB RGBA",
    "BMP": "1 L P RGB RGBA",
    "AVIF": "1 CMYK F HSV I I;16 I;16B L LA LAB P PA RGB RGBA RGBX YCbCr",
}
"""What Pillow writes, some of it by way of another mode."""


def photograph(mode: str) -> Image.Image:
    """48 x 40 pixels of `mode`, with what alpha there is in three steps."""
    vivid = picture(3, 48).crop((0, 0, 48, 40))
    image = Image.blend(vivid.convert("L").convert("RGB"), vivid, 0.1)  # so that what has no colour is near too
    grey = np.asarray(image.convert("L"))
    if mode.startswith("I"):
        kind = {"I": "<i4", "I;16": "<u2", "I;16B": ">u2"}[mode]
        return Image.fromarray((grey.astype(np.int32) * 257).astype(kind))
    if mode == "F":
        return Image.fromarray(grey.astype(np.float32) / 255)
    if mode == "LAB":
        srgb, lab = ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB")
        made = ImageCms.profileToProfile(image, srgb, lab, outputMode="LAB")
        assert made is not None
        return made
    if mode in ("LA", "PA", "RGBA"):
        alpha = Image.fromarray(np.repeat(np.array([0, 128, 255], np.uint8), 16)[None].repeat(40, 0))
        image.putalpha(alpha)
    return image.convert(mode)


def encoded(image: Image.Image, format: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.copy().save(buffer, format, **options)  # saving leaves its mark on an image
    return buffer.getvalue()


def frames(format: str) -> bytes:
    """Three different pictures in one file."""
    return encoded(picture(0, 48), format, save_all=True, append_images=[picture(1, 48), picture(2, 48)])


def written(format: str) -> dict[str, bytes]:
    """By mode, the photograph in every mode that Pillow writes in a format."""
    files = {}
    for mode in MODES:
        try:
            files[mode] = encoded(photograph(mode), format)
        except (OSError, ValueError, KeyError):  # what the format cannot hold
            continue
    return files


def odd() -> dict[str, bytes]:
    """By file name, what else a file may say of its pixels."""
    image, palette = photograph("RGB"), photograph("P")
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    files = {
        "key-rgb.png": encoded(image, "PNG", transparency=image.getpixel((3, 3))),
        "key-grey.png": encoded(image.convert("L"), "PNG", transparency=image.convert("L").getpixel((3, 3))),
        "key-grey16.png": encoded(photograph("I;16"), "PNG", transparency=0),
        "key-bit.png": encoded(image.convert("1"), "PNG", transparency=1),
        "palette-index.png": encoded(palette, "PNG", transparency=palette.getpixel((3, 3))),
        "palette-alpha.png": encoded(palette, "PNG", transparency=bytes(range(256))),
        "palette-index.gif": encoded(palette, "GIF", transparency=palette.getpixel((3, 3))),
        "profile.jpg": encoded(image, "JPEG", icc_profile=profile),
        "progressive.JPG": encoded(image, "JPEG", progressive=True),
        "photo.jfif": encoded(image, "JPEG"),
        "two.mpo.jpg": frames("MPO"),
        "lossless.webp": encoded(photograph("RGBA"), "WEBP", lossless=True, exact=True),
        "deflate.tiff": encoded(photograph("I;16"), "TIFF", compression="tiff_adobe_deflate"),
    }
    for format in ("GIF", "WEBP", "PNG", "TIFF"):
        files[f"frames-{format}.{ENDINGS[format]}"] = frames(format)
    for turn in range(1, 9):
        exif = Image.Exif()
        exif[0x0112] = turn
        for format in ("JPEG", "PNG", "WEBP", "TIFF", "AVIF"):
            files[f"turn{turn}-{format}.{ENDINGS[format]}"] = encoded(image, format, exif=exif)
    return files


class Kept:
    """The trainer's augmentation, but that it keeps what it is fed."""

    def __init__(self, enough: int) -> None:
        self.planner = SimpleNamespace(enough=enough)

    def __call__(self, pixels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        return pixels

    def gather(self, images: Any) -> Any:
        raise NotImplementedError


def fed(source: Source, *, enough: int = 1 << 20, max_pixels: int = 64_000_000) -> dict[str, np.ndarray | str]:
    """What the augmentation is fed of a source, or why an image is broken, by the image's name."""
    order = Order(source.sizes, seed=0)
    images = Images(source, order, Kept(enough), 0, max_pixels)
    cursors = [Cursor(0, position) for position in range(order.share)]
    chunk = images[cursors]
    assert isinstance(chunk, list)
    names = [source.name(*order.at(cursor)) for cursor in cursors]
    return dict(zip(names, chunk, strict=True))


def assert_same(trained: np.ndarray | str, piped: np.ndarray | Dropped, name: str) -> None:
    if isinstance(piped, Dropped):
        assert trained == f"{name}: {piped.reason} ({piped.detail})"
    else:
        assert isinstance(trained, np.ndarray), trained
        assert trained.dtype == np.uint8
        np.testing.assert_array_equal(trained, piped, err_msg=name)


MADE = {format: written(format) for format in WRITTEN}
FILES: Mapping[str, bytes] = odd() | {
    f"{format}-{mode}.{ENDINGS[format]}": data for format, made in MADE.items() for mode, data in made.items()
}


def test_the_files_are_of_every_mode_that_pillow_writes() -> None:
    assert {format: " ".join(sorted(made)) for format, made in MADE.items()} == WRITTEN


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All files in one folder."""
    folder = tmp_path_factory.mktemp("pixels")
    for name, data in FILES.items():
        (folder / name).write_bytes(data)
    return folder


@pytest.mark.parametrize("enough", [1 << 20, 16])
def test_trainer_and_pipeline_find_the_same_pixels_in_a_folder(folder: Path, enough: int) -> None:
    (opened,) = open_sources(SourceConfig(path=str(folder)))
    assert opened.passed_over == ""
    trained = fed(opened.source, enough=enough)
    assert trained.keys() == {f"{folder}/{name}" for name in FILES}
    for name, data in FILES.items():
        piped = decode(data, ImageConfig(min_side=1), enough)
        assert not isinstance(piped, Dropped), (name, piped)
        assert_same(trained[f"{folder}/{name}"], piped, name)


def test_so_they_do_in_tars_and_in_parquet(tmp_path: Path) -> None:
    write_tar(tmp_path / "0.tar", list(FILES.values()))
    write_parquet(tmp_path / "0.parquet", list(FILES.values()))
    expected = [decode(data, ImageConfig(min_side=1)) for data in FILES.values()]
    for path in ("0.tar", "0.parquet"):
        trained = fed(open_sources(SourceConfig(path=str(tmp_path / path)))[0].source)
        in_order = {int(Path(name).stem): pixels for name, pixels in trained.items()}
        assert sorted(in_order) == list(range(len(FILES)))
        for number, piped in enumerate(expected):
            assert_same(in_order[number], piped, path)


CUT = {(format, mode) for format in ("WEBP", "GIF", "AVIF") for mode in ("I", "I;16", "I;16B", "F")}
"""What Pillow cuts to 8 bits as it writes."""
ALPHA = [f"{format}-{mode}" for format in ("PNG", "WEBP", "TIFF", "AVIF") for mode in ("LA", "RGBA")] + ["GIF-RGBA"]


@pytest.mark.parametrize("name", sorted(f"{format}-{mode}" for format, made in MADE.items() for mode in made))
def test_the_pixels_are_those_of_the_photograph(folder: Path, name: str) -> None:
    """16 bits are scaled and alpha is laid over white: against the picture that the file was made of."""
    format, _, mode = name.partition("-")
    row = ListedRow(key=f"{name}.img", source="", tar=str(folder / f"{name}.{ENDINGS[format]}"))
    (pixels,) = fed(FolderSource([row])).values()
    assert isinstance(pixels, np.ndarray)
    grey, expected = pixels.mean(axis=2), np.asarray(photograph("RGB")).mean(axis=2)
    assert grey.shape == expected.shape
    if name in ALPHA:
        assert grey[:, :14].min() >= 250
        grey, expected = grey[:, 34:], expected[:, 34:]
    if mode in ("1", "HSV", "PA") or (format, mode) in CUT or name in ("BMP-RGBA", "GIF-LA"):
        return  # dots, or not what was given to Pillow
    assert np.abs(grey - expected).mean() < 12  # a palette of 16 greys is the coarsest


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF"])
@pytest.mark.parametrize("turn", range(1, 9))
def test_what_is_fed_is_upright(folder: Path, format: str, turn: int) -> None:
    name = f"turn{turn}-{format}.{ENDINGS[format]}"
    (pixels,) = fed(FolderSource([ListedRow(key=name, source="", tar=str(folder / name))])).values()
    assert isinstance(pixels, np.ndarray)
    exif = Image.Exif()
    exif[0x0112] = turn
    tagged = Image.open(io.BytesIO(encoded(photograph("RGB"), "PNG", exif=exif)))
    expected = np.asarray(ImageOps.exif_transpose(tagged)).astype(int)
    assert pixels.shape == expected.shape
    assert np.abs(pixels - expected).mean() < 4


def bytes_fed(tmp_path: Path, content: bytes, **limits: int) -> np.ndarray | str:
    (tmp_path / "x.img").write_bytes(content)
    (made,) = fed(open_sources(SourceConfig(path=str(tmp_path)))[0].source, **limits).values()
    return made


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "empty_body"),
        (b"not an image", "not_an_image"),
        (jpeg(0)[:200], "corrupt"),
        (b"\xff\xd8\xff\xe0" + bytes(300), "not_an_image"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n", "not_an_image"),
    ],
    ids=["empty", "text", "truncated", "zeros", "postscript"],
)
def test_what_is_no_image_is_broken_by_its_name_and_reason(tmp_path: Path, content: bytes, reason: str) -> None:
    made = bytes_fed(tmp_path, content)
    assert isinstance(made, str)
    assert made.startswith(f"{tmp_path}/x.img: {reason} (")


def test_size_is_judged_before_pixels_are_made(tmp_path: Path) -> None:
    assert bytes_fed(tmp_path, jpeg(0), max_pixels=100) == f"{tmp_path}/x.img: too_many_pixels (40 x 40)"


def test_a_decompression_bomb_is_broken_and_no_warning(tmp_path: Path) -> None:
    bomb = encoded(Image.new("1", (20_000, 20_000)), "PNG")
    assert bytes_fed(tmp_path, bomb) == f"{tmp_path}/x.img: too_many_pixels (20000 x 20000)"


@pytest.mark.parametrize(("enough", "side"), [(90, 100), (300, 400), (1 << 20, 400)])
def test_a_large_jpeg_is_decoded_no_smaller_than_needed(tmp_path: Path, enough: int, side: int) -> None:
    made = bytes_fed(tmp_path, jpeg(0, size=400), enough=enough)
    assert isinstance(made, np.ndarray)
    assert made.shape == (side, side, 3)


@pytest.mark.slow
def test_trainer_and_pipeline_agree_on_every_hostile_file(shared_data: Path) -> None:
    paths = sorted(path for path in (shared_data / "hostile").rglob("*") if path.is_file())
    decoded = 0
    for path in paths:
        row = ListedRow(key="x.img", source="", tar=str(path), offset=0, length=path.stat().st_size)
        (trained,) = fed(FolderSource([row]), enough=128).values()
        piped = decode(path.read_bytes(), ImageConfig(min_side=1), 128)
        assert_same(trained, piped, str(path))
        decoded += not isinstance(piped, Dropped)
    assert decoded > 100
