"""Blur hides what is in a region for good, and touches nothing else."""

import io

import numpy as np
import pytest
import skimage.data
from PIL import Image
from scipy.fft import dctn

from curation.imaging.blur import Region, blur, encode_like, region_around

FACE = Region(150, 30, 310, 210)


@pytest.fixture(scope="module")
def photo():
    return skimage.data.astronaut()


def encoded(pixels, format="JPEG", **options):
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format, **options)
    return buffer.getvalue()


def decoded(data):
    with Image.open(io.BytesIO(data)) as image:
        return np.asarray(image.convert("RGB")).astype(int)


def outside(shape, *regions):
    mask = np.ones(shape[:2], bool)
    for region in regions:
        mask[region.top : region.bottom, region.left : region.right] = False
    return mask


def test_pixels_outside_the_regions_are_the_same(photo):
    other = Region(0, 400, 37, 512)
    blurred = blur(photo, [FACE, other], b"seed")
    mask = outside(photo.shape, FACE, other)
    np.testing.assert_array_equal(blurred[mask], photo[mask])
    assert (blurred[~mask] != photo[~mask]).any(axis=1).mean() > 0.9


def test_the_image_given_is_not_changed(photo):
    before = photo.copy()
    blur(photo, [FACE], b"seed")
    np.testing.assert_array_equal(photo, before)


def test_equal_input_gives_equal_output_and_another_seed_another(photo):
    once = blur(photo, [FACE], b"seed")
    np.testing.assert_array_equal(once, blur(photo, [FACE], b"seed"))
    assert (once != blur(photo, [FACE], b"other")).any()


@pytest.mark.parametrize("scale", [1, 2, 4])
def test_what_is_left_of_a_face_is_a_few_cells_whatever_its_size(photo, scale):
    """Of the region's variance, what cells of a quarter of its width cannot hold is gone."""
    image = np.asarray(Image.fromarray(photo).resize((512 * scale, 512 * scale)))
    region = Region(FACE.left * scale, FACE.top * scale, FACE.right * scale, FACE.bottom * scale)
    blurred = blur(image, [region], b"seed")
    patch = blurred[region.top : region.bottom, region.left : region.right].mean(axis=2)
    power = dctn(patch - patch.mean(), norm="ortho") ** 2
    cells = np.hypot(*np.indices(patch.shape)) / 2  # half a cosine across a patch holds one cell's light and dark
    assert power[cells > 8].sum() < 0.01 * power.sum()


def test_two_faces_with_the_same_coarse_colours_cannot_be_told_apart():
    """Detail finer than a cell does not reach the output at all."""
    rng = np.random.default_rng(0)
    flat = np.full((64, 64, 3), 120, np.uint8)
    noisy = flat.astype(int)
    checker = np.indices((64, 64)).sum(axis=0) % 2 * 2 - 1
    noisy = (noisy + 60 * checker[:, :, None] * rng.integers(1, 2)).astype(np.uint8)
    whole = [Region(0, 0, 64, 64)]
    np.testing.assert_array_equal(blur(flat, whole, b"s"), blur(noisy, whole, b"s"))


@pytest.mark.parametrize(
    ("box", "expected"),
    [
        ((10, 20, 30, 40), Region(2, 12, 48, 68)),
        ((-5, -5, 20, 20), Region(0, 0, 19, 19)),
        ((90, 90, 500, 500), Region(0, 0, 100, 100)),
        ((10.4, 10.6, 0.0, 0.0), Region(10, 10, 11, 11)),
        ((10.0, 10.0, 0.0, 0.0), None),
        ((200, 200, 10, 10), None),
        ((-50, 10, 10, 10), None),
        ((float("nan"), 0, 10, 10), None),
        ((0, 0, float("inf"), 10), None),
    ],
)
def test_a_region_is_the_box_its_margin_and_nothing_over_the_border(box, expected):
    assert region_around(box, 0.2, 100, 100) == expected


@pytest.mark.parametrize(
    "region", [Region(5, 5, 6, 6), Region(0, 0, 1, 64), Region(0, 0, 64, 1), Region(62, 62, 64, 64)]
)
def test_regions_of_a_pixel_are_blurred_too(region):
    image = np.random.default_rng(1).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    blurred = blur(image, [region], b"seed")
    mask = outside(image.shape, region)
    np.testing.assert_array_equal(blurred[mask], image[mask])


@pytest.mark.parametrize(("quality", "subsampling"), [(75, 2), (90, 0), (95, 1)])
def test_a_jpeg_is_encoded_with_the_tables_it_came_with(photo, quality, subsampling):
    original = encoded(photo, quality=quality, subsampling=subsampling)
    pixels = decoded(original).astype(np.uint8)
    again = encode_like(blur(pixels, [FACE], b"seed"), original)
    with Image.open(io.BytesIO(original)) as before, Image.open(io.BytesIO(again)) as after:
        assert after.format == "JPEG"
        assert after.quantization == before.quantization
        assert [layer[1:3] for layer in after.layer] == [layer[1:3] for layer in before.layer]
    margin = Region(FACE.left - 16, FACE.top - 16, FACE.right + 16, FACE.bottom + 16)  # blocks that the face reaches
    difference = np.abs(decoded(again) - pixels)[outside(photo.shape, margin)]
    assert (difference <= 2).mean() > 0.95


@pytest.mark.parametrize("format", ["PNG", "WEBP", "BMP", "GIF"])
def test_other_formats_become_png_without_loss(photo, format):
    pixels = blur(photo, [FACE], b"seed")
    again = encode_like(pixels, encoded(photo, format))
    assert again.startswith(b"\x89PNG")
    np.testing.assert_array_equal(decoded(again), pixels)


def test_grey_and_cmyk_jpegs_are_encoded(photo):
    for mode in ("L", "CMYK"):
        buffer = io.BytesIO()
        Image.fromarray(photo).convert(mode).save(buffer, "JPEG")
        assert decoded(encode_like(photo, buffer.getvalue())).shape == photo.shape


def test_nothing_of_the_original_metadata_is_kept(photo):
    exif = Image.Exif()
    exif[0x010E] = "Jane Doe at home"
    original = encoded(photo, exif=exif)
    assert b"Jane Doe" in original
    assert b"Jane Doe" not in encode_like(photo, original)
