"""Takes out of an image file what is not the picture, without decoding it: camera data, places, captions, thumbnails.

JPEG, PNG, WebP and GIF are lists of labelled blocks. Those that the picture needs are copied, the colour profile and
the orientation among them, and all others are left out, known or not; so is whatever follows the end. The decoded
picture stays the same to the last bit. The files are strangers' work: each function reads every byte about once,
trusts no length, and gives back at most `GROWTH` bytes more than it was given.
"""

import re
import struct
import zlib
from collections.abc import Iterator

__all__ = ["FORMATS", "GROWTH", "BrokenFileError", "late_exif", "strip_metadata"]

FORMATS = ("JPEG", "MPO", "PNG", "WEBP", "GIF", "BMP")
"""Formats that are handled here; a BMP has nothing to take out. Of an MPO only the first picture is left, a JPEG."""
GROWTH = 64

_MOST_BLOCKS = 200_000
_EXIF_HEAD = b"Exif\0\0"
# In the data of a scan FF is followed by 00, or by the number of a restart; anything else is the next marker.
_NEXT_MARKER = re.compile(rb"\xff[\x01-\xcf\xd8-\xfe]")
_PNG_HEAD = b"\x89PNG\r\n\x1a\n"
_PNG_CHUNKS = frozenset(
    b"IHDR PLTE IDAT IEND tRNS cHRM gAMA iCCP sBIT sRGB cICP mDCV cLLI bKGD hIST pHYs acTL fcTL fdAT".split()
)
_WEBP_CHUNKS = frozenset((b"VP8 ", b"VP8L", b"VP8X", b"ALPH", b"ANIM", b"ANMF", b"ICCP"))
_GIF_APPLICATIONS = frozenset((b"NETSCAPE2.0", b"ANIMEXTS1.0", b"ICCRGBG1012"))


class BrokenFileError(ValueError):
    """The file ends, or loses its structure, before the picture begins; or it has blocks without end."""


def strip_metadata(data: bytes, format: str, orientation: int) -> bytes:
    """The file without metadata; the same object where there is none.

    Args:
        format: one of `FORMATS`, as Pillow names it.
        orientation: the EXIF orientation, 1 to 8. If it is not 1, a minimal EXIF block that says just this is put in.

    Raises:
        BrokenFileError: there is no telling what the picture is.
    """
    exif = _orientation_exif(orientation) if 1 < orientation <= 8 else b""
    if format in ("JPEG", "MPO"):
        stripped = _strip_jpeg(data, exif)
    elif format == "PNG":
        stripped = _strip_png(data, exif)
    elif format == "WEBP":
        stripped = _strip_webp(data, exif)
    else:
        stripped = _strip_gif(data) if format == "GIF" else data
    assert len(stripped) <= len(data) + GROWTH
    return data if stripped == data else stripped


def late_exif(data: bytes) -> bytes | None:
    """The EXIF block of a PNG, wherever it stands: it may come after the pixels."""
    if b"eXIf" not in data:
        return None
    return next((data[start + 8 : end - 4] for kind, start, end in _png_chunks(data) if kind == b"eXIf"), None)


def _orientation_exif(orientation: int) -> bytes:
    """A TIFF header and one directory of one entry."""
    return b"MM\0*" + struct.pack(">IHHHIHHI", 8, 1, 0x0112, 3, 1, orientation, 0, 0)


def _strip_jpeg(data: bytes, exif: bytes) -> bytes:
    kept = bytearray(data[:2])
    at = 2
    blocks = scans = 0
    while marker := _NEXT_MARKER.search(data, at):  # what stands between segments, decoders skip too
        start, code = marker.start(), data[marker.start() + 1]
        if scans:
            kept += data[at:start]
        at = start + 2
        if code == 0xD9:
            kept += b"\xff\xd9"
            break
        if code in (0x01, 0xD8):  # of no meaning here, and without a length
            kept += data[start:at]
            continue
        end = at + int.from_bytes(data[at : at + 2], "big")
        if not at + 2 <= end <= len(data):
            break
        if exif and code != 0xE0:  # as cameras have it: the JFIF block, if any, then this one
            kept += b"\xff\xe1" + struct.pack(">H", len(_EXIF_HEAD + exif) + 2) + _EXIF_HEAD + exif
            exif = b""
        segment = _jpeg_segment(code, data[start:end])
        # Within a scan, an empty segment stays in its place: a decoder of damaged data stops at the same byte.
        kept += segment or (data[start:at] + b"\0\x02" if scans else b"")
        scans += code == 0xDA
        at = end
        blocks = _counted(blocks)
    else:  # cut short: what there is of the last scan
        kept += data[at:] if scans else b""
    if not scans:
        raise BrokenFileError("ends before its first scan")
    return bytes(kept)


def _jpeg_segment(code: int, segment: bytes) -> bytes:
    """A segment as it is kept: whole, without its thumbnail, or not at all."""
    if code == 0xE0 and segment[4:9] == b"JFIF\0" and len(segment) >= 18:
        return segment if len(segment) == 18 else segment[:2] + b"\0\x10" + segment[4:16] + b"\0\0"
    if code == 0xE2:
        return segment if segment[4:16] == b"ICC_PROFILE\0" else b""
    if code == 0xEE:
        adobe = segment[4:9] == b"Adobe" and len(segment) >= 16
        return segment[:2] + b"\0\x0e" + segment[4:16] if adobe else b""
    return b"" if 0xE0 <= code <= 0xEF or code == 0xFE else segment


def _png_chunks(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """(type, start, end) of each whole chunk, up to the last of the picture; end is behind the checksum."""
    at = len(_PNG_HEAD)
    blocks = 0
    while at + 12 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, at)
        end = at + 12 + length
        if end > len(data):
            return
        yield kind, at, end
        at = end
        if kind == b"IEND":
            return
        blocks = _counted(blocks)


def _strip_png(data: bytes, exif: bytes) -> bytes:
    kept = bytearray(data[: len(_PNG_HEAD)])
    at = len(_PNG_HEAD)
    pixels = False
    for kind, at, end in _png_chunks(data):
        if kind == b"IDAT" and not pixels:
            pixels = True
            if exif:
                kept += struct.pack(">I", len(exif)) + b"eXIf" + exif + struct.pack(">I", zlib.crc32(b"eXIf" + exif))
        if kind in _PNG_CHUNKS or not kind[0] & 0x20:  # a small first letter says that one can do without
            kept += data[at:end]
        at = end
    if data[at + 4 : at + 8] == b"IDAT":  # cut short within the pixels
        kept += data[at:]
    elif not pixels:
        raise BrokenFileError("ends before its first pixel")
    return bytes(kept)


def _strip_webp(data: bytes, exif: bytes) -> bytes:
    announced = int.from_bytes(data[4:8], "little")
    end = min(len(data), 8 + announced)
    kept = bytearray(data[:12])
    at = 12
    blocks = 0
    while at + 8 <= end:
        kind, length = struct.unpack_from("<4sI", data, at)
        chunk = data[at : min(at + 8 + length + length % 2, end)]
        if kind == b"VP8X" and len(chunk) == 18:
            chunk = chunk[:8] + bytes([chunk[8] & ~0x0C | (0x08 if exif else 0)]) + chunk[9:]
        if kind in _WEBP_CHUNKS:
            kept += chunk
        at += len(chunk)
        blocks = _counted(blocks)
    if len(kept) == 12:
        raise BrokenFileError("holds no picture")
    if exif:
        kept += b"EXIF" + struct.pack("<I", len(exif)) + exif
    missing = max(0, 8 + announced - len(data))  # a file that is cut short goes on announcing more than there is
    kept[4:8] = struct.pack("<I", min(len(kept) - 8 + missing, 0xFFFFFFFE))
    return bytes(kept)


def _strip_gif(data: bytes) -> bytes:
    if len(data) < 13:
        raise BrokenFileError("ends in its header")
    at = 13 + _colours(data[10])
    kept = bytearray(data[:at])
    blocks = 0
    while at < len(data):
        start, kind = at, data[at]
        if kind == 0x3B:
            kept += b";"
            break
        if kind == 0x21 and at + 2 < len(data):
            label = data[at + 1]
            at = _after_blocks(data, at + 2)
            application = data[start + 3 : start + 14]
            if label in (0x01, 0xF9) or (label == 0xFF and application in _GIF_APPLICATIONS):
                kept += data[start:at]
        elif kind == 0x2C and at + 9 < len(data):
            at = _after_blocks(data, at + 10 + _colours(data[at + 9]) + 1)
            kept += data[start:at]
        else:  # decoders skip it too
            at += 1
        blocks = _counted(blocks)
    return bytes(kept)


def _colours(flags: int) -> int:
    """Bytes of a colour table."""
    return 3 << ((flags & 7) + 1) if flags & 0x80 else 0


def _after_blocks(data: bytes, at: int) -> int:
    """Where a list of sub-blocks ends: behind the empty one, or at the end of the file."""
    while at < len(data) and data[at]:
        at += 1 + data[at]
    return min(at + 1, len(data))


def _counted(blocks: int) -> int:
    """One block more, of a number that is bounded: each takes far longer than its bytes do."""
    if blocks >= _MOST_BLOCKS:
        raise BrokenFileError(f"more than {_MOST_BLOCKS} blocks")
    return blocks + 1
