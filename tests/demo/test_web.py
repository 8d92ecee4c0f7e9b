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
from curation.imaging.framed import picture_in
from pipelines.demo.lookalikes import FRAMES, VEILS, before, framed, veiled
from pipelines.demo.photographs import CONCEPTS, Box, crops, has_detail, open_photograph
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
    assert len(web.truth) == len({item.url for item in web.truth}) >= 1150
    assert sum(kinds[kind] for kind in Kind if kind.is_copy) > 250
    assert sum(kinds[kind] for kind in Kind if kind.is_hard_negative) == 72 + 16
    assert 120 <= sum(kinds[kind] for kind in Kind if kind.is_leak) <= 190


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
        assert first.kind in (Kind.CLEAN, Kind.TEXTURE, Kind.SAME_FRAME)
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
        if not item.kind.is_copy or item.kind is Kind.FRAMED_COPY:
            continue
        data, first = images[item.url], original[item.group]
        (width, height), (first_width, first_height) = opened(data).size, opened(first).size
        if item.kind is Kind.EXACT_COPY:
            assert data == first
        elif item.kind is Kind.REENCODED_COPY:
            assert (width, height) == (first_width, first_height)
            assert data != first
        elif item.kind is Kind.CROPPED_COPY:
            assert 0.69 < width / first_width < 0.86
            assert 0.69 < height / first_height < 0.86
        elif item.kind is Kind.TRIMMED_COPY:
            assert 0.91 < width / first_width < 0.98
            assert 0.91 < height / first_height < 0.98
        else:
            assert width / first_width == pytest.approx(height / first_height, rel=0.03)
            assert min(width, height) >= 96
            assert not 0.9 < width / first_width < 1.1


def test_what_is_clean_is_an_image_and_no_two_are_the_same(web):
    clean = bodies(web, *(kind for kind in Kind if not kind.reasons))
    assert min(min(opened(data).size) for data in clean.values()) >= 200
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
    assert 2 * len(CONCEPTS) < len(references) <= 3 * len(CONCEPTS)
    leaked = bodies(web, Kind.EXACT_LEAK)
    assert {references[item.group] for item in web.truth if item.kind is Kind.EXACT_LEAK} == set(leaked.values())
    seeds = {path.read_bytes() for path in (web.folder / "seeds").rglob("*.*")}
    pool = set(bodies(web, *(kind for kind in Kind if not kind.is_leak and kind is not Kind.REDIRECT_LOOP)).values())
    assert not pool & (seeds | set(references.values()))


@pytest.mark.parametrize("name", ["astronaut", "print", "rocket"])
def test_crops_of_a_photograph_lie_inside_it_do_not_overlap_and_show_something(name):
    photograph = open_photograph(name)
    boxes = crops(photograph, 30, np.random.default_rng(0))
    height, width = photograph.pixels.shape[:2]
    assert len(boxes) >= 5
    taken = np.zeros((height, width), bool)
    for box in boxes:
        place = np.s_[box.top : box.top + box.height, box.left : box.left + box.width]
        assert taken[place].shape == (box.height, box.width)
        assert not taken[place].any()
        taken[place] = True
        assert min(box.width, box.height) >= 70
        assert min(photograph.cut(box).size) == 224
        assert np.asarray(photograph.cut(box)).std() > 5


def test_what_must_be_told_from_others_is_full_of_detail(web):
    groups = Counter(item.group for item in web.truth if item.group is not None)
    assert min(groups.values()) >= 2
    assert has_detail(open_photograph("gravel"), Box(100, 100, 80, 80))
    assert not has_detail(open_photograph("moon"), Box(0, 0, 80, 80))
    assert not has_detail(open_photograph("rocket"), Box(0, 0, 80, 80))


def test_things_before_one_background_share_no_pixel_of_it():
    background, thing, other = (open_photograph(name).cut(Box(20, 20, 90, 90)) for name in ("gravel", "cat", "coffee"))
    rng = np.random.default_rng(0)
    one, two = (np.asarray(before(background, shown, rng), np.int16) for shown in (thing, other))
    corner = np.s_[:40, :40]
    assert np.abs(one[corner] - two[corner]).mean() > 5
    assert one.shape == two.shape == (320, 320, 3)


@pytest.mark.parametrize("frame", FRAMES)
def test_a_frame_is_the_same_to_the_pixel_and_holds_the_picture(frame):
    one, two = (np.asarray(framed(open_photograph(name).cut(Box(20, 20, 90, 90)), frame)) for name in ("cat", "coffee"))
    differs = (one != two).any(axis=2)
    rows, columns = np.flatnonzero(differs.any(axis=1)), np.flatnonzero(differs.any(axis=0))
    assert (rows[-1] - rows[0] + 1, columns[-1] - columns[0] + 1) == (260, 300)
    assert picture_in(one) is not None


@pytest.mark.parametrize("veil", VEILS)
def test_a_veil_leaves_less_of_a_picture_to_be_seen(veil):
    picture = open_photograph("coffee").cut(Box(100, 100, 120, 120))
    seen = np.asarray(veiled(picture, veil, np.random.default_rng(0)), np.float32)
    assert seen.std() < np.asarray(picture, np.float32).std()


def test_fewer_than_half_of_the_images_are_copies_or_the_brake_would_stop_the_run(web):
    images = [item for item in web.truth if not item.kind.reasons or item.kind.is_copy or item.kind.is_leak]
    dropped = [item for item in images if item.kind.is_copy or item.kind.is_leak]
    assert 0.35 < len(dropped) / len(images) < 0.48
