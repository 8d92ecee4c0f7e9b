"""Pictures that a crawl file already holds: taken from it, no request is made."""

from collections import defaultdict
from collections.abc import Iterator, Sequence

from curation.config import CrawlConfig
from curation.crawl.body import looks_like_image
from curation.crawl.optout import opt_out
from curation.crawl.payload import Record, Tally
from curation.crawl.records import read_records
from curation.crawl.request import Fetched
from curation.crawl.urls import canonical_url
from curation.drops import Dropped, DropReason

__all__ = ["take_archived"]


def take_archived(
    path: str, urls: Sequence[str], settings: CrawlConfig, tally: Tally | None = None
) -> Iterator[tuple[int, Fetched | Dropped]]:
    """Yield (index, outcome) for those URLs whose picture a WARC or ARC file holds whole, in file order.

    Each index comes at most once; those that do not come are left to be fetched. The only drops are opt-outs that
    the stored answer declares.

    Raises:
        DatasetError: the file cannot be opened or read, or is no crawl file.
    """
    asked: defaultdict[str, list[int]] = defaultdict(list)
    for index, url in enumerate(urls):
        if (canonical := canonical_url(url)) is not None:
            asked[canonical].append(index)
    for record in read_records(path, _may_be_picture, tally):
        url = canonical_url(record.url) or ""
        if url in asked and _is_whole_picture(record, settings.max_bytes):
            for index in asked.pop(url):
                yield index, _outcome(record, url, settings)
        if not asked:
            return


def _may_be_picture(content_type: str) -> bool:
    return content_type.startswith(("image/", "application/octet-stream", "binary/")) or not content_type


def _is_whole_picture(record: Record, max_bytes: int) -> bool:
    if record.status != 200 or record.cut or not 0 < len(record.content) <= max_bytes:
        return False
    length = record.headers.get("content-length", "")
    packed = "content-encoding" in record.headers or "transfer-encoding" in record.headers
    if length.isdecimal() and int(length) > len(record.content) and not packed:
        return False
    return looks_like_image(record.content)


def _outcome(record: Record, url: str, settings: CrawlConfig) -> Fetched | Dropped:
    if settings.respect_opt_outs:
        robots = record.headers.get("x-robots-tag")
        if said := opt_out([robots] if robots else [], record.headers.get("tdm-reservation")):
            return Dropped(DropReason.OPTED_OUT, said)
    return Fetched(record.content, url, record.status, 0.0)
