"""Fits what a run fits once, on a sample of its own images: the hash basis, and the whitening of a model.

The sample is the first parts of the pool. Parts are random slices, so the first are as good a sample as any. Which
parts they are is noted in the run when something is first fitted: parts that are added later never change it.
"""

import itertools
import json
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from threadpoolctl import threadpool_limits

from curation.config import ImageConfig
from curation.drops import Dropped
from curation.engine.locations import PLACE
from curation.errors import UserError
from curation.imaging.decode import Pixels, decode, read_image
from curation.run.artifacts import Arrays, Artifact
from curation.run.parts import Collection, digest_of
from curation.search.worker_group import WorkerGroup

__all__ = ["SAMPLE", "FitOnSample", "note_sample", "sample_parts"]

SAMPLE = 4096
"""Images that are looked at, at most: several for each dimension that is fitted."""

SAMPLE_FILE = "artifacts/sample.json"


class FitOnSample:
    """One fit.

    Args:
        name: what to store it as.
        settings: what the fit depends on besides the sample.
        side: shorter side in pixels that images are decoded for.
        fit: from decoded images, of which it need not hold all, to arrays; must pickle.
    """

    def __init__(
        self,
        pool: Collection,
        name: str,
        settings: Mapping[str, Any],
        limits: ImageConfig,
        side: int,
        fit: Callable[[Iterable[Pixels]], Arrays],
    ) -> None:
        self._pool = pool
        self._limits = limits
        self._side = side
        self._fit = fit
        self._parts = sample_parts(pool)
        footers = [pool.footer("fetch", part) for part in self._parts]
        sample = [[footer.digest, footer.live] for footer in footers if footer]
        self.artifact = Artifact(pool.store, name, digest_of([name, dict(settings), side, limits.model_dump(), sample]))

        self.scratch: Sequence[Artifact] = ()

    def process(self, group: WorkerGroup | None) -> Arrays:
        """Raises UserError where no image of the sample decodes."""
        note_sample(self._pool, self._parts)
        images = (image for row in self._rows() if not isinstance(image := self._decode(*row), Dropped))
        first = next(images, None)
        if first is None:
            raise UserError("pool: no sample of its first parts is a usable image; see `lvd funnel` for the reasons")
        with _one_thread():  # eigenvectors, as what networks say, differ in their last bits with the number of threads
            return self._fit(itertools.islice(itertools.chain([first], images), SAMPLE))

    def _rows(self) -> Iterator[tuple[str, int, int]]:
        """Where the bytes of the sample's images are."""
        for part in self._parts:
            table = self._pool.read("fetch", part, ["live", *PLACE])
            live = table.filter(table["live"]).select(PLACE)
            yield from zip(*(column.to_pylist() for column in live.columns), strict=True)

    def _decode(self, tar: str, offset: int, length: int) -> Pixels | Dropped:
        data = read_image(self._pool.store, self._pool.path, tar, offset, length)
        return decode(data, self._limits, self._side)


def note_sample(pool: Collection, parts: list[int]) -> None:
    """Fit on these parts from now on, whatever is added later."""
    pool.store.write_bytes(SAMPLE_FILE, json.dumps(parts).encode())


def sample_parts(pool: Collection) -> list[int]:
    """The parts that this run fits on: those noted when it first did, or else the first that hold enough rows."""
    if pool.store.exists(SAMPLE_FILE):
        return list(json.loads(pool.store.read_bytes(SAMPLE_FILE)))
    chosen, rows = [], 0
    for part in pool.parts("fetch"):
        if rows < SAMPLE:
            footer = pool.footer("fetch", part)
            assert footer is not None
            chosen.append(part)
            rows += footer.rows
    return chosen


@contextmanager
def _one_thread() -> Iterator[None]:
    torch = sys.modules.get("torch")
    threads = torch.get_num_threads() if torch else 1
    with threadpool_limits(1):
        try:
            if torch:
                torch.set_num_threads(1)
            yield
        finally:
            if torch:
                torch.set_num_threads(threads)
