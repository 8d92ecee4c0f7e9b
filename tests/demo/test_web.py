"""The demo's web: what is planted is what the truth says."""

import hashlib
import io
from collections import Counter, defaultdict

import numpy as np
import pytest
from fastwarc.warc import ArchiveIterator, WarcRecordType
from PIL import Image

from curation.crawl.page import decode_html, read_page
from curation.crawl.urls import canonical_url
from pipelines.demo.photographs import CONCEPTS, crops, open_photograph
from pipelines.demo.pictures import SEED_SETS
from pipelines.demo.site import Site
from pipelines.demo.truth import Kind, read_truth
from pipelines.demo.web import make_web


def bodies(web, *kinds):
    """URL to bytes, redirects followed."""
    site = Site.load(web.site)
    result = {}
    for item in web.truth:
        if item.kind in kinds:
            route = site.routes[item.url]
            while route.location is not None:
                route = site.routes[route.location]
            result[item.url] = site.body(route)
    return result


def opened(data):
    image = Image.open(io.BytesIO(data))
    image.load()
    return image


def digests(folder):
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.suffix != ".parquet"
    }


def shown(web):
    """URLs of the pictures on all pages, by the project's own reader."""
    for path in web.warcs:
        with path.open("rb") as file:
            for record in ArchiveIterator(file, record_types=WarcRecordType.response, parse_http=True):
                body = record.reader.read()
                page = read_page(decode_html(body, record.http_headers["Content-Type"]))
                base = canonical_url(page.base, record.headers["WARC-Target-URI"]) if page.base else None
                for picture in page.pictures:
                    yield canonical_url(picture.src, base or record.headers["WARC-Target-URI"])


def test_it_is_large_enough_and_has_every_kind(web):
    kinds = Counter(item.kind for item in web.truth)
    assert set(kinds) == set(Kind)
    assert len(web.truth) == len({item.url for item in web.truth}) >= 2000
    assert sum(kinds[kind] for kind in Kind if kind.is_copy) > 800
    assert sum(kinds[kind] for kind in Kind if kind.is_leak) == 225


def test_the_pages_show_exactly_what_is_planted_some_of_it_twice(web):
    times = Counter(shown(web))
    assert set(times) == {item.url for item in web.truth}
    assert 100 < sum(count > 1 for count in times.values()) < 250
    assert not [url for url in times if "never" in url or "thumbnail" in url]


@pytest.mark.slow
def test_the_same_seed_gives_the_same_bytes_and_another_seed_another_web(web, tmp_path):
    assert read_truth(web.folder / "truth.parquet") == web.truth
    again = make_web(tmp_path, 7)
    assert again.truth == web.truth
    assert digests(tmp_path) == digests(web.folder)


def test_originals_come_before_their_copies_and_groups_hold_one_kind(web):
    groups = defaultdict(list)
    for item in web.truth:
        if item.group is not None and not item.kind.is_leak:
            groups[item.group].append(item)
    for first, *copies in groups.values():
        assert first.kind in (Kind.CLEAN, Kind.TEXTURE)
        assert len({item.kind for item in copies}) == 1
        assert copies[0].kind.is_copy
        assert {item.concept for item in copies} == {first.concept}


def test_copies_are_what_they_are_called(web):
    images = bodies(web, *(kind for kind in Kind if kind.is_copy), Kind.CLEAN, Kind.TEXTURE)
    original = {}
    for item in web.truth:
        if item.kind in (Kind.CLEAN, Kind.TEXTURE) and item.group:
            original[item.group] = images[item.url]
    for item in web.truth:
        if not item.kind.is_copy:
            continue
        data, first = images[item.url], original[item.group]
        (width, height), (first_width, first_height) = opened(data).size, opened(first).size
        if item.kind is Kind.EXACT_COPY:
            assert data == first
        elif item.kind is Kind.REENCODED_COPY:
            assert (width, height) == (first_width, first_height)
            assert data != first
        elif item.kind is Kind.CROPPED_COPY:
            assert 0.91 < width / first_width < 0.98
            assert 0.91 < height / first_height < 0.98
        else:
            assert width / first_width == pytest.approx(height / first_height, rel=0.03)
            assert min(width, height) >= 48
            assert not 0.9 < width / first_width < 1.1


def test_what_is_clean_is_an_image_and_no_two_are_the_same(web):
    clean = bodies(web, Kind.CLEAN, Kind.TEXTURE, Kind.REDIRECTED, Kind.SLOW, Kind.MISTYPED)
    assert min(min(opened(data).size) for data in clean.values()) >= 80
    assert len(set(clean.values())) == len(clean)


def test_what_is_broken_is_broken(web):
    assert max(min(opened(data).size) for data in bodies(web, Kind.TOO_SMALL).values()) < 32
    for data in bodies(web, Kind.TRUNCATED, Kind.GARBAGE, Kind.HTML_AS_IMAGE).values():
        with pytest.raises((OSError, SyntaxError)):
            opened(data)
    assert set(bodies(web, Kind.EMPTY).values()) == {b""}


def test_seeds_and_references_are_in_their_folders_and_leak_only_where_it_is_planned(web):
    for name, concepts in SEED_SETS.items():
        assert {path.name for path in (web.folder / "seeds" / name).iterdir()} == set(concepts)
        assert len({len(list(((web.folder / "seeds" / name) / concept).iterdir())) for concept in concepts}) == 1
    references = {path.name: path.read_bytes() for path in (web.folder / "references" / "benchmark").iterdir()}
    assert len(references) == 3 * len(CONCEPTS)
    leaked = bodies(web, Kind.EXACT_LEAK)
    assert {references[item.group] for item in web.truth if item.kind is Kind.EXACT_LEAK} == set(leaked.values())
    seeds = {path.read_bytes() for path in (web.folder / "seeds").rglob("*.*")}
    pool = set(bodies(web, *(kind for kind in Kind if not kind.is_leak and kind is not Kind.REDIRECT_LOOP)).values())
    assert not pool & (seeds | set(references.values()))


@pytest.mark.parametrize("name", ["astronaut", "print", "rocket"])
def test_crops_of_a_photograph_lie_inside_it_overlap_little_and_show_something(name):
    photograph = open_photograph(name)
    boxes = crops(photograph, 30, np.random.default_rng(0))
    height, width = photograph.pixels.shape[:2]
    assert len(boxes) >= 5
    for index, box in enumerate(boxes):
        assert box.left >= 0
        assert box.top >= 0
        assert box.left + box.width <= width
        assert box.top + box.height <= height
        assert min(box.width, box.height) >= 80
        assert np.asarray(photograph.cut(box)).std() > 5
        for other in boxes[:index]:
            mine, theirs = (np.zeros((height, width), bool) for _ in range(2))
            mine[box.top : box.top + box.height, box.left : box.left + box.width] = True
            theirs[other.top : other.top + other.height, other.left : other.left + other.width] = True
            assert (mine & theirs).sum() / (mine | theirs).sum() == pytest.approx(box.overlap(other))
            assert box.overlap(other) <= 0.3
