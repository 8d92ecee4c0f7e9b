"""Aligned parts: one Parquet file per stage and part, the same rows in the same order, committed whole.

A part file holds the columns that its stage adds, and three that every stage has:

- `live`: whether the row is still in play after this stage;
- `drop_reason`, `drop_detail`: set on the rows that this stage ruled out, and on no others.

Its Parquet footer says what it was made from (`Footer`): a file is finished when it exists and carries the digest
that is expected of it. There is no other record of progress, so a killed run continues from its files alone.
"""

import hashlib
import json
import re
import struct
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from curation.arrays import BoolArray
from curation.drops import Dropped, DropReason
from curation.errors import RunError
from curation.run.store import Store

__all__ = ["VERDICT", "Collection", "Footer", "Ledger", "digest_of", "mask_digest", "random_for", "verdict_columns"]


VERDICT = pa.schema([("live", pa.bool_()), ("drop_reason", pa.string()), ("drop_detail", pa.string())])

_PART = re.compile(r"part-(\d{5,})\.parquet")
_FOOTER_KEY = b"lvd"
_DETAIL_LENGTH = 300


def digest_of(value: object) -> str:
    """A SHA-256 hex digest of any JSON value, equal for equal values whatever the order of keys."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def random_for(seed: int, *names: str | int) -> np.random.Generator:
    """The random generator of one place in a run: (config seed, stage name, part number or whatever tells it apart)."""
    return np.random.default_rng(int.from_bytes(hashlib.sha256(repr((seed, names)).encode()).digest()[:16], "big"))


@dataclass(frozen=True, slots=True)
class Ledger:
    """What a stage did to one part: every row that came in live went out live or was dropped for a reason."""

    live_in: int
    live_out: int
    drops: dict[str, int] = field(default_factory=dict)
    seconds: float = 0.0
    bytes: int = 0

    def check(self) -> None:
        """Assert that nothing was lost: live in = live out + drops."""
        assert self.live_in == self.live_out + sum(self.drops.values()), f"unbalanced ledger: {self}"

    def __add__(self, other: "Ledger") -> "Ledger":
        drops = dict(self.drops)
        for reason, count in other.drops.items():
            drops[reason] = drops.get(reason, 0) + count
        return Ledger(
            self.live_in + other.live_in,
            self.live_out + other.live_out,
            drops,
            self.seconds + other.seconds,
            self.bytes + other.bytes,
        )


@dataclass(frozen=True, slots=True)
class Footer:
    """What a part file says of itself.

    `digest` covers the stage's name, version and settings, and the digests of all that it read; `live` is a digest
    of the rows left in play, so that a later stage is redone only when its rows have really changed.
    """

    stage: str
    version: int
    part: int
    rows: int
    digest: str
    live: str
    ledger: Ledger


class Collection:
    """A set of images with a role (`pool`, `seeds/<name>`, ...): a folder with one sub-folder for each stage."""

    def __init__(self, store: Store, path: str) -> None:
        self.store = store
        self.path = path

    def __repr__(self) -> str:
        return f"Collection({self.store.url(self.path)!r})"

    def file(self, stage: str, part: int) -> str:
        """The name of a part file in the store."""
        folder = f"{self.path}/{stage}" if self.path else stage
        return f"{folder}/part-{part:05d}.parquet"

    def parts(self, stage: str) -> list[int]:
        """The numbers of a stage's committed parts, in order."""
        folder = f"{self.path}/{stage}" if self.path else stage
        matches = (_PART.fullmatch(name) for name in self.store.names(folder))
        return sorted(int(match[1]) for match in matches if match)

    def footer(self, stage: str, part: int) -> Footer | None:
        """What a part file says of itself, or None where it does not exist.

        Raises:
            RunError: the file is damaged.
        """
        if not self.store.exists(self.file(stage, part)):
            return None
        with self._reading(stage, part) as file:
            return _footer_from(file.schema_arrow.metadata)

    def state(self, stage: str) -> list[list[str]]:
        """Digest and live rows of all of a stage's parts, for the digest of a step that reads them all."""
        footers = [self.footer(stage, part) for part in self.parts(stage)]
        return [[footer.digest, footer.live] for footer in footers if footer is not None]

    def read(self, stage: str, part: int, columns: Sequence[str] | None = None) -> pa.Table:
        """Read columns of a part (None for all); RunError if the file is missing or damaged."""
        with self._reading(stage, part) as file:
            table = file.read(columns=None if columns is None else list(columns))
            if columns is not None:
                table = table.select(list(columns))  # in this order; a name that a damaged file lacks is a KeyError
        return table.replace_schema_metadata(None)

    def live(self, stage: str, part: int) -> BoolArray:
        """The rows still in play after a stage, as a boolean mask of shape (rows,)."""
        return np.asarray(self.read(stage, part, ["live"])["live"].to_numpy(zero_copy_only=False), dtype=bool)

    def commit(
        self, stage: str, version: int, part: int, table: pa.Table, *, digest: str, live_in: int, seconds: float = 0.0
    ) -> Footer:
        """Write a part file in one atomic step, after its ledger has been found to balance.

        Args:
            table: the stage's columns and those of `VERDICT`, one row for every row of the part.
            live_in: rows that came in live.
        """
        live = table["live"].to_numpy(zero_copy_only=False)
        ledger = Ledger(live_in, int(live.sum()), _count_drops(table), round(seconds, 3), table.nbytes)
        ledger.check()
        footer = Footer(stage, version, part, table.num_rows, digest, mask_digest(live), ledger)
        table = table.replace_schema_metadata({_FOOTER_KEY: json.dumps(asdict(footer)).encode()})
        with self.store.writing(self.file(stage, part)) as file:
            pq.write_table(table, file, compression="zstd", write_page_checksum=True)
        return footer

    def remove(self, stage: str, part: int) -> None:
        """Remove a part file that the run no longer has."""
        self.store.remove(self.file(stage, part))

    def _reading(self, stage: str, part: int) -> "_PartFile":
        return _PartFile(self.store, self.file(stage, part))


class _PartFile:
    """An open part file; what goes wrong inside the block becomes one line about the file."""

    def __init__(self, store: Store, name: str) -> None:
        self._store = store
        self._name = name

    def __enter__(self) -> pq.ParquetFile:
        try:
            self._file = self._store.open(self._name)
        except FileNotFoundError as error:
            raise RunError(f"{self._store.url(self._name)}: is missing; run `lvd curate` again to make it") from error
        try:
            return pq.ParquetFile(self._file, page_checksum_verification=True)
        except (pa.ArrowException, OSError, UnicodeDecodeError, struct.error) as error:
            self._file.close()
            raise self._damaged(error) from error

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        self._file.close()
        if isinstance(error, pa.ArrowException | OSError | KeyError | ValueError | TypeError):
            raise self._damaged(error) from error

    def _damaged(self, error: BaseException) -> RunError:
        return RunError(
            f"{self._store.url(self._name)}: is damaged ({' '.join(str(error).split())[:120]}); "
            "delete this file and run the same command again to remake it"
        )


def verdict_columns(live_in: BoolArray, dropped: Mapping[int, Dropped]) -> list[pa.Array]:
    """The three columns of `VERDICT` for a part, from the mask of live rows and the drops by row number."""
    reasons: list[str | None] = [None] * len(live_in)
    details: list[str | None] = [None] * len(live_in)
    live = live_in.copy()
    for row, drop in dropped.items():
        assert live_in[row], f"row {row} was dropped twice"
        live[row] = False
        reasons[row] = drop.reason.value
        details[row] = _one_line(drop.detail)
    return [pa.array(live), pa.array(reasons, pa.string()), pa.array(details, pa.string())]


def _one_line(text: str) -> str:
    """Free text as it is stored: one line, printable, of bounded length, since it may come from a stranger's server."""
    if not text:
        return text
    printable = "".join(char if char.isprintable() else " " for char in text)
    return " ".join(printable.split())[:_DETAIL_LENGTH]


def _count_drops(table: pa.Table) -> dict[str, int]:
    counts = table["drop_reason"].combine_chunks().drop_null().value_counts().to_pylist()
    known = {reason.value for reason in DropReason}
    assert known.issuperset(item["values"] for item in counts), f"a reason outside of DropReason: {counts}"
    return dict(sorted((item["values"], item["counts"]) for item in counts))


def mask_digest(mask: Iterable[bool]) -> str:
    """A digest of which rows of a part are live."""
    array = np.asarray(mask, dtype=bool)
    return hashlib.sha256(np.packbits(array).tobytes() + len(array).to_bytes(8, "big")).hexdigest()


def _footer_from(metadata: Mapping[bytes, bytes]) -> Footer:
    fields: dict[str, Any] = json.loads(metadata[_FOOTER_KEY])
    return Footer(**{**fields, "ledger": Ledger(**fields["ledger"])})
