"""Extracts URLs from files, one part per file.

The rows are URLs as they were found; they form a collection of their own (`<collection>/crawl`), whose survivors, each
once (`dedup_urls.py`), are then cut into the collection's parts.
"""

import hashlib
import json
from collections.abc import Iterator

import pyarrow as pa

from curation.config import CrawlConfig
from curation.crawl.links import Link, canonical_url, read_links
from curation.crawl.rules import UrlRules
from curation.drops import Dropped, DropReason
from curation.engine.contract import Output, Place, StageSpec
from curation.engine.graph import URLS, Site
from curation.errors import DatasetError
from curation.formats.dataset import CRAWL_ENDINGS, detect, link_files
from curation.formats.parquet import read_url_rows
from curation.formats.row import SCHEMA as ROW
from curation.run.parts import Collection, digest_of
from curation.run.store import filesystem

__all__ = ["EXTRACT_URLS", "ExtractUrls", "listed_links", "url_key"]

RULES = {"blocklists", "blocked_keywords", "blocked_types", "allow_private_addresses"}
"""The crawl settings that say which URLs are not asked for."""

EXTRACT_URLS = StageSpec(
    name="extract_urls",
    version=2,
    after=None,
    reads={},
    adds=pa.schema(
        [
            ("key", pa.binary(16)),
            ("url", pa.string()),
            ("page_url", pa.string()),
            ("alt", pa.string()),
            ("source", pa.string()),
            ("archived", pa.int64()),
        ]
    ),
    settings={},
)


def url_key(url: str) -> bytes:
    """The 16-byte key of a URL: its sample's id."""
    return hashlib.sha256(url.encode()).digest()[:16]


class ExtractUrls:
    """The stage `extract_urls`: image URLs are extracted from crawl files, lists and tables, each file in a part of its
    own; URLs that may not be asked for are dropped.

    Args:
        files: the file of each part.
    """

    spec = EXTRACT_URLS

    def __init__(self, files: list[str], crawl: CrawlConfig) -> None:
        self._rules = UrlRules(crawl)
        self._settings = crawl.model_dump(include=RULES)
        self._files = files

    @classmethod
    def at(cls, site: Site) -> "ExtractUrls":
        """For the datasets of URLs of the collection that this row set becomes."""
        datasets = site.run.collections()[site.path.removesuffix(f"/{URLS}")]
        files = [file for data in datasets if detect(data).has_urls for file in link_files(data)]
        return cls(_numbered(site.collection, files) if files else [], site.config.crawl)

    def parts(self) -> list[int]:
        """All part numbers."""
        return list(range(len(self._files)))

    def setup(self) -> None:
        pass

    def process(self, rows: pa.Table, place: Place) -> Output:
        source = self._files[place.part]
        held: dict[str, int] = {}
        links = list(_links_of(source, held))
        urls = [canonical_url(link.url) for link in links]
        drops = {at: drop for at, link in enumerate(links) if (drop := self._refuse(link, urls[at]))}
        texts = [url or link.url for url, link in zip(urls, links, strict=True)]
        columns = {
            "key": pa.array([url_key(text) for text in texts], pa.binary(16)),
            "url": pa.array(texts, pa.string()),
            "page_url": pa.array([link.page_url for link in links], pa.string()),
            "alt": pa.array([link.alt for link in links], pa.string()),
            "source": pa.array([source] * len(links), pa.string()),
            "archived": pa.array([held.get(text) for text in texts], pa.int64()),
        }
        return Output(columns, drops)

    def digest(self, part: int) -> str:
        """Covers the file's name and size; DatasetError where it cannot be read."""
        fs, inner = filesystem(self._files[part])
        try:
            size = int(fs.size(inner))
        except OSError as error:
            raise DatasetError(f"{self._files[part]}: cannot be read ({error}); bring the file back") from error
        return digest_of([EXTRACT_URLS.name, EXTRACT_URLS.version, self._files[part], size, self._settings])

    def _refuse(self, link: Link, url: str | None) -> Dropped | None:
        if link.opted_out:
            return Dropped(DropReason.OPTED_OUT, link.opted_out)
        return Dropped(DropReason.INVALID_URL, link.url) if url is None else self._rules.refuse_canonical(url)


def listed_links(links: pa.Table) -> pa.Table:
    """Rows of this stage as rows of a listing."""
    given = {"key": links["url"], **{name: links[name] for name in ("source", "url", "page_url", "alt", "archived")}}
    columns = [given.get(field.name, pa.nulls(len(links), field.type)) for field in ROW]
    return pa.Table.from_arrays(columns, schema=ROW)


def _numbered(collection: Collection, files: list[str]) -> list[str]:
    """The file of each part, remembered in the run: a new one comes behind the others, for ever."""
    name = f"{collection.path}/files.json"
    known: list[str] = json.loads(collection.store.read_bytes(name)) if collection.store.exists(name) else []
    numbered = list(dict.fromkeys([*known, *files]))
    if numbered != known:
        collection.store.write_bytes(name, json.dumps(numbered, indent=1).encode())
    return numbered


def _links_of(file: str, held: dict[str, int]) -> Iterator[Link]:
    """The links of a crawl file, the rows of a Parquet file, or the lines of a text file of URLs.

    Args:
        held: where to note the pictures that a crawl file itself holds, as `read_links` does.
    """
    if file.endswith(CRAWL_ENDINGS):
        yield from read_links(file, held=held)
    elif file.endswith(".parquet"):
        for url, page_url, alt in read_url_rows(file):
            yield Link(url, page_url, alt)
    else:
        fs, inner = filesystem(file)
        with fs.open(inner, "rt", encoding="utf-8", errors="replace", compression="infer") as lines:
            for line in lines:
                if url := line.strip():
                    yield Link(url, "", "")
