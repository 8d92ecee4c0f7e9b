"""How many retrieved photos show what their seed shows, by embedding, against random choice.

    python -m tests.bench.bench_purity FOLDER [--model MODEL[=WEIGHTS] ...] [--exclude-every 5] [--rounds 5]

FOLDER has a sub-folder for each class. A round takes 5 images of each of 20 classes as seeds, chosen by its seed; all
other photos are the pool, background clutter too, without labels. Then, of what is retrieved:

- sample mode: the share of each seed image's 4 nearest that has its class (nominal: picks, not images);
- cluster mode: k-means over the pool, clusters with more than 3 seed images, up to 50 images of each at random; the
  share that has the class of the nearest seed image in the same cluster, which is the one that a run names as reason.

"Chance" is what the same seeds would get without looking: pool images at random. MODEL is the `embed.model` setting,
WEIGHTS a file for it; the default embedding, the classical ones and the copy descriptor are taken where none is named.
`hsv` is a histogram of 8 x 8 x 8 hues, saturations and values, by its square roots; `random` is rows of noise.
`--exclude-every 5` takes seeds from each fifth class only (places 4, 9, ... by name), which
`bench_pretrain_learning.py` keeps out of training.

Search, k-means, choice of clusters and reasons are the functions that a run calls.
"""

import argparse
import statistics
import sys
import time
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from curation.config import ImageConfig, ModelConfig, SeedConfig
from curation.config.concepts import LITE0_CONCEPT
from curation.config.dedup import LITE0_COPY
from curation.drops import Dropped
from curation.imaging.decode import Pixels, decode
from curation.models import ClassicalDescriptor, Embedder, open_embedder
from curation.search.kmeans import kmeans
from curation.search.links import nearest
from curation.search.partition import KMeansPartition
from curation.stages.select.nearest_seed import members_of, nearest_in_cluster
from curation.stages.select.picks import picks_by_cluster

CLASSES, SEEDS, SEED_KNN, PER_CLUSTER = 20, 5, 4, 50
FITTED_ON = 4096
"""Photos that a model which needs fitting is fitted to, as in a run."""
DECODED_AT_ONCE = 64
HSV_SIDE, HSV_BINS = 128, 8
MODELS = (LITE0_CONCEPT, "classical/hog-colour-1x1", "classical/hog-colour-4x4", LITE0_COPY, "hsv", "random")
Halves = NDArray[np.float16]
Ints = NDArray[np.int64]


class Photos(NamedTuple):
    """Paths, the class of each as a number, and the names of the classes."""

    paths: list[Path]
    labels: Ints
    classes: list[str]


class Score(NamedTuple):
    """Shares of picks of the right class, how many picks there were, and in how many clusters."""

    sample: float
    picks: int
    cluster: float
    cluster_picks: int
    chance: float


def find(folder: Path) -> Photos:
    """Every photo that decodes to at least the least size, in the order of names."""
    classes = sorted(path.name for path in folder.iterdir() if path.is_dir())
    paths, labels = [], []
    for number, name in enumerate(classes):
        for path in sorted((folder / name).rglob("*")):
            if path.suffix.lower() in (".jpg", ".jpeg", ".png"):
                paths.append(path)
                labels.append(number)
    return Photos(paths, np.array(labels), classes)


def decoded(paths: list[Path], side: int) -> list[Pixels]:
    """Photos as a run decodes them; one that does not decode ends the benchmark."""
    images = []
    for path in paths:
        image = decode(path.read_bytes(), ImageConfig(), side)
        if isinstance(image, Dropped):
            sys.exit(f"{path}: {image.reason} ({image.detail}); take it out of the folder")
        images.append(image)
    return images


def embed(settings: ModelConfig, photos: Photos) -> Halves:
    """(N, D) fp16, as a run stores them."""
    embedder: Embedder = open_embedder(settings)
    if embedder.needs_fit:
        assert isinstance(embedder, ClassicalDescriptor)
        sample = np.random.default_rng(0).permutation(len(photos.paths))[:FITTED_ON]
        images = decoded([photos.paths[at] for at in np.sort(sample).tolist()], embedder.side)
        embedder = embedder.with_whitening(embedder.fit(images))
    embedder.setup()
    rows = []
    for start in range(0, len(photos.paths), DECODED_AT_ONCE):
        rows.append(embedder.embed(decoded(photos.paths[start : start + DECODED_AT_ONCE], embedder.side)))
    return np.concatenate(rows).astype(np.float16)


def hsv_histograms(photos: Photos) -> Halves:
    """(N, 512) fp16 of length 1: what share of the pixels has each colour, its square root."""
    rows = []
    for path in photos.paths:
        (image,) = decoded([path], HSV_SIDE)
        hsv = cv2.cvtColor(image, cv2.COLOR_RGB2HSV)
        counts = cv2.calcHist([hsv], [0, 1, 2], None, [HSV_BINS] * 3, [0, 180, 0, 256, 0, 256]).ravel()
        rows.append(np.sqrt(counts / counts.sum()))
    return np.array(rows, np.float16)


def noise(photos: Photos) -> Halves:
    """(N, 64) fp16 of length 1, that say nothing of the photos."""
    rows = np.random.default_rng(0).standard_normal((len(photos.paths), 64))
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float16)


PLAIN = {"hsv": hsv_histograms, "random": noise}


def draw(photos: Photos, seed: int, every: int) -> Ints:
    """Positions of the seed images of a round."""
    rng = np.random.default_rng(seed)
    usable = [
        number
        for number, name in enumerate(photos.classes)
        if (every == 0 or number % every == every - 1)
        and "background" not in name.lower()
        and np.count_nonzero(photos.labels == number) >= 2 * SEEDS
    ]
    if len(usable) < CLASSES:
        sys.exit(f"{len(usable)} classes have {2 * SEEDS} photos or more, {CLASSES} are needed")
    chosen = rng.choice(usable, CLASSES, replace=False)
    return np.concatenate(
        [rng.choice(np.flatnonzero(photos.labels == label), SEEDS, replace=False) for label in chosen]
    )


def score(vectors: Halves, labels: Ints, seeds: Ints, seed: int) -> Score:
    """Both modes of retrieval for one round."""
    pool = np.setdiff1d(np.arange(len(labels)), seeds)
    rows, queries = vectors[pool], vectors[seeds]
    _, result = nearest(queries.astype(np.float32), rows.astype(np.float32), SEED_KNN)
    hits = labels[pool][result] == labels[seeds][:, None]
    chance = statistics.mean(float(np.mean(labels[pool] == label)) for label in labels[seeds].tolist())
    share, reasons = by_cluster(rows, queries, seed)
    right = labels[pool][share] == labels[seeds][reasons]
    return Score(float(hits.mean()), hits.size, float(right.mean()) if len(right) else float("nan"), len(right), chance)


def by_cluster(rows: Halves, queries: Halves, seed: int) -> tuple[Ints, Ints]:
    """Pool images that cluster mode picks, and the seed image that each is there for; one cluster for 100 images."""
    rng = np.random.default_rng(seed)
    shuffled = rng.permutation(len(rows))
    centroids = kmeans(rows[shuffled], max(1, len(rows) // 100), 20, rng).centroids
    clusters = [assigned(part, centroids) for part in (rows, queries)]
    settings = SeedConfig(name="seeds", data=".", retrieve="cluster", per_cluster=PER_CLUSTER)
    picked, _ = picks_by_cluster(clusters[1].clusters, clusters[0].clusters, settings, rng, clusters[0].similarities)
    if not len(picked):
        return picked, picked
    members = members_of(clusters[1].clusters)
    return picked, nearest_in_cluster(rows[picked], clusters[0].clusters[picked], queries, members)


def assigned(rows: Halves, centroids: NDArray[np.float32]) -> KMeansPartition:
    share = KMeansPartition(rows)
    share.update(centroids)
    return share


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--model", action="append", help="MODEL or MODEL=WEIGHTS; may be given several times")
    parser.add_argument("--exclude-every", type=int, default=0)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    photos = find(options.folder)
    rounds = [draw(photos, seed, options.exclude_every) for seed in range(options.rounds)]
    print(
        f"{len(photos.paths)} photos, {len(photos.classes)} classes, "
        f"{options.rounds} rounds of {CLASSES} x {SEEDS} seeds\n"
    )
    print(f"{'embedding':<40}{'sample mode':>20}{'cluster mode':>20}{'picks':>14}{'seconds':>9}")
    chances = []
    for name in options.model or MODELS:
        model, _, weights = name.partition("=")
        started = time.perf_counter()
        vectors = (
            PLAIN[model](photos) if model in PLAIN else embed(ModelConfig(model=model, weights=weights or None), photos)
        )
        seconds = time.perf_counter() - started
        scores = [score(vectors, photos.labels, seeds, number) for number, seeds in enumerate(rounds)]
        clusters = [one.cluster for one in scores if one.cluster_picks]
        picks = f"{scores[0].picks} + {statistics.mean(one.cluster_picks for one in scores):.0f}"
        print(
            f"{model:<40}{spread([one.sample for one in scores]):>20}{spread(clusters):>20}{picks:>14}{seconds:>9.0f}",
            flush=True,
        )
        chances = [one.chance for one in scores]
    print(f"{'chance':<40}{spread(chances):>20}{spread(chances):>20}")


def spread(values: list[float]) -> str:
    """Mean, and the range over rounds."""
    if not values:
        return "none retrieved"
    return f"{statistics.mean(values):.3f} ({min(values):.2f}-{max(values):.2f})"


if __name__ == "__main__":
    main()
