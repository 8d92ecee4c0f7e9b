"""A picture that a crawl file holds whole is taken from it, and no other."""

from pathlib import Path

import pytest

from curation.config import CrawlConfig
from curation.crawl.archived import take_archived
from curation.crawl.links import read_links
from curation.crawl.request import Fetched
from curation.drops import Dropped, DropReason

from .archives import arc_file, http_message, warc_file, warc_record
from .conftest import JPEG

URL = "http://pics.test/a.jpg"


def picture(body: bytes = JPEG, url: str = URL, status: str = "200 OK", **headers: str) -> bytes:
    fields = {"Content-Type": "image/jpeg"} | {name.replace("_", "-"): value for name, value in headers.items()}
    return warc_record(http_message(body, fields, status), url)


def take(folder: Path, records: list[bytes], urls: list[str], **changes: object) -> dict[int, Fetched | Dropped]:
    path = folder / "crawl.warc.gz"
    path.write_bytes(warc_file(records))
    found = list(take_archived(str(path), urls, CrawlConfig.model_validate(changes)))
    assert len(found) == len(dict(found))
    return dict(found)


def test_a_picture_is_taken_for_every_row_that_asks_for_it(tmp_path: Path) -> None:
    urls = ["http://pics.test/missing.jpg", URL, "HTTP://pics.test:80/x/../a.jpg#top", "nonsense"]
    found = take(tmp_path, [picture(), picture(JPEG + b"later")], urls)
    assert set(found) == {1, 2}
    assert found[1] == Fetched(JPEG, URL, 200, 0.0)


def test_an_arc_holds_pictures_too(tmp_path: Path) -> None:
    path = tmp_path / "crawl.arc"
    path.write_bytes(arc_file([(URL, http_message(JPEG, {"Content-Type": "image/jpeg"}))]))
    assert dict(take_archived(str(path), [URL], CrawlConfig())) == {0: Fetched(JPEG, URL, 200, 0.0)}


NOT_TAKEN = {
    "html": picture(b"<html>"),
    "empty": picture(b""),
    "not found": picture(status="404 Not Found"),
    "redirect": picture(status="302 Found"),
    "shorter than announced": picture(Content_Length=str(len(JPEG) + 1)),
    "cut by the crawler": picture().replace(b"WARC-Date", b"WARC-Truncated: length\r\nWARC-Date"),
    "too large": picture(JPEG * 20),
    "declared as a page": picture(Content_Type="text/html"),
}


@pytest.mark.parametrize("name", NOT_TAKEN)
def test_what_is_not_held_whole_is_left_to_be_fetched(tmp_path: Path, name: str) -> None:
    assert take(tmp_path, [NOT_TAKEN[name]], [URL], max_bytes=10 * len(JPEG)) == {}


@pytest.mark.parametrize("headers", [{"X_Robots_Tag": "noai"}, {"TDM_Reservation": "1"}])
def test_a_stored_opt_out_is_honoured(tmp_path: Path, headers: dict[str, str]) -> None:
    [outcome] = take(tmp_path, [picture(**headers)], [URL]).values()
    assert isinstance(outcome, Dropped)
    assert outcome.reason == DropReason.OPTED_OUT
    [outcome] = take(tmp_path, [picture(**headers)], [URL], respect_opt_outs=False).values()
    assert isinstance(outcome, Fetched)


SAMPLE = Path(__file__).parents[3] / "shared" / "data" / "warc" / "aut" / "warc" / "example.warc.gz"


@pytest.mark.skipif(not SAMPLE.is_file(), reason="needs the sample crawl files")
def test_a_real_crawl_holds_many_of_its_own_pictures() -> None:
    urls = sorted({link.url for link in read_links(str(SAMPLE))})
    found = dict(take_archived(str(SAMPLE), urls, CrawlConfig()))
    assert len(found) >= 45
    assert all(isinstance(outcome, Fetched) for outcome in found.values())
