"""Metadata is taken out of files, and the picture stays the same to the last bit."""

import contextlib
import io
import struct
import time
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms, ImageFile

from curation.config import ImageConfig
from curation.drops import Dropped
from curation.imaging.decode import decode, identify
from curation.imaging.metadata import FORMATS, GROWTH, BrokenFileError, late_exif, strip_metadata

LIMITS = ImageConfig(min_side=1)
SECRET = b"Lat 48.2082 N"
HOSTILE = Path(__file__).parents[2] / "shared/data/hostile"


def exif(orientation=1):
    tags = Image.Exif()
    tags[0x0112] = orientation
    tags[0x010E] = SECRET.decode()  # ImageDescription
    tags.get_ifd(0x8825)[1] = "N"  # GPS
    tags.get_ifd(0x8825)[2] = (48.0, 12.0, 29.5)
    return tags.tobytes()


def stripped(data):
    header = identify(data)
    return strip_metadata(data, header.format, header.orientation)


def same_picture(one, other):
    np.testing.assert_array_equal(decode(one, LIMITS), decode(other, LIMITS))


def chunk(kind, body):
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png_with(data, *chunks, at):
    """A PNG with chunks put in before the first chunk of a kind."""
    place = data.index(at) - 4
    return data[:place] + b"".join(chunk(kind, body) for kind, body in chunks) + data[place:]


PROFILE = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
XMP = b'<x:xmpmeta xmlns:x="adobe:ns:meta/">' + SECRET + b"</x:xmpmeta>"


@pytest.mark.parametrize("turn", range(1, 9))
@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP"])
def test_places_and_captions_go_and_orientation_and_profile_stay(photo, encoded, format, turn):
    data = encoded(photo(1), format, exif=exif(turn), icc_profile=PROFILE)
    bare = stripped(data)
    assert SECRET in data
    assert SECRET not in bare
    image = Image.open(io.BytesIO(bare))
    assert dict(image.getexif()) == ({0x0112: turn} if turn > 1 else {})
    assert not image.getexif().get_ifd(0x8825)
    assert image.info["icc_profile"] == PROFILE
    same_picture(bare, data)
    assert identify(bare) == identify(data)
    assert stripped(bare) is bare  # there is nothing left to take out


@pytest.mark.parametrize("progressive", [False, True])
def test_captions_thumbnails_and_what_follows_the_end_of_a_jpeg_go(photo, encoded, progressive):
    data = encoded(photo(1), comment=SECRET, xmp=XMP, progressive=progressive)
    thumbnail = b"\xff\xe0" + struct.pack(">H", 2 + 8 + 30) + b"JFXX\0\x10" + SECRET.ljust(32, b"\0")
    iptc = b"\xff\xed" + struct.pack(">H", 2 + 14 + len(SECRET)) + b"Photoshop 3.0\0" + SECRET
    made = data[:2] + thumbnail + iptc + data[2:] + encoded(photo(2), comment=SECRET) + SECRET
    bare = stripped(made)
    assert SECRET not in bare
    same_picture(bare, data)
    assert bare.endswith(b"\xff\xd9")
    assert bare.count(b"\xff\xd8\xff") == 1


def test_segments_between_the_scans_of_a_jpeg_go_too(photo, encoded):
    data = encoded(photo(1), progressive=True)
    second = data.index(b"\xff\xda", data.index(b"\xff\xda") + 2)
    start = data.rindex(b"\xff\xc4", 0, second)
    made = data[:start] + b"\xff\xfe" + struct.pack(">H", 2 + len(SECRET)) + SECRET + data[start:]
    same_picture(made, data)
    assert SECRET not in stripped(made)
    same_picture(stripped(made), data)


def test_the_thumbnail_in_a_jfif_header_goes(photo, encoded):
    data = encoded(photo(1))
    assert data[2:4] == b"\xff\xe0"
    body = data[6:18] + b"\x05\x01" + (SECRET + b"xx")  # 5 x 1 pixels
    made = data[:2] + b"\xff\xe0" + struct.pack(">H", len(body) + 2) + body + data[20:]
    assert SECRET not in stripped(made)
    same_picture(stripped(made), data)


def test_of_several_pictures_in_one_jpeg_the_first_is_left(photo):
    buffer = io.BytesIO()
    photo(1).save(buffer, "MPO", save_all=True, append_images=[photo(2)])
    data = buffer.getvalue()
    assert identify(data).format == "MPO"
    bare = stripped(data)
    assert identify(bare).format == "JPEG"
    same_picture(bare, data)
    assert len(bare) < 0.7 * len(data)


@pytest.mark.parametrize("mode", ["CMYK", "L"])
def test_colours_of_other_jpegs_stay(photo, encoded, mode):
    data = encoded(photo(1).convert(mode), comment=SECRET)
    assert SECRET not in stripped(data)
    same_picture(stripped(data), data)


def test_texts_of_a_png_go_before_and_after_the_pixels(photo, encoded):
    data = encoded(photo(1).convert("RGBA"), "PNG", icc_profile=PROFILE, dpi=(72, 72))
    text = (b"tEXt", b"Comment\0" + SECRET)
    made = png_with(data, text, (b"tIME", bytes(7)), (b"prVt", SECRET), at=b"IDAT")
    made = png_with(made, text, (b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + XMP), at=b"IEND") + SECRET
    bare = stripped(made)
    assert bare == data
    same_picture(bare, made)


def test_the_orientation_of_a_png_is_found_behind_its_pixels_without_decoding_them(photo, encoded):
    made = png_with(encoded(photo(1), "PNG"), (b"eXIf", exif(6)[6:]), at=b"IEND")
    assert late_exif(made) == exif(6)[6:]
    assert (identify(made).width, identify(made).height, identify(made).orientation) == (80, 96, 6)
    same_picture(stripped(made), made)
    assert SECRET not in stripped(made)


def test_a_png_of_a_billion_pixels_is_identified_by_its_header_alone(monkeypatch):
    header = struct.pack(">IIBBBBB", 40_000, 40_000, 8, 0, 0, 0, 0)
    packed = zlib.compress(bytes(40_001) * 2_000)
    data = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", packed) + chunk(b"IEND", b"")
    monkeypatch.setattr(ImageFile.ImageFile, "load", lambda image: pytest.fail("its pixels were decoded"))
    assert (identify(data).width, identify(data).height) == (40_000, 40_000)


def test_metadata_of_a_webp_goes_and_its_size_is_right(photo, encoded):
    data = encoded(photo(1), "WEBP", exif=exif(), xmp=XMP)
    bare = stripped(data)
    assert SECRET not in bare
    assert struct.unpack("<I", bare[4:8])[0] == len(bare) - 8
    assert bare[20] & 0x0C == 0  # the flags of EXIF and XMP
    same_picture(bare, data)


def test_comments_of_a_gif_go_and_its_frames_stay(photo):
    frames = [photo(number).quantize(32) for number in range(3)]
    buffer = io.BytesIO()
    frames[0].save(buffer, "GIF", save_all=True, append_images=frames[1:], comment=SECRET, loop=0, duration=40)
    data = buffer.getvalue()
    xmp = b"\x21\xff\x0bXMP DataXMP" + XMP + b"\x01" + bytes(range(255, -1, -1)) + b"\0"
    made = data[:-1] + xmp + b";" + SECRET
    bare = stripped(made)
    assert SECRET not in bare
    for at in range(3):
        pictures = [Image.open(io.BytesIO(each)) for each in (made, bare)]
        for picture in pictures:
            picture.seek(at)
        assert pictures[0].convert("RGB").tobytes() == pictures[1].convert("RGB").tobytes()
    assert pictures[1].n_frames == 3
    assert pictures[1].info["loop"] == 0


def test_a_bmp_stays_as_it_is(photo, encoded):
    data = encoded(photo(1), "BMP")
    assert stripped(data) is data


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "GIF"])
def test_a_file_cut_anywhere_decodes_as_before_or_is_refused(photo, encoded, format):
    data = encoded(photo(1, width=40, height=32), format)
    for end in range(1, len(data), 7):
        cut = data[:end]
        header = identify(cut)
        if isinstance(header, Dropped):
            continue
        try:
            bare = strip_metadata(cut, header.format, header.orientation)
        except BrokenFileError:
            assert isinstance(decode(cut, LIMITS), Dropped), end
            continue
        before, after = decode(cut, LIMITS), decode(bare, LIMITS)
        if isinstance(before, Dropped):
            assert isinstance(after, Dropped), end
        else:
            np.testing.assert_array_equal(before, after)


@pytest.mark.parametrize("format", FORMATS)
def test_random_damage_makes_no_crash_and_no_large_file(photo, encoded, format):
    rng = np.random.default_rng(0)
    good = encoded(photo(1, width=40, height=32), "JPEG" if format == "MPO" else format)
    for _ in range(150):
        bad = bytearray(good)
        for at in rng.integers(0, len(bad), 12):
            bad[at] = rng.choice([0, 0xFF, 0xE1, 0xFE, rng.integers(0, 256)])
        try:
            bare = strip_metadata(bytes(bad), format, 6)
        except BrokenFileError:
            continue
        assert len(bare) <= len(bad) + GROWTH


@pytest.mark.parametrize(
    ("format", "data"),
    [
        ("JPEG", b"\xff\xd8" + b"\xff" * 4_000_000),
        ("JPEG", b"\xff\xd8" + b"\xff\xe1\0\x02" * 1_000_000),
        ("JPEG", b"\xff\xd8" + b"\xff\xda\0\x02" + b"\xff\x00" * 2_000_000),
        ("PNG", b"\x89PNG\r\n\x1a\n" + (bytes(4) + b"tEXt" + bytes(4)) * 400_000),
        ("WEBP", b"RIFF\xff\xff\xff\xffWEBP" + b"XMP \0\0\0\0" * 500_000),
        ("GIF", b"GIF89a" + bytes(7) + b"\x21\xfe\0" * 1_000_000),
        ("GIF", b"GIF89a" + bytes(7) + b"\x21\xfe" + b"\x01\x01" * 2_000_000),
    ],
)
def test_files_of_nothing_but_blocks_take_no_time(format, data):
    start = time.thread_time()  # what other processes take of the machine does not count
    with contextlib.suppress(BrokenFileError):
        assert len(strip_metadata(data, format, 6)) <= len(data) + GROWTH
    assert time.thread_time() - start < 10  # 0.5 at most; a copy of the rest for each block would take minutes


@pytest.mark.slow
@pytest.mark.skipif(not HOSTILE.is_dir(), reason="the collection of hostile files is not here")
def test_hostile_files_show_the_same_picture_without_metadata():
    changed = 0
    for path in sorted(path for path in HOSTILE.rglob("*") if path.is_file()):
        data = path.read_bytes()
        header = identify(data)
        if isinstance(header, Dropped) or header.format not in FORMATS or header.width * header.height > 4_000_000:
            continue
        if header.format == "GIF" and header.orientation != 1:
            continue
        try:
            bare = strip_metadata(data, header.format, header.orientation)
        except BrokenFileError:
            assert isinstance(decode(data, LIMITS), Dropped), path
            continue
        changed += bare is not data
        before, after = decode(data, LIMITS), decode(bare, LIMITS)
        if isinstance(before, Dropped):
            assert isinstance(after, Dropped), path
        else:
            np.testing.assert_array_equal(before, after, err_msg=str(path))
    assert changed > 50
