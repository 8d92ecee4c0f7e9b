"""What was planted behind each URL of the demo's web: the ground truth that a run is checked against."""

from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path
from typing import Self

import pyarrow as pa
import pyarrow.parquet as pq

from curation.drops import DropReason

__all__ = ["Kind", "Planted", "read_truth", "write_truth"]

COPY_REASONS = (DropReason.HASH_DUPLICATE, DropReason.COPY)
LEAK_REASONS = (DropReason.REFERENCE_LEAK, *COPY_REASONS)


class Kind(StrEnum):
    """What is behind a URL; `.meaning` says it in a line, `.reasons` are the drops that are right for it.

    A kind without reasons is to be kept. Of a group of copies and their original, any one is to be kept.
    """

    meaning: str
    reasons: tuple[DropReason, ...]

    def __new__(cls, word: str, meaning: str, *reasons: DropReason) -> Self:
        member = str.__new__(cls, word)
        member._value_ = word
        member.meaning = meaning
        member.reasons = reasons
        return member

    @classmethod
    def named(cls, word: str) -> "Kind":
        """The kind that a word stands for."""
        return next(kind for kind in cls if kind.value == word)

    CLEAN = "clean", "a crop of a photograph"
    TEXTURE = "texture", "a crop of a texture, of no concept"
    REDIRECTED = "redirected", "a crop, behind one or more redirects"
    SLOW = "slow", "a crop that comes slowly, but within the deadline"
    MISTYPED = "mistyped", "a crop that the server calls text, HTML, GIF or just bytes"

    SAME_BACKGROUND = "same_background", "a thing before a background that others were photographed before"
    SAME_FRAME = "same_frame", "a picture in a drawn frame that others have too: browser, phone, caption"
    SAME_VEIL = "same_veil", "a picture in the fog, the dark or the tint that others have too"

    EXACT_COPY = "exact_copy", "the same bytes at another URL", *COPY_REASONS
    REENCODED_COPY = "reencoded_copy", "saved again, as JPEG or WebP of lower quality", *COPY_REASONS
    RESIZED_COPY = "resized_copy", "made smaller or larger, saved again", *COPY_REASONS
    CROPPED_COPY = "cropped_copy", "15 to 30 % of width and height cut off, saved again", *COPY_REASONS
    TRIMMED_COPY = "trimmed_copy", "3 to 8 % cut off; has no target (docs/benchmarks.md)", *COPY_REASONS
    FRAMED_COPY = "framed_copy", "a framed picture in another drawn frame", *COPY_REASONS

    EXACT_LEAK = "exact_leak", "the bytes of a reference image", *LEAK_REASONS
    REENCODED_LEAK = "reencoded_leak", "a reference image, saved again", *LEAK_REASONS
    RESIZED_LEAK = "resized_leak", "a reference image, made smaller or larger", *LEAK_REASONS
    CROPPED_LEAK = "cropped_leak", "a reference image, 15 to 30 % cut off", *LEAK_REASONS

    TOO_SMALL = "too_small", "a picture of less than 32 pixels", DropReason.TOO_SMALL
    TRUNCATED = "truncated", "an image that ends early", DropReason.TRUNCATED, DropReason.CORRUPT
    GARBAGE = "garbage", "random bytes named .jpg", DropReason.NOT_AN_IMAGE, DropReason.CORRUPT
    HTML_AS_IMAGE = "html_as_image", "a page named .jpg and sent as image/jpeg", DropReason.NOT_AN_IMAGE
    EMPTY = "empty", "an answer without a body", DropReason.EMPTY_BODY
    NOT_FOUND = "not_found", "404 or 410", DropReason.HTTP_CLIENT_ERROR
    SERVER_ERROR = "server_error", "500 or 503", DropReason.HTTP_SERVER_ERROR
    REDIRECT_LOOP = "redirect_loop", "redirects that never end", DropReason.TOO_MANY_REDIRECTS
    STALLED = "stalled", "an answer that stops half way, past the deadline", DropReason.TIMEOUT

    @property
    def is_hard_negative(self) -> bool:
        """Whether it looks much like others of the pool and is a picture of its own."""
        return self in (Kind.SAME_BACKGROUND, Kind.SAME_FRAME, Kind.SAME_VEIL)

    @property
    def is_copy(self) -> bool:
        """Whether it is a planted copy of another image of the pool."""
        return self.reasons == COPY_REASONS

    @property
    def is_leak(self) -> bool:
        """Whether it is a planted copy of a reference image."""
        return self.reasons == LEAK_REASONS


@dataclass(frozen=True, slots=True)
class Planted:
    """One URL of the web."""

    url: str
    kind: Kind
    concept: str | None
    """What the picture shows; None for textures and for what is no picture."""
    group: str | None
    """Copies and their original share it; of a leak, the reference image's file name."""


def write_truth(path: Path, planted: list[Planted]) -> None:
    """Store the ground truth as Parquet, one row per URL."""
    pq.write_table(pa.Table.from_pylist([asdict(item) for item in planted], schema=SCHEMA), path)


def read_truth(path: Path) -> list[Planted]:
    """Read what `write_truth` wrote."""
    rows = pq.read_table(path, schema=SCHEMA).to_pylist()
    return [Planted(row["url"], Kind.named(row["kind"]), row["concept"], row["group"]) for row in rows]


SCHEMA = pa.schema([("url", pa.string()), ("kind", pa.string()), ("concept", pa.string()), ("group", pa.string())])
