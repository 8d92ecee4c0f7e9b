"""What a run has fitted (a hash basis, a whitening, centroids): small arrays under a digest.

Each is one safetensors file under `artifacts/`, whose header carries the digest of what it was fitted from, as the
footer of a part does.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError
from safetensors.numpy import load, save

from curation.errors import RunError
from curation.run.store import Store

__all__ = ["Arrays", "Artifact"]

Arrays = Mapping[str, npt.NDArray[Any]]


@dataclass(frozen=True)
class Artifact:
    """A place for fitted arrays: where, under which name, and from what (`digest`)."""

    store: Store
    name: str
    digest: str

    @property
    def file(self) -> str:
        return f"artifacts/{self.name}.safetensors"

    def save(self, arrays: Arrays) -> None:
        """Write the arrays in one atomic step."""
        contiguous = {key: np.ascontiguousarray(value) for key, value in arrays.items()}
        self.store.write_bytes(self.file, save(contiguous, metadata={"digest": self.digest}))

    def remove(self) -> None:
        """Remove the file, if it is there."""
        self.store.remove(self.file)

    def load(self) -> dict[str, npt.NDArray[Any]] | None:
        """The arrays fitted under this digest, or None if they have to be fitted (again).

        Raises:
            RunError: the file is damaged.
        """
        if not self.store.exists(self.file):
            return None
        data = self.store.read_bytes(self.file)
        try:
            length = int.from_bytes(data[:8], "little")  # the format: header length, JSON header, tensors
            metadata = json.loads(data[8 : 8 + length])["__metadata__"]
            return dict(load(data)) if metadata["digest"] == self.digest else None
        except (SafetensorError, KeyError, TypeError, ValueError) as error:
            raise RunError(
                f"{self.store.url(self.file)}: is damaged ({error}); delete this file and run the same command again"
            ) from error

    def rows(self) -> dict[str, int]:
        """How many rows each array has, whatever it was fitted from; only the header is read.

        Raises:
            RunError: there are none, or the file is damaged.
        """
        where = self.store.url(self.file)
        if not self.store.exists(self.file):
            raise RunError(f"{where}: is missing; run `lvd curate` again to make it")
        try:
            with self.store.open(self.file) as file:
                length = int.from_bytes(file.read(8), "little")
                header = json.loads(file.read(min(length, self.store.size(self.file))))
            return {name: int(tensor["shape"][0]) for name, tensor in header.items() if name != "__metadata__"}
        except (AttributeError, KeyError, IndexError, TypeError, ValueError) as error:
            raise RunError(f"{where}: is damaged ({error}); delete it and run the same command again") from error

    def need(self) -> dict[str, npt.NDArray[Any]]:
        """As `load`, for a worker that is only started once the arrays are there."""
        arrays = self.load()
        assert arrays is not None, f"{self.file} was not fitted under {self.digest}"
        return arrays
