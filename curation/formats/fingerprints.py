"""Fingerprints of images: what finds copies of them, without the images themselves, in one Parquet file.

A row is an image: its name (null where names are left out), the SHA-256 of its bytes, its size, its copy descriptor and
its local features. The grey picture that features have elsewhere is left out: one black pixel stands in its place. A
file may come from a stranger, so all that is read is checked.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from typing import IO, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from curation.arrays import Float16Array
from curation.errors import DatasetError, cause_of
from curation.imaging.framed import WHOLE
from curation.imaging.local_features import FEATURES_VERSION, MOST, Features
from curation.imaging.matching import MATCHING_VERSION
from curation.run.store import filesystem, reaching

__all__ = ["Fingerprint", "FingerprintFile", "Made", "is_fingerprints", "plain_name", "write_fingerprints"]

FORMAT, VERSION = "lvd-fingerprints", 1
KEY = b"lvd-fingerprints"
"""Of the entry in the Parquet metadata that says what the file is."""
ROWS = 256
"""Images of a row group, 14 MB at most."""
MOST_ROWS = 4 * ROWS
MOST_BYTES = MOST_ROWS * 64 * 1024
"""What a row group may hold of a file that is read."""
NAME_LENGTH = 500
MODEL_LENGTH = 1000
WIDEST = 8192
"""Dimensions of a vector, at most."""
LARGEST_SIDE = 2**31 - 1
LENGTH_OFF = 0.02
"""How far from 1 the length of a vector of 16-bit numbers may be."""
NO_PICTURE = np.zeros((1, 1), np.uint8)
BARE = len(Features(1, 1, np.empty((0, 2), np.float32), np.empty((0, 128), np.uint8), NO_PICTURE).to_bytes())
A_POINT = 132
"""Bytes of features without points, and of each point."""


@dataclass(frozen=True, slots=True)
class Made:
    """What fingerprints were made with: the copy model's name and fingerprint, and the versions of points."""

    model: str
    fingerprint: str
    features: int = FEATURES_VERSION
    matching: int = MATCHING_VERSION


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """One image: `vector` is (D,) fp16 of length 1, `features` have no picture and no frame."""

    name: str | None
    sha256: bytes
    width: int
    height: int
    vector: Float16Array
    features: Features


def plain_name(name: str) -> str:
    """A name as fingerprints have it: printable, on one line, of bounded length."""
    return "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in name)[:NAME_LENGTH]


def is_fingerprints(file: str) -> bool:
    """Whether a path is a file of fingerprints, whatever its name."""
    try:
        with reaching(file):
            fs, inner = filesystem(file)
            if not fs.isfile(inner):
                return False
            with fs.open(inner, "rb") as opened:
                if opened.read(4) != b"PAR1":
                    return False
                return KEY in (pq.ParquetFile(opened).metadata.metadata or {})
    except (pa.ArrowException, OSError, ValueError):
        return False


def write_fingerprints(file: IO[bytes], rows: Iterable[Fingerprint], made: Made, dim: int) -> int:
    """Write fingerprints, a row group at a time; returns how many. Equal input gives equal bytes."""
    says = json.dumps({"format": FORMAT, "version": VERSION, **asdict(made)}, sort_keys=True)
    schema = _schema(dim).with_metadata({KEY: says.encode()})
    count, group = 0, list[Fingerprint]()
    with pq.ParquetWriter(file, schema, compression="zstd", write_page_checksum=True) as writer:
        for row in rows:
            group.append(row)
            count += 1
            if len(group) == ROWS:
                writer.write_table(_table(group, schema), row_group_size=ROWS)
                group = []
        if group:
            writer.write_table(_table(group, schema), row_group_size=ROWS)
    return count


def _schema(dim: int) -> pa.Schema:
    return pa.schema(
        [
            pa.field("name", pa.string()),
            pa.field("sha256", pa.binary(32), nullable=False),
            pa.field("width", pa.int32(), nullable=False),
            pa.field("height", pa.int32(), nullable=False),
            pa.field("vector", pa.list_(pa.float16(), dim), nullable=False),
            pa.field("points", pa.binary(), nullable=False),
        ]
    )


def _table(rows: Sequence[Fingerprint], schema: pa.Schema) -> pa.Table:
    dim = schema.field("vector").type.list_size
    flat = pa.array(np.concatenate([row.vector for row in rows]).astype(np.float16))
    columns = [
        *(pa.array([getattr(row, name) for row in rows], schema.field(name).type) for name in schema.names[:4]),
        pa.FixedSizeListArray.from_arrays(flat, dim),
        pa.array([_bare(row.features) for row in rows], pa.binary()),
    ]
    return pa.Table.from_arrays(columns, schema=schema)


def _bare(features: Features) -> bytes:
    """Features as they are stored here: the points, and nothing of the picture."""
    data = replace(features, picture=NO_PICTURE, frame=WHOLE).to_bytes()
    assert len(data) == BARE + A_POINT * len(features.points), "no picture may be stored"
    return data


class FingerprintFile:
    """A file of fingerprints, open for reading a row group at a time.

    Attributes:
        made: what it was made with.
        dim: of its vectors.
        groups: how many fingerprints each row group has.
    """

    def __init__(self, file: str) -> None:
        """Reads and checks what the file says of itself; DatasetError where that cannot be."""
        self.file = file
        try:
            with reaching(file):
                fs, inner = filesystem(file)
                self._parquet = pq.ParquetFile(inner, filesystem=fs, page_checksum_verification=True)
                schema, metadata = self._parquet.schema_arrow, self._parquet.metadata
        except (pa.ArrowException, OSError, ValueError) as error:
            raise self._damaged(cause_of(error)) from error
        self.made = self._made(metadata.metadata or {})
        vector = schema.field("vector").type if "vector" in schema.names else pa.null()
        self.dim = int(vector.list_size) if pa.types.is_fixed_size_list(vector) else 0
        if not 1 <= self.dim <= WIDEST or not schema.equals(_schema(self.dim)):
            raise self._damaged("its columns are not those of fingerprints")
        groups = [metadata.row_group(at) for at in range(metadata.num_row_groups)]
        if any(group.num_rows > MOST_ROWS or group.total_byte_size > MOST_BYTES for group in groups):
            raise self._damaged("a row group is larger than fingerprints have")
        self.groups = [int(group.num_rows) for group in groups]

    def __len__(self) -> int:
        return sum(self.groups)

    def need(self, made: Made) -> None:
        """DatasetError where it was not made as this run describes images."""
        if self.made == made:
            return
        theirs, ours = self.made.model, made.model
        if theirs == ours:
            theirs, ours = f"another version of {theirs} or of its points", "its own"
        raise DatasetError(
            f"{self.file}: was made with {theirs}, this run uses {ours}; make it anew with lvd fingerprints"
        )

    def read(self, group: int) -> list[Fingerprint]:
        """The fingerprints of a row group; DatasetError where one is not as it should be."""
        try:
            table = self._parquet.read_row_group(group)
            if len(table) != self.groups[group]:
                raise self._damaged("a row group has other rows than it says")
            names = table["name"].to_pylist()
            features = [Features.from_bytes(self._points(data)) for data in table["points"].to_pylist()]
            columns = [table[name].to_pylist() for name in ("sha256", "width", "height")]
            flat = table["vector"].combine_chunks().flatten().to_numpy(zero_copy_only=False)
        except (pa.ArrowException, OSError, ValueError, UnicodeDecodeError) as error:
            raise self._damaged(cause_of(error)) from error
        if any(column.count(None) for column in columns) or len(flat) != len(table) * self.dim:
            raise self._damaged("a value is missing")
        vectors = self._vectors(flat.reshape(-1, self.dim))
        if any(not 1 <= side <= LARGEST_SIDE for column in columns[1:] for side in column):
            raise self._damaged("an image has no size")
        if any(name is not None and (not name or name != plain_name(name)) for name in names):
            raise self._damaged(f"a name is not printable, or is longer than {NAME_LENGTH} characters")
        return [Fingerprint(*row) for row in zip(names, *columns, vectors, features, strict=True)]

    @cached_property
    def index(self) -> tuple[Float16Array, Sequence[bytes]]:
        """(N, D) fp16 vectors and N SHA-256 of all; the whole file is read and checked for it."""
        vectors = np.empty((len(self), self.dim), np.float16)
        digests: list[bytes] = []
        for group in range(len(self.groups)):
            for row in self.read(group):
                vectors[len(digests)] = row.vector
                digests.append(row.sha256)
        return vectors, digests

    def _vectors(self, vectors: Float16Array) -> Float16Array:
        lengths = np.linalg.norm(vectors.astype(np.float32), axis=1)
        if not (np.abs(lengths - 1) <= LENGTH_OFF).all():  # false of NaN too
            raise self._damaged("a vector is not finite, or not of length 1")
        return vectors

    def _points(self, data: bytes | None) -> bytes:
        """Features that `_bare` may have written: so many points as they have bytes for, no picture, no frame."""
        if data is None or not BARE <= len(data) <= BARE + A_POINT * MOST:
            raise self._damaged("its points are of no length that points have")
        width, height, count, columns, rows = np.frombuffer(data, "<u2", 5).tolist()
        if len(data) != BARE + A_POINT * count or (columns, rows) != (1, 1):
            raise self._damaged("its points are not as many as they say")
        if not (width and height) or Features.from_bytes(data).frame != WHOLE or data[-1]:
            raise self._damaged("its points lie in no picture that fingerprints have")
        return data

    def _made(self, metadata: Mapping[bytes, bytes]) -> Made:
        try:
            says: Any = json.loads(metadata[KEY])
            kind, version = says["format"], says["version"]
            made = Made(says["model"], says["fingerprint"], says["features"], says["matching"])
        except (KeyError, ValueError, TypeError, RecursionError) as error:
            raise self._damaged("it does not say what it is") from error
        texts = (made.model, made.fingerprint)
        if not all(isinstance(text, str) and text.isprintable() and len(text) <= MODEL_LENGTH for text in texts):
            raise self._damaged("it does not say what it was made with")
        if kind != FORMAT or version != VERSION:
            raise DatasetError(
                f"{self.file}: is of another version of {FORMAT}, this lvd reads {VERSION}; "
                "make it anew with lvd fingerprints"
            )
        return made

    def _damaged(self, why: str) -> DatasetError:
        return DatasetError(
            f"{self.file}: is no sound file of fingerprints ({why}); get it anew, or make it with lvd fingerprints"
        )
