"""What every page has: text that stays text, and no need of anything outside it."""

import jinja2
import pytest

from curation.report.page import Figure, render
from tests.pages import HOSTILE, SHOWN, Page, assert_harmless

EMPTY = {"levels": [], "coverage": [], "groups": []}


def cluster(*figures):
    return {"number": 0, "before": 1, "after": 1, "figures": figures}


def test_a_value_that_a_template_lacks_is_an_error_and_never_a_gap():
    with pytest.raises(jinja2.UndefinedError, match="'groups' is undefined"):
        render("balance.html", title="x", levels=[], coverage=[])


@pytest.mark.parametrize("text", [HOSTILE, "{{ 7 * 7 }}{% raw %}", "a\r\nb\u2028c\u200b\u202e", "\ud800"])
def test_a_title_is_text_whatever_it_holds(text):
    page = render("balance.html", title=text, **EMPTY)
    assert_harmless(page)
    codes = "".join(char if char.isprintable() else f"\\u{ord(char):04x}" for char in text)
    assert Page(page).all_text.count(codes) == 2
    page.encode()


def test_a_figures_name_is_text_in_its_caption_and_in_what_a_screen_reader_says():
    figure = Figure(None, HOSTILE, caption=HOSTILE)
    page = render("balance.html", title="x", **EMPTY | {"groups": [("g", [cluster(figure)])]})
    assert_harmless(page, times=2)
    assert "(no longer stored)" in page


def test_pictures_have_a_size_and_say_what_they_show(encoded, photo):
    jpeg = encoded(photo(1, width=40, height=30), "JPEG")
    figures = [Figure(jpeg, HOSTILE), Figure(jpeg, HOSTILE, outlines=("0,0 1,0 1,1",))]
    page = render("balance.html", title="x", **EMPTY | {"groups": [("g", [cluster(*figures)])]})
    assert_harmless(page, times=2)
    (image,) = [fields for tag, fields in Page(page).tags if tag == "img"]
    (drawing,) = [fields for tag, fields in Page(page).tags if tag == "svg"]
    assert (image["width"], image["height"], image["alt"]) == ("40", "30", f"image {SHOWN}")
    assert (drawing["width"], drawing["height"], drawing["role"]) == ("40", "30", "img")
    assert drawing["aria-label"] == f"image {SHOWN}, with an outline of the other image in it"


def test_every_page_adapts_to_narrow_windows_dark_mode_and_paper():
    page = render("balance.html", title="x", **EMPTY)
    viewport = [fields["content"] for _, fields in Page(page).tags if fields.get("name") == "viewport"]
    assert viewport == ["width=device-width, initial-scale=1"]
    assert "@media (prefers-color-scheme: dark)" in page
    assert "@media print" in page
