"""Fit the whitenings that ship with EfficientNet-Lite0, on photos of many kinds.

    python -m pipelines.fit_lite0_whitening LIST --out FILE

LIST is a text file with the path of a photo on each line.
"""

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path

import cv2
import numpy as np
from safetensors.numpy import save_file

from curation.arrays import Float32Array
from curation.drops import Dropped
from curation.imaging.framed import without_frame
from curation.imaging.pixels import pixels_of
from curation.models.lite0.embedders import concept_input, copy_input
from curation.models.lite0.network import Lite0, Looks
from curation.models.whitening import fit_whitening

__all__ = ["fit"]

DIM = 256
COPY_POWER, CONCEPT_POWER = 0.5, 0.25
AT_ONCE = 64


def fit(paths: Sequence[str]) -> dict[str, Float32Array]:
    """Means and projections for copies and for concepts; a file that is no image is passed over."""
    looks = list(_looks(paths))
    copies = np.concatenate([copy_input(unframed) for unframed, _ in looks])
    concepts = np.concatenate([concept_input(whole) for _, whole in looks])
    result: dict[str, Float32Array] = {}
    for name, raw, power in (("copy", copies, COPY_POWER), ("concept", concepts, CONCEPT_POWER)):
        whitening = fit_whitening(raw, DIM, power=power)
        result |= {f"{name}_mean": whitening.mean, f"{name}_projection": whitening.projection}
    return {name: np.ascontiguousarray(values) for name, values in result.items()}


def _looks(paths: Sequence[str]) -> Iterator[tuple[Looks, Looks]]:
    network = Lite0()
    network.setup()
    for start in range(0, len(paths), AT_ONCE):
        some = paths[start : start + AT_ONCE]
        images = [pixels for row in range(len(some)) if not isinstance(pixels := pixels_of(some, row, 224), Dropped)]
        yield network.look([without_frame(image) for image in images]), network.look(images)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("list", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    cv2.setNumThreads(1)
    paths = arguments.list.read_text().split("\n")
    save_file(fit([path for path in paths if path]), arguments.out)


if __name__ == "__main__":
    main()
