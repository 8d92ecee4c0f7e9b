"""Images of a run's pool that may be copies of fingerprinted images: listed for a person to judge, and never removed.

Points without pixels cannot tell two prints of one motif, or two moments of one scene, from a copy. No number of points
is safe (`tests/bench/bench_points_alone.py`), so what is found here decides nothing.
"""

import json
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import cv2
import numpy as np

from curation.arrays import Float16Array, Int64Array
from curation.decontaminate.hashing import hash_of
from curation.decontaminate.image_name import ImageName
from curation.engine.progress import Progress
from curation.errors import ModelError, RunError
from curation.formats.fingerprints import Fingerprint, FingerprintFile, Made
from curation.imaging.matching import points_alone
from curation.models import open_embedder
from curation.run.directory import Run
from curation.run.parts import Ledger, digest_of
from curation.search.knn import Searcher
from curation.stages.dedup.comparing import VERSIONS, Comparer
from curation.stages.knn.vectors import read_vectors

__all__ = [
    "CELLS",
    "INLIERS",
    "FingerprintSet",
    "Hit",
    "Suspect",
    "SuspectList",
    "check_lists",
    "find_suspects",
    "open_lists",
]

VERSION = 1
"""Raised whenever the same fingerprints would give other suspects."""
FILE = "report/suspects.json"
INLIERS, CELLS = 25, 4
"""Distinct matched points, and the cells of 16 that they lie in, from which on a pair is listed."""
FEWEST_CANDIDATES = 8
CHUNK = 1024
"""Fingerprints that are compared with a part at a time."""
IMAGES = 256
"""Images of a part whose features are held at a time."""
DESCRIPTORS = "copy_descriptors"
Link = Literal["bytes", "points"]


@dataclass(frozen=True, slots=True)
class SuspectList:
    """A file of fingerprints that is compared with a dataset."""

    name: str
    data: str
    file: FingerprintFile


@dataclass(frozen=True, slots=True)
class FingerprintSet:
    """A file of fingerprints that the dataset was compared with."""

    name: str
    data: str
    images: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Suspect:
    """A dataset image that may be a copy of a fingerprinted one, which is for a person to say.

    Attributes:
        kept: whether it stays; no suspect goes for being one.
        fingerprint: the name of the fingerprinted image, or its number in the file, from 0, where it has no name.
        link: equal "bytes", or matched "points".
    """

    image: ImageName
    kept: bool
    set: str
    fingerprint: str | int
    similarity: float
    link: str
    inliers: int | None

    def to_dict(self) -> dict[str, Any]:
        fields: dict[str, Any] = {"name": self.image.name, "sha256": self.image.sha256, "kept": self.kept}
        fields |= {"fingerprint_set": self.set, "fingerprint": self.fingerprint}
        fields |= {"similarity": self.similarity, "link": self.link}
        return fields if self.inliers is None else {**fields, "inliers": self.inliers}


@dataclass(frozen=True, slots=True)
class Hit:
    """An image of the pool that may be a copy.

    Attributes:
        part, row: where it is in the pool.
        set: the number of the file of fingerprints; `number` counts its fingerprints from 0.
        fingerprint: the name of the fingerprinted image, None where names are left out.
        link: equal "bytes", or matched "points" with so many `inliers`.
    """

    part: int
    row: int
    set: int
    number: int
    fingerprint: str | None
    similarity: float
    link: Link
    inliers: int | None = None


def open_lists(named: Sequence[tuple[str, str]]) -> list[SuspectList]:
    """Open files of fingerprints, given by name and path; DatasetError where one is none."""
    return [SuspectList(name, data, FingerprintFile(data)) for name, data in named]


def find_suspects(run: Run, lists: Sequence[SuspectList], report: Progress, *, readable: bool = True) -> list[Hit]:
    """Compare the pool with fingerprints, or read what an earlier call has found.

    Args:
        run: finished up to `copy_descriptors`.
        readable: whether the run's images are still what they were.

    Raises:
        DatasetError: a file is damaged, or was made with something else than this run.
        RunError: the images are no longer what they were.
    """
    if not lists:
        return []
    digest = _digest(run, lists)
    stored = _stored(run)
    if stored.get("digest") == digest:
        return [Hit(**fields) for fields in stored["hits"]]
    if not readable:
        raise RunError(
            f"{run.store.root}: has rewritten shards before they were compared with these fingerprints; "
            "choose another `out`"
        )
    cv2.setNumThreads(1)
    hits: list[Hit] = []
    with report.stage("fingerprints", sum(len(item.file) for item in lists)) as bar:
        for at, item in enumerate(lists):
            finder = _Finder(run, at, item.file)
            for group, count in enumerate(item.file.groups):
                hits += finder.group(group)
                bar.advance(count, Ledger(count, count))
    text = json.dumps({"digest": digest, "hits": [asdict(hit) for hit in hits]})
    run.store.write_bytes(FILE, text.encode() + b"\n")
    return hits


def check_lists(run: Run, lists: Sequence[SuspectList]) -> None:
    """Find files that are damaged, or that were made with something else than this run describes with.

    Raises:
        DatasetError, ModelError: one is.
    """
    embedder = open_embedder(run.config.copy_descriptors)
    if lists and embedder.needs_fit:
        raise ModelError(
            f"copy_descriptors.model {embedder.name}: is fitted to the images of each dataset, so its vectors compare "
            "with no fingerprints; choose the model that they were made with"
        )
    for item in lists:
        item.file.need(Made(embedder.name, embedder.fingerprint()))
        assert len(item.file.index[1]) == len(item.file)


class _Finder:
    """Looks for the images of one file of fingerprints, a row group of it at a time."""

    def __init__(self, run: Run, number: int, file: FingerprintFile) -> None:
        """Finds the pool images that are most similar to each fingerprint, and those of equal bytes."""
        self._pool, self._settings = run.pool, run.config.dedup
        self._number, self._file = number, file
        self._comparer = Comparer(run.config.image)
        most = max(FEWEST_CANDIDATES, self._settings.max_candidates)
        self._nearest = _Nearest(file.index[0], most)
        self._by_bytes = self._look()

    def _look(self) -> dict[int, list[tuple[int, int, float]]]:
        """Compare all parts of the pool; returns part, row and similarity of images of equal bytes, by fingerprint."""
        digests: dict[bytes, list[int]] = defaultdict(list)
        for number, digest in enumerate(self._file.index[1]):
            digests[digest].append(number)
        equal: dict[int, list[tuple[int, int, float]]] = defaultdict(list)
        for part in self._pool.parts(DESCRIPTORS):
            rows = np.flatnonzero(self._pool.live(DESCRIPTORS, part))
            if not len(rows):
                continue
            vectors = read_vectors(self._pool, part, DESCRIPTORS)
            self._nearest.add(part, rows, vectors)
            its = self._pool.read("fetch", part, ["sha256"])["sha256"].take(rows).to_pylist()
            for place, digest in enumerate(its):
                for number in digests.get(digest, ()):
                    alike = self._nearest.similarity(number, vectors[place])
                    equal[number].append((part, int(rows[place]), alike))
        return equal

    def group(self, group: int) -> list[Hit]:
        """What is found of one row group, in the order of its fingerprints, the most similar image first."""
        first = sum(self._file.groups[:group])
        prints = dict(enumerate(self._file.read(group), first))
        hits = []
        for number, its in prints.items():
            for part, row, alike in self._by_bytes.get(number, ()):
                hits.append(self._hit(number, its, part, row, alike, "bytes", None))
        hits += self._by_points(prints)
        return sorted(hits, key=lambda hit: (hit.number, -hit.similarity, hit.part, hit.row))

    def _by_points(self, prints: dict[int, Fingerprint]) -> Iterator[Hit]:
        pairs: dict[int, dict[int, list[tuple[int, float]]]] = defaultdict(lambda: defaultdict(list))
        for number in prints:
            equal = {(part, row) for part, row, _ in self._by_bytes.get(number, ())}
            for part, row, alike in self._nearest.of(number, self._settings.candidate_above):
                if (part, row) not in equal:
                    pairs[part][row].append((number, alike))
        for part, by_row in sorted(pairs.items()):
            rows = sorted(by_row)
            for start in range(0, len(rows), IMAGES):
                features = self._comparer.features(self._pool, part, rows[start : start + IMAGES])
                for row, found in sorted(features.items()):
                    for number, alike in by_row[row]:
                        points = points_alone(prints[number].features, found)
                        if points.inliers >= INLIERS and points.cells >= CELLS:
                            yield self._hit(number, prints[number], part, row, alike, "points", points.inliers)

    def _hit(
        self, number: int, its: Fingerprint, part: int, row: int, alike: float, link: Link, inliers: int | None
    ) -> Hit:
        return Hit(part, row, self._number, number, its.name, round(alike, 4), link, inliers)


class _Nearest:
    """The images most similar to each of F vectors, exactly, of parts that are added one after the other."""

    def __init__(self, vectors: Float16Array, most: int) -> None:
        self._vectors = vectors
        self._similar = np.full((len(vectors), most), -np.inf, np.float32)
        self._part = np.zeros((len(vectors), most), np.int64)
        self._row = np.zeros((len(vectors), most), np.int64)

    def add(self, part: int, rows: Int64Array, vectors: Float16Array) -> None:
        searcher = Searcher(vectors)
        for start in range(0, len(self._vectors), CHUNK):
            chunk = slice(start, start + CHUNK)
            similar, places = searcher.search(self._vectors[chunk], self._similar.shape[1])
            joined = np.concatenate([self._similar[chunk], similar], axis=1)
            order = np.argsort(-joined, axis=1, kind="stable")[:, : self._similar.shape[1]]
            self._similar[chunk] = np.take_along_axis(joined, order, 1)
            for own, its in ((self._part, np.full_like(places, part)), (self._row, rows[places])):
                own[chunk] = np.take_along_axis(np.concatenate([own[chunk], its], axis=1), order, 1)

    def similarity(self, number: int, vector: Float16Array) -> float:
        return float(self._vectors[number].astype(np.float32) @ vector.astype(np.float32))

    def of(self, number: int, above: float) -> Iterator[tuple[int, int, float]]:
        """Part, row and similarity of the images most similar to a vector."""
        similar = self._similar[number]
        for at in np.flatnonzero(similar > above).tolist():
            yield int(self._part[number, at]), int(self._row[number, at]), float(similar[at])


def _digest(run: Run, lists: Sequence[SuspectList]) -> str:
    """Of all that the result depends on."""
    settings = [run.config.dedup.model_dump(mode="json"), run.config.image.model_dump(mode="json")]
    files = [hash_of(item.data)[1] for item in lists]
    return digest_of([VERSION, VERSIONS, settings, run.pool.state(DESCRIPTORS), files])


def _stored(run: Run) -> dict[str, Any]:
    """What an earlier call has stored; nothing where it cannot be read."""
    try:
        values = json.loads(run.store.read_bytes(FILE)) if run.store.exists(FILE) else {}
    except ValueError:
        return {}
    return values if isinstance(values, dict) else {}
