"""Pictures that a crawl file already holds: taken from it, no request is made."""

from collections import defaultdict
from collections.abc import Iterator, Sequence

from curation.config import CrawlConfig
from curation.crawl.body import looks_like_image
from curation.crawl.optout import opt_out_of_page
from curation.crawl.request import Fetched
from curation.crawl.urls import canonical_url
from curation.drops import Dropped, DropReason
from curation.formats.warc.content import Record
from curation.formats.warc.records import read_records_at

__all__ = ["is_whole_picture", "may_be_picture", "take_archived"]


def take_archived(
    path: str, places: Sequence[tuple[str, int]], settings: CrawlConfig
) -> Iterator[tuple[int, Fetched | Dropped]]:
    """Yield (index, outcome) for pictures that a WARC or ARC file holds, in file order.

    Each index comes at most once; those that do not come are left to be fetched. The only drops are opt-outs that
    the stored answer declares.

    Args:
        places: URL of each picture, and the position of its record, as `read_links` notes it.

    Raises:
        DatasetError: the file cannot be opened or read, or is no crawl file.
    """
    asked: defaultdict[int, list[int]] = defaultdict(list)
    for index, (_, position) in enumerate(places):
        asked[position].append(index)
    for record in read_records_at(path, sorted(asked), may_be_picture):
        if is_whole_picture(record) and len(record.content) <= settings.max_bytes:
            url = canonical_url(record.url) or ""
            for index in asked[record.position]:
                if canonical_url(places[index][0]) == url:
                    yield index, _outcome(record, url, settings)


def may_be_picture(content_type: str) -> bool:
    """Whether a record that declares this type is worth reading in search of pictures."""
    return content_type.startswith(("image/", "application/octet-stream", "binary/")) or not content_type


def is_whole_picture(record: Record) -> bool:
    """Whether a record is a server's good answer, all of it, and starts as a picture does."""
    if record.status != 200 or record.cut or not record.content:
        return False
    length = record.headers.get("content-length", "")
    packed = "content-encoding" in record.headers or "transfer-encoding" in record.headers
    if length.isdecimal() and int(length) > len(record.content) and not packed:
        return False
    return looks_like_image(record.content)


def _outcome(record: Record, url: str, settings: CrawlConfig) -> Fetched | Dropped:
    if settings.respect_opt_outs and (said := opt_out_of_page((), record.headers.items())):
        return Dropped(DropReason.OPTED_OUT, said)
    return Fetched(record.content, url, record.status, 0.0)
