"""The page of a certificate: whole where it can be, cut where it must be, and never more than text and pictures."""

import html.parser
import io
import json
import re

import numpy as np
import pytest
from PIL import Image

from curation.decontaminate.certificate import Certificate, Finding, ImageName, Match, ReferenceImage, ReferenceSet
from curation.decontaminate.certificate_page import LISTED, SHOWN_COPIES, SHOWN_FOUND, SHOWN_MISSES, page_of, page_pairs
from curation.report.thumbnails import Geometry, Thumbnails

HOSTILE = "</td><script>alert(1)</script><img src=x onerror=alert(1)>\"'&\u202e\x00.jpg"


class Tags(html.parser.HTMLParser):
    def __init__(self, page):
        super().__init__()
        self.tags, self.attributes, self.text = [], [], []
        self.feed(page)

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.attributes += attributes

    def handle_data(self, data):
        self.text.append(data)


def image(name, number, collection="pool"):
    return ImageName(name, f"{number:064x}", (collection, 0, number))


def certificate(hits=2, misses=2, copies=1, name="photo", unreadable=()):
    references, removed = [], []
    for number in range(hits + misses):
        is_hit = number < hits
        kept = Match(image(f"near {name}", 10**6 + number), 0.4 - number / 10**5, False)
        references.append(ReferenceImage("test", image(f"{name} {number}", number, "references/test"), None, (kept,)))
        for copy in range(copies if is_hit else 0):
            at = number * 100 + copy
            similarity = 0.9 - copy / 1000 - number / 10**5
            removed.append(Finding(image(f"{name} copy {at}", at), False, "reference_leak", "", number, similarity))
    counts = {"read": len(removed) + 9, "kept": 9, "removed": len(removed), "unreadable": 0}
    counts |= {"removed_as_copies": len(removed), "removed_with_their_sample": 0}
    counts |= {"unreadable_kept": 0, "unreadable_removed": 0}
    return Certificate(
        dataset={"data": name, "sha256": "d" * 64, "passed_over": {"links": 2}},
        clean={"action": "write", "sha256": "c" * 64, "files": None},
        counts=counts,
        reference_sets=[
            ReferenceSet("test", name, "a folder of images", hits + misses, 0, hits, len(removed), "e" * 64)
        ],
        removed=removed,
        unreadable=list(unreadable),
        reference_images=references,
        settings={"copy_descriptors": {"model": name}},
        model={"name": "classical/x", "fingerprint": name},
        limits=[f"{name} is seen"],
    )


NOTHING = Thumbnails({}, {})


def test_names_are_text_whatever_they_hold():
    bad = Finding(image(HOSTILE, 5), True, "not_an_image", HOSTILE)
    tags = Tags(page_of(certificate(name=HOSTILE, unreadable=[bad]), NOTHING))
    assert not {"script", "img", "iframe", "object", "link", "a"} & set(tags.tags)
    assert not [name for name, _ in tags.attributes if name.startswith("on")]
    text = "".join(tags.text)
    assert "<script>alert(1)</script>" in text
    assert "\u202e" not in text
    assert "\\u202e\\u0000.jpg" in text


def test_the_page_asks_for_nothing_outside_itself():
    page = page_of(certificate(), NOTHING)
    assert "default-src &#x27;none&#x27;" in page
    assert not re.search(r"""(src|href)="(?!data:)""", page)


def test_what_was_found_comes_first_and_the_nearest_misses_before_the_others():
    page = page_of(certificate(hits=3, misses=3), NOTHING)
    order = [page.index(f"photo {number}<") for number in range(6)]
    assert order == sorted(order)


def test_a_large_certificate_is_cut_and_says_so():
    hits, misses = SHOWN_FOUND + 20, SHOWN_MISSES + 30
    large = certificate(hits=hits, misses=misses, copies=SHOWN_COPIES + 12)
    page = page_of(large, NOTHING)
    assert page.count('<div class="pair">') == SHOWN_FOUND + SHOWN_MISSES
    assert f"Shown: {SHOWN_FOUND} of {hits}" in page
    assert f"Shown: {SHOWN_MISSES} of {misses}" in page
    assert "and 12 more copies" in page
    total = hits * (SHOWN_COPIES + 12)
    assert f"Shown: {LISTED:,} of {total:,}" in page
    assert len(large.to_dict()["removed"]) == total
    assert len(page_pairs(large)) == SHOWN_FOUND + SHOWN_MISSES
    assert max(map(len, page_pairs(large).values())) == SHOWN_COPIES + 1


def test_reference_images_that_could_not_be_read_are_warned_of():
    blind = certificate()
    sets = [ReferenceSet("test", "x", "a folder of images", 4, 1, 2, 2, "e" * 64)]
    page = page_of(Certificate(**{**blind.__dict__, "reference_sets": sets}), NOTHING)
    assert "1 reference image(s) could not be read. Nothing is certified about copies of them" in page


def polygons(page):
    return [
        np.array([[float(v) for v in point.split(",")] for point in points.split()])
        for points in re.findall(r'<polygon points="([^"]*)"', page)
    ]


@pytest.mark.parametrize("mirrored", [False, True])
def test_outlines_say_where_one_image_lies_in_the_other(mirrored):
    """The copy shows the middle half of the reference, in its own upper left quarter."""
    buffer = io.BytesIO()
    Image.new("RGB", (64, 32)).save(buffer, "JPEG")
    one = certificate(hits=1, misses=0)
    reference, copy = one.reference_images[0].image.place, one.removed[0].image.place
    geometry = Geometry(40, 2.5, mirrored, (0.5, 0, -0.125, 0, 0.5, -0.125))  # x' = x / 2 - 1/8: 1/4 -> 0, 3/4 -> 1/4
    exhibits = Thumbnails({reference: buffer.getvalue(), copy: buffer.getvalue()}, {(reference, copy): geometry})
    page = page_of(one, exhibits)
    inside_reference, inside_copy = polygons(page)
    assert inside_copy.min(axis=0).tolist() == [-0.125, -0.125]
    assert inside_copy.max(axis=0).tolist() == [0.375, 0.375]
    low, high = (-1.25, 0.75) if mirrored else (0.25, 2.25)
    assert (inside_reference[:, 0].min(), inside_reference[:, 0].max()) == (low, high)
    assert (inside_reference[:, 1].min(), inside_reference[:, 1].max()) == (0.25, 2.25)
    assert f"40 matched points{', mirrored' if mirrored else ''}" in page
    assert 'width="64" height="32"' in page


def test_a_transform_of_few_points_is_not_drawn():
    one = certificate(hits=1, misses=0)
    reference, copy = one.reference_images[0].image.place, one.removed[0].image.place
    weak = Thumbnails({}, {(reference, copy): Geometry(5, 1.0, False, (1, 0, 0, 0, 1, 0))})
    page = page_of(one, weak)
    assert "5 matched points" not in page
    assert polygons(page) == []


def test_the_json_is_complete_and_plain():
    fields = json.loads(json.dumps(certificate(hits=2, copies=3).to_dict()))
    assert fields["format"] == "lvd-certificate/1"
    assert [item["reference"] for item in fields["removed"]] == ["photo 0"] * 3 + ["photo 1"] * 3
    assert fields["reference_images"][1]["removed"] == ["photo copy 100", "photo copy 101", "photo copy 102"]
    assert fields["reference_images"][3]["nearest"][0]["removed"] is False
