"""What is fetched, and what counts as an image."""

from typing import Literal

from pydantic import Field

from curation.config.base import Settings

__all__ = ["CrawlConfig", "ImageConfig"]


class CrawlConfig(Settings):
    """How URLs are listed and fetched. What is said of a host holds in each worker."""

    user_agent: str = "lvd/0.1"
    """Sent with every request. It must hold a way to reach you, an address or a page with one, as in `my-crawl/1.0
    (+https://example.org/crawl; crawl@example.org)`; only servers on loopback are asked without."""
    concurrency: int = Field(64, ge=1, le=4096)
    """Requests under way at once in one worker."""
    timeout_seconds: float = Field(20.0, gt=0)
    """Deadline of one request from first byte sent to last byte received, redirects included."""
    min_bytes_per_second: float = Field(1024.0, gt=0)
    """Answers that come slower than this, on the whole, are cut off: a drip must not hold a connection for long."""
    rate_grace_seconds: float = Field(5.0, ge=0)
    """Seconds of an answer that are not held to the minimum rate, for slow starts."""
    max_bytes: int = Field(32 * 1024 * 1024, ge=1)
    """A body larger than this, sent or decompressed, is dropped."""
    max_header_bytes: int = Field(16 * 1024, ge=1024)
    """A header line longer than this is refused; so are more than 256 lines."""
    max_redirects: int = Field(5, ge=0)
    """Redirects followed in a row."""
    allow_private_addresses: bool = False
    """Let requests reach private, loopback and link-local addresses; only for servers of one's own."""
    connect_to: dict[str, str] = Field(default_factory=dict)
    """`host[:port]` -> `address:port`: where to connect for a host, instead of asking DNS (as `curl --connect-to`).
    The demo serves its small web this way, so that URLs, and with them all ids, are the same on every machine."""
    dns_cache_seconds: int = Field(300, ge=0)
    """How long an address is remembered; the addresses of large hosts change every few minutes."""
    host_connections: int = Field(8, ge=1)
    """Requests under way at once to one host. Browsers make six."""
    host_delay_seconds: float = Field(0.0, ge=0)
    """Least time between the starts of two requests to one host; a `Crawl-delay` in its robots.txt that is longer
    holds instead. 0 leaves the pace to the host's answers: one connection until it has answered once."""
    host_failures: int = Field(8, ge=1)
    """Failures in a row (no connection, timeout, 5xx, 429) after which a host is left alone. From the second on,
    requests to it pause for 0.5 s, 1 s, 2 s, ..."""
    host_budget_seconds: float = Field(900.0, gt=0)
    """How long one host may keep a part waiting for its turns; what is left of it then is given up for now."""
    max_wait_seconds: float = Field(30.0, ge=0)
    """Longest `Retry-After` that is waited for; a host that asks for more is given up for now."""
    attempts: int = Field(2, ge=1)
    """Requests for one URL, when the host answers 429, or 503 with a `Retry-After`."""
    respect_robots: bool = True
    """Ask each host's robots.txt first, as RFC 9309 has it: none there allows all, one that cannot be had nothing."""
    respect_opt_outs: bool = True
    """Drop what `X-Robots-Tag`, `<meta name=robots>` (noai, noimageai, noindex, noimageindex) or a TDM reservation
    (header, meta tag, or the host's `/.well-known/tdmrep.json`, asked once) keeps from such use."""
    decode_threads: int = Field(2, ge=1, le=64)
    """Threads of one worker that scale images down (`image.max_side`) beside its requests. One image in work takes up
    to 400 MB, a progressive JPEG of 64 megapixels."""
    blocklists: list[str] = Field(default_factory=list)
    """Files of hosts never to ask: hosts files, plain domains, or Adblock `||domain^` lines, told apart line by line;
    a domain holds for all under it. Local paths or fsspec URLs, plain or gzip."""
    blocked_keywords: list[str] = Field(default_factory=list)
    """URLs that hold one of these as a word of their own, whatever the case, are not asked for."""
    blocked_types: list[str] = Field(
        default_factory=lambda: (
            [
                "svg",
                "svgz",
                "ico",
                "cur",
                "css",
                "js",
                "json",
                "html",
                "htm",
                "php3",
                "xml",
                "pdf",
                "mp4",
                "webm",
                "mov",
                "avi",
                "mp3",
                "wav",
                "zip",
            ]
        )
    )
    """File name endings of URLs that are not asked for: vector graphics, icons, and what is no picture."""
    prefer_archived: bool = False
    """Take a picture that the WARC or ARC file of its own page holds from there, without a request."""


class ImageConfig(Settings):
    """What counts as a usable image; the guard is applied to the header, before any pixel is decoded."""

    min_side: int = Field(32, ge=1)
    """Shorter side in pixels below which an image is dropped."""
    max_pixels: int = Field(64_000_000, ge=1)
    """Width x height above which an image is dropped: 64 megapixels are 192 MiB as RGB."""
    max_side: int | None = Field(None, ge=16)
    """Longer side in pixels to which larger images are scaled down before they are stored, as JPEG. None, and images
    that are not larger, keep the bytes that came. Files that are read where they lie are never changed."""
    quality: int = Field(95, ge=1, le=100)
    """JPEG quality of what is scaled down."""
    metadata: Literal["strip", "keep"] = "strip"
    """What becomes of camera data, places (GPS), captions and thumbnails in bytes that are stored: taken out, pixels
    untouched, the colour profile and the orientation kept; or left in."""
