"""URLs refused by what they say, each with the rule that did it."""

import gzip
from pathlib import Path

import pytest

from curation.config import CrawlConfig
from curation.crawl.blocklist import Blocklist, parse_line
from curation.crawl.rules import UrlRules
from curation.drops import Dropped, DropReason
from curation.errors import DatasetError

LINES = [
    ("bad.example", ("bad.example", False)),
    ("  BAD.example  ", ("bad.example", False)),
    ("bad.example # why", ("bad.example", False)),
    ("*.bad.example", ("bad.example", False)),
    (".bad.example", ("bad.example", False)),
    ("b\u00f6se.example", ("xn--bse-sna.example", False)),
    ("0.0.0.0 bad.example", ("bad.example", False)),
    ("127.0.0.1\tbad.example # ads", ("bad.example", False)),
    ("::1 bad.example", ("bad.example", False)),
    ("127.0.0.1 localhost", ("", False)),
    ("255.255.255.255 broadcasthost", ("", False)),
    ("0.0.0.0 0.0.0.0", ("", False)),
    ("||bad.example^", ("bad.example", False)),
    ("||bad.example^$third-party", ("bad.example", False)),
    ("||bad.example^$image,third-party", ("bad.example", False)),
    ("||bad.example^$script", ("", False)),
    ("||bad.example^$domain=other.example", ("", False)),
    ("||bad.example/path^", ("", False)),
    ("||bad.example/banner.gif", ("", False)),
    ("@@||good.example^", ("good.example", True)),
    ("bad.example##.banner", ("", False)),
    ("##.banner", ("", False)),
    ("#@#.banner", ("", False)),
    ("/banner/*", ("", False)),
    ("! comment", ("", False)),
    ("# comment", ("", False)),
    ("[Adblock Plus 2.0]", ("", False)),
    ("", ("", False)),
    ("two words", ("", False)),
    ("10.0.0.1", ("", False)),
    ("com", ("", False)),
    ("bad.example/path", ("", False)),
]


@pytest.mark.parametrize(("line", "expected"), LINES)
def test_a_line_of_any_of_the_formats(line: str, expected: tuple[str, bool]) -> None:
    assert parse_line(line) == expected


def test_a_domain_holds_for_all_under_it_but_for_exceptions() -> None:
    blocked = Blocklist(["bad.example", "a.good.example"], ["fine.bad.example"])
    assert blocked.match("bad.example") == "bad.example"
    assert blocked.match("x.y.bad.example") == "bad.example"
    assert blocked.match("bad.example.") == "bad.example"
    assert blocked.match("notbad.example") is None
    assert blocked.match("fine.bad.example") is None
    assert blocked.match("x.fine.bad.example") is None
    assert blocked.match("good.example") is None


def test_files_of_all_formats_are_joined(tmp_path: Path) -> None:
    (tmp_path / "hosts").write_text("# hosts\n0.0.0.0 one.example\n")
    (tmp_path / "plain.txt.gz").write_bytes(gzip.compress(b"two.example\n", mtime=0))
    (tmp_path / "filters.txt").write_bytes(b"! list\r\n||three.example^\r\n\xff\xfe junk\r\n")
    config = CrawlConfig(blocklists=[str(path) for path in sorted(tmp_path.iterdir())])
    rules = UrlRules(config)
    for name in ("one", "two", "three"):
        expected = Dropped(DropReason.BLOCKED_URL, f"blocklist: {name}.example")
        assert rules.refuse(f"https://pics.{name}.example/a.jpg") == expected
    assert rules.refuse("https://four.example/a.jpg") is None


def test_a_long_list_is_read_once(tmp_path: Path) -> None:
    path = tmp_path / "long.txt"
    path.write_text("".join(f"0.0.0.0 host-{number}.example\n" for number in range(50_000)))
    rules = [UrlRules(CrawlConfig(blocklists=[str(path)])) for _ in range(2)]
    assert rules[0].refuse("http://host-49999.example/") is not None
    path.unlink()
    assert rules[1].refuse("http://host-0.example/") is not None


@pytest.mark.parametrize(("content", "message"), [(None, "cannot be read"), (b"! nothing\n", "holds no domain")])
def test_a_blocklist_that_cannot_be_used_is_one_clear_error(
    tmp_path: Path, content: bytes | None, message: str
) -> None:
    path = tmp_path / "list.txt"
    if content is not None:
        path.write_bytes(content)
    rules = UrlRules(CrawlConfig(blocklists=[str(path)]))
    with pytest.raises(DatasetError, match=rf"list\.txt: .*{message}"):
        rules.refuse("http://a.example/a.jpg")


URLS = [
    ("http://a.example/a.jpg", None, ""),
    ("http://a.example/a.JPG?x=1", None, ""),
    ("http://a.example/image.php?id=9", None, ""),
    ("http://a.example/a", None, ""),
    ("http://a.example/a.svg/photo", None, ""),
    ("http://a.example/get?file=a.svg", None, ""),
    ("http://logo.svg/", None, ""),
    ("http://a.example/logo.svg", DropReason.BLOCKED_URL, "file type: svg"),
    ("http://a.example/LOGO.SVG?v=2", DropReason.BLOCKED_URL, "file type: svg"),
    ("http://a.example/favicon.ico", DropReason.BLOCKED_URL, "file type: ico"),
    ("http://a.example/nude-photo.jpg", DropReason.BLOCKED_URL, "keyword: nude"),
    ("http://a.example/x?q=NUDE", DropReason.BLOCKED_URL, "keyword: nude"),
    ("http://nude.example/a.jpg", DropReason.BLOCKED_URL, "keyword: nude"),
    ("http://a.example/denuded.jpg", None, ""),
    ("http://127.0.0.1/a.jpg", DropReason.PRIVATE_ADDRESS, "127.0.0.1"),
    ("http://0x7f.1/a.jpg", DropReason.PRIVATE_ADDRESS, "127.0.0.1"),
    ("http://[::ffff:10.0.0.1]/a.jpg", DropReason.PRIVATE_ADDRESS, "::ffff:a00:1"),
    ("http://8.8.8.8/a.jpg", None, ""),
    ("ftp://a.example/a.jpg", DropReason.INVALID_URL, ""),
    ("nonsense", DropReason.INVALID_URL, ""),
]


@pytest.mark.parametrize(("url", "reason", "detail"), URLS)
def test_what_a_url_says_decides(url: str, reason: DropReason | None, detail: str) -> None:
    refusal = UrlRules(CrawlConfig(blocked_keywords=["nude", "a+b"])).refuse(url)
    assert refusal == (Dropped(reason, detail) if reason else None)


def test_private_addresses_pass_when_they_are_allowed() -> None:
    assert UrlRules(CrawlConfig(allow_private_addresses=True)).refuse("http://127.0.0.1/a.jpg") is None


def test_which_file_types_are_refused_is_a_setting() -> None:
    assert UrlRules(CrawlConfig(blocked_types=[".GIF"])).refuse("http://a.example/a.gif") is not None
    assert UrlRules(CrawlConfig(blocked_types=[])).refuse("http://a.example/a.svg") is None
