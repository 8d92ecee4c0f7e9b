"""Upright JPEGs: turned without loss where that can be done, untouched where there is nothing to do."""

import io

import numpy as np
import pytest
from PIL import Image, ImageCms, ImageOps

from curation.config import ImageConfig
from curation.drops import Dropped, DropReason
from curation.imaging import upright
from curation.imaging.decode import decode, encode_jpeg
from curation.imaging.upright import upright_jpeg

LIMITS = ImageConfig(min_side=1)
BACK = {2: 2, 3: 3, 4: 4, 5: 5, 6: 8, 7: 7, 8: 6}
"""Orientation -> the one whose turn takes it back."""
needs_library = pytest.mark.skipif(upright.turbojpeg is None, reason="there is no turbojpeg for this platform")


def tagged(data: bytes, turn: int) -> bytes:
    """JPEG bytes with an orientation tag put in, their picture untouched."""
    exif = Image.Exif()
    exif[0x0112] = turn
    exif[0x010E] = "secret"
    block = exif.tobytes()
    return data[:2] + b"\xff\xe1" + (len(block) + 2).to_bytes(2, "big") + block + data[2:]


def opened(data: bytes) -> Image.Image:
    return Image.open(io.BytesIO(data))


def difference(one: np.ndarray, two: np.ndarray) -> np.ndarray:
    assert one.shape == two.shape
    return np.abs(one.astype(int) - two.astype(int))


@needs_library
@pytest.mark.parametrize("subsampling", ["4:4:4", "4:2:2", "4:2:0"])
@pytest.mark.parametrize("turn", range(2, 9))
def test_whole_blocks_are_turned_without_loss(photo, encoded, turn, subsampling):
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    data = encoded(photo(1, width=96, height=64), subsampling=subsampling, icc_profile=profile)
    turned = upright_jpeg(tagged(data, turn), LIMITS, 1)  # at quality 1 an encoding would show
    shown = ImageOps.exif_transpose(opened(tagged(data, turn)))
    assert opened(turned).size == shown.size
    assert difference(decode(turned, LIMITS), np.asarray(shown)).max() <= 3  # of rounding within a block
    assert not opened(turned).getexif()
    assert b"secret" not in turned
    assert opened(turned).info["icc_profile"] == profile
    again = upright_jpeg(tagged(turned, BACK[turn]), LIMITS, 1)
    np.testing.assert_array_equal(decode(again, LIMITS), decode(data, LIMITS))


@needs_library
@pytest.mark.parametrize("mode", ["L", "CMYK"])
def test_a_turned_picture_keeps_its_mode(photo, encoded, mode):
    data = encoded(photo(1, width=96, height=64).convert(mode))
    turned = upright_jpeg(tagged(data, 6), LIMITS, 1)
    assert (opened(turned).mode, opened(turned).size) == (mode, (64, 96))
    assert difference(decode(turned, LIMITS), np.rot90(decode(data, LIMITS), -1)).max() <= 3


@needs_library
def test_a_transposed_picture_may_end_within_a_block(photo, encoded):
    data = tagged(encoded(photo(1, width=91, height=61)), 5)
    turned = upright_jpeg(data, LIMITS, 1)
    assert difference(decode(turned, LIMITS), decode(data, LIMITS)).max() <= 3


@pytest.mark.parametrize("turn", [2, 3, 4, 6, 7, 8])
def test_a_picture_that_ends_within_a_block_is_encoded_anew(photo, encoded, turn):
    data = encoded(photo(1, width=91, height=61))
    shown = ImageOps.exif_transpose(opened(tagged(data, turn)))
    assert upright_jpeg(tagged(data, turn), LIMITS, 95) == encode_jpeg(shown, 95)


def test_without_the_library_all_are_encoded_anew(photo, encoded, monkeypatch):
    monkeypatch.setattr(upright, "turbojpeg", None)
    data = tagged(encoded(photo(1, width=96, height=64)), 6)
    assert upright_jpeg(data, LIMITS, 95) == encode_jpeg(ImageOps.exif_transpose(opened(data)), 95)


@pytest.mark.parametrize("turn", [None, 1, 0, 9])
def test_bytes_without_a_turn_to_be_made_are_given_back(photo, encoded, turn):
    data = encoded(photo(1)) if turn is None else tagged(encoded(photo(1)), turn)
    assert upright_jpeg(data, LIMITS, 95) is data


def test_other_formats_are_encoded_upright(photo, encoded):
    exif = Image.Exif()
    exif[0x0112] = 6
    data = encoded(photo(1), "PNG", exif=exif.tobytes())
    assert upright_jpeg(data, LIMITS, 95) == encode_jpeg(photo(1).transpose(Image.Transpose.ROTATE_270), 95)


def test_what_is_no_image_is_a_drop():
    assert upright_jpeg(b"", LIMITS, 95) == Dropped(DropReason.EMPTY_BODY, "")
