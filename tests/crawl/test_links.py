"""Every image URL of a crawl file, in order, whatever the container and however damaged."""

import gzip
import random
import zlib
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import urljoin

import brotli
import fsspec
import pytest

from curation.crawl.links import Link, read_links
from curation.errors import DatasetError
from curation.formats.warc.content import Tally
from curation.formats.warc.records import read_records
from tests.matrix import first_of

from .archives import arc_file, http_message, warc_file, warc_record, wat_record

PAGE = b'<base href="/pics/"><img src=a.jpg alt=A><img src="//cdn.test/b.jpg"><img src="data:,"><img src=../c.jpg>'
URLS = ["http://page.test/pics/a.jpg", "http://cdn.test/b.jpg", "http://page.test/c.jpg"]


def write(folder: Path, content: bytes, name: str = "crawl.warc.gz") -> str:
    path = folder / name
    path.write_bytes(content)
    return str(path)


def urls(path: str, tally: Tally | None = None) -> list[str]:
    return [link.url for link in read_links(path, tally)]


def page(number: int) -> bytes:
    return warc_record(http_message(b"<img src=%d.jpg>" % number), f"http://page.test/{number}/")


@pytest.mark.parametrize("packed", [True, False])
def test_links_of_a_warc(tmp_path: Path, packed: bool) -> None:
    path = write(tmp_path, warc_file([warc_record(http_message(PAGE))], packed))
    links = list(read_links(path))
    assert [link.url for link in links] == URLS
    assert links[0] == Link(URLS[0], "http://page.test/dir/index.html", "A")


@pytest.mark.parametrize("packed", [True, False])
def test_links_of_an_arc(tmp_path: Path, packed: bool) -> None:
    records = [("http://page.test/dir/index.html", http_message(PAGE)), ("http://page.test/2/", PAGE)]
    assert urls(write(tmp_path, arc_file(records, packed), "crawl.arc")) == URLS * 2


def test_an_arc_of_one_gzip_member_reads_like_any_other(tmp_path: Path) -> None:
    content = gzip.compress(arc_file([("http://page.test/", http_message(PAGE))]))
    assert urls(write(tmp_path, content, "crawl.arc.gz")) == URLS


WAT_LINKS = [
    {"path": "IMG@/src", "url": "a.jpg", "alt": "A"},
    {"path": "IMG@/src", "url": "//cdn.test/b.jpg"},
    {"path": "IMG@/src", "url": "data:,"},
    {"path": "A@/href", "url": "nothing.html"},
    {"path": "IMG@/longdesc", "url": "nothing.html"},
    {"path": "IMG@/src", "url": "../c.jpg"},
]


def test_warc_and_wat_of_the_same_page_give_the_same_links(tmp_path: Path) -> None:
    wat = wat_record({"Head": {"Base": "/pics/"}, "Links": WAT_LINKS})
    warc = warc_record(http_message(PAGE))
    result = [list(read_links(write(tmp_path, warc_file([record])))) for record in (warc, wat)]
    assert result[0] == result[1]
    assert [link.url for link in result[0]] == URLS


WRONG_SHAPES = [
    '{"IMG@/src"',
    '["IMG@/src"' + "[" * 99_999,
    '["IMG@/src"]',
    '{"path": "IMG@/src"}',
    '{"Envelope": {"Payload-Metadata": "IMG@/src"}}',
    '{"Envelope": {"Payload-Metadata": {"HTTP-Response-Metadata": {"HTML-Metadata": "IMG@/src"}}}}',
    '{"Envelope": {"Payload-Metadata": {"HTTP-Response-Metadata": {"HTML-Metadata": {"Links": ["IMG@/src"]}}}}}',
]


@pytest.mark.parametrize("content", WRONG_SHAPES)
def test_a_wat_record_of_another_shape_is_counted_and_skipped(tmp_path: Path, content: str) -> None:
    bad = warc_record(content.encode(), WARC_Type="metadata", Content_Type="application/json")
    good = wat_record({"Links": WAT_LINKS})
    tally = Tally()
    assert len(urls(write(tmp_path, warc_file([bad, good])), tally)) == 3
    assert tally["broken"] == 1


ENCODED = [
    ({"Transfer-Encoding": "chunked"}, b"%x\r\n%s\r\n0\r\n\r\n" % (len(PAGE), PAGE)),
    ({"Transfer-Encoding": "chunked"}, b"5;x=y\r\n%s\r\n%x\r\n%s\r\n0\r\n\r\n" % (PAGE[:5], len(PAGE) - 5, PAGE[5:])),
    ({"Transfer-Encoding": "chunked"}, b"%x\r\n%s" % (len(PAGE) + 99, PAGE)),
    ({"Transfer-Encoding": "chunked"}, PAGE),
    ({"Content-Encoding": "gzip"}, gzip.compress(PAGE, mtime=0)),
    ({"Content-Encoding": "gzip"}, gzip.compress(PAGE, mtime=0)[:-8]),
    ({"Content-Encoding": "gzip"}, PAGE),
    ({"Content-Encoding": "deflate"}, zlib.compress(PAGE)),
    ({"Content-Encoding": "deflate"}, zlib.compress(PAGE)[2:-4]),
    ({"Content-Encoding": "br"}, brotli.compress(PAGE)),
    ({"Content-Encoding": "br"}, PAGE),
    ({"Content-Encoding": "unheard-of"}, PAGE),
]


@pytest.mark.parametrize(("headers", "body"), ENCODED)
@pytest.mark.parametrize("container", ["warc", "arc"])
def test_encodings_are_undone_where_the_bytes_have_them(
    tmp_path: Path, headers: dict[str, str], body: bytes, container: str
) -> None:
    message = http_message(body, headers)
    files = {"warc": warc_file([warc_record(message)]), "arc": arc_file([("http://page.test/", message)])}
    content = files[container]
    assert urls(write(tmp_path, content)) == URLS


def test_only_pages_are_read(tmp_path: Path) -> None:
    records = [
        warc_record(http_message(PAGE, {"Content-Type": "image/jpeg"})),
        warc_record(http_message(PAGE), WARC_Type="request"),
        warc_record(PAGE, WARC_Type="conversion", Content_Type="text/html"),
        warc_record(PAGE, WARC_Type="resource", Content_Type="text/html"),
        warc_record(http_message(PAGE, {"Content-Type": "Application/XHTML+xml; charset=utf-8"})),
    ]
    tally = Tally()
    assert urls(write(tmp_path, warc_file(records)), tally) == URLS * 2
    assert tally["pages"] == 2


def test_what_a_page_or_its_server_reserves_is_marked(tmp_path: Path) -> None:
    records = [
        warc_record(http_message(b"<img src=1.jpg>", {"X-Robots-Tag": "noai"})),
        warc_record(http_message(b"<meta name=robots content=noimageai><img src=2.jpg>")),
        warc_record(http_message(b"<img src=3.jpg>", {"TDM-Reservation": "1"})),
        warc_record(http_message(b"<img src=4.jpg>")),
        wat_record({"Links": WAT_LINKS[:1], "Head": {"Metas": [{"name": "robots", "content": "noindex"}]}}),
        wat_record({"Links": WAT_LINKS[:1]}, {"X-Robots-Tag": "noimageindex"}),
    ]
    result = [link.opted_out for link in read_links(write(tmp_path, warc_file(records)))]
    assert result == ["noai", "noimageai", "tdm-reservation", "", "noindex", "noimageindex"]


DAMAGE = {
    "no header": b"not a record at all\r\n\r\n",
    "too long": page(9).replace(b"Content-Length: ", b"Content-Length: 9"),
    "length is no number": page(9).replace(b"Content-Length: ", b"Content-Length: x"),
    "cut": page(9)[:120],
    "zeros": bytes(5000),
    "bytes of no charset": page(9).replace(b"WARC-Date: ", b"WARC-Date: \xff\xfe").replace(b"text/html", b"text/\xff"),
    "status is no number": page(9).replace(b"HTTP/1.1 200 OK", b"HTTP/1.1 two hundred"),
    "no status line": page(9).replace(b"HTTP/1.1 200 OK\r\n", b""),
}


@pytest.mark.parametrize("damage", DAMAGE)
@pytest.mark.parametrize("packed", [True, False])
def test_damage_costs_no_more_than_its_neighbours(tmp_path: Path, damage: str, packed: bool) -> None:
    records = [page(1), DAMAGE[damage], page(2), page(3), page(4)]
    result = urls(write(tmp_path, warc_file(records, packed)))
    assert result[0] == "http://page.test/1/1.jpg"
    assert result[-2:] == ["http://page.test/3/3.jpg", "http://page.test/4/4.jpg"]


@pytest.mark.slow
@pytest.mark.parametrize("kind", first_of("warc.gz", "warc", "arc", "arc.gz"))
def test_no_damage_of_any_kind_is_a_crash(tmp_path: Path, kind: str) -> None:
    chance, refusals = random.Random(0), set[str]()
    messages = [(f"http://page.test/{n}/", http_message(b"<img src=%d.jpg>" % n)) for n in range(6)]
    packed = kind.endswith("gz")
    whole = arc_file(messages, packed) if "arc" in kind[:3] else warc_file(map(page, range(6)), packed)
    for _ in range(1000):
        content = bytearray(whole)
        for _ in range(chance.randint(1, 8)):
            content[chance.randrange(len(content))] = chance.randrange(256)
        try:
            urls(write(tmp_path, bytes(content)))
        except DatasetError as error:
            refusals.add(str(error).rpartition(": ")[2])
    assert refusals <= {"is no WARC, ARC or WAT file; name a crawl file, plain or compressed"}


def test_damaged_gzip_members_are_counted_and_skipped(tmp_path: Path) -> None:
    members = [gzip.compress(page(number), mtime=0) for number in range(5)]
    members[1] = members[1][:30] + bytes(20) + members[1][50:]
    members[3] = members[3][: len(members[3]) // 2]
    tally = Tally()
    result = urls(write(tmp_path, b"".join(members)), tally)
    assert {f"http://page.test/{number}/{number}.jpg" for number in (0, 2, 4)} <= set(result)
    assert tally["broken"] >= 1


def test_a_wrong_length_in_an_arc_does_not_hide_the_next_record(tmp_path: Path) -> None:
    content = arc_file([(f"http://page.test/{n}/", http_message(b"<img src=%d.jpg>" % n)) for n in range(4)])
    length = b"text/html %d\n" % len(http_message(b"<img src=1.jpg>"))
    wrong = content.replace(length, b"text/html 150\n", 2)
    result = urls(write(tmp_path, wrong, "crawl.arc"))
    assert result == [f"http://page.test/{n}/{n}.jpg" for n in range(4)]


def arc_record(number: int, length: bytes | None = None, address: bytes = b"192.0.2.1") -> bytes:
    content = http_message(b"<img src=%d.jpg>" % number)
    size = b"%d" % len(content) if length is None else length
    fields = b"http://page.test/%d/ %s 20240101000000 text/html %s\n" % (number, address, size)
    return fields + content + b"\n"


def arc_links(folder: Path, records: list[bytes], packed: bool) -> tuple[list[str], Tally]:
    content = arc_file([]) + b"".join(records)
    tally = Tally()
    result = urls(write(folder, gzip.compress(content, mtime=0) if packed else content, "crawl.arc"), tally)
    return [url.rpartition("/")[2] for url in result], tally


@pytest.mark.parametrize("packed", [True, False])
def test_an_arc_length_that_no_file_has_is_read_to_the_next_record(tmp_path: Path, packed: bool) -> None:
    """999,999,999,999,999,999 bytes: skipping them block by block would take years."""
    records = [arc_record(1), arc_record(2, b"9" * 18), arc_record(3)]
    result, tally = arc_links(tmp_path, records, packed)
    assert (result, tally["records"], tally["broken"]) == (["1.jpg", "2.jpg", "3.jpg"], 4, 0)


@pytest.mark.parametrize("packed", [True, False])
def test_an_arc_length_of_more_digits_than_a_number_is_a_broken_record(tmp_path: Path, packed: bool) -> None:
    result, tally = arc_links(tmp_path, [arc_record(1), arc_record(2, b"9" * 5000), arc_record(3)], packed)
    assert (result, tally["records"], tally["broken"]) == (["1.jpg", "3.jpg"], 3, 1)


LONG_LINES = {
    "words like addresses and dates": b"http://page.test/" + b" - 12345678 x" * 5000,
    "an address of colons": b"http://page.test/ " + b":" * 65000 + b"z 20240101000000 text/html 9",
    "a date of digits": b"http://page.test/ 192.0.2.1 " + b"2" * 65000 + b" text/html 9",
    "a scheme of letters": b"a" * 65000,
    "spaces": b"http:" + b" " * 65000,
}


@pytest.mark.parametrize("line", LONG_LINES)
def test_a_long_arc_line_that_is_nearly_a_header_is_one_pass(tmp_path: Path, line: str) -> None:
    """A pattern that backtracks takes seconds to minutes for each of them: 64 of them end in any time limit."""
    records = [arc_record(1), *[LONG_LINES[line][:65000] + b" z\n"] * 64, arc_record(2)]
    result, tally = arc_links(tmp_path, records, packed=True)
    assert (result, tally["records"], tally["broken"]) == (["1.jpg", "2.jpg"], 3, 1)


def test_an_arc_url_may_hold_spaces_and_look_like_a_header(tmp_path: Path) -> None:
    content = http_message(b"<img src=/a.jpg>")
    line = b"http://page.test/a b - x 192.0.2.1 20240101000000 text/html 200 - - 0 x.arc %d\n" % len(content)
    path = write(tmp_path, arc_file([]) + line + content + b"\n", "crawl.arc")
    assert [record.url for record in read_records(path, lambda kind: True)] == ["http://page.test/a b - x"]


def test_what_lies_after_an_arc_record_that_is_longer_than_is_read_is_read(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr("curation.formats.warc.arc.MAX_CONTENT", 200)
    long = http_message(b"<img src=1.jpg>" + b" " * 430)
    content = arc_file([("http://page.test/1/", long), ("http://page.test/2/", http_message(b"<img src=2.jpg>"))])
    assert urls(write(tmp_path, content, "crawl.arc")) == [f"http://page.test/{n}/{n}.jpg" for n in (1, 2)]


def test_arc_records_that_each_claim_the_rest_are_not_each_read_to_the_end(tmp_path: Path, monkeypatch) -> None:
    """Each wrong length costs a reading of what it claims: many are believed in the end, so that time stays linear."""
    monkeypatch.setattr("curation.formats.warc.arc.MAX_CONTENT", 100_000)
    result, tally = arc_links(tmp_path, [arc_record(number, b"99999") for number in range(3000)], packed=False)
    assert result[:2] == ["0.jpg", "1.jpg"]
    assert tally["records"] == 14  # of 3,001: those before the allowance ends


@pytest.mark.parametrize("container", ["warc", "arc"])
def test_a_status_of_5000_digits_is_no_status(tmp_path: Path, container: str) -> None:
    message = http_message(b"<img src=1.jpg>", status="9" * 5000 + " OK")
    files = {"warc": warc_file([warc_record(message)]), "arc": arc_file([("http://page.test/", message)])}
    path = write(tmp_path, files[container])
    assert [record.status for record in read_records(path, lambda kind: True)] == [0]


@pytest.mark.parametrize("container", ["warc", "arc"])
def test_headers_that_repeat_are_joined_by_commas(tmp_path: Path, container: str) -> None:
    message = b"HTTP/1.1 200 OK\r\nX-Tag: a\r\nContent-Type: text/html\r\nx-tag: b\r\n\r\nbody"
    files = {"warc": warc_file([warc_record(message)]), "arc": arc_file([("http://page.test/", message)])}
    (record,) = read_records(write(tmp_path, files[container]), lambda kind: True)
    assert record.headers == {"x-tag": "a, b", "content-type": "text/html"}


@pytest.mark.parametrize("cut", [10, 200, 333, 500])
def test_a_file_cut_off_anywhere_gives_what_came_before(tmp_path: Path, cut: int) -> None:
    whole = [f"http://page.test/{n}/{n}.jpg" for n in range(3)]
    for packed in (True, False):
        content = warc_file([page(n) for n in range(3)], packed)
        result = urls(write(tmp_path, content[:-cut]))
        assert result == whole[: len(result)]


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"hello",
        gzip.compress(b"hello", mtime=0),
        b"\x1f\x8b\x08garbage",
        b"PK\x03\x04",
        b"<html>",
        gzip.compress(b"", mtime=0),
    ],
)
def test_what_is_no_crawl_file_is_one_clear_error(tmp_path: Path, content: bytes) -> None:
    path = write(tmp_path, content)
    with pytest.raises(DatasetError, match=r"crawl\.warc\.gz: is no WARC, ARC or WAT file"):
        urls(path)


@pytest.mark.parametrize("path", ["missing.warc", "", "nosuch://bucket/a.warc"])
def test_a_file_that_cannot_be_opened_is_one_clear_error(tmp_path: Path, path: str) -> None:
    with pytest.raises(DatasetError, match="cannot be opened") as error:
        urls(path if "://" in path else str(tmp_path / path))
    assert "\n" not in str(error.value)


class Failing:
    """A stream whose medium fails after a while."""

    def __init__(self, content: bytes, after: int) -> None:
        self.content, self.after, self.position = content, after, 0

    def open(self) -> "Failing":
        return self

    def __enter__(self) -> "Failing":
        return self

    def __exit__(self, *_: object) -> None:
        return None

    def seekable(self) -> bool:
        return True

    def seek(self, position: int) -> None:
        self.position = position

    def read(self, size: int = -1) -> bytes:
        if self.position >= self.after:
            raise ConnectionResetError("the line went dead")
        block = self.content[self.position : self.position + min(size, 4096) if size >= 0 else None]
        self.position += len(block)
        return block


@pytest.mark.parametrize("kind", ["warc", "warc.gz", "arc", "arc.gz"])
def test_a_medium_that_fails_is_an_error_and_no_short_list(monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    packed = kind.endswith("gz")
    if kind.startswith("warc"):
        content = warc_file([page(n) for n in range(2000)], packed)
    else:
        content = arc_file([(f"http://page.test/{n}/", http_message(PAGE)) for n in range(2000)], packed)
    monkeypatch.setattr(fsspec, "open", lambda *_: Failing(content, len(content) // 2))
    with pytest.raises(DatasetError, match="the line went dead"):
        urls("remote")


def test_crawl_files_are_read_over_http(web, tmp_path: Path) -> None:
    from .conftest import answer

    content = warc_file([page(1), page(2)])
    web.on("/crawl.warc.gz", answer(content, headers={"Accept-Ranges": "none"}))
    assert len(urls(f"http://127.0.0.1:{web.port}/crawl.warc.gz")) == 2


class Oracle(HTMLParser):
    """The `<img src>` of a page by another parser, resolved by another library."""

    def __init__(self, url: str) -> None:
        super().__init__()
        self.base, self.result = url, list[str]()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(reversed(attrs))
        if tag == "base" and values.get("href"):
            self.base = urljoin(self.base, values["href"] or "")
        src = (values.get("src") or "").strip(" \t\n\r\f")
        if tag == "img" and src and not src.startswith("data:"):
            self.result.append(urljoin(self.base, src).partition("#")[0])


AGREED = [
    "aut/warc/example.warc.gz",
    "ia-web-commons/format/warc/IAH-urls-wget.warc",
    "ia-web-commons/format/gzip/IAH-urls-wget.warc.gz",
    "ia-web-commons/resource/html/link-extraction-test.warc",
    "ia-web-commons/resource/html/meta-itemprop.warc",
    "ia-web-commons/resource/html/text-extraction-test.warc",
    "pywb/warcs/iana.warc.gz",
]


@pytest.mark.parametrize("name", AGREED)
def test_links_agree_with_an_independent_parse(name: str, shared_data: Path) -> None:
    path = str(shared_data / "warc" / name)
    expected: set[str] = set()
    for record in read_records(path, lambda kind: kind.startswith(("text/html", "application/xhtml"))):
        oracle = Oracle(record.url)
        oracle.feed(record.content.decode("latin-1"))
        expected.update(oracle.result)
    result = {link.url for link in read_links(path)}
    assert _comparable(result) == _comparable(expected)


def _comparable(urls: set[str]) -> set[str]:
    from yarl import URL

    return {str(URL(url)) for url in urls if url.startswith("http")}


def test_arc_and_warc_of_the_same_crawl_give_the_same_links(shared_data: Path) -> None:
    samples = shared_data / "warc"
    assert list(read_links(str(samples / AGREED[0]))) == list(read_links(str(samples / "aut/arc/example.arc.gz")))


def test_every_sample_is_read_or_refused_in_one_line(shared_data: Path) -> None:
    samples = shared_data / "warc"
    expected = {
        line.split("\t")[0]: int(line.split("\t")[3])
        for line in (samples / "CONTENTS_warcio.tsv").read_text().splitlines()[1:]
    }
    refusals = []
    for path in sorted(path for path in samples.rglob("*") if path.is_file()):
        tally = Tally()
        try:
            urls(str(path), tally)
        except DatasetError as error:
            refusals.append(str(error))
        name = str(path.relative_to(samples))
        assert tally["pages"] >= expected.get(name, 0), name
    assert not any("\n" in refusal for refusal in refusals)
