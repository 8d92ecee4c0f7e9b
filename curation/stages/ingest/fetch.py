"""Brings in the bytes of each listed row: fetched, taken out of a Parquet file, or left where they are.

Bytes that are brought in are stored in the part's own tar, without metadata and scaled down where the settings say so;
local files and tar members are only measured. Either way a sample's row then says where its bytes are (`tar`, `offset`,
`length`), what they hash to, and the size of the image as stored.
"""

import hashlib
from collections import defaultdict, deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import pyarrow as pa

from curation.config import CrawlConfig, ImageConfig
from curation.crawl.archived import take_archived
from curation.crawl.fetch import fetch_all
from curation.crawl.robots import RobotsMemory
from curation.drops import Dropped, DropReason
from curation.engine.contract import Output, Place, StageSpec
from curation.engine.graph import Site
from curation.formats.parquet import read_image_rows
from curation.formats.shards import TarWriter
from curation.imaging.decode import identify
from curation.imaging.reencode import Storable, storable, storage_settings
from curation.run.store import read_range
from curation.stages.ingest.extract_urls import url_key

__all__ = ["LISTED", "Fetch"]

ID = pa.binary(16)
SCHEMA = pa.schema(
    [
        ("id", ID),
        ("source", pa.string()),
        ("url", pa.string()),
        ("page_url", pa.string()),
        ("alt", pa.string()),
        ("label", pa.string()),
        ("path", pa.string()),
        ("sha256", pa.binary(32)),
        ("width", pa.int64()),  # as the header says: hostile ones announce four billion
        ("height", pa.int64()),
        ("format", pa.string()),
        ("tar", pa.string()),
        ("offset", pa.int64()),
        ("length", pa.int64()),
    ]
)
CARRIED = ("source", "url", "page_url", "alt", "label", "path")
LISTED = (*CARRIED, "tar", "offset", "length", "row", "archived")
"""The columns of the listing that say what a row is and where its bytes are."""
MAX_AHEAD_BYTES = 64 * 1024 * 1024
MAX_AHEAD = 256
"""Most bodies, in bytes and in number, that wait for a thread to scale them down."""
Row = dict[str, Any]
Arrival = tuple[int, bytes | Dropped]


class Fetch:
    """The stage `fetch`: bytes are fetched, extracted, or located, and hashed; what is stored in the run loses its
    metadata, and can be scaled down.

    Ids are hashes of the URL for what was fetched, and of the bytes, as they were found, for
    what was at hand; `sha256` is that of the bytes as they are stored."""

    milliseconds = 3

    def __init__(self, crawl: CrawlConfig, image: ImageConfig) -> None:
        self._crawl = crawl
        self._image = image
        # Of the crawl settings only the byte cap decides what a good answer is kept as. The others decide what can be
        # had on a given day, which a finished part has already found out.
        self.spec = StageSpec(
            name="fetch",
            version=2,
            after="list",
            reads={"list": LISTED},
            adds=SCHEMA,
            settings={"max_bytes": crawl.max_bytes, **storage_settings(image)},
        )

    @classmethod
    def at(cls, site: Site) -> "Fetch":
        return cls(site.config.crawl, site.config.image)

    def setup(self) -> None:
        self._robots = RobotsMemory()

    def process(self, rows: pa.Table, place: Place) -> Output:
        return self.bring_in(rows.to_pylist(), place, f"images/part-{place.part:05d}.tar")

    def bring_in(self, listed: Sequence[Row], place: Place, tar: str) -> Output:
        """Bring in the bytes of listed rows; those that are not at hand go to a tar of this name."""
        samples: list[Row] = [{name: row[name] for name in CARRIED} for row in listed]
        drops: dict[int, Dropped] = {}
        for at, row in enumerate(listed):
            if row["length"] is not None:
                data = _read_in_place(row)
                if _describe(samples[at], data, _as_it_lies(data), drops, at):
                    samples[at].update(tar=row["tar"], offset=row["offset"], length=row["length"])
        if to_store := [at for at, row in enumerate(listed) if row["length"] is None]:
            with place.collection.store.writing(f"{place.collection.path}/{tar}") as file:
                self._store(TarWriter(file, checksum=False), listed, to_store, samples, drops, tar)
        columns = {
            name: pa.array([sample.get(name) for sample in samples], SCHEMA.field(name).type) for name in SCHEMA.names
        }
        return Output(columns, drops)

    def _store(
        self,
        writer: TarWriter,
        listed: Sequence[Row],
        to_store: Sequence[int],
        samples: list[Row],
        drops: dict[int, Dropped],
        tar: str,
    ) -> None:
        """Write images to a tar in the order in which their bytes arrive."""
        for at, data, form in self._formed(self._arriving(listed, to_store)):
            if _describe(samples[at], data, form, drops, at):
                assert isinstance(form, Storable)
                name = f"{samples[at]['id'].hex()}-{at:05d}"
                samples[at].update(tar=tar, offset=writer.add(name, form.data), length=len(form.data))
        writer.close()

    def _formed(self, arriving: Iterable[Arrival]) -> Iterator[tuple[int, bytes | Dropped, Storable | Dropped]]:
        """What to store of each arrival, in their order; scaling down goes on in threads a bounded way ahead."""
        if self._image.max_side is None:
            for at, data in arriving:
                yield at, data, self._form(data)
            return
        ahead: deque[tuple[int, bytes | Dropped, Future[Storable | Dropped]]] = deque()
        waiting = 0
        with ThreadPoolExecutor(self._crawl.decode_threads, thread_name_prefix="lvd-scale") as pool:
            for at, data in arriving:
                ahead.append((at, data, pool.submit(self._form, data)))
                waiting += _size(data)
                while ahead and (ahead[0][2].done() or waiting > MAX_AHEAD_BYTES or len(ahead) > MAX_AHEAD):
                    first, given, future = ahead.popleft()
                    waiting -= _size(given)
                    yield first, given, future.result()
            for first, given, future in ahead:
                yield first, given, future.result()

    def _form(self, data: bytes | Dropped) -> Storable | Dropped:
        return data if isinstance(data, Dropped) else storable(data, self._image)

    def _arriving(self, listed: Sequence[Row], to_store: Sequence[int]) -> Iterator[Arrival]:
        in_parquet: dict[str, dict[int, int]] = defaultdict(dict)
        for at in to_store:
            if listed[at]["row"] is not None:
                in_parquet[listed[at]["tar"]][listed[at]["row"]] = at
        for file, positions in sorted(in_parquet.items()):
            for row, data in read_image_rows(file, sorted(positions)):
                yield positions[row], data
        to_fetch = [at for at in to_store if listed[at]["url"] is not None]
        if self._crawl.prefer_archived:
            taken = set()
            for at, picture in self._archived(listed, to_fetch):
                taken.add(at)
                yield at, picture
            to_fetch = [at for at in to_fetch if at not in taken]
        if to_fetch:
            for at, outcome in fetch_all([listed[at]["url"] for at in to_fetch], self._crawl, self._robots):
                yield to_fetch[at], outcome if isinstance(outcome, Dropped) else outcome.body

    def _archived(self, listed: Sequence[Row], wanted: Sequence[int]) -> Iterator[Arrival]:
        """Pictures that the crawl file of their own page holds."""
        by_file: dict[str, list[int]] = defaultdict(list)
        for at in wanted:
            if listed[at]["archived"] is not None:
                by_file[listed[at]["source"]].append(at)
        for file, rows in sorted(by_file.items()):
            places = [(listed[at]["url"], listed[at]["archived"]) for at in rows]
            for index, outcome in take_archived(file, places, self._crawl):
                yield rows[index], outcome if isinstance(outcome, Dropped) else outcome.body


def _describe(sample: Row, data: bytes | Dropped, form: Storable | Dropped, drops: dict[int, Dropped], at: int) -> bool:
    """Fill in what is known of an image, or note why it is dropped; tell whether its bytes are worth keeping."""
    if sample["url"] is not None and sample["path"] is None:
        sample["id"] = url_key(sample["url"])
    elif isinstance(data, Dropped):
        sample["id"] = url_key(sample["path"] or "")
    else:
        sample["id"] = _digest(data, form)[:16]
    if isinstance(form, Dropped):
        sample["sha256"] = None if isinstance(data, Dropped) else _digest(data, form)
        drops[at] = form
        return False
    header = form.header
    sample.update(sha256=form.sha256, width=header.width, height=header.height, format=header.format)
    return True


def _digest(data: bytes, form: Storable | Dropped) -> bytes:
    """SHA-256 of bytes as they came: known already where they are stored so."""
    return form.sha256 if isinstance(form, Storable) and form.data is data else hashlib.sha256(data).digest()


def _as_it_lies(data: bytes | Dropped) -> Storable | Dropped:
    header = data if isinstance(data, Dropped) else identify(data)
    if isinstance(data, Dropped) or isinstance(header, Dropped):
        assert isinstance(header, Dropped)
        return header
    return Storable(data, header, hashlib.sha256(data).digest())


def _size(data: bytes | Dropped) -> int:
    return 0 if isinstance(data, Dropped) else len(data)


def _read_in_place(row: Row) -> bytes | Dropped:
    try:
        data = read_range(row["tar"], row["offset"], row["length"])
    except OSError as error:
        return Dropped(DropReason.UNREADABLE_FILE, error.strerror or str(error))
    if len(data) != row["length"]:
        return Dropped(DropReason.UNREADABLE_FILE, f"{len(data)} bytes where {row['length']} were listed")
    return data
