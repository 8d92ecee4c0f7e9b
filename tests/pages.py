"""Reads pages as a browser does, and a name that does harm where it is not escaped."""

import html.parser
import itertools

HOSTILE = (
    "</td></pre></title></style><script>alert(1)</script><img src=x onerror=alert(1)>\"'&{{ 7 * 7 }}\u202e\x00.jpg"
)
SHOWN = HOSTILE.replace("\u202e", "\\u202e").replace("\x00", "\\u0000")
"""What a reader sees of it."""


class Page(html.parser.HTMLParser):
    """Tags with their attributes, and the texts between them."""

    def __init__(self, page):
        super().__init__()
        self.tags, self.text = [], []
        self.feed(page)

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))

    def handle_data(self, data):
        self.text.append(data)

    @property
    def all_text(self):
        return "".join(self.text)

    @property
    def pairs(self):
        """Classes of the boxes with two images."""
        classes = [attributes.get("class", "").strip() for _, attributes in self.tags]
        return [names for names in classes if "pair" in names.split()]


def assert_harmless(page, times=None):
    """The page has no tag of a hostile name, asks for nothing, and shows the name so many times as text."""
    read = Page(page)
    tags = {tag for tag, _ in read.tags}
    assert not {"script", "iframe", "object", "embed", "link", "a", "form", "base"} & tags
    for tag, attributes in read.tags:
        assert not [name for name in attributes if name.startswith("on")], tag
        for name in ("src", "href"):
            assert attributes.get(name, "data:image/").startswith("data:image/"), tag
    assert [tag for tag, _ in read.tags].count("style") == 1
    assert "\u202e" not in page
    assert "\x00" not in page
    if times is not None:
        assert read.all_text.count(SHOWN) == times
    (language,) = [attributes.get("lang") for tag, attributes in read.tags if tag == "html"]
    assert language == "en"
    assert all(attributes.get("alt") for tag, attributes in read.tags if tag == "img")
    assert all(attributes.get("aria-label") for tag, attributes in read.tags if tag == "svg")
    headings = [int(tag[1]) for tag, _ in read.tags if tag in ("h1", "h2", "h3", "h4")]
    assert headings[0] == 1
    assert all(after - before <= 1 for before, after in itertools.pairwise(headings))
