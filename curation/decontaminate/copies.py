"""Which copies within a dataset are removed: those whose image stays, and with them nothing that is no copy.

The stage `dedup` says of a copy which image stands for it. That one may be dropped in turn, and in a WebDataset an
image goes only with its sample. So each copy is followed to the image that is kept in the end, and it is removed only
where

- that image stays: it is not removed with a sample that holds a copy of a reference image, or an unreadable file;
- all images of its sample are such copies: a sample that holds anything else is kept whole.
"""

from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from curation.arrays import BoolArray, Int64Array
from curation.decontaminate.rows import EVIDENCE, mask_of
from curation.drops import DropReason
from curation.formats.tars import sample_key

__all__ = ["COPIES", "REMOVABLE", "followed", "with_removable"]

OWN = (DropReason.COPY.value, DropReason.HASH_DUPLICATE.value)
LEAK = DropReason.REFERENCE_LEAK.value
COPIES = pa.schema([("kept_part", pa.int32()), ("kept_row", pa.int32()), ("stays", pa.string())])
"""Where the run has the image that is kept in place of a copy, and why the copy is not removed all the same."""
REMOVABLE = "removable"
WITH_SAMPLE = "its WebDataset sample holds what is no copy"
KEPT_GOES = "the image that stands for it is removed with its sample"


def followed(rows: pa.Table) -> pa.Table:
    """Rows of `ROWS`, each copy followed to the image that is kept; adds `kept`, the number of that image's row.

    A copy of an image that leads to a reference image leads there too. Evidence is that of the link to the image named;
    where only other images lead there, the link is a `chain` that has none.
    """
    trails = _Trails(rows)
    kept, leaks = np.full(len(rows), -1), np.zeros(len(rows), dtype=bool)
    end, witness = np.arange(len(rows)), np.arange(len(rows))
    for at in trails.copies:
        end[at], witness[at] = trails.end_of(at)
        leaks[at] = trails.is_leak(end[at])
        kept[at] = -1 if leaks[at] else end[at]
    ends, witnesses = pa.array(end), pa.array(witness, mask=witness < 0)
    old = {name: rows[name].combine_chunks() for name in ("reason", "id", *(name for name, _ in EVIDENCE))}
    columns = {name: old[name].take(witnesses) for name, _ in EVIDENCE}
    columns["reason"] = pc.if_else(pa.array(leaks), LEAK, old["reason"])
    columns["representative"] = pc.if_else(pa.array(kept >= 0), old["id"].take(ends), old["representative"].take(ends))
    columns["reference"] = old["reference"].take(ends)
    columns["link"] = pc.if_else(pa.array(witness < 0), "chain", columns["link"])
    for name, column in columns.items():
        rows = rows.set_column(rows.schema.get_field_index(name), rows.schema.field(name), column)
    return rows.append_column("kept", pa.array(kept, mask=kept < 0))


@dataclass
class _Trails:
    """The steps from each copy to the image that stands for it.

    Attributes:
        copies: numbers of the rows that are copies of images of the dataset.
    """

    rows: pa.Table
    copies: list[int] = field(init=False)

    def __post_init__(self) -> None:
        reason = self.rows["reason"]
        is_own = mask_of(pc.fill_null(pc.is_in(reason, value_set=pa.array(OWN)), False))
        self.copies = np.flatnonzero(is_own).tolist()
        names = self.rows["representative"].filter(pa.array(is_own)).unique().drop_null()
        named = np.flatnonzero(mask_of(pc.is_in(self.rows["id"], value_set=names)))
        chosen = np.union1d(named, np.flatnonzero(is_own))
        table = self.rows.select(["id", "reason", "representative", "reference", "unreadable"]).take(pa.array(chosen))
        self._of = dict(zip(chosen.tolist(), table.to_pylist(), strict=True))
        self._standing: dict[bytes, int] = {}
        for at in sorted(named.tolist(), key=self._rank):
            self._standing.setdefault(self._of[at]["id"], at)

    def _rank(self, at: int) -> tuple[int, int]:
        """Of images with the same bytes, the one that is kept comes first, then one that leads on."""
        row = self._of[at]
        if row["unreadable"]:
            return 3, at
        return (0 if row["reason"] is None else 1 if row["representative"] != row["id"] or self.is_leak(at) else 2), at

    def is_leak(self, at: int) -> bool:
        row = self._of[at]
        return row["reason"] == LEAK or row["reference"] is not None

    def end_of(self, at: int) -> tuple[int, int]:
        """Where a copy leads to, and the row that has the evidence for it; -1 where only a chain leads there.

        Equal bytes have equal evidence, so a row with the bytes of the copy speaks for it.
        """
        trail = [at]
        while self._of[trail[-1]]["reason"] is not None and not self.is_leak(trail[-1]):
            following = self._standing.get(self._of[trail[-1]]["representative"])
            assert following is not None, f"{self._id(at)}: is dropped for an image that is not there"
            assert following not in trail, f"{self._id(at)}: is dropped, and no image is kept for it"
            trail.append(following)
        end = trail[-1]
        witness = end if self.is_leak(end) else trail[-2]
        return end, witness if self._id(witness) == self._id(at) else -1

    def _id(self, at: int) -> str:
        return str(self._of[at]["id"].hex())


def with_removable(rows: pa.Table, others: BoolArray, *, in_samples: bool) -> pa.Table:
    """Followed rows with the columns of `COPIES`, and `removable`: whether each is a copy that is removed.

    Args:
        others: (rows,) those that are removed for another reason.
        in_samples: whether images are removed with the WebDataset sample that holds them.
    """
    starts, unit = _units(rows) if in_samples else (np.arange(len(rows)), np.arange(len(rows)))
    is_copy = mask_of(rows["kept"].is_valid())
    kept = rows["kept"].fill_null(0).to_numpy()
    goes = np.zeros(len(starts), dtype=bool)
    goes[unit[others]] = True
    kept_goes = is_copy & goes[unit[kept]] if len(rows) else is_copy
    whole = np.logical_and.reduceat(is_copy & ~kept_goes, starts) if len(rows) else goes
    removable = is_copy & (whole & ~goes)[unit]
    stays = np.where(kept_goes, KEPT_GOES, WITH_SAMPLE).tolist()
    places = rows["kept"].combine_chunks()
    columns = {
        "kept_part": rows["pool_part"].combine_chunks().take(places),
        "kept_row": rows["pool_row"].combine_chunks().take(places),
        "stays": pa.array(stays, pa.string(), mask=~is_copy | removable | goes[unit]),
        REMOVABLE: pa.array(removable),
    }
    rows = rows.drop_columns(["kept"])
    for name, column in columns.items():
        rows = rows.append_column(name, column)
    return rows


def _units(rows: pa.Table) -> tuple[Int64Array, Int64Array]:
    """Neighbouring rows with one key: where each sample starts, and (rows,) the number of each row's sample."""
    names = zip(rows["tar"].to_pylist(), rows["path"].to_pylist(), strict=True)
    keys = [(tar, sample_key(path)[0]) for tar, path in names]
    is_first = np.array([at == 0 or key != keys[at - 1] for at, key in enumerate(keys)], dtype=bool)
    return np.flatnonzero(is_first), np.cumsum(is_first) - 1
