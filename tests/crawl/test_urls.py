"""One URL has one form, the one that browsers would request."""

import pytest

from curation.crawl.urls import canonical_url, host_of, origin_of

BASE = "https://www.example.com/a/b/page.html?x=1#top"
FORMS = [
    ("http://example.com", "http://example.com/"),
    ("HTTP://Example.COM:80/A", "http://example.com/A"),
    ("https://example.com:443/", "https://example.com/"),
    ("https://example.com:8443/", "https://example.com:8443/"),
    ("http://example.com/a/./b/../c.jpg", "http://example.com/a/c.jpg"),
    ("http://example.com/a.jpg#frag", "http://example.com/a.jpg"),
    ("http://example.com/a.jpg?", "http://example.com/a.jpg?"),
    (" http://example.com/a b\n.jpg ", "http://example.com/a%20b.jpg"),
    ("http:\\\\example.com\\a.jpg", "http://example.com/a.jpg"),
    ("http://b\u00fccher.example/\u00fc.jpg", "http://xn--bcher-kva.example/%C3%BC.jpg"),
    ("http://ex%61mple.com/", "http://example.com/"),
    ("http://a_b.example.com/", "http://a_b.example.com/"),
    ("http://2130706433/", "http://127.0.0.1/"),
    ("http://0x7f.1/", "http://127.0.0.1/"),
    ("http://[0:0::1]/", "http://[::1]/"),
    ("http://example.com/%7Efoo%2fbar", "http://example.com/%7Efoo%2fbar"),
    ("http://example.com/@a", "http://example.com/@a"),
    ("", None),
    ("a.jpg", None),
    ("//example.com/a.jpg", None),
    ("ftp://example.com/a.jpg", None),
    ("file:///etc/passwd", None),
    ("data:image/png;base64,AAAA", None),
    ("javascript:void(0)", None),
    ("blob:https://example.com/1", None),
    ("http://", None),
    ("http://user@example.com/", None),
    ("http://user:word@example.com/", None),
    ("http://example.com:99999/", None),
    ("http://1.1.1.256/", None),
    ("http://a b/", None),
    ("http://example.com/\ud800.jpg", None),
    ("http://example.com/" + "a" * 5000, None),
    ("http://example.com/" + "\u00fc" * 1000, None),
]


@pytest.mark.parametrize(("url", "expected"), FORMS)
def test_canonical_form_of_an_absolute_url(url: str, expected: str | None) -> None:
    assert canonical_url(url) == expected


@pytest.mark.parametrize("url", [expected for _, expected in FORMS if expected])
def test_a_canonical_url_stays_what_it_is(url: str) -> None:
    assert canonical_url(url) == url


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("c.jpg", "https://www.example.com/a/b/c.jpg"),
        ("../c.jpg", "https://www.example.com/a/c.jpg"),
        ("../../../../c.jpg", "https://www.example.com/c.jpg"),
        ("/c.jpg", "https://www.example.com/c.jpg"),
        ("//cdn.example.org/c.jpg", "https://cdn.example.org/c.jpg"),
        ("?y=2", "https://www.example.com/a/b/page.html?y=2"),
        ("http://other.example/c.jpg", "http://other.example/c.jpg"),
        ("https:c.jpg", "https://www.example.com/a/b/c.jpg"),
        ("data:,", None),
    ],
)
def test_references_are_resolved_against_a_base(url: str, expected: str | None) -> None:
    assert canonical_url(url, BASE) == expected


@pytest.mark.parametrize(
    ("url", "host", "origin"),
    [
        ("http://example.com/a", "example.com", "http://example.com"),
        ("https://example.com:8443/a?b/c", "example.com", "https://example.com:8443"),
        ("http://[::1]:80/", "::1", "http://[::1]:80"),
    ],
)
def test_host_and_origin(url: str, host: str, origin: str) -> None:
    assert (host_of(url), origin_of(url)) == (host, origin)
