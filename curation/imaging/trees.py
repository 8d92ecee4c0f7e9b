"""Boosted trees as plain arrays: fitted by scikit-learn, kept in a safetensors file and asked with numpy.

No file holds anything that could run. A leaf leads to itself, so that all trees can be gone down in step.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from safetensors import safe_open
from safetensors.numpy import save_file

from curation.arrays import Float64Array, Int32Array

__all__ = ["Trees", "read_trees", "write_trees"]


@dataclass(frozen=True)
class Trees:
    """T trees of up to M nodes.

    Attributes:
        names: what each column of the features is.
        feature, left, right: (T, M), the column a node asks for, where to go if it is at most the threshold, and else.
        threshold, value: (T, M) float64, what it is compared with, and what a leaf adds.
        depth: steps from a root to the deepest leaf.
        baseline: what the sum begins with.
    """

    names: tuple[str, ...]
    feature: Int32Array
    threshold: Float64Array
    left: Int32Array
    right: Int32Array
    value: Float64Array
    depth: int
    baseline: float

    def raw(self, features: Sequence[float]) -> float:
        """The sum of what the trees say of one example: the log-odds."""
        given, row = np.asarray(features, np.float64), np.arange(len(self.feature))
        node = np.zeros(len(row), np.int64)
        for _ in range(self.depth):
            low = given[self.feature[row, node]] <= self.threshold[row, node]
            node = np.where(low, self.left[row, node], self.right[row, node])
        return self.baseline + float(self.value[row, node].sum())

    def probability(self, features: Sequence[float]) -> float:
        """The probability of the second class, in [0, 1]."""
        return float(1 / (1 + np.exp(-self.raw(features))))


ARRAYS = ("feature", "threshold", "left", "right", "value")


def write_trees(path: Path, models: Mapping[str, Trees], notes: Mapping[str, str]) -> None:
    """Write several models to one file, with notes on how they came to be."""
    arrays = {f"{name}.{array}": getattr(trees, array) for name, trees in models.items() for array in ARRAYS}
    about = {
        name: {"names": trees.names, "depth": trees.depth, "baseline": trees.baseline} for name, trees in models.items()
    }
    save_file(arrays, path, {"models": json.dumps(about), **notes})


def read_trees(path: Path) -> dict[str, Trees]:
    """The models of a file, by name."""
    with safe_open(path, framework="numpy") as file:
        about = json.loads(file.metadata()["models"])
        return {
            name: Trees(
                names=tuple(model["names"]),
                depth=int(model["depth"]),
                baseline=float(model["baseline"]),
                **{array: file.get_tensor(f"{name}.{array}") for array in ARRAYS},
            )
            for name, model in about.items()
        }
