"""Pictures behind URLs, and what the ground truth says about each."""

from collections.abc import Callable

import numpy as np
from PIL import Image

from pipelines.demo import lookalikes, variants
from pipelines.demo.pictures import Picture
from pipelines.demo.site import Site
from pipelines.demo.truth import Kind, Planted

__all__ = ["BREAKERS", "PAGE_HOSTS", "Planter"]

PAGE_HOSTS = ("photos.example", "blog.example", "archive.example:8080")
PICTURE_HOSTS = (*PAGE_HOSTS, "cdn.example", "images.shop.example", "static.news.example")
STALLING_HOST = "slow.example"
FOLDERS = ("img", "uploads/2024/05", "media/large", "p%20q/caf%C3%A9")
CONTENT_TYPES = {"jpg": "image/jpeg", "png": "image/png", "webp": "image/webp"}
WRONG_TYPES = ("text/plain", "application/octet-stream", "text/html; charset=utf-8", "image/gif")
NO_PICTURE = b"<!doctype html><title>Not here</title><p>There is no picture at this address."

COPIERS: dict[Kind, Callable[[Picture, np.random.Generator], tuple[bytes, str]]] = {
    Kind.EXACT_COPY: lambda picture, rng: (picture.data, picture.suffix),
    Kind.EXACT_LEAK: lambda picture, rng: (picture.data, picture.suffix),
    Kind.REENCODED_COPY: lambda picture, rng: variants.reencoded(picture.image, rng),
    Kind.REENCODED_LEAK: lambda picture, rng: variants.reencoded(picture.image, rng),
    Kind.RESIZED_COPY: lambda picture, rng: variants.resized(picture.image, rng),
    Kind.RESIZED_LEAK: lambda picture, rng: variants.resized(picture.image, rng),
    Kind.CROPPED_COPY: lambda picture, rng: variants.cropped(picture.image, rng),
    Kind.CROPPED_LEAK: lambda picture, rng: variants.cropped(picture.image, rng),
    Kind.TRIMMED_COPY: lambda picture, rng: variants.trimmed(picture.image, rng),
}
BREAKERS: dict[Kind, Callable[[Picture, np.random.Generator], tuple[bytes, str]]] = {
    Kind.TOO_SMALL: lambda picture, rng: variants.too_small(picture.image, rng),
    Kind.TRUNCATED: lambda picture, rng: variants.truncated(picture.image, rng),
    Kind.GARBAGE: lambda picture, rng: (variants.garbage(rng), "jpg"),
    Kind.HTML_AS_IMAGE: lambda picture, rng: (NO_PICTURE, "jpg"),
    Kind.EMPTY: lambda picture, rng: (b"", "jpg"),
}


class _Addresses:
    """Makes URLs, never one twice."""

    def __init__(self, rng: np.random.Generator) -> None:
        self._rng = rng
        self._made = 0

    def new(self, suffix: str, host: str | None = None) -> str:
        """A URL whose path mostly ends in the suffix; one in eight has a query instead, one in ten says .jpg anyway."""
        self._made += 1
        host = host or PICTURE_HOSTS[self._rng.integers(len(PICTURE_HOSTS))]
        chance = self._rng.random()
        if chance < 1 / 8:
            return f"http://{host}/view?id={self._made}&size=large"
        said = "jpg" if chance > 0.9 else suffix
        return f"http://{host}/{FOLDERS[self._rng.integers(len(FOLDERS))]}/picture-{self._made:05d}.{said}"


class Planter:
    """Fills a site and its ground truth, URL by URL."""

    def __init__(self, site: Site, rng: np.random.Generator) -> None:
        self.site = site
        self.truth: list[Planted] = []
        self._rng = rng
        self._addresses = _Addresses(rng)

    def clean(self, picture: Picture, group: str | None = None) -> None:
        """A picture that is to be kept, unless it is the original of a group of copies."""
        self._picture(Kind.TEXTURE if picture.concept is None else Kind.CLEAN, picture, group)

    def copy(self, kind: Kind, original: Picture, group: str) -> None:
        """A copy or leak of the given kind."""
        data, suffix = COPIERS[kind](original, self._rng)
        self._picture(kind, Picture(original.image, data, suffix, original.concept), group)

    def before(self, background: Picture, thing: Picture) -> None:
        """A thing before a background, photographed."""
        self._made(Kind.SAME_BACKGROUND, lookalikes.before(background.image, thing.image, self._rng), thing)

    def framed(self, picture: Picture, frame: str, group: str | None = None, kind: Kind = Kind.SAME_FRAME) -> None:
        """A picture in one of `lookalikes.FRAMES`."""
        self._made(kind, lookalikes.framed(picture.image, frame), picture, group)

    def veiled(self, picture: Picture, veil: str) -> None:
        """A picture in one of `lookalikes.VEILS`."""
        self._made(Kind.SAME_VEIL, lookalikes.veiled(picture.image, veil, self._rng), picture)

    def slow(self, picture: Picture) -> None:
        """A picture that takes 0.3 to 0.8 seconds to begin."""
        url = self._addresses.new(picture.suffix)
        delay = float(self._rng.uniform(0.3, 0.8))
        self.site.add(url, picture.data, content_type=CONTENT_TYPES[picture.suffix], delay=delay)
        self._note(url, Kind.SLOW, picture)

    def mistyped(self, picture: Picture) -> None:
        """A picture that its server calls something else."""
        url = self._addresses.new(picture.suffix)
        self.site.add(url, picture.data, content_type=WRONG_TYPES[self._rng.integers(len(WRONG_TYPES))])
        self._note(url, Kind.MISTYPED, picture)

    def redirected(self, picture: Picture) -> None:
        """A picture one or two hops away, at a URL that no page shows."""
        first, *hops = [self._addresses.new(picture.suffix) for _ in range(self._rng.integers(2, 4))]
        status = int(self._rng.choice([301, 302, 303, 307, 308]))
        for here, there in zip([first, *hops], hops, strict=False):
            self.site.add(here, status=status, location=there)
        self.site.add(hops[-1], picture.data, content_type=CONTENT_TYPES[picture.suffix])
        self._note(first, Kind.REDIRECTED, picture)

    def broken(self, kind: Kind, picture: Picture) -> None:
        """Bytes that are no usable picture, made from one."""
        data, suffix = BREAKERS[kind](picture, self._rng)
        url = self._addresses.new(suffix)
        self.site.add(url, data, content_type=CONTENT_TYPES[suffix])
        self._note(url, kind)

    def refused(self, kind: Kind) -> None:
        """A status in the 400s or 500s."""
        statuses = {Kind.NOT_FOUND: (404, 410), Kind.SERVER_ERROR: (500, 503)}[kind]
        url = self._addresses.new("jpg")
        self.site.add(url, NO_PICTURE, status=statuses[int(self._rng.random() < 0.25)], content_type="text/html")
        self._note(url, kind)

    def endless(self) -> None:
        """Two redirects to one another."""
        here, there = self._addresses.new("jpg"), self._addresses.new("jpg")
        self.site.add(here, status=302, location=there)
        self.site.add(there, status=302, location=here)
        self._note(here, Kind.REDIRECT_LOOP)

    def stalled(self, picture: Picture) -> None:
        """Half a picture, then nothing; on a host of its own, as a crawler may give up hosts that do so."""
        url = self._addresses.new(picture.suffix, STALLING_HOST)
        self.site.add(url, picture.data, content_type=CONTENT_TYPES[picture.suffix], stalls=True)
        self._note(url, Kind.STALLED)

    def _made(self, kind: Kind, image: Image.Image, shown: Picture, group: str | None = None) -> None:
        data, suffix = variants.first_save(image, self._rng)
        self._picture(kind, Picture(image, data, suffix, shown.concept), group)

    def _picture(self, kind: Kind, picture: Picture, group: str | None) -> None:
        url = self._addresses.new(picture.suffix)
        self.site.add(url, picture.data, content_type=CONTENT_TYPES[picture.suffix])
        self._note(url, kind, picture, group)

    def _note(self, url: str, kind: Kind, picture: Picture | None = None, group: str | None = None) -> None:
        self.truth.append(Planted(url, kind, picture.concept if picture else None, group))
