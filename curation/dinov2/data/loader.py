"""Batches of views: sources are read and augmented by worker processes, in an order that does not depend on them."""

import os
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, IterableDataset

from curation.dinov2.batch import Batch
from curation.dinov2.config import PretrainConfig
from curation.dinov2.data.augment import Augmentation, Views
from curation.dinov2.data.decode import BrokenImageError, decode
from curation.dinov2.data.order import Cursor, Order
from curation.dinov2.data.sources import Source, open_source
from curation.dinov2.masking import draw_masks, largest_block
from curation.errors import DatasetError

__all__ = ["BatchLoader", "Stream", "open_loader"]

CHUNK = 4
NEVER_FEWER = 10


@dataclass(frozen=True)
class Chunk:
    """Views of the images at consecutive cursors, or why there are none."""

    views: list[Views | str]
    failure: str | None = None
    """What is wrong with the dataset itself."""


class _Views(Dataset[Chunk]):
    """Runs in the workers: cursors to views."""

    def __init__(self, source: Source, order: Order, augmentation: Augmentation, seed: int, max_pixels: int) -> None:
        self.source = source
        self.order = order
        self.augmentation = augmentation
        self.seed = seed
        self.max_pixels = max_pixels

    def __getitem__(self, cursors: Sequence[Cursor]) -> Chunk:
        try:
            return Chunk([self._views(cursor) for cursor in cursors])
        except DatasetError as error:
            return Chunk([], failure=str(error))

    def _views(self, cursor: Cursor) -> Views | str:
        unit, index = self.order.at(cursor)
        content = self.source.read(unit, index)
        try:
            pixels = decode(content, max_pixels=self.max_pixels, enough=self.augmentation.enough)
        except BrokenImageError as error:
            return f"image {index} of unit {unit}: {error}"
        rng = np.random.default_rng((self.seed, self.order.rank, cursor.epoch, cursor.position))
        return self.augmentation(pixels, rng)


class _Cursors(IterableDataset[list[Cursor]]):
    """The endless line of cursors from a given one, in chunks."""

    def __init__(self, order: Order, cursor: Cursor) -> None:
        self.order = order
        self.cursor = cursor

    def __iter__(self) -> Iterator[list[Cursor]]:
        cursor = self.cursor
        while True:
            chunk = []
            for _ in range(CHUNK):
                chunk.append(cursor)
                cursor = self.order.next(cursor)
            yield chunk


class Stream:
    """Endless views of one source from `cursor` on; broken images are passed over and counted.

    `taken` and `broken` count images since the run began. No more workers are started than there are cores.
    """

    def __init__(self, views: _Views, *, workers: int, max_broken: float, taken: int = 0, broken: int = 0) -> None:
        self.views = views
        self.workers = min(workers, _cores())
        self.max_broken = max_broken
        self.taken = taken
        self.broken = broken
        self.cursor = Cursor()
        self._lines: Iterator[Views | str] | None = None

    def take(self, count: int) -> list[Views]:
        """The next `count` images' views.

        Raises:
            DatasetError: the dataset is damaged, or too many images are broken.
        """
        if self._lines is None:
            self._lines = self._start()
        views: list[Views] = []
        while len(views) < count:
            made = next(self._lines)
            self.cursor = self.views.order.next(self.cursor)
            if isinstance(made, str):
                self._count_broken(made)
            else:
                views.append(made)
        self.taken += count
        return views

    def state(self) -> dict[str, int]:
        """What `restore` needs to go on exactly here."""
        return {**vars(self.cursor), "taken": self.taken, "broken": self.broken}

    def restore(self, state: dict[str, int]) -> None:
        """Continue from a `state`; only before the first `take`."""
        assert self._lines is None
        self.cursor = Cursor(state["epoch"], state["position"])
        self.taken, self.broken = state["taken"], state["broken"]

    def _start(self) -> Iterator[Views | str]:
        loader: DataLoader[Any] = DataLoader(
            self.views,
            sampler=_Cursors(self.views.order, self.cursor),
            batch_size=None,
            num_workers=self.workers,
            prefetch_factor=4 if self.workers else None,
            worker_init_fn=_one_thread,
        )
        for chunk in loader:
            if chunk.failure is not None:
                raise DatasetError(chunk.failure)
            yield from chunk.views

    def _count_broken(self, cause: str) -> None:
        self.broken += 1
        seen = self.taken + self.broken
        if self.broken > max(NEVER_FEWER, self.max_broken * seen):
            raise DatasetError(
                f"{self.views.source.path}: {self.broken} of {seen} images are broken, more than data.max_broken "
                f"({self.max_broken:g}) allows; the last: {cause}"
            )


class BatchLoader:
    """Batches by step: which source each image comes from, its views, and the masks."""

    def __init__(self, streams: Sequence[Stream], weights: Sequence[float], config: PretrainConfig, rank: int) -> None:
        self.streams = streams
        self.weights = np.asarray(weights) / sum(weights)
        self.config = config
        self.rank = rank

    def batch(self, step: int) -> Batch:
        """The batch of `step`; steps must be asked for in order."""
        views = [
            view
            for stream, count in zip(self.streams, self._counts(step), strict=True)
            for view in _some(stream, count)
        ]
        return Batch(
            torch.stack([view.globals_ for view in views], dim=1),
            torch.stack([view.locals_ for view in views], dim=1),
            self._masks(step),
        )

    def _counts(self, step: int) -> list[int]:
        size = self.config.optim.batch_size
        if self.config.data.mixing == "batch":
            chosen = np.random.default_rng((self.config.seed, step)).choice(len(self.weights), p=self.weights)
            return [size if number == chosen else 0 for number in range(len(self.weights))]
        drawn = np.random.default_rng((self.config.seed, step, self.rank)).multinomial(size, self.weights)
        return [int(count) for count in drawn]

    def _masks(self, step: int) -> Tensor:
        config = self.config
        size, patch = config.crops.global_size, config.model.patch
        masks = draw_masks(
            2 * config.optim.batch_size,
            size // patch,
            largest=largest_block(size, patch),
            probability=config.mask.probability,
            ratio=config.mask.ratio,
            rng=random.Random(f"{config.seed}/{step}/{self.rank}"),
        )
        return masks.view(2, config.optim.batch_size, -1)

    @property
    def broken(self) -> int:
        """Broken images passed over so far."""
        return sum(stream.broken for stream in self.streams)

    def state(self) -> list[dict[str, int]]:
        """What `restore` needs, per source."""
        return [stream.state() for stream in self.streams]

    def restore(self, state: Sequence[dict[str, int]]) -> None:
        """Continue from a `state`."""
        for stream, saved in zip(self.streams, state, strict=True):
            stream.restore(saved)


def open_loader(config: PretrainConfig, *, rank: int = 0, world: int = 1) -> BatchLoader:
    """A loader of all sources of `config` for one rank.

    Raises:
        DatasetError: a source is missing, empty, damaged or smaller than the number of ranks.
    """
    if not config.data.sources:
        raise DatasetError("data.sources: no dataset given; set e.g. --set data.sources='[{path: runs/demo/shards}]'")
    augmentation = Augmentation(config.crops, config.recipe, config.augment)
    streams = []
    for number, entry in enumerate(config.data.sources):
        source = open_source(entry, cache=config.data.cache)
        seed = config.seed * 1000 + number
        order = Order(source.sizes, seed=seed, rank=rank, world=world, window=config.data.window)
        if order.share == 0:
            raise DatasetError(f"{source.path}: {sum(source.sizes)} images are too few for {world} processes")
        views = _Views(source, order, augmentation, seed, config.data.max_pixels)
        streams.append(Stream(views, workers=config.data.workers, max_broken=config.data.max_broken))
    return BatchLoader(streams, [entry.weight for entry in config.data.sources], config, rank)


def _some(stream: Stream, count: int) -> list[Views]:
    return stream.take(count) if count else []


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _one_thread(_: int) -> None:
    torch.set_num_threads(1)
