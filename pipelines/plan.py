"""What a run will bring in and cost, before it is made."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from curation.config import BALANCED, Config, SeedConfig
from curation.errors import ConfigError, DatasetError
from curation.formats.dataset import detect, list_rows
from curation.stages.concepts.hierarchy import level_counts

__all__ = ["Cost", "Machine", "Plan", "PlanRow", "plan", "readable"]

GIGA = 1e9


@dataclass(frozen=True, slots=True)
class PlanRow:
    """One line of the composition that is to be expected: of a seed set, or of the hierarchy (without a set).

    Attributes:
        images: of the seed set; for the hierarchy, of the pool after dedup, or 0 where that is not known.
        retrieved: picks before the cap; None for a set that is taken as it is.
        nominal: picks after the cap, an image once for each seed image that it is near to.
        unique: images, where that is known beforehand.
        exact: whether `nominal` follows from counts; otherwise it is the most there can be.
    """

    seed_set: str
    how: str
    images: int
    retrieved: int | None
    nominal: int
    unique: int | None
    exact: bool


@dataclass(frozen=True)
class Machine:
    """One node, and what it does of each kind of work. All are inputs: change what differs on yours.

    The rates of the pass over pixels and of k-means were measured on the machine of docs/benchmarks.md, on one core;
    the others are assumptions.
    """

    cores: int = 40
    gpus: int = 8
    pass_images: float = 16.6
    """Measured: images a second of one core, for decode, quality, safety, hashes, copy_descriptors by default."""
    core_gflops: float = 80.0
    """Measured: billions of float32 operations a second of one core in the matrix products of k-means."""
    gpu_tflops: float = 50.0
    """Assumed: trillions of operations a second that a GPU sustains in the embedder. All else runs on cores."""
    embed_gflop: float = 334.0
    """Assumed: operations for one image in the embedder, in billions; 334 is a ViT-H/14 at 224 pixels."""
    network_gbit: float = 10.0
    """Assumed: billions of bits a second that a node fetches."""
    image_bytes: float = 100_000.0
    """Assumed: mean size of an image."""
    dim: int = 1280
    """Assumed: dimensions of the embedding."""
    copy_dim: int = 512
    """Assumed: dimensions of the copy descriptor."""
    probed: float = 0.001
    """Assumed: share of the pool that one search looks at in an inverted file."""


@dataclass(frozen=True, slots=True)
class Cost:
    """What one step takes: hours on all nodes, bytes that it leaves, and how that was reckoned."""

    step: str
    images: float
    hours: float
    bytes: float
    how: str


@dataclass(frozen=True)
class Plan:
    """The composition, and the cost where the size of the pool was given."""

    rows: list[PlanRow]
    costs: list[Cost]

    @property
    def nominal(self) -> int:
        return sum(row.nominal for row in self.rows)


def plan(config: Config, images: float | None = None, nodes: int = 1, machine: Machine | None = None) -> Plan:
    """What the seed sets bring in, and what a run over a pool of so many fetched images costs.

    Raises:
        ConfigError: a seed set cannot be counted and `plan.images` does not name it.
    """
    counted = {seed.name: _count(config, seed) for seed in config.seeds}
    rows = [_as_is(seed, counted[seed.name]) for seed in config.seeds if seed.as_is]
    if config.selection.retrieves:
        rows += [_sampled(seed, counted[seed.name]) for seed in config.seeds if seed.retrieve == "sample"]
        rows += [_clustered(config, seed, counted[seed.name]) for seed in config.seeds if seed.retrieve == "cluster"]
    if config.selection.balances:
        rows.append(_balanced(config, images))
    if images is None:
        return Plan(rows, [])
    if images < 1 or nodes < 1:
        raise ConfigError(f"--images {images:g} --nodes {nodes}: both must be at least 1")
    return Plan(rows, _costs(config, rows, images, sum(counted.values()), nodes, machine or Machine()))


def _count(config: Config, seed: SeedConfig) -> int:
    if seed.name in config.plan.images:
        return config.plan.images[seed.name]
    try:
        if not detect(seed.data).has_urls:
            return sum(1 for _ in list_rows(seed.data))
        cause = "its images are not fetched yet"
    except DatasetError as error:
        cause = str(error)
    raise ConfigError(
        f"plan.images.{seed.name}: missing, and the set cannot be counted ({cause}); say how many there are"
    )


def _as_is(seed: SeedConfig, images: int) -> PlanRow:
    return PlanRow(seed.name, "as_is", images, None, images, images, exact=True)


def _sampled(seed: SeedConfig, images: int) -> PlanRow:
    picks = images * seed.neighbours
    unique = picks if images <= 1 else None
    return PlanRow(seed.name, "sample", images, picks, picks, unique, exact=True)


def _clustered(config: Config, seed: SeedConfig, images: int) -> PlanRow:
    """Each pool image has one cluster, so what a set retrieves is unique within it."""
    reported = config.plan.clusters.get(seed.name)
    clusters = images // (seed.min_seed_images + 1) if reported is None else reported
    if reported is None and config.clusters.count is not None:
        clusters = min(clusters, config.clusters.count)
    retrieved = clusters * seed.per_cluster
    return PlanRow(seed.name, "cluster", images, retrieved, min(seed.cap, retrieved), None, exact=reported is not None)


def _balanced(config: Config, images: float | None) -> PlanRow:
    size = config.selection.size
    assert size is not None, "the config has seen to that"
    pool = int((images or 0) * config.plan.kept)
    picks = min(size, pool) if pool else size
    unique = None if config.selection.retrieves else picks  # retrieval may choose the same
    return PlanRow("", BALANCED, pool, picks, picks, unique, exact=bool(pool))


def _tree_work(config: Config, kept: float, lowest: int, dim: int) -> tuple[float, int, str]:
    """Operations for the hierarchy (every k-means of every level, the assignment of all images), bytes an image."""
    levels = config.hierarchy.levels or level_counts(lowest)
    rounds, iterations = config.hierarchy.resamplings, config.clusters.iterations
    rows = min(kept, levels[0] * config.clusters.sample_per_cluster)
    products = 2.0 * dim * levels[0] * kept
    for count in levels:
        nearest = config.hierarchy.nearest
        share = 0.5 if nearest is None else min(1.0, nearest * count / rows)
        products += 2.0 * dim * count * rows * (iterations + rounds * (1 + share * iterations))
        rows = count
    names = ", ".join(f"{count:,}" for count in levels)
    return products, 4 * len(levels) + 4, f"levels of {names} clusters, {iterations} iterations, {rounds} resamplings"


def _costs(
    config: Config, rows: Sequence[PlanRow], images: float, seeds: int, nodes: int, machine: Machine
) -> list[Cost]:
    cores, gpus = nodes * machine.cores, nodes * machine.gpus
    on_cores = cores * machine.core_gflops * GIGA
    by_cores = f"{cores} cores at {machine.core_gflops:g} Gflop/s"
    on_gpus = gpus * machine.gpu_tflops * 1e12 if gpus else on_cores
    by_gpus = f"{gpus} GPUs at {machine.gpu_tflops:g} Tflop/s" if gpus else by_cores
    kept = images * config.plan.kept
    count = config.clusters.count or min(100_000, max(1, int(kept) // 100))
    sample = min(kept, count * config.clusters.sample_per_cluster)
    products = 2.0 * machine.dim * count * (sample * config.clusters.iterations + kept)
    queries = sum(row.images for row in rows if row.how == "sample")
    chosen = sum(row.nominal for row in rows)
    line = nodes * machine.network_gbit * GIGA / 8
    tree, path, reported = _tree_work(config, kept, count, machine.dim)

    def cost(step: str, count: float, seconds: float, stored: float, how: str) -> Cost:
        return Cost(step, count, seconds / 3600, stored, how)

    return [
        cost(
            "fetch",
            images,
            images * machine.image_bytes / line,
            images * (machine.image_bytes + 300),
            f"{machine.image_bytes:,.0f} bytes each "
            f"over {nodes} x {machine.network_gbit:g} Gbit/s; hosts may be slower",
        ),
        cost(
            "decode to copy_descriptors",
            images,
            images / (cores * machine.pass_images),
            images * 2 * machine.copy_dim,
            f"{machine.pass_images:g} images/s on each of {cores} cores",
        ),
        cost(
            "dedup",
            images,
            2 * images * images * machine.probed * machine.copy_dim / on_cores,
            images * 64,
            f"each image against {machine.probed:.1%} of the others, {machine.copy_dim}-d, {by_cores}",
        ),
        cost(
            "embeddings",
            kept + seeds,
            (kept + seeds) * machine.embed_gflop * GIGA / on_gpus,
            (kept + seeds) * 2 * machine.dim,
            f"{machine.embed_gflop:g} Gflop each, {by_gpus}",
        ),
        cost(
            "clusters",
            kept,
            products / on_cores,
            kept * 8,
            f"{count:,} clusters, {config.clusters.iterations} iterations over {sample:,.0f} images, "
            f"one over all, {by_cores}",
        ),
        *(
            [cost("hierarchy", kept, tree / on_cores, kept * path, f"{reported}, {by_cores}")]
            if config.selection.balances
            else []
        ),
        cost(
            "seed_knn",
            queries,
            2 * queries * kept * machine.probed * machine.dim / on_cores,
            sum(row.nominal for row in rows if row.how == "sample") * 12,
            f"each seed image against {machine.probed:.1%} of the pool, {machine.dim}-d, {by_cores}",
        ),
        cost(
            "export",
            chosen,
            chosen * machine.image_bytes * 2 / line,
            chosen * (machine.image_bytes + 1500),
            "read and written once over the network",
        ),
    ]


def readable(size: float) -> str:
    """Bytes with a decimal unit."""
    power = min(5, int(math.log(max(size, 1), 1000)))
    return f"{size / 1000**power:.1f} {('B', 'kB', 'MB', 'GB', 'TB', 'PB')[power]}"
