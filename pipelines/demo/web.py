"""The demo's small web: pages in crawl files, what its servers answer, seeds, a reference set, and the ground truth.

Everything is made from photographs that are installed already, and depends on nothing but the seed.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pipelines.demo.lookalikes import FRAMES, VEILS
from pipelines.demo.pages import write_page
from pipelines.demo.pictures import GRAINY, Picture, share_out
from pipelines.demo.planting import BREAKERS, PAGE_HOSTS, Planter
from pipelines.demo.site import Site
from pipelines.demo.truth import Kind, Planted, write_truth
from pipelines.demo.warc import Page, write_warc

__all__ = ["Web", "make_web"]

COPIERS = (Kind.EXACT_COPY, Kind.REENCODED_COPY, Kind.RESIZED_COPY, Kind.CROPPED_COPY)
COPY_GROUPS, FRAMED_GROUPS, TRIMMED_GROUPS = 36, 16, 12
COPIES = (1, 1, 2, 3)
"""Copies in a group, each as likely: fewer than half of the pool's images, or `dedup.max_share` would stop the run."""
LEAKS = (Kind.EXACT_LEAK, Kind.REENCODED_LEAK, Kind.RESIZED_LEAK, Kind.CROPPED_LEAK)
BACKGROUNDS, THINGS_EACH, FRAMED_EACH, VEILED_EACH = 6, 4, 8, 8
REDIRECTED, SLOW, MISTYPED = 40, 12, 40
BROKEN = {Kind.TOO_SMALL: 70, Kind.TRUNCATED: 60, Kind.GARBAGE: 40, Kind.HTML_AS_IMAGE: 30, Kind.EMPTY: 10}
REFUSED = {Kind.NOT_FOUND: 60, Kind.SERVER_ERROR: 16}
LOOPS, STALLED = 8, 3
PICTURES_PER_PAGE = 24
SHOWN_TWICE = 200


@dataclass(frozen=True, slots=True)
class Web:
    """Where `make_web` put things."""

    folder: Path
    truth: list[Planted]

    @property
    def warcs(self) -> tuple[Path, Path]:
        """The crawl files, one compressed and one plain."""
        return self.folder / "crawl-00.warc.gz", self.folder / "crawl-01.warc"

    @property
    def site(self) -> Path:
        """The folder that a `WebServer` serves."""
        return self.folder / "site"


def make_web(folder: Path, seed: int) -> Web:
    """Make the web in an empty folder: some 1,200 URLs.

    The same seed gives the same URLs, bytes and pages, wherever the folder is.
    """
    shares = share_out(folder, np.random.default_rng([seed, 0]))
    site = Site(folder / "site")
    planter = Planter(site, np.random.default_rng([seed, 1]))
    rng = np.random.default_rng([seed, 2])
    _plant_pool(planter, shares.pool, rng)
    _plant_leaks(planter, shares.references)
    _plant_failures(planter, shares.pool, rng)
    web = Web(folder, planter.truth)
    pages = _pages(planter.truth, np.random.default_rng([seed, 3]))
    for half, path in enumerate(web.warcs):
        write_warc(path, pages[half::2])
    site.save()
    write_truth(folder / "truth.parquet", planter.truth)
    return web


def _plant_pool(planter: Planter, pool: Sequence[Picture], rng: np.random.Generator) -> None:
    """Pictures that look alike and differ, then originals with copies, each group of one kind, then pictures behind odd
    answers, then the others as they are. What must be told from others, or found in them, is full of detail."""
    pile = list(pool)
    _plant_lookalikes(planter, pile, rng)
    for kind in COPIERS:
        for index in range(COPY_GROUPS):
            original, group = _taken(pile, of_concept=None), f"{kind}-{index:03d}"
            planter.clean(original, group)
            for _ in range(rng.choice(COPIES)):
                planter.copy(kind, original, group)
    for index in range(TRIMMED_GROUPS):
        original, group = _taken(pile, of_concept=None), f"{Kind.TRIMMED_COPY}-{index:03d}"
        planter.clean(original, group)
        planter.copy(Kind.TRIMMED_COPY, original, group)
    pictures = iter(pile)
    for _ in range(REDIRECTED):
        planter.redirected(next(pictures))
    for _ in range(SLOW):
        planter.slow(next(pictures))
    for _ in range(MISTYPED):
        planter.mistyped(next(pictures))
    for picture in pictures:
        planter.clean(picture)


def _plant_lookalikes(planter: Planter, pile: list[Picture], rng: np.random.Generator) -> None:
    """Things before one background, pictures in one frame or veil; and pictures that come in two frames."""
    for _ in range(BACKGROUNDS):
        background = _taken(pile, of_concept=False)
        for _ in range(THINGS_EACH):
            planter.before(background, _taken(pile))
    for frame in FRAMES:
        for _ in range(FRAMED_EACH):
            planter.framed(_taken(pile), frame)
    for index in range(FRAMED_GROUPS):
        picture, group = _taken(pile, but=GRAINY), f"{Kind.FRAMED_COPY}-{index:03d}"
        one, other = rng.permutation(list(FRAMES))[:2].tolist()
        planter.framed(picture, one, group)
        planter.framed(picture, other, group, Kind.FRAMED_COPY)
    for veil in VEILS:
        for _ in range(VEILED_EACH):
            planter.veiled(_taken(pile), veil)


def _taken(pile: list[Picture], *, of_concept: bool | None = True, but: Sequence[str] = ()) -> Picture:
    """The next picture that is full of detail, of a concept, of a texture, or of either; it is taken out.

    Args:
        but: concepts that it is not of.
    """
    detailed = ((at, one.concept) for at, one in enumerate(pile) if one.detailed and one.concept not in but)
    return pile.pop(next(at for at, concept in detailed if of_concept in (None, concept is not None)))


def _plant_leaks(planter: Planter, references: dict[str, Picture]) -> None:
    for file, reference in references.items():
        for kind in LEAKS:
            planter.copy(kind, reference, file)


def _plant_failures(planter: Planter, pool: Sequence[Picture], rng: np.random.Generator) -> None:
    assert set(BROKEN) == set(BREAKERS)
    for kind, count in BROKEN.items():
        for index in rng.integers(len(pool), size=count):
            planter.broken(kind, pool[index])
    for kind, count in REFUSED.items():
        for _ in range(count):
            planter.refused(kind)
    for _ in range(LOOPS):
        planter.endless()
    for index in rng.integers(len(pool), size=STALLED):
        planter.stalled(pool[index])


def _pages(truth: Sequence[Planted], rng: np.random.Generator) -> list[Page]:
    """All URLs in random order on pages of 24, some on two or more of them."""
    shown = [*truth, *(truth[index] for index in rng.integers(len(truth), size=SHOWN_TWICE))]
    shown = [shown[index] for index in rng.permutation(len(shown))]
    pages = []
    for number, start in enumerate(range(0, len(shown), PICTURES_PER_PAGE)):
        url = f"http://{PAGE_HOSTS[number % len(PAGE_HOSTS)]}/days/{number // 10}/page-{number:03d}.html"
        pictures = [(item.url, f"{item.concept or 'something'} & more") for item in shown[start:][:PICTURES_PER_PAGE]]
        pages.append(write_page(url, pictures, rng))
    return pages
