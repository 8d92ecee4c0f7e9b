"""Extraction of image links, on one core: MB/s and pages/s, and what a whole Common Crawl would take.

    python tests/bench/bench_extract.py                          a made-up crawl, as WARC and as WAT
    python tests/bench/bench_extract.py crawl.warc.gz ...        files of your own
    python tests/bench/bench_extract.py --parsers [file]         the HTML parsers that are installed, side by side

Every figure is the median of five runs in turn (A B A B ...), in CPU seconds of one core. MB are 10^6 bytes, of the
file as it is stored and of its pages' content once unpacked. The made-up pages have 27 kB of mark-up, 90 links and 18
pictures each.
"""

import argparse
import gzip
import json
import random
import statistics
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path

from rich.console import Console
from rich.table import Table

from curation.crawl.links import read_links
from curation.crawl.page import decode_html
from curation.formats.warc.content import Tally
from curation.formats.warc.records import read_records

RUNS = 5
WAT_FILES = 90_000
PAGES_PER_WAT = 30_000
WORDS = (
    "the",
    "of",
    "and",
    "a",
    "to",
    "in",
    "is",
    "you",
    "that",
    "it",
    "he",
    "was",
    "for",
    "on",
    "are",
    "with",
    "they",
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="*", help="WARC, ARC or WAT files")
    parser.add_argument("--parsers", action="store_true", help="compare HTML parsers instead")
    parser.add_argument("--pages", type=int, default=2_000, help="pages of the made-up crawl")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        files = options.files or make_crawl(Path(folder), options.pages)
        print_parsers(files) if options.parsers else print_extraction(files)


def print_extraction(files: list[str]) -> None:
    """One row per file."""
    table = Table("file", "MB stored", "pages", "links", "s", "MB/s stored", "MB/s content", "pages/s", "broken")
    tallies: dict[str, Tally] = {}

    def extract(path: str) -> None:
        tallies[path] = Tally()
        for _ in read_links(path, tallies[path]):
            pass

    seconds = timed({path: lambda path=path: extract(path) for path in files})
    for path in files:
        tally, took, stored = tallies[path], seconds[path], Path(path).stat().st_size / 1e6
        content = sum(len(record.content) for record in read_records(path, is_content)) / 1e6
        table.add_row(
            Path(path).name,
            *(f"{stored:.1f}", f"{tally['pages']:,}", f"{tally['links']:,}", f"{took:.3f}"),
            *(f"{stored / took:.1f}", f"{content / took:.1f}", f"{tally['pages'] / took:,.0f}", str(tally["broken"])),
        )
        if ".wat" in path and tally["pages"]:
            hours = WAT_FILES * PAGES_PER_WAT * took / tally["pages"] / 3600
            table.caption = (
                f"{WAT_FILES:,} WAT files of {PAGES_PER_WAT:,} pages: {hours:,.0f} core hours, "
                f"{hours / 64:,.1f} hours on 64 cores, reading apart"
            )
    Console(width=150).print(table)


def print_parsers(files: list[str]) -> None:
    """The same pages through every HTML parser that is installed: seconds to find the `<img src>` of all."""
    pages = [
        decode_html(record.content, record.content_type)
        for path in files
        if ".wat" not in path
        for record in read_records(path, lambda kind: kind.startswith(("text/html", "application/xhtml")))
    ]
    megabytes = sum(len(page.encode("utf-8", "replace")) for page in pages) / 1e6
    counts: dict[str, int] = {}

    def count(name: str, images: Callable[[str], int]) -> None:
        counts[name] = sum(map(images, pages))

    parsers = dict(installed_parsers())
    seconds = timed({name: lambda name=name, images=images: count(name, images) for name, images in parsers.items()})
    table = Table("parser", "img src", "s", "MB/s", "pages/s", title=f"{len(pages):,} pages, {megabytes:.1f} MB")
    for name in sorted(parsers, key=lambda name: seconds[name]):
        took = seconds[name]
        table.add_row(name, f"{counts[name]:,}", f"{took:.3f}", f"{megabytes / took:.1f}", f"{len(pages) / took:,.0f}")
    Console(width=150).print(table)


def timed(runs: dict[str, Callable[[], None]]) -> dict[str, float]:
    """Median CPU seconds of each, run in turn."""
    times: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(RUNS):
        for name, run in runs.items():
            start = time.process_time()
            run()
            times[name].append(time.process_time() - start)
    return {name: statistics.median(each) for name, each in times.items()}


def is_content(content_type: str) -> bool:
    return content_type.startswith(("text/html", "application/xhtml", "application/json"))


def installed_parsers() -> Iterable[tuple[str, Callable[[str], int]]]:
    from selectolax.lexbor import LexborHTMLParser

    yield "selectolax (lexbor)", lambda page: sum("src" in node.attrs for node in LexborHTMLParser(page).css("img"))
    from resiliparse.parse.html import HTMLTree

    def resiliparse(page: str) -> int:
        images = HTMLTree.parse(page).document.get_elements_by_tag_name("img")
        return sum(image.getattr("src") is not None for image in images)

    yield "resiliparse (lexbor)", resiliparse
    try:
        import lxml.html

        yield "lxml", lambda page: sum("src" in node.attrib for node in lxml.html.fromstring(page or "-").iter("img"))
    except ImportError:
        pass
    from html.parser import HTMLParser

    class Counter(HTMLParser):
        result = 0

        def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
            self.result += tag == "img" and any(name == "src" for name, _ in attrs)

    def standard(page: str) -> int:
        counter = Counter()
        counter.feed(page)
        return counter.result

    yield "html.parser", standard


def make_crawl(folder: Path, count: int) -> list[str]:
    """The same pages as WARC and as WAT, each record a gzip member."""
    chance = random.Random(0)
    warc, wat = folder / "made-up.warc.gz", folder / "made-up.warc.wat.gz"
    with warc.open("wb") as pages, wat.open("wb") as described:
        for number in range(count):
            url = f"https://site-{number % 97}.example/articles/{number}.html"
            hrefs = [f"/articles/{chance.randrange(10**6)}.html?from={chance.randrange(99)}" for _ in range(90)]
            images = [f"/media/{chance.randrange(10**8):08x}.jpg?width=640" for _ in range(18)]
            body = html_page(hrefs, images, chance).encode()
            head = f"HTTP/1.1 200 OK\r\nContent-Type: text/html; charset=utf-8\r\nContent-Length: {len(body)}\r\n\r\n"
            request = f"GET {url} HTTP/1.1\r\n\r\n".encode()
            pages.write(gzip.compress(record("request", url, "application/http; msgtype=request", request), 6, mtime=0))
            answer = head.encode() + body
            pages.write(
                gzip.compress(record("response", url, "application/http; msgtype=response", answer), 6, mtime=0)
            )
            for content in ({"HTTP-Request-Metadata": {}}, described_page(hrefs, images), {"Metadata-Records": {}}):
                described.write(gzip.compress(wat_record(url, content), 6, mtime=0))
    return [str(warc), str(wat)]


def html_page(hrefs: list[str], images: list[str], chance: random.Random) -> str:
    text = [" ".join(chance.choices(WORDS, k=40)) for _ in range(90)]
    links = [
        f'<p class="text teaser"><a class="link" href="{href}">{words}</a></p>'
        for href, words in zip(hrefs, text, strict=True)
    ]
    figures = [
        f'<figure class="media"><img loading="lazy" src="{src}" alt="{text[0][:40]}"></figure>' for src in images
    ]
    style = "".join(f".c{number}{{margin:{number}px;padding:0 auto}}\n" for number in range(120))
    body = "\n".join(links + figures)
    return f"<!doctype html><html><head><title>A page</title><style>{style}</style></head><body>{body}</body></html>"


def described_page(hrefs: list[str], images: list[str]) -> dict[str, object]:
    links = [{"path": "A@/href", "url": href, "text": "the of and to in a is that for it"} for href in hrefs]
    links += [{"path": "IMG@/src", "url": src, "alt": "the of and to in a is that"} for src in images]
    head = {"Title": "A page", "Metas": [{"name": "viewport", "content": "width=device-width"}]}
    headers = {"Content-Type": "text/html; charset=utf-8", "Server": "nginx", "Vary": "Accept-Encoding"}
    return {"HTTP-Response-Metadata": {"Headers": headers, "HTML-Metadata": {"Head": head, "Links": links}}}


def wat_record(url: str, content: dict[str, object]) -> bytes:
    envelope = {"Container": {"Compressed": True}, "Envelope": {"Payload-Metadata": content, "Format": "WARC/1.0"}}
    return record("metadata", url, "application/json", json.dumps(envelope, separators=(",", ":")).encode())


def record(kind: str, url: str, content_type: str, content: bytes) -> bytes:
    head = (
        f"WARC/1.0\r\nWARC-Type: {kind}\r\nWARC-Target-URI: {url}\r\nWARC-Date: 2024-01-01T00:00:00Z\r\n"
        f"WARC-Record-ID: <urn:uuid:00000000-0000-0000-0000-000000000000>\r\nContent-Type: {content_type}\r\n"
        f"Content-Length: {len(content)}\r\n\r\n"
    )
    return head.encode() + content + b"\r\n\r\n"


if __name__ == "__main__":
    main()
