"""The job before the second: fingerprints of a reference set, which find copies of its images without showing them.

The owner of a benchmark makes the file once; whoever has a dataset gives it to `lvd decontaminate --against`.
"""

import hashlib
import itertools
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import cv2
import numpy as np

from curation.arrays import Float32Array
from curation.config import CopyConfig, ImageConfig
from curation.drops import Dropped
from curation.engine.progress import Progress, Quiet
from curation.errors import ConfigError, DatasetError, RunError
from curation.formats.fingerprints import Fingerprint, Made, plain_name, write_fingerprints
from curation.formats.samples import Sample, read_dataset
from curation.imaging.decode import decode, identify
from curation.imaging.local_features import Features, extract
from curation.imaging.pictures import picture_of
from curation.models import Embedder, open_embedder
from curation.run.parts import Ledger
from curation.run.store import Store

__all__ = ["Fingerprinted", "fingerprints"]

AT_ONCE = 16
"""Images that are held at a time."""
LIMITS = ImageConfig(min_side=1)


@dataclass(frozen=True, slots=True)
class Fingerprinted:
    """What was made.

    Attributes:
        path: the file.
        images: how many fingerprints it holds.
        unreadable: names of the files that no decoder took; copies of them will not be found.
    """

    path: str
    images: int
    unreadable: Sequence[str]


def fingerprints(
    dataset: str,
    out: str,
    *,
    names: bool = True,
    model: str | CopyConfig = "lvd/lite0-copy",
    report: Progress | None = None,
) -> Fingerprinted:
    """Make fingerprints of the images of a dataset: one file that finds copies of them, and holds no picture.

    Args:
        dataset: a folder of images, WebDataset tars, or Parquet files with images.
        out: the file to write; one that is there is not overwritten.
        names: whether the names of images are in it; they are numbered otherwise.
        model: the copy descriptor, by name or with its settings. A run that the file is given to must have the same.

    Raises:
        UserError: something that the user can fix; nothing was written.
    """
    store, leaf = _place(out)
    embedder = open_embedder(model if isinstance(model, CopyConfig) else CopyConfig(model=model))
    if embedder.needs_fit:
        raise ConfigError(
            f"model {embedder.name}: is fitted to the images of each dataset, so its vectors compare with no others; "
            "choose lvd/lite0-copy or sscd/disc_mixup"
        )
    samples = read_dataset(dataset)
    first = next(samples, None)
    if first is None:
        raise DatasetError(f"{dataset}: holds no image; name a dataset with images")
    embedder.setup()
    cv2.setNumThreads(1)
    with (report or Quiet()).stage("fingerprints", 0) as bar:
        making = _Making(embedder, names)
        rows = making.rows(itertools.chain([first], samples), lambda done: bar.advance(done, Ledger(done, done)))
        with store.writing(leaf) as file:
            made = Made(embedder.name, embedder.fingerprint())
            count = write_fingerprints(file, rows, made, embedder.dim)
            if not count:
                raise DatasetError(f"{dataset}: holds no image that can be read; name a dataset with images")
    return Fingerprinted(out, count, making.unreadable)


def _place(out: str) -> tuple[Store, str]:
    """The folder of the file and its name; RunError where something is there already."""
    folder, _, leaf = out.rpartition("/")
    if not leaf:
        raise RunError(f"{out}: is a folder; name a file for the fingerprints, as in benchmark.fingerprints")
    store = Store(folder or ("/" if out.startswith("/") else os.curdir))
    if store.exists(leaf):
        raise RunError(f"{out}: is there already; choose another `out`, or remove it first")
    return store, leaf


@dataclass
class _Making:
    """Makes fingerprints, a batch of images at a time."""

    embedder: Embedder
    names: bool
    unreadable: list[str] = field(default_factory=list)

    def rows(self, samples: Iterator[Sample], advance: Callable[[int], None]) -> Iterator[Fingerprint]:
        while batch := list(itertools.islice(samples, AT_ONCE)):
            yield from self._described(batch)
            advance(len(batch))

    def _described(self, batch: Sequence[Sample]) -> Iterator[Fingerprint]:
        decoded = [(sample, decode(sample.data, LIMITS, self.embedder.side)) for sample in batch]
        pixels = [(sample, image) for sample, image in decoded if not isinstance(image, Dropped)]
        vectors: Iterator[Float32Array] = iter(self.embedder.embed([image for _, image in pixels]) if pixels else ())
        for sample, image in decoded:
            row = None if isinstance(image, Dropped) else self._row(sample, next(vectors))
            if row is None:
                self.unreadable.append(plain_name(sample.key))
            else:
                yield row

    def _row(self, sample: Sample, vector: Float32Array) -> Fingerprint | None:
        """The fingerprint of an image; None where it has no direction, or does not decode for its points."""
        header, features = identify(sample.data), _features_of(sample.data)
        if isinstance(header, Dropped) or features is None or not np.isfinite(vector).all() or not vector.any():
            return None
        name = plain_name(sample.key) if self.names else None
        digest = hashlib.sha256(sample.data).digest()
        return Fingerprint(name, digest, header.width, header.height, vector.astype(np.float16), features)


def _features_of(data: bytes) -> Features | None:
    """The points of the picture that an image shows, as a run has them."""
    picture = picture_of(data, LIMITS)
    return None if isinstance(picture, Dropped) else extract(*picture)
