"""One pass over the images of a part: consecutive image stages, fused over one decode of each image.

Like every work it decides for itself, from the files alone, which of its stages are out of date.
"""

import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack

import numpy as np
import pyarrow as pa

from curation.arrays import BoolArray, Int64Array
from curation.config import ImageConfig
from curation.drops import Dropped
from curation.engine.contract import Batched, GpuStage, ImageStage, Output, commit_output, is_current
from curation.engine.locations import CHANGED_BY, PLACE, SAMPLES, STORED, ImageStore, read_samples
from curation.errors import RunError
from curation.imaging.decode import Pixels, decode, read_image
from curation.run.parts import Collection

__all__ = ["ImageWork"]


Decoded = tuple[bytes, Pixels | Dropped]


class ImageWork:
    """Consecutive stages that look at pixels, fused over one decode of each image.

    Args:
        stages: in order. Images that do not decode are drops of the stage that takes samples as they came.
        side: every image is decoded for a shorter side of this many pixels. One value for all collections of a run,
            so that a stage sees the same pixels whether it runs fused or alone.
        batch: images handed to the stages at once, and read ahead; more to a stage that wants more (`Batched`).
        threads: threads that read and decode, ahead of the stages.
    """

    def __init__(
        self,
        collection: Collection,
        stages: Sequence[ImageStage],
        limits: ImageConfig,
        *,
        side: int,
        batch: int = 64,
        threads: int = 1,
    ) -> None:
        self.collection = collection
        self.stages = [stage.spec.name for stage in stages]
        self._stages = list(stages)
        self._limits = limits
        self._side = side
        self._check_first = stages[0].spec.after == SAMPLES
        self._batch = batch
        self._threads = threads

    def setup(self) -> None:
        for stage in self._stages:
            stage.setup()

    @property
    def wants_gpu(self) -> bool:
        """Only where all stages do: a pass that does more is mostly work for cores, of which GPU workers are few."""
        return all(isinstance(stage, GpuStage) and stage.wants_gpu for stage in self._stages)

    def decode_with(self, threads: int) -> None:
        self._threads = threads

    def _at_once(self, stage: ImageStage) -> int:
        """A matter of the stage alone, so that its batches are the same whatever runs beside it."""
        return max(self._batch, stage.at_once) if isinstance(stage, Batched) else self._batch

    def is_current(self, part: int) -> bool:
        return not self._due(part)

    def run(self, part: int) -> None:
        # A pass can change which rows are live, and with that what a later stage has to do: then there is another.
        while due := self._due(part):
            self._pass(part, due)

    def _due(self, part: int) -> list[ImageStage]:
        """The stages out of date that one pass can serve: all, if the one that changes images is among them, else
        only those that see the same images as the first."""
        due = [stage for stage in self._stages if not is_current(stage.spec, self.collection, part)]
        if CHANGED_BY in [stage.spec.name for stage in due]:
            return due
        return [stage for stage in due if _sees_changed(stage) == _sees_changed(due[0])]

    def _pass(self, part: int, due: Sequence[ImageStage]) -> None:
        started = time.monotonic()
        steps: list[_Step] = []
        for stage in reversed(due):
            steps.insert(0, _Step(stage, self._at_once(stage), steps[0] if steps else None, self._decode_bytes))
        first = steps[0]
        for step in steps:
            before = str(step.spec.after)
            if before not in [other.spec.name for other in steps]:
                step.mask = self.collection.live(before, part)
        assert first.mask is not None
        with ExitStack() as stores:
            for step in steps:
                if step.stores_images:
                    step.store = stores.enter_context(ImageStore(self.collection, step.spec.name, part))
            most, original = max(map(self._at_once, due)), not _sees_changed(due[0])
            for row, source, image in self._decoded(part, np.flatnonzero(first.mask), most, original):
                if not isinstance(image, Dropped):
                    first.push(row, source, image)
                elif self._check_first and due[0] is self._stages[0]:
                    first.drop(row, image)
                else:
                    file = self.collection.file(SAMPLES, part)
                    raise RunError(
                        f"{file}: row {row} decoded before and does not now ({image.detail}); "
                        "its file has changed, so bring it back or make a new run"
                    )
            for step in steps:
                step.flush()
        seconds = (time.monotonic() - started) / len(due)
        live = first.mask
        for step in steps:
            live = live if step.mask is None else step.mask
            commit_output(step.spec, self.collection, part, live, step.output(live), seconds=seconds)
            live = step.live_out(live)

    def _decoded(
        self, part: int, rows: Int64Array, most: int, original: bool
    ) -> Iterator[tuple[int, bytes, Pixels | Dropped]]:
        """Rows with their bytes and images, read and decoded by threads at most so many ahead."""
        table = read_samples(self.collection, part, PLACE, original=original)
        places = list(zip(*(table[name].to_pylist() for name in PLACE), strict=True))
        ahead: deque[tuple[int, Future[Decoded]]] = deque()
        with ThreadPoolExecutor(self._threads) as pool:
            for row in rows.tolist():
                ahead.append((row, pool.submit(self._read_and_decode, *places[row])))
                if len(ahead) > most:
                    done, future = ahead.popleft()
                    yield done, *future.result()
            for done, future in ahead:
                yield done, *future.result()

    def _read_and_decode(self, tar: str, offset: int, length: int) -> Decoded:
        data = read_image(self.collection.store, self.collection.path, tar, offset, length)
        if not data.strip(b"\0"):
            raise RunError(
                f"{self.collection.path}/{tar}: the image at {offset} was removed (privacy.delete_originals), and a "
                "changed setting needs it again; make a new run"
            )
        return data, self._decode_bytes(data)

    def _decode_bytes(self, data: bytes) -> Pixels | Dropped:
        return decode(data, self._limits, self._side)


def _sees_changed(stage: ImageStage) -> bool:
    """Whether a stage works on images as the safety stage left them: those that read its columns do."""
    return CHANGED_BY in stage.spec.reads


class _Step:
    """One stage of a pass: collects its rows into full batches, and hands on those that it does not drop.

    A batch always holds the same rows, whatever other stages run in the pass: model outputs can depend, in their last
    bits, on the batch that an image is in.

    Attributes:
        mask: the stage's live rows where the stage before it is stored; None where that is the step before, whose
            survivors are then the live rows.
        store: where the stage's changed images go, if it `stores_images`.
    """

    def __init__(
        self,
        stage: ImageStage,
        batch: int,
        following: "_Step | None",
        decode_bytes: Callable[[bytes], Pixels | Dropped],
    ) -> None:
        self._stage = stage
        self._batch = batch
        self._following = following
        self._decode_bytes = decode_bytes
        self.mask: BoolArray | None = None
        self.store: ImageStore | None = None
        self.spec = stage.spec
        self.stores_images = set(STORED.names) <= set(self.spec.adds.names)
        self._buffer: list[tuple[int, bytes, Pixels]] = []
        self._rows: list[int] = []
        self._columns: dict[str, list[pa.Array]] = {name: [] for name in self.spec.adds.names}
        self._dropped: dict[int, Dropped] = {}

    def push(self, row: int, source: bytes, image: Pixels) -> None:
        if self.mask is not None and not self.mask[row]:
            return
        self._buffer.append((row, source, image))
        if len(self._buffer) == self._batch:
            self.flush()

    def flush(self) -> None:
        if not self._buffer:
            return
        buffer, self._buffer = self._buffer, []
        output = self._stage.process([image for _, _, image in buffer], [source for _, source, _ in buffer])
        self._rows += [row for row, _, _ in buffer]
        columns = {**output.columns, **self._stored([row for row, _, _ in buffer], output.images)}
        for name, arrays in self._columns.items():
            arrays.append(columns[name])
        for at, (row, source, image) in enumerate(buffer):
            if at in output.drops:
                self.drop(row, output.drops[at])
            elif self._following is not None:
                self._following.push(row, *self._changed(output.images.get(at), source, image))

    def _stored(self, rows: Sequence[int], images: Mapping[int, bytes]) -> dict[str, pa.Array]:
        """Store changed images; the columns that say where."""
        if not self.stores_images:
            assert not images, f"{self.spec.name}: changes images and has no columns for where they are"
            return {}
        assert self.store is not None
        places = {at: self.store.add(rows[at], images[at]) for at in sorted(images)}
        return {
            name: pa.array([places.get(at, {}).get(name) for at in range(len(rows))], STORED.field(name).type)
            for name in STORED.names
        }

    def _changed(self, new: bytes | None, source: bytes, image: Pixels) -> tuple[bytes, Pixels]:
        """What the stages after this one see: decoded from the new bytes, as a later pass would."""
        if new is None:
            return source, image
        decoded = self._decode_bytes(new)
        assert not isinstance(decoded, Dropped), f"{self.spec.name}: gave an image that does not decode: {decoded}"
        return new, decoded

    def drop(self, row: int, drop: Dropped) -> None:
        self._dropped[row] = drop

    def live_out(self, live_in: BoolArray) -> BoolArray:
        mask = live_in.copy()
        mask[list(self._dropped)] = False
        return mask

    def output(self, live_in: BoolArray) -> Output:
        """The answers for the live rows in order, with nulls where decoding had already failed."""
        live = np.flatnonzero(live_in).tolist()
        answered = {row: at for at, row in enumerate(self._rows)}
        indices = pa.array([answered.get(row) for row in live], pa.int64())
        columns = {
            name: pa.chunked_array(arrays, self.spec.adds.field(name).type).combine_chunks().take(indices)
            for name, arrays in self._columns.items()
        }
        position = {row: at for at, row in enumerate(live)}
        return Output(columns, {position[row]: drop for row, drop in self._dropped.items()})
