"""One URL per picture: the largest that a page offers for it."""

import pytest

from curation.crawl.page import decode_html, largest_candidate, read_page

PICTURES = [
    ('<img src="a.jpg">', ["a.jpg"]),
    ("<IMG SRC=a.jpg>", ["a.jpg"]),
    ("<img src='a.jpg?x=1&amp;y=2'>", ["a.jpg?x=1&y=2"]),
    ("<image src=a.jpg>", ["a.jpg"]),
    ("<img>", []),
    ('<img src="">', []),
    ('<img src=" ">', []),
    ('<img src="#">', []),
    ('<img src="data:image/gif;base64,R0lGOD">', []),
    ('<img src="DATA:image/gif;base64,R0lGOD" data-src="a.jpg">', ["a.jpg"]),
    ('<img src="{{ photo.url }}">', []),
    ('<img src="about:blank">', []),
    ('<img src="grey.gif" data-src="a.jpg">', ["a.jpg"]),
    ('<img src="grey.gif" data-original="a.jpg">', ["a.jpg"]),
    ('<img src="grey.gif" data-lazy-src="a.jpg">', ["a.jpg"]),
    ('<img src="a.jpg" data-src="">', ["a.jpg"]),
    ('<img src="grey.gif" data-srcset="a.jpg 400w, b.jpg 800w">', ["b.jpg"]),
    ('<img src="s.jpg" srcset="m.jpg 400w, l.jpg 800w">', ["l.jpg"]),
    ('<img src="s.jpg" srcset="m.jpg 1.5x, l.jpg 2x">', ["l.jpg"]),
    ('<img src="s.jpg" srcset="">', ["s.jpg"]),
    ('<picture><source srcset="l.webp 800w"><img src="s.jpg"></picture>', ["l.webp"]),
    ('<picture><source srcset="s.webp 400w"><img src="s.jpg" srcset="l.jpg 800w"></picture>', ["l.jpg"]),
    ('<picture><source srcset="a.webp"><img src="a.jpg"></picture>', ["a.jpg"]),
    ('<picture><source type="image/svg+xml" srcset="a.svg 9000w"><img src="a.jpg"></picture>', ["a.jpg"]),
    ('<picture><source data-srcset="a.webp"><img src="data:,"></picture>', ["a.webp"]),
    ("<video><source src=a.mp4></video>", []),
    ("<noscript><img src=a.jpg></noscript>", ["a.jpg"]),
    ("<!-- <img src=a.jpg> -->", []),
    ("<script>'<img src=a.jpg>'</script>", []),
    ("<style><img src=a.jpg></style>", []),
    ("<textarea><img src=a.jpg></textarea>", []),
    ("<title><img src=a.jpg></title>", []),
    ("<table><img src=a.jpg><tr><td><img src=b.jpg>", ["a.jpg", "b.jpg"]),
    ("<img src=a.jpg><img src=a.jpg>", ["a.jpg", "a.jpg"]),
    ("<img src=a.jpg src=b.jpg>", ["a.jpg"]),
    ('<img src="a\x00b.jpg">', ["a\ufffdb.jpg"]),
    ("<img src=a.jpg", []),
    ("<" * 9999, []),
    ("<div>" * 9999 + "<img src=a.jpg>", ["a.jpg"]),
    ("", []),
]


@pytest.mark.parametrize(("html", "expected"), PICTURES)
def test_the_pictures_of_a_page(html: str, expected: list[str]) -> None:
    assert [picture.src for picture in read_page(html).pictures] == expected


SRCSETS = [
    ("", ("", 0.0)),
    (" , , ", ("", 0.0)),
    ("a.jpg", ("a.jpg", 1.0)),
    ("a.jpg 2x", ("a.jpg", 2.0)),
    ("a.jpg,b.jpg 2x", ("a.jpg,b.jpg", 2.0)),
    ("a.jpg, b.jpg 2x", ("b.jpg", 2.0)),
    ("a.jpg 300w,b.jpg 600w", ("b.jpg", 600.0)),
    ("\n a,b.jpg 300w 200h ,\n\tc.jpg 200w,", ("a,b.jpg", 300.0)),
    ("a.jpg wide, b.jpg", ("b.jpg", 1.0)),
    ("a.jpg -5w", ("", 0.0)),
    ("a.jpg nanx", ("", 0.0)),
    ("data:image/gif;base64,R0lGOD 900w, a.jpg 300w", ("a.jpg", 300.0)),
]


@pytest.mark.parametrize(("srcset", "expected"), SRCSETS)
def test_the_largest_candidate_of_a_srcset(srcset: str, expected: tuple[str, float]) -> None:
    assert largest_candidate(srcset) == expected


@pytest.mark.parametrize("filler", [", ", "a ", "a,", "a b,", "( "])
def test_a_long_srcset_takes_no_long_time(filler: str) -> None:
    largest_candidate(filler * 300_000)


def test_alternative_text_is_one_line() -> None:
    [picture] = read_page('<img src=a.jpg alt=" A cat\n on a\tmat &amp; more ">').pictures
    assert picture.alt == "A cat on a mat & more"


@pytest.mark.parametrize(
    ("html", "base"),
    [
        ("<img src=a.jpg>", None),
        ("<base href=/x/><base href=/y/>", "/x/"),
        ("<base target=_top><base href=/y/>", "/y/"),
        ("<p><base href=/late/>", "/late/"),
    ],
)
def test_the_first_base_with_an_address_counts(html: str, base: str | None) -> None:
    assert read_page(html).base == base


@pytest.mark.parametrize(
    ("html", "said"),
    [
        ("<meta name=robots content='index, follow'>", ""),
        ("<meta name=robots content='max-image-preview:large'>", ""),
        ("<meta name=Robots content='NOAI'>", "noai"),
        ("<meta name=robots content='follow, noimageai'>", "noimageai"),
        ("<meta name=robots content=noindex>", "noindex"),
        ("<meta name=robots content=none>", "none"),
        ("<meta name=googlebot content=noindex>", ""),
        ("<meta name=lvd content=noindex>", "noindex"),
        ("<meta name=robots>", ""),
        ("<meta name=tdm-reservation content=1>", "tdm-reservation"),
        ("<meta name=tdm-reservation content=0>", ""),
    ],
)
def test_a_page_can_reserve_its_pictures(html: str, said: str) -> None:
    assert read_page(html).opted_out == said


TEXT = "<img src='Grüße-日本.jpg'>"
CHARSETS = [
    (TEXT.encode(), "text/html; charset=UTF-8"),
    (TEXT.encode(), "text/html"),
    (TEXT.encode("utf-8-sig"), "text/html; charset=iso-8859-1"),
    (TEXT.encode("utf-16"), "text/html"),
    (b"<meta charset=gb18030>" + TEXT.encode("gb18030"), "text/html"),
    (b"<meta charset=latin1>" + TEXT.encode(), "text/html;charset='utf-8'"),
    (TEXT.encode(), "text/html; charset=no-such-charset"),
]


@pytest.mark.parametrize(("body", "content_type"), CHARSETS)
def test_text_is_decoded_as_declared_or_as_it_looks(body: bytes, content_type: str) -> None:
    [picture] = read_page(decode_html(body, content_type)).pictures
    assert picture.src == "Grüße-日本.jpg"


def test_bytes_of_no_charset_still_give_text() -> None:
    assert "a.jpg" in decode_html(b"<img src=a.jpg>\xff\xfe\xfd\x80", "text/html; charset=utf-8")
