"""ARC files, ours against warcio, on one core: records, bytes of content and MB/s, and what each does with damage.

    python tests/bench/bench_arc.py                        a made-up crawl, and the same with damage of four kinds
    python tests/bench/bench_arc.py crawl.arc.gz ...       files of your own

Seconds are the median of five runs in turn (A B A B ...), in CPU seconds. MB are 10^6 bytes of content. warcio is a
development dependency, of this file alone.
"""

import argparse
import contextlib
import gzip
import io
import tempfile
from pathlib import Path

from rich.console import Console
from rich.table import Table
from warcio.archiveiterator import ArchiveIterator

from curation.formats.warc.records import read_records
from tests.bench.bench_extract import timed

PAGE = b"<p>" + b"some words of a page, as pages have them. " * 600


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="*", help="ARC files")
    parser.add_argument("--pages", type=int, default=2_000, help="pages of the made-up crawl")
    options = parser.parse_args()
    table = Table("file", "reader", "records", "MB content", "s", "MB/s", "records/s", "stops with")
    with tempfile.TemporaryDirectory() as folder:
        for path in map(Path, options.files) if options.files else make_crawls(Path(folder), options.pages):
            readers = {"ours": lambda path=path: ours(path), "warcio": lambda path=path: warcios(path)}
            results = {name: read() for name, read in readers.items()}
            seconds = timed(readers)
            for name, (records, size, stopped) in results.items():
                took = seconds[name]
                speeds = f"{size / 1e6 / took:.1f}", f"{records / took:,.0f}"
                table.add_row(path.name, name, f"{records:,}", f"{size / 1e6:.2f}", f"{took:.3f}", *speeds, stopped)
    Console(width=150).print(table)


def ours(path: Path) -> tuple[int, int, str]:
    """Web records and the bytes of their content, as the pipeline reads them."""
    sizes = [len(record.content) for record in read_records(str(path), lambda kind: True)]
    return len(sizes), sum(sizes), ""


def warcios(path: Path) -> tuple[int, int, str]:
    """The same by warcio."""
    count = size = 0
    with path.open("rb") as stream, contextlib.redirect_stderr(io.StringIO()):
        try:
            for record in ArchiveIterator(stream):
                content = record.content_stream().read()
                if content and str(record.rec_headers.get_header("uri")).startswith("http"):
                    count, size = count + 1, size + len(content)
        except Exception as error:
            return count, size, f"{type(error).__name__}: {' '.join(str(error).split())[:60]}"
    return count, size, ""


def make_crawls(folder: Path, pages: int) -> list[Path]:
    head = b"1 0 test\nURL IP-address Archive-date Content-type Archive-length\n\n"
    first = b"filedesc://test.arc 0.0.0.0 20240101000000 text/plain %d\n" % len(head) + head + b"\n"
    records = [record(number) for number in range(pages)]
    crawls = {
        "sound.arc": [first, *records],
        "length-of-18-digits.arc": [first, *records[:100], record(100, b"9" * 18), *records[101:200]],
        "length-of-5000-digits.arc": [first, *records[:100], record(100, b"9" * 5000), *records[101:200]],
        "length-too-small.arc": [first, *records[:100], record(100, b"100"), *records[101:200]],
        "long-lines.arc": [first, *records[:100], b"http://site.example/" + b" - 12345678 x" * 5000 + b" z\n"],
    }
    for name, blocks in crawls.items():
        (folder / name).write_bytes(b"".join(blocks))
    (folder / "sound.arc.gz").write_bytes(b"".join(gzip.compress(block, mtime=0) for block in crawls["sound.arc"]))
    (folder / "one-member.arc.gz").write_bytes(gzip.compress(b"".join(crawls["sound.arc"]), mtime=0))
    return sorted(folder.iterdir())


def record(number: int, length: bytes | None = None) -> bytes:
    content = b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\n" + PAGE
    size = b"%d" % len(content) if length is None else length
    return b"http://site.example/%d 192.0.2.1 20240101000000 text/html %s\n" % (number, size) + content + b"\n"


if __name__ == "__main__":
    main()
