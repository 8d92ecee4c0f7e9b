"""What a run will bring in and cost."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from curation.config import BALANCED, Config, SeedConfig
from curation.errors import ConfigError, DatasetError
from curation.formats.dataset import detect, list_rows
from curation.pipeline import CURATE
from curation.stages.concepts.hierarchy import level_counts

__all__ = ["Cost", "Machine", "Plan", "PlanRow", "plan", "readable"]

GIGA = 1e9
_Estimate = tuple[float, float, float, str]
"""Images that a stage looks at, seconds on all nodes, bytes that it leaves for each image, how that was estimated."""


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
    """Measured: images a second of one core, for decode, quality, safety, hashes and copies with the defaults."""
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
    """What one step takes: hours on all nodes, bytes that it leaves, and how that was estimated."""

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
    """What the seed sets bring in, and what a run over a pool of `images` fetched images costs.

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
    return Plan(rows, _costs(_Work(config, rows, images, sum(counted.values()), nodes, machine or Machine())))


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


@dataclass(frozen=True)
class _Work:
    """What the costs of all steps are estimated from: the run, and the machines that it runs on.

    Attributes:
        images: of the pool, once fetched.
        seeds: images of all seed sets.
        kept: images of the pool that dedup keeps.
        clusters: of the k-means, or of the lowest level of the hierarchy.
    """

    config: Config
    rows: Sequence[PlanRow]
    images: float
    seeds: int
    nodes: int
    machine: Machine

    @property
    def kept(self) -> float:
        return self.images * self.config.plan.kept

    @property
    def clusters(self) -> int:
        return self.config.clusters.count or min(100_000, max(1, int(self.kept) // 100))

    @property
    def cores(self) -> int:
        return self.nodes * self.machine.cores

    def on_cores(self, operations: float) -> tuple[float, str]:
        """Seconds that all cores take, and how many there are."""
        rate = self.machine.core_gflops
        return operations / (self.cores * rate * GIGA), f"{self.cores} cores at {rate:g} Gflop/s"

    def on_gpus(self, operations: float) -> tuple[float, str]:
        """Seconds that all GPUs take, or all cores where there is no GPU."""
        gpus, rate = self.nodes * self.machine.gpus, self.machine.gpu_tflops
        if not gpus:
            return self.on_cores(operations)
        return operations / (gpus * rate * 1000 * GIGA), f"{gpus} GPUs at {rate:g} Tflop/s"

    def over_network(self, size: float) -> float:
        """Seconds that so many bytes take."""
        return size / (self.nodes * self.machine.network_gbit * GIGA / 8)


def _fetch(work: _Work) -> _Estimate:
    size, gbit = work.machine.image_bytes, work.machine.network_gbit
    how = f"{size:,.0f} bytes each over {work.nodes} x {gbit:g} Gbit/s; hosts may be slower"
    return (work.images, work.over_network(work.images * size), size + 300, how)


def _decode(work: _Work) -> _Estimate:
    """The pass over pixels, up to copy descriptors."""
    rate = work.machine.pass_images
    how = f"with all stages up to copy_descriptors, {rate:g} images/s on each of {work.cores} cores"
    return (work.images, work.images / (work.cores * rate), 2 * work.machine.copy_dim, how)


def _copy_knn(work: _Work) -> _Estimate:
    dim, probed = work.machine.copy_dim, work.machine.probed
    seconds, by = work.on_cores(2 * work.images * work.images * probed * dim)
    return (work.images, seconds, 64, f"each image against {probed:.1%} of the others, {dim}-d, {by}")


def _embeddings(work: _Work) -> _Estimate:
    images, gflop = work.kept + work.seeds, work.machine.embed_gflop
    seconds, by = work.on_gpus(images * gflop * GIGA)
    return (images, seconds, 2 * work.machine.dim, f"{gflop:g} Gflop each, {by}")


def _clusters(work: _Work) -> _Estimate:
    settings, count = work.config.clusters, work.clusters
    sample = min(work.kept, count * settings.sample_per_cluster)
    seconds, by = work.on_cores(2.0 * work.machine.dim * count * (sample * settings.iterations + work.kept))
    how = f"{count:,} clusters, {settings.iterations} iterations over {sample:,.0f} images, one over all, {by}"
    return (work.kept, seconds, 8, how)


def _hierarchy(work: _Work) -> _Estimate:
    """Every k-means of every level, and the assignment of all images."""
    settings, iterations, dim = work.config.hierarchy, work.config.clusters.iterations, work.machine.dim
    levels = settings.levels or level_counts(work.clusters)
    rows = min(work.kept, levels[0] * work.config.clusters.sample_per_cluster)
    products = 2.0 * dim * levels[0] * work.kept
    for count in levels:
        share = 0.5 if settings.nearest is None else min(1.0, settings.nearest * count / rows)
        products += 2.0 * dim * count * rows * (iterations + settings.resamplings * (1 + share * iterations))
        rows = count
    seconds, by = work.on_cores(products)
    names = ", ".join(f"{count:,}" for count in levels)
    how = f"levels of {names} clusters, {iterations} iterations, {settings.resamplings} resamplings, {by}"
    return (work.kept, seconds, 4 * len(levels) + 4, how)


def _seed_knn(work: _Work) -> _Estimate:
    sampled = [row for row in work.rows if row.how == "sample"]
    queries, dim, probed = sum(row.images for row in sampled), work.machine.dim, work.machine.probed
    seconds, by = work.on_cores(2 * queries * work.kept * probed * dim)
    picks = sum(row.nominal for row in sampled) / max(1, queries)
    return (queries, seconds, picks * 12, f"each seed image against {probed:.1%} of the pool, {dim}-d, {by}")


def _export(work: _Work) -> _Estimate:
    size, chosen = work.machine.image_bytes, sum(row.nominal for row in work.rows)
    how = "read and written once over the network"
    return (chosen, work.over_network(chosen * size * 2), size + 1500, how)


COSTS: Mapping[str, Callable[[_Work], _Estimate]] = {
    "fetch": _fetch,
    "decode": _decode,
    "copy_knn": _copy_knn,
    "embeddings": _embeddings,
    "clusters": _clusters,
    "hierarchy": _hierarchy,
    "seed_knn": _seed_knn,
    "export": _export,
}
"""Of the stages that cost anything worth naming. Others are part of these, or take minutes."""


def _costs(work: _Work) -> list[Cost]:
    paths = ["", "pool", *(f"seeds/{seed.name}" for seed in work.config.seeds)]
    on = [node.name for node in CURATE if any(node.is_on(work.config, path) for path in paths)]
    estimates = {stage: COSTS[stage](work) for stage in on if stage in COSTS}
    return [
        Cost(stage, images, seconds / 3600, images * each, how)
        for stage, (images, seconds, each, how) in estimates.items()
    ]


def readable(size: float) -> str:
    """Bytes with a decimal unit."""
    power = min(5, int(math.log(max(size, 1), 1000)))
    return f"{size / 1000**power:.1f} {('B', 'kB', 'MB', 'GB', 'TB', 'PB')[power]}"
