"""From files of URLs to a list without repeats: extraction, one part per file, and exact URL dedup over all of them.

The rows here are URLs as they were found; they form a collection of their own (`<collection>/crawl`), whose survivors
are then cut into the collection's parts.
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
from curation.errors import DatasetError
from curation.parts import Collection, digest_of
from curation.sources.dataset import CRAWL_ENDINGS
from curation.sources.parquet import read_url_rows
from curation.stages.contract import Output, StageSpec, commit_output
from curation.storage import filesystem

__all__ = ["LINKS", "UNIQUE", "LinkWork", "find_repeats", "url_key"]

RULES = {"blocklists", "blocked_keywords", "blocked_types", "allow_private_addresses"}
"""The crawl settings that say which URLs are not asked for."""

LINKS = StageSpec(
    name="links",
    version=1,
    after=None,
    reads={},
    schema=pa.schema([("url", pa.string()), ("page_url", pa.string()), ("alt", pa.string()), ("source", pa.string())]),
    settings={},
)
UNIQUE = StageSpec(name="unique", version=1, after="links", reads={"links": ["url"]}, schema=pa.schema([]), settings={})


def url_key(url: str) -> bytes:
    """The 16-byte key of a URL: its sample's id."""
    return hashlib.sha256(url.encode()).digest()[:16]


class LinkWork:
    """Extracts the URLs of one file into one part.

    Args:
        files: the files to read. A file keeps its part number for ever: those that are new come behind the others.
    """

    def __init__(self, collection: Collection, files: Sequence[str], crawl: CrawlConfig) -> None:
        self.collection = collection
        self.stages = [LINKS.name]
        self._rules = UrlRules(crawl)
        self._settings = crawl.model_dump(include=RULES)
        self._files = _numbered(collection, files)

    def parts(self) -> list[int]:
        """All part numbers."""
        return list(range(len(self._files)))

    def setup(self) -> None:
        pass

    def is_current(self, part: int) -> bool:
        footer = self.collection.footer(LINKS.name, part)
        return footer is not None and footer.digest == self._digest(part)

    def run(self, part: int) -> None:
        started = time.monotonic()
        source = self._files[part]
        rows = list(_links_of(source))
        urls = [canonical_url(row.url) for row in rows]
        drops = {at: drop for at, row in enumerate(rows) if (drop := self._refuse(row, urls[at]))}
        columns = {
            "url": pa.array([url or row.url for url, row in zip(urls, rows, strict=True)], pa.string()),
            "page_url": pa.array([row.page_url for row in rows], pa.string()),
            "alt": pa.array([row.alt for row in rows], pa.string()),
            "source": pa.array([source] * len(rows), pa.string()),
        }
        commit_output(
            LINKS,
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
        return digest_of([LINKS.name, LINKS.version, self._files[part], size, self._settings])

    def _refuse(self, link: Link, url: str | None) -> Dropped | None:
        if link.opted_out:
            return Dropped(DropReason.OPTED_OUT, link.opted_out)
        return Dropped(DropReason.INVALID_URL, link.url) if url is None else self._rules.refuse_canonical(url)


def find_repeats(collection: Collection) -> None:
    """Drop every URL that an earlier part, or an earlier row, already has. Parts that are up to date stay."""
    seen: set[bytes] = set()
    earlier: list[str] = []
    for part in collection.parts(LINKS.name):
        footer = collection.footer(LINKS.name, part)
        assert footer is not None
        earlier.append(footer.digest)
        digest = digest_of([UNIQUE.name, UNIQUE.version, earlier])
        live = collection.live(LINKS.name, part)
        urls = collection.read(LINKS.name, part, ["url"])["url"].filter(pa.array(live)).to_pylist()
        drops = {}
        for at, url in enumerate(urls):
            key = url_key(url)
            if key in seen:
                drops[at] = Dropped(DropReason.DUPLICATE_URL)
            seen.add(key)
        done = collection.footer(UNIQUE.name, part)
        if done is None or done.digest != digest:
            commit_output(UNIQUE, collection, part, live, Output({}, drops), digest=digest)


def _numbered(collection: Collection, files: Sequence[str]) -> list[str]:
    """The file of each part, remembered in the run."""
    name = f"{collection.path}/files.json"
    known: list[str] = json.loads(collection.store.read_bytes(name)) if collection.store.exists(name) else []
    numbered = [*known, *(file for file in dict.fromkeys(files) if file not in known)]
    if numbered != known:
        collection.store.write_bytes(name, json.dumps(numbered, indent=1).encode())
    return numbered


def _links_of(file: str) -> Iterator[Link]:
    """The links of a crawl file, the rows of a Parquet file, or the lines of a text file of URLs."""
    if file.endswith(CRAWL_ENDINGS):
        yield from read_links(file)
    elif file.endswith(".parquet"):
        for url, page_url, alt in read_url_rows(file):
            yield Link(url, page_url, alt)
    else:
        fs, inner = filesystem(file)
        with fs.open(inner, "rt", encoding="utf-8", errors="replace", compression="infer") as lines:
            for line in lines:
                if url := line.strip():
                    yield Link(url, "", "")
