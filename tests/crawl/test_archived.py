"""A picture that a crawl file holds whole is taken from it, and no other."""

from pathlib import Path

import pytest

from curation.config import CrawlConfig
from curation.crawl.archived import take_archived
from curation.crawl.links import read_links
from curation.crawl.request import Fetched
from curation.crawl.urls import canonical_url
from curation.drops import Dropped, DropReason

from .archives import arc_file, http_message, warc_file, warc_record
from .conftest import JPEG

URL = "http://pics.test/a.jpg"


def picture(body: bytes = JPEG, url: str = URL, status: str = "200 OK", **headers: str) -> bytes:
    fields = {"Content-Type": "image/jpeg"} | {name.replace("_", "-"): value for name, value in headers.items()}
    return warc_record(http_message(body, fields, status), url)


def held(path: Path) -> dict[str, int]:
    """Canonical URLs of the pictures that a file holds, and where."""
    result: dict[str, int] = {}
    list(read_links(str(path), held=result))
    return result


def take(folder: Path, records: list[bytes], urls: list[str], **changes: object) -> dict[int, Fetched | Dropped]:
    path = folder / "crawl.warc.gz"
    path.write_bytes(warc_file(records))
    positions = held(path)
    asked = {at: positions[key] for at, url in enumerate(urls) if (key := canonical_url(url) or "") in positions}
    places = [(urls[at], position) for at, position in asked.items()]
    result = list(take_archived(str(path), places, CrawlConfig.model_validate(changes)))
    assert len(result) == len(dict(result))
    return {list(asked)[index]: outcome for index, outcome in result}


def test_a_picture_is_taken_for_every_row_that_asks_for_it(tmp_path: Path) -> None:
    urls = ["http://pics.test/missing.jpg", URL, "HTTP://pics.test:80/x/../a.jpg#top", "nonsense"]
    result = take(tmp_path, [picture(), picture(JPEG + b"later")], urls)
    assert set(result) == {1, 2}
    assert result[1] == Fetched(JPEG, URL, 200, 0.0)


@pytest.mark.parametrize("packed", [True, False])
def test_a_warc_is_read_where_its_pictures_are_and_nowhere_else(tmp_path: Path, packed: bool) -> None:
    bodies = {f"http://pics.test/{number}.jpg": JPEG + b"%d" % number for number in range(5)}
    page = warc_record(http_message(b"<img src=/0.jpg>"), "http://pics.test/")
    content = warc_file([page, *(picture(body, url) for url, body in bodies.items())], packed)
    path = tmp_path / ("crawl.warc.gz" if packed else "crawl.warc")
    path.write_bytes(content)
    positions = held(path)
    assert list(positions) == list(bodies)
    wanted = "http://pics.test/3.jpg"
    start, end = positions[wanted], positions["http://pics.test/4.jpg"]
    head = content[: positions["http://pics.test/0.jpg"]]
    path.write_bytes(head.ljust(start, b"\0") + content[start:end])  # all else is gone
    places = [(wanted, start), (URL, start), (wanted, start + 1), (URL, end)]
    assert dict(take_archived(str(path), places, CrawlConfig())) == {0: Fetched(bodies[wanted], wanted, 200, 0.0)}


@pytest.mark.parametrize("packed", [True, False])
def test_an_arc_holds_pictures_too(tmp_path: Path, packed: bool) -> None:
    others = [(f"http://page.test/{number}", http_message(b"<p>" * number)) for number in range(3)]
    records = [others[0], (URL, http_message(JPEG, {"Content-Type": "image/jpeg"})), *others[1:]]
    path = tmp_path / "crawl.arc"
    path.write_bytes(arc_file(records, packed))
    places = [(URL, held(path)[URL])]
    assert dict(take_archived(str(path), places, CrawlConfig())) == {0: Fetched(JPEG, URL, 200, 0.0)}


def test_positions_hold_behind_a_damaged_record(tmp_path: Path) -> None:
    page = warc_file([warc_record(http_message(b"<p>" * 1000))])
    damaged = page[:40] + bytes(20) + page[60:]
    path = tmp_path / "crawl.warc.gz"
    path.write_bytes(page + damaged + warc_file([picture()]))
    places = [(URL, held(path)[URL])]
    assert places[0][1] == len(page + damaged)
    assert dict(take_archived(str(path), places, CrawlConfig())) == {0: Fetched(JPEG, URL, 200, 0.0)}


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


def test_a_real_crawl_holds_many_of_its_own_pictures(shared_data: Path) -> None:
    sample = str(shared_data / "warc" / "aut" / "warc" / "example.warc.gz")
    positions: dict[str, int] = {}
    urls = {link.url for link in read_links(sample, held=positions)}
    result = dict(take_archived(sample, [item for item in positions.items() if item[0] in urls], CrawlConfig()))
    assert len(result) >= 45
    assert all(isinstance(outcome, Fetched) for outcome in result.values())
