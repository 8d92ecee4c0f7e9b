"""Shards as a torch dataset: shuffled by seed and epoch, split over ranks and workers, resumed anywhere."""

import os
from collections.abc import Callable, Iterator
from typing import Any

from torch.utils.data import IterableDataset, get_worker_info

from curation.dinov2 import ranks
from curation.dinov2.data.order import Cursor, Order
from curation.errors import ConfigError, DatasetError
from curation.formats.dataset import Kind, dataset_files, detect
from curation.formats.manifest import open_manifest
from curation.formats.row import ListedRow
from curation.formats.samples import Sample, read_bytes, sample_of
from curation.formats.tars import list_tar
from curation.run.store import filesystem

__all__ = ["ShardDataset"]

MANIFEST = "manifest.json"


class ShardDataset(IterableDataset[Any]):
    """Iterates over a rank's samples of one epoch, each once; `set_epoch` chooses the epoch and where to begin.

    The order is a pure function of `seed`, the epoch and the number of ranks. Shards are shuffled, each rank has an
    equal stretch of their line (up to ranks - 1 samples sit an epoch out), and samples are shuffled among `window`
    shards at a time. Workers take `batch_size` samples in turn, so that batches of a DataLoader with this batch size
    are the same for any number of workers, and one that has taken n samples is continued by `set_epoch(epoch, n)`.

    Args:
        data: a folder with lvd's shards and their `manifest.json`, or that file, or any WebDataset tars: a folder or
            brace pattern of them, a local path or any fsspec URL. Without a manifest the headers of all tars are read.
        transform: what to make of a `curation.Sample`, in the worker; None gives the samples as they are. What it
            raises ends the iteration, so it has to answer for images that do not decode.
        seed: of the order, at least 0.
        batch_size: of the DataLoader.
        window: shards that are shuffled together, and kept open.
        rank: this process's number; None for torch.distributed's where it runs, else 0.
        world: the number of processes; None likewise, else 1.

    Raises:
        ConfigError: a number is out of range.
        DatasetError: there are no such shards, one is damaged or not what the manifest says (while iterating), or there
            are fewer samples than ranks.
    """

    def __init__(
        self,
        data: str | os.PathLike[str],
        *,
        transform: Callable[[Sample], Any] | None = None,
        seed: int = 0,
        batch_size: int = 1,
        window: int = 4,
        rank: int | None = None,
        world: int | None = None,
    ) -> None:
        rank, world = (ranks.rank() if rank is None else rank), (ranks.world() if world is None else world)
        for name, value, least in (("seed", seed, 0), ("batch_size", batch_size, 1), ("window", window, 1)):
            if value < least:
                raise ConfigError(f"{name}: {value} is too small; give at least {least}")
        if not 0 <= rank < world:
            raise ConfigError(f"rank: {rank} is no process of {world}; give a number from 0 to world - 1")
        self._transform = transform
        self._batch_size = batch_size
        self._keep = window + 1
        self._rows: dict[int, list[ListedRow]] = {}
        self._files, self._sizes = self._list(os.fspath(data))
        self._order = seed, rank, world, window
        self._epoch = self._position = 0
        self._share = sum(self._sizes) // world
        if not self._share:
            raise DatasetError(f"{os.fspath(data)}: {sum(self._sizes)} samples are too few for {world} processes")

    def __len__(self) -> int:
        """Samples of this rank from the position to the end of the epoch."""
        return max(0, self._share - self._position)

    def set_epoch(self, epoch: int, position: int = 0) -> None:
        """Begin with the sample number `position` of this rank's share of `epoch`; both count from 0.

        Call it before a DataLoader is iterated; workers that persist between epochs do not hear of it.
        """
        if epoch < 0 or position < 0:
            raise ConfigError(f"epoch, position: {epoch}, {position} must not be negative")
        self._epoch, self._position = epoch, position

    def __iter__(self) -> Iterator[Any]:
        seed, rank, world, window = self._order
        order = Order(self._sizes, seed=seed, rank=rank, world=world, window=window)
        worker = get_worker_info()
        number, workers = (worker.id, worker.num_workers) if worker else (0, 1)
        size = self._batch_size
        for start in range(self._position + number * size, self._share, workers * size):
            for position in range(start, min(start + size, self._share)):
                sample = self._read(*order.at(Cursor(self._epoch, position)))
                yield sample if self._transform is None else self._transform(sample)

    def _list(self, data: str) -> tuple[list[str], list[int]]:
        """The tars, and how many samples each has."""
        folder = data.removesuffix(MANIFEST).rstrip("/") or "/"
        fs, inner = filesystem(folder)
        if fs.exists(f"{inner}/{MANIFEST}"):
            shards = open_manifest(folder).shards
            return [f"{folder}/{shard.name}" for shard in shards], [shard.samples for shard in shards]
        if (kind := detect(data)) is not Kind.TARS:
            raise DatasetError(f"{data}: is {kind.value}; name WebDataset tars, or a folder of shards")
        files = dataset_files(data)
        return files, [len(list(list_tar([file], file))) for file in files]

    def _read(self, shard: int, index: int) -> Sample:
        if shard not in self._rows:
            if len(self._rows) >= self._keep:
                self._rows.pop(next(iter(self._rows)))
            rows = list(list_tar([self._files[shard]], self._files[shard]))
            if len(rows) != self._sizes[shard]:
                raise DatasetError(
                    f"{self._files[shard]}: {len(rows)} images, {self._sizes[shard]} were listed; copy the shard again"
                )
            self._rows[shard] = rows
        ((row, content),) = read_bytes([self._rows[shard][index]])
        return sample_of(row, content)
