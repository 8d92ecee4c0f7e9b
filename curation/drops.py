"""Why a sample is dropped: the closed vocabulary, each word with one line of meaning.

A reason that is not here cannot be written into a part, so the funnel's rows are these and no others. What
varies from sample to sample (a status code, a decoder's message, the image that was copied) goes into `drop_detail`.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Self

__all__ = ["DropReason", "Dropped"]


class DropReason(StrEnum):
    """One word per reason; `.meaning` says it in a line, `.transient` whether trying again may help."""

    meaning: str
    transient: bool

    def __new__(cls, word: str, meaning: str, transient: bool = False) -> Self:
        member = str.__new__(cls, word)
        member._value_ = word
        member.meaning = meaning
        member.transient = transient
        return member

    @classmethod
    def named(cls, word: str) -> "DropReason":
        """The reason that a word stands for."""
        return next(reason for reason in cls if reason.value == word)

    # listing and fetching
    DUPLICATE_URL = "duplicate_url", "the same URL was already listed"
    INVALID_URL = "invalid_url", "not an http or https URL that can be requested"
    BLOCKED_URL = "blocked_url", "a URL rule (blocklist, keyword, file type) refuses it"
    PRIVATE_ADDRESS = "private_address", "the host is, or resolves to, an address that is not public"
    CONNECTION_FAILED = "connection_failed", "no connection, or it broke before the whole body came", True
    TIMEOUT = "timeout", "the answer did not come whole within its deadline", True
    TOO_SLOW = "too_slow", "bytes came slower than the minimum rate", True
    HTTP_CLIENT_ERROR = "http_client_error", "the server answered 4xx (but for 408, 425 and 429)"
    HTTP_SERVER_ERROR = "http_server_error", "the server answered 5xx, or 408 or 425", True
    RATE_LIMITED = "rate_limited", "the server answered 429, or asked to come back later than we wait", True
    HOST_GIVEN_UP = "host_given_up", "the host failed so often that it is left alone", True
    TOO_MANY_REDIRECTS = "too_many_redirects", "more redirects in a row than allowed"
    TOO_MANY_BYTES = "too_many_bytes", "the body, as sent or once decompressed, is over the limit"
    BAD_RESPONSE = "bad_response", "the answer breaks HTTP: headers too large, wrong lengths, broken chunks"
    EMPTY_BODY = "empty_body", "the body or file has no bytes"
    ROBOTS_DISALLOWED = "robots_disallowed", "robots.txt does not allow it"
    OPTED_OUT = "opted_out", "a header or tag of the page reserves it from such use"
    UNREADABLE_FILE = "unreadable_file", "the file is gone or cannot be read"

    # decoding
    NOT_AN_IMAGE = "not_an_image", "the bytes are no image format that is accepted"
    TOO_MANY_PIXELS = "too_many_pixels", "the header announces more pixels than allowed"
    TOO_SMALL = "too_small", "the shorter side is under the minimum"
    TRUNCATED = "truncated", "the image ends before its last pixel"
    CORRUPT = "corrupt", "the decoder refuses the bytes"

    # quality
    LOW_RESOLUTION = "low_resolution", "the shorter side is under the minimum that quality asks for"
    EXTREME_ASPECT = "extreme_aspect", "the longer side is too many times the shorter one: a banner or a strip"
    OVERCOMPRESSED = "overcompressed", "too few bytes for its pixels, or JPEG tables too coarse"
    BLANK = "blank", "nearly all pixels have one grey level"
    LOW_ENTROPY = "low_entropy", "too few grey levels to show a scene"
    BLURRY = "blurry", "no edges: the variance of its Laplacian is under the minimum"
    LOW_SCORE = "low_score", "the image-quality model gives it too low a score"

    # safety
    NSFW = "nsfw", "a class of the NSFW model reaches its threshold"
    FACE = "face", "it shows a face, and faces are dropped"

    # duplicates
    HASH_DUPLICATE = "hash_duplicate", "its perceptual hash equals, or nearly equals, that of an image kept"
    COPY = "copy", "a copy of an image kept, by copy detection"
    REFERENCE_LEAK = "reference_leak", "a copy of a reference (benchmark) image, or linked to one by copies"
    SAMPLE_REMOVED = "sample_removed", "another image of its WebDataset sample is removed, and the sample with it"

    # meaning
    UNWANTED = "unwanted", "more similar than allowed to an example of what is unwanted"
    SEMANTIC_DUPLICATE = "semantic_duplicate", "shows the same as an image kept, by the concept embedding"

    # models
    NON_FINITE = "non_finite", "a model gave no finite numbers for it, or nothing but zeros"
    MODEL_FAILED = "model_failed", "a model cannot be run on it"


@dataclass(frozen=True, slots=True)
class Dropped:
    """The verdict on one sample that is ruled out; `detail` is free text, cut to a line when stored."""

    reason: DropReason
    detail: str = ""

    def __str__(self) -> str:
        return f"{self.reason.meaning} ({self.detail})" if self.detail else self.reason.meaning
