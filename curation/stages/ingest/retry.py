"""Tries again what failed for a passing reason, in parts that are finished otherwise."""

import time

import numpy as np
import pyarrow as pa

from curation.drops import Dropped, DropReason
from curation.engine.contract import Place
from curation.run.parts import VERDICT, Collection, verdict_columns
from curation.stages.ingest.fetch import LISTED, Fetch

__all__ = ["RetryFailed"]

TRANSIENT = frozenset(reason.value for reason in DropReason if reason.transient)


class RetryFailed:
    """Fetches the rows of a part that failed for a transient reason, once, and commits the part anew.

    All other rows stay as they are, bytes included: what is fetched now goes into a tar of its own. Rows that come
    alive are worked on by later stages, since the part's live rows have changed; the other parts are untouched.
    """

    def __init__(self, collection: Collection, samples: Fetch, seed: int) -> None:
        self.collection = collection
        self.stages = [samples.spec.name]
        self._samples = samples
        self._seed = seed

    def setup(self) -> None:
        self._samples.setup()

    def is_current(self, part: int) -> bool:
        footer = self.collection.footer(self.stages[0], part)
        return footer is None or not TRANSIENT.intersection(footer.ledger.drops)

    def run(self, part: int) -> None:
        started = time.monotonic()
        spec = self._samples.spec
        footer = self.collection.footer(spec.name, part)
        assert footer is not None
        table = self.collection.read(spec.name, part)
        reasons, details = table["drop_reason"].to_pylist(), table["drop_detail"].to_pylist()
        drops = {at: Dropped(DropReason.named(why), details[at]) for at, why in enumerate(reasons) if why is not None}
        again = [at for at, drop in drops.items() if drop.reason.transient]
        listed = self.collection.read("list", part, LISTED).take(pa.array(again)).to_pylist()
        output = self._samples.bring_in(listed, Place(self.collection, part, self._seed), self._new_tar(part))
        for at, row in enumerate(again):
            del drops[row]
            if at in output.drops:
                drops[row] = output.drops[at]
        source = np.arange(table.num_rows)
        source[again] = table.num_rows + np.arange(len(again))  # behind the old rows come the new ones
        arrays = [
            pa.concat_arrays([table[name].combine_chunks(), output.columns[name]]).take(pa.array(source))
            for name in spec.adds.names
        ]
        live_in = self.collection.live("list", part)
        self.collection.commit(
            spec.name,
            spec.version,
            part,
            pa.Table.from_arrays([*arrays, *verdict_columns(live_in, drops)], names=[*spec.adds.names, *VERDICT.names]),
            digest=footer.digest,
            live_in=int(live_in.sum()),
            seconds=footer.ledger.seconds + time.monotonic() - started,
        )

    def _new_tar(self, part: int) -> str:
        """A name that no earlier try has taken."""
        taken = self.collection.store.names(f"{self.collection.path}/images")
        tries = (f"part-{part:05d}-retry-{number}.tar" for number in range(1, 10_000))
        return "images/" + next(name for name in tries if name not in taken)
