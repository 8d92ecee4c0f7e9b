"""Addresses for pictures, on several hosts and in the shapes that sites give them."""

import numpy as np

__all__ = ["PAGE_HOSTS", "STALLING_HOST", "Addresses"]

PAGE_HOSTS = ("photos.example", "blog.example", "archive.example:8080")
PICTURE_HOSTS = (*PAGE_HOSTS, "cdn.example", "images.shop.example", "static.news.example")
STALLING_HOST = "slow.example"
FOLDERS = ("img", "uploads/2024/05", "media/large", "p%20q/caf%C3%A9")


class Addresses:
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
