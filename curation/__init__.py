"""Curate image datasets for self-supervised learning, and pretrain on them.

The building blocks are offered here, each usable alone and loaded when it is first asked for; `docs/python.md` has them
all. The jobs are in `pipelines`. `docs/architecture.md` says what the packages are.
"""

from importlib import import_module
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from curation.dinov2.data.shard_dataset import ShardDataset
    from curation.formats.samples import Sample, read_dataset
    from curation.imaging.pixels import decode_image
    from curation.models.images import describe_images, embed_images
    from curation.search.arrays import KMeans, dedup_vectors, kmeans, knn
    from curation.search.copies import CopyPair, find_copies

__all__ = [
    "CopyPair",
    "KMeans",
    "Sample",
    "ShardDataset",
    "__version__",
    "decode_image",
    "dedup_vectors",
    "describe_images",
    "embed_images",
    "find_copies",
    "kmeans",
    "knn",
    "read_dataset",
]

__version__ = version("lvd")

_MODULES = {
    "dinov2.data.shard_dataset": ("ShardDataset",),
    "formats.samples": ("Sample", "read_dataset"),
    "imaging.pixels": ("decode_image",),
    "models.images": ("describe_images", "embed_images"),
    "search.arrays": ("KMeans", "dedup_vectors", "kmeans", "knn"),
    "search.copies": ("CopyPair", "find_copies"),
}
"""Where each name is. No module directly in this package has such a name, so none can take its place."""


def __getattr__(name: str) -> Any:
    for module, names in _MODULES.items():
        if name in names:
            globals()[name] = value = getattr(import_module(f"curation.{module}"), name)
            return value
    raise AttributeError(f"module 'curation' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
