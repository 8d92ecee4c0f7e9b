"""Batches of views: sources are read by worker processes, in an order that does not depend on them.

Views are made by the workers, or for the whole batch where the model is (`augment.device`).
"""

import os
import random
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from curation.config import ImageConfig
from curation.dinov2.batch import Batch
from curation.dinov2.config import PretrainConfig
from curation.dinov2.data.augment import Augmentation
from curation.dinov2.data.batched import BatchedAugmentation
from curation.dinov2.data.order import Cursor, Order
from curation.dinov2.data.plan import Planner
from curation.dinov2.data.sources import Source, WeightedSource, open_sources
from curation.dinov2.masking import draw_masks, largest_block
from curation.drops import Dropped
from curation.errors import DatasetError, RunError
from curation.imaging.decode import decode

__all__ = ["BatchLoader", "Chunk", "Images", "Maker", "Stream", "open_loader"]

CHUNK = 4
NEVER_FEWER = 10
CPU = torch.device("cpu")


Maker = Augmentation | BatchedAugmentation
"""Makes views in two steps: a call is a worker's part, for one image; `gather` is the training process's, for B."""


Chunk = list[Any] | DatasetError
"""What was made of the images at consecutive cursors (an image's views or picture, or why it is broken), or what is
wrong with the dataset itself: handed over, since a DataLoader would raise it with a traceback in its text."""


class Images(Dataset[Chunk]):
    """Runs in the workers: cursors to what the maker makes of their images."""

    def __init__(self, source: Source, order: Order, maker: Maker, seed: int, max_pixels: int) -> None:
        self.source = source
        self.order = order
        self.maker = maker
        self.seed = seed
        self.limits = ImageConfig(min_side=1, max_pixels=max_pixels)

    def __getitem__(self, cursors: Sequence[Cursor]) -> Chunk:
        try:
            return [self._made(cursor) for cursor in cursors]
        except DatasetError as error:
            return error

    def _made(self, cursor: Cursor) -> Any:
        unit, index = self.order.at(cursor)
        pixels = decode(self.source.read(unit, index), self.limits, self.maker.planner.enough)
        if isinstance(pixels, Dropped):
            return f"{self.source.name(unit, index)}: {pixels.reason} ({pixels.detail})"
        rng = np.random.default_rng((self.seed, self.order.rank, cursor.epoch, cursor.position))
        return self.maker(pixels, rng)


def _cursors(order: Order, cursor: Cursor) -> Iterator[list[Cursor]]:
    """The endless line of cursors from a given one, in chunks."""
    while True:
        chunk = []
        for _ in range(CHUNK):
            chunk.append(cursor)
            cursor = order.next(cursor)
        yield chunk


class Stream:
    """Endless images of one source from `cursor` on, as made by the workers; broken ones are passed over and counted.

    `taken` and `broken` count images since the run began. No more workers are started than there are cores, and none
    before the first image is taken.
    """

    def __init__(self, source: WeightedSource, images: Images, *, workers: int, max_broken: float) -> None:
        self.source = source
        self.images = images
        self.workers = min(workers, _cores())
        self.max_broken = max_broken
        self.taken = self.broken = 0
        self.cursor = Cursor()
        self._made = self._start()

    def take(self, count: int) -> list[Any]:
        """The next `count` images; DatasetError where the dataset is damaged, or too many images are broken."""
        images: list[Any] = []
        while len(images) < count:
            made = next(self._made)
            self.cursor = self.images.order.next(self.cursor)
            if isinstance(made, str):
                self._count_broken(made)
            else:
                images.append(made)
        self.taken += count
        return images

    def state(self) -> dict[str, int]:
        """What `restore` needs to go on exactly here."""
        return {**vars(self.cursor), "taken": self.taken, "broken": self.broken}

    def restore(self, state: dict[str, int]) -> None:
        """Continue from a `state`; only before the first `take`."""
        assert self.cursor == Cursor()
        self.cursor = Cursor(state["epoch"], state["position"])
        self.taken, self.broken = state["taken"], state["broken"]

    def _start(self) -> Iterator[Any]:
        loader: DataLoader[Any] = DataLoader(
            self.images,
            sampler=_cursors(self.images.order, self.cursor),
            batch_size=None,
            num_workers=self.workers,
            prefetch_factor=4 if self.workers else None,
            worker_init_fn=_one_thread,
        )
        for chunk in loader:
            if isinstance(chunk, DatasetError):
                raise chunk
            yield from chunk

    def _count_broken(self, cause: str) -> None:
        self.broken += 1
        seen = self.taken + self.broken
        if self.broken > max(NEVER_FEWER, self.max_broken * seen):
            raise DatasetError(
                f"{self.source.name}: {self.broken} of {seen} images are broken, more than data.max_broken "
                f"({self.max_broken:g}) allows; the last: {cause}"
            )


class BatchLoader:
    """Batches by step: which source each image comes from, its views, and the masks. One stream for each source."""

    def __init__(self, streams: Sequence[Stream], maker: Maker, config: PretrainConfig, rank: int) -> None:
        self.streams = streams
        self.maker = maker
        weights = [stream.source.weight for stream in streams]
        self.weights = np.asarray(weights) / sum(weights)
        self.config = config
        self.rank = rank

    def batch(self, step: int) -> Batch:
        """The batch of `step`; steps must be asked for in order."""
        counts = zip(self.streams, self._counts(step), strict=True)
        images = [image for stream, count in counts for image in stream.take(count)]
        return Batch(*self.maker.gather(images), self._masks(step))

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

    def describe(self) -> list[str]:
        """A line for each source: how many images it has, and its share of all that are drawn."""
        what = "batches" if self.config.data.mixing == "batch" else "images"
        return [
            f"{source.name}: {sum(source.source.sizes):,} images, {share:.1%} of the {what}"
            + (f"; {source.passed_over}" if source.passed_over else "")
            for source, share in zip([stream.source for stream in self.streams], self.weights, strict=True)
        ]

    def state(self) -> list[dict[str, Any]]:
        """What `restore` needs, per source, and by what it knows the source again."""
        pairs = zip(self.streams, self._known(), strict=True)
        return [stream.state() | {"source": list(known)} for stream, known in pairs]

    def restore(self, state: Sequence[dict[str, Any]]) -> None:
        """Continue from a `state`; RunError where it is of other sources, or of the same ones with other weights."""
        remedy = "set another `out`, or give it the data and weights that the run was started with"
        if len(state) != len(self.streams):
            raise RunError(
                f"the checkpoint has read {len(state)} source(s), now there are {len(self.streams)}; {remedy}"
            )
        for stream, known, saved in zip(self.streams, self._known(), state, strict=True):
            before = tuple(saved.get("source", known))  # checkpoints did not always tell
            if before != known:
                was = (
                    "other images" if before[0] != known[0] else f"{before[1]:.4%} of what is drawn, not {known[1]:.4%}"
                )
                raise RunError(f"{stream.source.name}: when the checkpoint was made this source was {was}; {remedy}")
        for stream, saved in zip(self.streams, state, strict=True):
            stream.restore(saved)

    def _known(self) -> list[tuple[str, float]]:
        """By source, its fingerprint and its share."""
        shares = zip(self.streams, self.weights.tolist(), strict=True)
        return [(stream.source.fingerprint, round(share, 12)) for stream, share in shares]


def open_loader(config: PretrainConfig, *, rank: int = 0, world: int = 1, device: torch.device = CPU) -> BatchLoader:
    """A loader of all sources of `config` for one rank, whose model is on `device`.

    Raises:
        DatasetError: a source is missing, empty, damaged or smaller than the number of ranks.
    """
    if not config.data.sources:
        raise DatasetError("data.sources: no dataset given; name one, as in data.sources: [{path: runs/demo/shards}]")
    data, planner = config.data, Planner(config.crops, config.recipe, config.augment)
    maker = BatchedAugmentation(planner, device) if config.augment.device == "model" else Augmentation(planner)
    sources = [source for entry in data.sources for source in open_sources(entry, cache=data.cache)]
    total = sum(source.weight for source in sources)
    streams = []
    for number, weighted in enumerate(sources):
        source, seed = weighted.source, config.seed * 1000 + number
        order = Order(source.sizes, seed=seed, rank=rank, world=world, window=data.window)
        if order.share == 0:
            raise DatasetError(f"{weighted.name}: {sum(source.sizes)} images are too few for {world} processes")
        images = Images(source, order, maker, seed, data.max_pixels)
        workers = min(data.workers, max(1, round(data.workers * weighted.weight / total)))
        streams.append(Stream(weighted, images, workers=workers, max_broken=data.max_broken))
    return BatchLoader(streams, maker, config, rank)


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _one_thread(_: int) -> None:
    torch.set_num_threads(1)
