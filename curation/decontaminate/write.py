"""Writes the clean dataset, part by part: the work that a runner hands to its workers."""

import hashlib
import json
import shutil
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from curation.decontaminate.folder import carry_file, carry_link
from curation.decontaminate.hashing import Hashing, hash_of
from curation.decontaminate.parquet import write_rows
from curation.decontaminate.source import Source
from curation.decontaminate.verdicts import VERDICTS
from curation.decontaminate.webdataset import write_shard
from curation.engine.contract import Output, Place, StageSpec
from curation.errors import DatasetError
from curation.formats.dataset import Kind
from curation.formats.parquet import read_image_rows
from curation.run.parts import Collection
from curation.run.store import Store, filesystem, read_range

__all__ = ["Write", "check_images", "read_note", "write_clean", "write_note", "written_spec"]

READ = ("tar", "path", "offset", "length", "row", "sha256", "live")
Row = dict[str, Any]


class Write:
    """The stage `written` of the collection `clean`: what is kept of each part, in the form of the dataset.

    Every image is compared with the SHA-256 that it had when it was read, so nothing is carried that was not compared.

    Args:
        target: where the clean dataset goes.
        link: hard links instead of copies, where a file is carried whole and the file system can.
    """

    def __init__(self, clean: Collection, source: Source, target: Store, *, link: bool) -> None:
        self._clean = clean
        self._source = source
        self._target = target
        self._link = link
        self.spec = written_spec({"source": source.data, "target": target.root, "link": link})

    def setup(self) -> None:
        pass

    def is_written(self, place: Place) -> bool:
        return all(map(self._target.exists, self._outputs(place.part)))

    def remove_files(self, place: Place) -> None:
        pass  # of a file that is no longer part of the dataset, what was kept stays

    def process(self, rows: pa.Table, place: Place) -> Output:
        """Raises DatasetError where an image is no longer the one that was compared."""
        images = self._clean.read(VERDICTS.name, place.part, READ).to_pylist()
        if self._source.kind is Kind.FOLDER:
            for image in images:
                self._carry_image(image)
        else:
            self._carry_file(place.part, images)
        return Output({})

    def _outputs(self, part: int) -> list[str]:
        if self._source.kind is not Kind.FOLDER:
            return [self._source.names[part]]
        table = self._clean.read(VERDICTS.name, part, ["path", "live", "sha256"])
        return list(table.filter(pc.and_(table["live"], table["sha256"].is_valid()))["path"].to_pylist())

    def _carry_image(self, row: Row) -> None:
        if not row["live"]:
            self._target.remove(row["path"])
        elif row["sha256"] is not None:  # null: no bytes could be had of it
            carry_file(row["tar"], self._target, row["path"], _read_checked(row), link=self._link)

    def _carry_file(self, part: int, rows: list[Row]) -> None:
        file, name = self._source.files[part], self._source.names[part]
        check_images(file, rows)
        if not all(row["live"] for row in rows):
            with self._target.writing(name) as target:
                written = write_clean(self._source.kind, file, target, rows)
            size, digest = written.size, written.sha256
        else:
            if not (self._link and carry_link(file, self._target, name)):
                fs, inner = filesystem(file)
                with fs.open(inner, "rb") as source, self._target.writing(name) as target:
                    shutil.copyfileobj(source, target)
            size, digest = hash_of(file)
        write_note(self._clean, part, {"bytes": size, "sha256": digest})


def written_spec(settings: dict[str, Any]) -> StageSpec:
    """The stage that says what was written, in a new place or in place; it adds no columns."""
    return StageSpec("written", 1, VERDICTS.name, {VERDICTS.name: []}, pa.schema([]), settings)


def write_note(clean: Collection, part: int, note: dict[str, Any]) -> None:
    """Record what the shard or Parquet file of a part has become."""
    clean.store.write_bytes(_note_name(clean, part), json.dumps(note).encode())


def read_note(clean: Collection, part: int) -> dict[str, Any] | None:
    """What `write_note` recorded: `bytes` and `sha256`; None where there is nothing yet."""
    name = _note_name(clean, part)
    return dict(json.loads(clean.store.read_bytes(name))) if clean.store.exists(name) else None


def _note_name(clean: Collection, part: int) -> str:
    return f"{clean.path}/files/part-{part:05d}.json"


def write_clean(kind: Kind, file: str, target: Any, rows: list[Row]) -> Hashing:
    """Write what is kept of a shard or Parquet file.

    Args:
        rows: the file's rows of the stage `verdicts`.
    """
    fs, inner = filesystem(file)
    with fs.open(inner, "rb") as source:
        if kind is Kind.TARS:
            return write_shard(source, target, {row["offset"] for row in rows if not row["live"]})
        return write_rows(source, target, np.array([row["live"] for row in rows], dtype=bool))


def check_images(file: str, rows: list[Row]) -> None:
    """Check that images are still those that were compared with the references.

    Raises:
        DatasetError: one has changed since.
    """
    if rows and rows[0]["row"] is not None:
        for row, (_, data) in zip(rows, read_image_rows(file, [row["row"] for row in rows]), strict=True):
            _check(row, data)
    else:
        for row in rows:
            _read_checked(row)


def _read_checked(row: Row) -> bytes:
    try:
        data = read_range(row["tar"], row["offset"], row["length"])
    except OSError as error:
        raise DatasetError(
            f"{row['tar']}: cannot be read ({error.strerror or error}); bring the file back and run the command again"
        ) from error
    _check(row, data)
    return data


def _check(row: Row, data: bytes) -> None:
    if row["sha256"] is not None and hashlib.sha256(data).digest() != row["sha256"]:
        raise DatasetError(
            f"{row['tar']}: {row['path']} has changed since it was read; run the command again with another `out`"
        )
