"""Extracts URLs from files, one part per file.

The rows are URLs as they were found; they form a collection of their own (`<collection>/crawl`), whose survivors, each
once (`unique.py`), are then cut into the collection's parts.
"""

import hashlib
import json
import time
from collections.abc import Iterator, Sequence

import numpy as np
import pyarrow as pa

from curation.config import CrawlConfig
from curation.crawl.links import Link, canonical_url, read_links
from curation.crawl.rules import UrlRules
from curation.drops import Dropped, DropReason
from curation.engine.contract import Output, StageSpec, commit_output
from curation.errors import DatasetError
from curation.formats.dataset import CRAWL_ENDINGS
from curation.formats.parquet import read_url_rows
from curation.formats.row import SCHEMA as ROW
from curation.run.parts import Collection, digest_of
from curation.run.store import filesystem

__all__ = ["EXTRACT_URLS", "ExtractUrlsWork", "listed_links", "url_key"]

RULES = {"blocklists", "blocked_keywords", "blocked_types", "allow_private_addresses"}
"""The crawl settings that say which URLs are not asked for."""

EXTRACT_URLS = StageSpec(
    name="extract_urls",
    version=2,
    after=None,
    reads={},
    schema=pa.schema(
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


class ExtractUrlsWork:
    """Extracts the URLs of one file into one part.

    Args:
        files: the files to read. A file keeps its part number for ever: those that are new come behind the others.
    """

    def __init__(self, collection: Collection, files: Sequence[str], crawl: CrawlConfig) -> None:
        self.collection = collection
        self.stages = [EXTRACT_URLS.name]
        self._rules = UrlRules(crawl)
        self._settings = crawl.model_dump(include=RULES)
        self._files = _numbered(collection, files)

    def parts(self) -> list[int]:
        """All part numbers."""
        return list(range(len(self._files)))

    def setup(self) -> None:
        pass

    def is_current(self, part: int) -> bool:
        footer = self.collection.footer(EXTRACT_URLS.name, part)
        return footer is not None and footer.digest == self._digest(part)

    def run(self, part: int) -> None:
        started = time.monotonic()
        source = self._files[part]
        held: dict[str, int] = {}
        rows = list(_links_of(source, held))
        urls = [canonical_url(row.url) for row in rows]
        drops = {at: drop for at, row in enumerate(rows) if (drop := self._refuse(row, urls[at]))}
        texts = [url or row.url for url, row in zip(urls, rows, strict=True)]
        columns = {
            "key": pa.array([url_key(text) for text in texts], pa.binary(16)),
            "url": pa.array(texts, pa.string()),
            "page_url": pa.array([row.page_url for row in rows], pa.string()),
            "alt": pa.array([row.alt for row in rows], pa.string()),
            "source": pa.array([source] * len(rows), pa.string()),
            "archived": pa.array([held.get(text) for text in texts], pa.int64()),
        }
        commit_output(
            EXTRACT_URLS,
            self.collection,
            part,
            np.ones(len(rows), dtype=bool),
            Output(columns, drops),
            digest=self._digest(part),
            seconds=time.monotonic() - started,
        )

    def _digest(self, part: int) -> str:
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


def _numbered(collection: Collection, files: Sequence[str]) -> list[str]:
    """The file of each part, remembered in the run."""
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
