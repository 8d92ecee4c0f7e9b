"""Keeps the pictures of a certificate in its run: the images may be gone when the page is made again."""

from dataclasses import asdict

import numpy as np
import pyarrow as pa

from curation.engine.contract import Output, StageSpec, commit_output
from curation.imaging.local_features import FEATURES_VERSION
from curation.imaging.matching import MATCHING_VERSION, Match
from curation.report.thumbnails import DECODED_SIDE, SIDE, Thumbnails
from curation.run.directory import Run
from curation.run.parts import digest_of

__all__ = ["read_pictures", "write_pictures"]

OF = [("collection", pa.string()), ("part", pa.int32()), ("row", pa.int32())]
TO = [("to_collection", pa.string()), ("to_part", pa.int32()), ("to_row", pa.int32())]
GEOMETRY = [
    ("inliers", pa.int32()),
    ("agreement", pa.float64()),
    ("mirrored", pa.bool_()),
    ("transform", pa.list_(pa.float64(), 6)),
]
VERSION = 2


THUMBNAILS, GEOMETRIES = (
    StageSpec(name, VERSION, None, {}, pa.schema(columns), {})
    for name, columns in (("thumbnails", [*OF, ("jpeg", pa.binary())]), ("geometries", [*OF, *TO, *GEOMETRY]))
)


def read_pictures(run: Run) -> Thumbnails:
    """What an earlier call stored; geometry only where this version of the matcher made it."""
    stored = run.collection("certificate")
    thumbnails, matches = {}, {}
    if (footer := stored.footer(THUMBNAILS.name, 0)) and footer.version == VERSION:
        for row in stored.read(THUMBNAILS.name, 0, THUMBNAILS.adds.names).to_pylist():
            thumbnails[row["collection"], row["part"], row["row"]] = row["jpeg"]
    if (footer := stored.footer(GEOMETRIES.name, 0)) and footer.digest == _digest():
        for row in stored.read(GEOMETRIES.name, 0, GEOMETRIES.adds.names).to_pylist():
            of, to = (tuple(row[name] for name, _ in names) for names in (OF, TO))
            values = {name: row[name] for name, _ in GEOMETRY}
            matches[of, to] = Match(**values | {"transform": tuple(values["transform"])})
    return Thumbnails(thumbnails, matches)


def write_pictures(run: Run, pictures: Thumbnails) -> None:
    """Store pictures and geometry in the run, in place of those that it has."""
    jpegs = [[*place, jpeg] for place, jpeg in pictures.thumbnails.items()]
    geometries = [[*of, *to, *asdict(result).values()] for (of, to), result in pictures.matches.items()]
    for spec, rows in ((THUMBNAILS, jpegs), (GEOMETRIES, geometries)):
        columns = {field.name: pa.array([row[at] for row in rows], field.type) for at, field in enumerate(spec.adds)}
        live = np.ones(len(rows), dtype=bool)
        commit_output(spec, run.collection("certificate"), 0, live, Output(columns), digest=_digest())


def _digest() -> str:
    return digest_of([VERSION, SIDE, DECODED_SIDE, FEATURES_VERSION, MATCHING_VERSION])
