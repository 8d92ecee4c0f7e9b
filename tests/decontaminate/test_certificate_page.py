"""The page of a certificate: whole where it can be, cut where it must be, and never more than text and pictures."""

import io
import json
import re

import numpy as np
import pytest
from PIL import Image

from curation.decontaminate.certificate import Certificate, Finding, ImageName, Neighbour, ReferenceImage, ReferenceSet
from curation.decontaminate.certificate_page import (
    LISTED,
    SHOWN_COPIES,
    SHOWN_GROUPS,
    SHOWN_LEAKS,
    SHOWN_MISSES,
    page_of,
    page_pairs,
)
from curation.imaging.matching import Match
from curation.report.thumbnails import Thumbnails
from tests.pages import HOSTILE, Page, assert_harmless


def image(name, number, collection="pool"):
    return ImageName(name, f"{number:064x}", (collection, 0, number))


def certificate(result=2, misses=2, copies=1, name="photo", unreadable=()):
    references, removed = [], []
    for number in range(result + misses):
        is_found = number < result
        kept = Neighbour(image(f"near {name}", 10**6 + number), 0.4 - number / 10**5, False)
        references.append(ReferenceImage("test", image(f"{name} {number}", number, "references/test"), None, (kept,)))
        for copy in range(copies if is_found else 0):
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
            ReferenceSet("test", name, "a folder of images", result + misses, 0, result, len(removed), "e" * 64)
        ],
        removed=removed,
        unreadable=list(unreadable),
        reference_images=references,
        settings={"copy_descriptors": {"model": name}, "dedup": {}},
        model={"name": "classical/x", "fingerprint": name},
        limits=[f"{name} is seen"],
    )


def jpeg(width, height):
    buffer = io.BytesIO()
    Image.new("RGB", (width, height)).save(buffer, "JPEG")
    return buffer.getvalue()


JPEG = jpeg(64, 32)
NOTHING = Thumbnails({}, {})
PICTURES = Thumbnails({("pool", 0, number): JPEG for number in (0, 100, 10**6)}, {})


def test_names_are_text_whatever_they_hold():
    bad = Finding(image(HOSTILE, 5), True, "not_an_image", HOSTILE)
    page = page_of(certificate(name=HOSTILE, unreadable=[bad]), PICTURES)
    assert_harmless(page)
    text = Page(page).all_text
    assert "<script>alert(1)</script>" in text
    assert "\\u202e\\u0000.jpg" in text


def test_the_page_asks_for_nothing_outside_itself():
    page = page_of(certificate(), NOTHING)
    (policy,) = [fields["content"] for tag, fields in Page(page).tags if "http-equiv" in fields]
    assert policy == "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
    assert not re.search(r"""(src|href)="(?!data:)""", page)


def test_leaks_come_first_and_the_nearest_misses_before_the_others():
    page = page_of(certificate(result=3, misses=3), NOTHING)
    order = [page.index(f"photo {number}<") for number in range(6)]
    assert order == sorted(order)


def test_a_large_certificate_is_cut_and_says_so():
    result, misses = SHOWN_LEAKS + 20, SHOWN_MISSES + 30
    large = certificate(result=result, misses=misses, copies=SHOWN_COPIES + 12)
    page = page_of(large, NOTHING)
    assert page.count('<div class="pair">') == SHOWN_LEAKS + SHOWN_MISSES
    assert f"Shown: {SHOWN_LEAKS} of {result}" in page
    assert f"Shown: {SHOWN_MISSES} of {misses}" in page
    assert "and 12 more copies" in page
    total = result * (SHOWN_COPIES + 12)
    assert f"Shown: {LISTED:,} of {total:,}" in page
    assert len(large.to_dict()["removed"]) == total
    assert len(page_pairs(large)) == SHOWN_LEAKS + SHOWN_MISSES
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
    one = certificate(result=1, misses=0)
    reference, copy = one.reference_images[0].image.place, one.removed[0].image.place
    geometry = Match(40, 0.8, mirrored, (0.5, 0, -0.125, 0, 0.5, -0.125))  # x' = x / 2 - 1/8: 1/4 -> 0, 3/4 -> 1/4
    pictures = Thumbnails({reference: JPEG, copy: JPEG}, {(reference, copy): geometry})
    page = page_of(one, pictures)
    inside_reference, inside_copy = polygons(page)
    assert inside_copy.min(axis=0).tolist() == [-0.125, -0.125]
    assert inside_copy.max(axis=0).tolist() == [0.375, 0.375]
    low, high = (-1.25, 0.75) if mirrored else (0.25, 2.25)
    assert (inside_reference[:, 0].min(), inside_reference[:, 0].max()) == (low, high)
    assert (inside_reference[:, 1].min(), inside_reference[:, 1].max()) == (0.25, 2.25)
    assert f"40 matched points{', mirrored' if mirrored else ''}" in page
    assert 'width="64" height="32"' in page


@pytest.mark.parametrize(("agreement", "drawn"), [(1.0, 2), (0.75, 2), (0.7, 0)])
def test_an_outline_is_drawn_where_enough_agrees(agreement, drawn):
    one = certificate(result=1, misses=0)
    reference, copy = one.reference_images[0].image.place, one.removed[0].image.place
    pictures = Thumbnails(
        {reference: JPEG, copy: JPEG}, {(reference, copy): Match(5, agreement, False, (1, 0, 0, 0, 1, 0))}
    )
    page = page_of(one, pictures)
    assert ("5 matched points" in page) is (drawn > 0)
    assert len(polygons(page)) == drawn


def test_the_json_is_complete_and_plain():
    fields = json.loads(json.dumps(certificate(result=2, copies=3).to_dict()))
    assert fields["format"] == "lvd-certificate/1"
    assert (fields["reference_sets"][0]["found"], fields["reference_sets"][0]["removed"]) == (2, 6)
    assert [item["reference"] for item in fields["removed"]] == ["photo 0"] * 3 + ["photo 1"] * 3
    assert fields["reference_images"][1]["removed"] == ["photo copy 100", "photo copy 101", "photo copy 102"]
    assert fields["reference_images"][3]["nearest"][0]["removed"] is False


def deduplicated(groups, copies=1, name="photo", label="cat", other="dog"):
    """A certificate of dedup: groups of an image that is kept, under one label, and its copies, under another."""
    removed = []
    for number in range(groups):
        kept = ImageName(f"{name} {number}", f"{number:064x}", ("pool", 1, number), label)
        for copy in range(copies):
            image = ImageName(f"{name} {number} copy {copy}", "0" * 64, ("pool", 2, number * 100 + copy), other)
            similarity = 0.9 - number / 10**4 - copy / 10**6
            removed.append(Finding(image, False, "copy", "", None, similarity, "verified", 9, False, 0.8, copy_of=kept))
    counts = {"read": 9, "kept": 9 - groups, "removed": groups, "unreadable": 0, "removed_as_copies": len(removed)}
    counts |= {"removed_as_copies_of_references": 0, "removed_with_their_sample": 0, "unreadable_kept": 0}
    base = certificate(result=0, misses=0, name=name).__dict__
    fields = {"removed": removed, "reference_sets": [], "counts": {**counts, "unreadable_removed": 0}, "job": "dedup"}
    return Certificate(**{**base, **fields})


def test_names_and_labels_of_copies_are_text_whatever_they_hold():
    one = deduplicated(2, name=HOSTILE, label=HOSTILE)
    stays = Finding(one.removed[0].image, True, "copy", HOSTILE, copy_of=one.removed[0].copy_of)
    page = page_of(Certificate(**{**one.__dict__, "copies_kept": [stays]}), PICTURES)
    assert_harmless(page)
    assert "Copies that stay: 1" in Page(page).all_text


def test_groups_with_several_labels_stand_before_the_others_and_the_least_similar_before_the_more_similar():
    page = page_of(deduplicated(3), NOTHING)
    assert "Copies under different labels: 3" in page
    assert "Other groups of copies: 0" in page
    order = [page.index(f"photo {number}<") for number in (2, 1, 0)]
    assert order == sorted(order)
    assert "Other groups of copies: 3" in page_of(deduplicated(3, other="cat"), NOTHING)
    assert "Other groups of copies: 3" in page_of(deduplicated(3, other=None), NOTHING)


def test_many_groups_are_cut_and_the_page_says_so():
    large = deduplicated(SHOWN_GROUPS + 5, copies=SHOWN_COPIES + 2)
    page = page_of(large, NOTHING)
    assert (
        f"Shown: {SHOWN_GROUPS} of {SHOWN_GROUPS + 5}, those with the least similar copies; dedup.json has all." in page
    )
    assert "and 2 more copies" in page
    assert len(page_pairs(large)) == SHOWN_GROUPS
    assert max(map(len, page_pairs(large).values())) == SHOWN_COPIES


def test_the_json_of_copies_is_complete_and_plain():
    fields = json.loads(json.dumps(deduplicated(2, copies=2).to_dict()))
    assert fields["format"] == "lvd-dedup/1"
    assert [item["copy_of"] for item in fields["removed"]] == ["photo 0", "photo 0", "photo 1", "photo 1"]
    assert fields["removed"][0]["agreement"] == 0.8
    assert [item["labels"] for item in fields["label_conflicts"]] == [["cat", "dog"]] * 2
    assert [image["kept"] for image in fields["label_conflicts"][0]["images"]] == [True, False, False]
