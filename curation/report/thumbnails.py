"""What a page shows of a run's images: small pictures, and how one lies in the other.

They are made once and kept in the run, as the images themselves may be gone when a page is made again.
"""

import contextlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache

import numpy as np
import pyarrow as pa

from curation.config import ImageConfig
from curation.drops import Dropped
from curation.engine.contract import Output, StageSpec, commit_output
from curation.engine.locations import PLACE, read_samples
from curation.errors import RunError
from curation.imaging.decode import decode_image, encode_jpeg, read_image
from curation.imaging.local_features import FEATURES_VERSION, Features, extract
from curation.imaging.matching import MATCHING_VERSION, match
from curation.run.directory import Run
from curation.run.parts import digest_of

__all__ = ["Geometry", "Place", "Thumbnails", "keep_thumbnails", "look_at"]

Place = tuple[str, int, int]
"""Collection, part and row."""
Pair = tuple[Place, Place]

SIDE = 128
LOOK = 320
"""Shorter side that images are decoded for: what local features are sought at."""
NO_LIMITS = ImageConfig(min_side=1)  # the run has judged them already
OF = [("collection", pa.string()), ("part", pa.int32()), ("row", pa.int32())]
TO = [("to_collection", pa.string()), ("to_part", pa.int32()), ("to_row", pa.int32())]
GEOMETRY = [
    ("inliers", pa.int32()),
    ("score", pa.float64()),
    ("mirrored", pa.bool_()),
    ("transform", pa.list_(pa.float64(), 6)),
]
VERSION = 1


@dataclass(frozen=True, slots=True)
class Geometry:
    """How a reference image lies in another image, as `curation.imaging.matching.Match` says it.

    Attributes:
        inliers: matched points that agree with the transform.
        score: grows with the matched points and with how well the pixels of the two agree.
        mirrored: whether the reference image had to be mirrored, left to right, before it.
        transform: 2 x 3, row by row, in shares of the images' sides.
    """

    inliers: int
    score: float
    mirrored: bool
    transform: tuple[float, ...]


def _spec(name: str, columns: Sequence[tuple[str, pa.DataType]]) -> StageSpec:
    return StageSpec(name=name, version=VERSION, after=None, reads={}, adds=pa.schema(columns), settings={})


THUMBNAILS = _spec("thumbnails", [*OF, ("jpeg", pa.binary())])
GEOMETRIES = _spec("geometries", [*OF, *TO, *GEOMETRY])


@dataclass(frozen=True)
class Thumbnails:
    """JPEGs of at most 128 x 128 pixels, and the geometry of (reference, image) pairs; nothing of what was gone."""

    thumbnails: Mapping[Place, bytes]
    matches: Mapping[Pair, Geometry]


def keep_thumbnails(run: Run, pairs: Mapping[Place, Sequence[Place]], done: Callable[[int], None]) -> Thumbnails:
    """Make what is not in the run yet.

    Args:
        pairs: reference images, and the images that are shown with each.
        done: called with the number of images of each reference image that is done.
    """
    known = _stored(run)
    thumbnails, matches = dict(known.thumbnails), dict(known.matches)
    look = lru_cache(maxsize=256)(lambda place: look_at(run, place))
    for reference, others in pairs.items():
        for place in (reference, *others):
            if place not in thumbnails and (seen := look(place)) is not None:
                thumbnails[place] = seen[0]
        for other in others:
            if (reference, other) not in matches:
                first, second = look(reference), look(other)
                if first is not None and second is not None:
                    result = match(first[1], second[1])
                    matches[reference, other] = Geometry(
                        result.inliers, result.score, result.mirrored, result.transform
                    )
        done(1 + len(others))
    exhibits = Thumbnails(dict(sorted(thumbnails.items())), dict(sorted(matches.items())))
    if (exhibits.thumbnails.keys(), exhibits.matches.keys()) != (known.thumbnails.keys(), known.matches.keys()):
        _store(run, exhibits)
    return exhibits


def look_at(run: Run, place: Place) -> tuple[bytes, Features] | None:
    """Thumbnail and local features of an image; None where it can no longer be read."""
    collection, part, row = place
    samples = read_samples(run.collection(collection), part, PLACE).slice(row, 1).to_pylist()[0]
    if samples["tar"] is None:
        return None
    with contextlib.suppress(RunError):
        image = decode_image(read_image(run.store, collection, *(samples[name] for name in PLACE)), NO_LIMITS, LOOK)
        if not isinstance(image, Dropped):
            result = extract(np.asarray(image))
            image.thumbnail((SIDE, SIDE))
            return encode_jpeg(image, 80), result
    return None


def _stored(run: Run) -> Thumbnails:
    store = run.collection("certificate")
    thumbnails, matches = {}, {}
    if (footer := store.footer(THUMBNAILS.name, 0)) and footer.version == VERSION:
        for row in store.read(THUMBNAILS.name, 0, THUMBNAILS.adds.names).to_pylist():
            thumbnails[row["collection"], row["part"], row["row"]] = row["jpeg"]
    if (footer := store.footer(GEOMETRIES.name, 0)) and footer.digest == _digest():
        for row in store.read(GEOMETRIES.name, 0, GEOMETRIES.adds.names).to_pylist():
            of, to = (tuple(row[name] for name, _ in names) for names in (OF, TO))
            values = {name: row[name] for name, _ in GEOMETRY}
            matches[of, to] = Geometry(**values | {"transform": tuple(values["transform"])})
    return Thumbnails(thumbnails, matches)


def _store(run: Run, exhibits: Thumbnails) -> None:
    pictures = [[*place, jpeg] for place, jpeg in exhibits.thumbnails.items()]
    geometries = [[*of, *to, *asdict(result).values()] for (of, to), result in exhibits.matches.items()]
    for spec, rows in ((THUMBNAILS, pictures), (GEOMETRIES, geometries)):
        columns = {field.name: pa.array([row[at] for row in rows], field.type) for at, field in enumerate(spec.adds)}
        live = np.ones(len(rows), dtype=bool)
        commit_output(spec, run.collection("certificate"), 0, live, Output(columns), digest=_digest())


def _digest() -> str:
    return digest_of([VERSION, SIDE, LOOK, FEATURES_VERSION, MATCHING_VERSION])
