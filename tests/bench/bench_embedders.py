"""What embedders are worth on classes of photos that were not trained on: nearest neighbours, and purity of retrieval.

    OMP_NUM_THREADS=1 python -m tests.bench.bench_embedders PHOTOS [--model NAME ...] [--checkpoint FILE ...]

PHOTOS has a sub-folder per class; every fifth one is unseen, as in `bench_pretrain_learning`. kNN: k = 20 among the
unseen classes, each one's even images (by name) being the bank and the odd ones the queries. Purity: seeds are the
first 5 images of each of 20 unseen classes, the pool is all other images of all classes. `sample` is the share of the 4
nearest of each seed that are of its class; `cluster` the same for all members of those of 256 clusters of the pool that
more than one seed falls into, a member counting if it has the class of one of them, with how many members those are.
A checkpoint of `lvd pretrain` has a row for each pooling of its tokens, and one for each of them PCA-whitened, as
classical descriptors are, by a fit to all images; so have pixels. Unseen is said of training by this project: the
default embedder learned ImageNet's classes, which are like many of these.
"""

import argparse
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from curation.config import ModelConfig
from curation.config.concepts import LITE0_CONCEPT
from curation.dinov2.batch import normalise
from curation.dinov2.export import load_checkpoint_backbone
from curation.dinov2.knn import centre_crop
from curation.evaluation.knn import knn_accuracy
from curation.models.classical import ClassicalDescriptor
from curation.models.embedder import open_embedder
from curation.models.whitening import fit_whitening
from curation.search.kmeans import kmeans
from tests.bench.bench_pretrain_learning import UNSEEN, tokens

SEED_CLASSES, SEEDS, NEAREST = 20, 5, 4
CLUSTERS = 256
WHITENED_DIMS = 128
MODELS = (LITE0_CONCEPT, "classical/hog-colour-1x1", "classical/hog-colour-4x4")

Floats = NDArray[np.float32]
Images = list[NDArray[np.uint8]]


def main() -> None:
    """Print a row for each embedder."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photos", type=Path)
    parser.add_argument("--model", action="append", default=[])
    parser.add_argument("--checkpoint", type=Path, action="append", default=[])
    arguments = parser.parse_args()
    models = arguments.model or ([] if arguments.checkpoint else list(MODELS))
    images, classes, places = read(arguments.photos)
    print(f"{'embedder':48} {'kNN':>6} {'sample':>7} {'cluster':>8} {'members':>8}")
    for name, vectors in embedded(images, models, arguments.checkpoint):
        unit = np.asarray(vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-9), np.float32)
        cluster, members = cluster_purity(unit, classes, places)
        print(
            f"{name:48} {neighbours(unit, classes, places):6.3f} {sample_purity(unit, classes, places):7.3f} "
            f"{cluster:8.3f} {members:8d}",
            flush=True,
        )


def read(photos: Path) -> tuple[Images, NDArray[np.int64], NDArray[np.int64]]:
    """All images, with the number of each one's class and its place within it."""
    images: Images = []
    classes, places = [], []
    for number, folder in enumerate(sorted(path for path in photos.iterdir() if path.is_dir())):
        for place, path in enumerate(sorted(folder.iterdir())):
            with Image.open(path) as image:
                images.append(np.asarray(image.convert("RGB")))
            classes.append(number)
            places.append(place)
    return images, np.array(classes), np.array(places)


def embedded(images: Images, models: list[str], checkpoints: list[Path]) -> Iterator[tuple[str, Floats]]:
    """Names and vectors."""
    yield "random choice", np.random.default_rng(0).normal(size=(len(images), 64)).astype(np.float32)
    crops = torch.stack([centre_crop(image, 32) for image in images])
    pixels = normalise(crops).flatten(1).numpy()
    yield "pixels, 32 x 32", pixels
    yield "pixels, 32 x 32, whitened", fit_whitening(pixels, WHITENED_DIMS).apply(pixels)
    for name in models:
        embedder = open_embedder(ModelConfig(model=name))
        if embedder.needs_fit:
            assert isinstance(embedder, ClassicalDescriptor)
            embedder = embedder.with_whitening(embedder.fit(images))
        embedder.setup()
        yield name, embedder.embed(images)
    for checkpoint in checkpoints:
        backbone, config = load_checkpoint_backbone(checkpoint)
        crops = torch.stack([centre_crop(image, config.crops.global_size) for image in images])
        for pooling, features in tokens(backbone, crops).items():
            vectors = features.numpy()
            yield f"{checkpoint.stem}, {pooling}", vectors
            yield f"{checkpoint.stem}, {pooling}, whitened", fit_whitening(vectors, WHITENED_DIMS).apply(vectors)


def neighbours(vectors: Floats, classes: NDArray[np.int64], places: NDArray[np.int64]) -> float:
    """kNN accuracy among the unseen classes."""
    unseen = classes % UNSEEN == UNSEEN - 1
    bank, queries = (np.flatnonzero(unseen & (places % 2 == parity)) for parity in (0, 1))
    chosen = np.concatenate((bank, queries))
    labels = torch.from_numpy(classes[chosen])
    return knn_accuracy(torch.from_numpy(vectors[chosen]), labels, len(bank), neighbours=20, temperature=0.07)


def split(classes: NDArray[np.int64], places: NDArray[np.int64]) -> tuple[NDArray[np.bool_], NDArray[np.int64]]:
    """Which images are of the pool, and the rows of the seeds."""
    chosen = np.unique(classes[classes % UNSEEN == UNSEEN - 1])[:SEED_CLASSES]
    seeds = np.isin(classes, chosen) & (places < SEEDS)
    return ~seeds, np.flatnonzero(seeds)


def sample_purity(vectors: Floats, classes: NDArray[np.int64], places: NDArray[np.int64]) -> float:
    """Share of the nearest images of the pool that are of their seed's class."""
    pool, seeds = split(classes, places)
    nearest = np.argsort(-(vectors[seeds] @ vectors[pool].T), axis=1, kind="stable")[:, :NEAREST]
    return float((classes[pool][nearest] == classes[seeds, None]).mean())


def cluster_purity(vectors: Floats, classes: NDArray[np.int64], places: NDArray[np.int64]) -> tuple[float, int]:
    """Share of members of clusters with seeds that are of a seed's class, and the number of those members."""
    pool, seeds = split(classes, places)
    order = np.random.default_rng(0).permutation(np.flatnonzero(pool))
    centroids = kmeans(vectors[order], CLUSTERS, 20, np.random.default_rng(0)).centroids
    of_pool, of_seeds = (np.argmax(vectors[rows] @ centroids.T, axis=1) for rows in (order, seeds))
    right = members = 0
    for cluster in np.flatnonzero(np.bincount(of_seeds, minlength=CLUSTERS) > 1):
        result = classes[order[of_pool == cluster]]
        right += int(np.isin(result, classes[seeds[of_seeds == cluster]]).sum())
        members += len(result)
    return right / max(1, members), members


if __name__ == "__main__":
    main()
