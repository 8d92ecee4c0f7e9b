"""Pictures that a crawl file already holds are taken from it."""

import zlib

import pytest

import curation.crawl.fetch
from curation.crawl.fetch import Fetched
from pipelines.curate import curate


def record(url: str, content_type: str, body: bytes) -> bytes:
    answer = f"HTTP/1.1 200 OK\r\nContent-Type: {content_type}\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body
    head = (
        f"WARC/1.0\r\nWARC-Type: response\r\nWARC-Target-URI: {url}\r\nWARC-Date: 2024-01-01T00:00:00Z\r\n"
        f"WARC-Record-ID: <urn:uuid:00000000-0000-0000-0000-{zlib.crc32(url.encode()):012d}>\r\n"
        f"Content-Type: application/http; msgtype=response\r\nContent-Length: {len(answer)}\r\n\r\n"
    )
    return head.encode() + answer + b"\r\n\r\n"


@pytest.mark.parametrize("prefer", [True, False])
def test_only_pictures_that_the_file_lacks_are_asked_for(prefer, monkeypatch, photo, encoded, configure, tmp_path):
    pictures = {f"http://photos.test/{number}.jpg": encoded(photo(number)) for number in range(6)}
    archived = list(pictures)[:4]
    page = "".join(f'<img src="{url}" alt="a picture">' for url in pictures).encode()
    records = [record("http://photos.test/", "text/html", page)]
    records += [record(url, "image/jpeg", pictures[url]) for url in archived]
    crawl = tmp_path / "crawl.warc"
    crawl.write_bytes(b"".join(records))
    asked: list[str] = []

    def fetch_all(urls, settings, memory):
        asked.extend(urls)
        yield from ((at, Fetched(pictures[url], url, 200, 0.0)) for at, url in enumerate(urls))

    monkeypatch.setattr(curation.crawl.fetch, "fetch_all", fetch_all)
    config = configure(pool=[str(crawl)], crawl={"prefer_archived": prefer})
    run = curate(config, str(tmp_path / "run"), until="fetch")
    assert sorted(asked) == sorted(set(pictures) - set(archived) if prefer else pictures)
    samples = run.pool.read("fetch", 0, ["url", "length", "live"]).to_pylist()
    assert {row["url"]: row["length"] for row in samples} == {url: len(data) for url, data in pictures.items()}
    assert all(row["live"] for row in samples)
