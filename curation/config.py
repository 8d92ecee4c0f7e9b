"""The settings of a run: strict models, YAML in, every mistake one line that says where and what to do.

A settings class documents each field and its unit. Stages receive their own section, never the whole config, so
what a stage's output can depend on is visible in its constructor.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from curation.errors import ConfigError

__all__ = [
    "ClusterConfig",
    "Config",
    "CopyConfig",
    "CrawlConfig",
    "DedupConfig",
    "EmbedConfig",
    "ExportConfig",
    "HashConfig",
    "ImageConfig",
    "ModelConfig",
    "PartsConfig",
    "ReferenceConfig",
    "RunnerConfig",
    "SeedConfig",
    "load_config",
    "parse_config",
    "parse_overrides",
]

CLASSICAL_COPY = "classical/hog-colour-8x8"
CLASSICAL_CONCEPT = "classical/hog-colour-1x1"

Similarity = Annotated[float, Field(ge=-1.0, le=1.0)]
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,99}$")]


class Settings(BaseModel):
    """Base of all settings: unknown keys and wrong types are refused, values never change after loading."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, populate_by_name=True)


class PartsConfig(Settings):
    """How collections are cut; a run keeps the value that it was made with."""

    rows: int = Field(10_000, ge=1, le=1_000_000)
    """Samples in a part: enough to keep a worker busy for minutes, little enough to redo after a crash."""


class RunnerConfig(Settings):
    """Where the work runs. Nothing here changes a single byte of the result."""

    kind: Literal["ray", "inline"] = "ray"
    """`inline` runs everything in this process: no start-up seconds, one part at a time."""
    workers: int = Field(0, ge=0)
    """Parts in work at once; 0 means one per core (of the cluster, where there is one)."""
    threads: int = Field(1, ge=1)
    """Threads of numerical libraries in each worker. Fixed rather than 'all cores', so that sums are added in the
    same order whatever the number of workers."""
    ray_address: str | None = None
    """Address of a running Ray cluster; None starts an embedded one on loopback."""


class CrawlConfig(Settings):
    """How URLs are listed and fetched. What is said of a host holds in each worker."""

    user_agent: str = "lvd/0.1"
    """Sent with every request. It must hold a way to reach you, an address or a page with one, as in `my-crawl/1.0
    (+https://example.org/crawl; crawl@example.org)`; only servers on loopback are asked without."""
    concurrency: int = Field(64, ge=1, le=4096)
    """Requests under way at once in one worker."""
    timeout_seconds: float = Field(20.0, gt=0)
    """Deadline of one request from first byte sent to last byte received, redirects included."""
    min_bytes_per_second: float = Field(1024.0, gt=0)
    """Answers that come slower than this, on the whole, are cut off: a drip must not hold a connection for long."""
    rate_grace_seconds: float = Field(5.0, ge=0)
    """Seconds of an answer that are not held to the minimum rate, for slow starts."""
    max_bytes: int = Field(32 * 1024 * 1024, ge=1)
    """A body larger than this, sent or decompressed, is dropped."""
    max_header_bytes: int = Field(16 * 1024, ge=1024)
    """A header line longer than this is refused; so are more than 256 lines."""
    max_redirects: int = Field(5, ge=0)
    """Redirects followed in a row."""
    allow_private_addresses: bool = False
    """Let requests reach private, loopback and link-local addresses; only for servers of one's own."""
    connect_to: dict[str, str] = Field(default_factory=dict)
    """`host[:port]` -> `address:port`: where to connect for a host, instead of asking DNS (as `curl --connect-to`).
    The demo serves its small web this way, so that URLs, and with them all ids, are the same on every machine."""
    dns_cache_seconds: int = Field(300, ge=0)
    """How long an address is remembered; the addresses of large hosts change every few minutes."""
    host_connections: int = Field(8, ge=1)
    """Requests under way at once to one host. Browsers make six."""
    host_delay_seconds: float = Field(0.0, ge=0)
    """Least time between the starts of two requests to one host; a `Crawl-delay` in its robots.txt that is longer
    holds instead. 0 leaves the pace to the host's answers: one connection until it has answered once."""
    host_failures: int = Field(8, ge=1)
    """Failures in a row (no connection, timeout, 5xx, 429) after which a host is left alone. From the second on,
    requests to it pause for 0.5 s, 1 s, 2 s, ..."""
    host_budget_seconds: float = Field(900.0, gt=0)
    """How long one host may keep a part waiting for its turns; what is left of it then is given up for now."""
    max_wait_seconds: float = Field(30.0, ge=0)
    """Longest `Retry-After` that is waited for; a host that asks for more is given up for now."""
    attempts: int = Field(2, ge=1)
    """Requests for one URL, when the host answers 429, or 503 with a `Retry-After`."""
    respect_robots: bool = True
    """Ask each host's robots.txt first, as RFC 9309 has it: none there allows all, one that cannot be had nothing."""
    respect_opt_outs: bool = True
    """Drop what `X-Robots-Tag`, `<meta name=robots>` (noai, noimageai, noindex, noimageindex) or a TDM reservation
    keeps from such use."""
    blocklists: list[str] = Field(default_factory=list)
    """Files of hosts never to ask: hosts files, plain domains, or Adblock `||domain^` lines, told apart line by line;
    a domain holds for all under it. Local paths or fsspec URLs, plain or gzip."""
    blocked_keywords: list[str] = Field(default_factory=list)
    """URLs that hold one of these as a word of their own, whatever the case, are not asked for."""
    blocked_types: list[str] = Field(
        default_factory=lambda: (
            [
                "svg",
                "svgz",
                "ico",
                "cur",
                "css",
                "js",
                "json",
                "html",
                "htm",
                "php3",
                "xml",
                "pdf",
                "mp4",
                "webm",
                "mov",
                "avi",
                "mp3",
                "wav",
                "zip",
            ]
        )
    )
    """File name endings of URLs that are not asked for: vector graphics, icons, and what is no picture."""
    prefer_archived: bool = False
    """Take a picture that a WARC file of the pool holds from there, without a request."""


class ImageConfig(Settings):
    """What counts as a usable image; the guard is applied to the header, before any pixel is decoded."""

    min_side: int = Field(32, ge=1)
    """Shorter side in pixels below which an image is dropped."""
    max_pixels: int = Field(64_000_000, ge=1)
    """Width x height above which an image is dropped: 64 megapixels are 192 MiB as RGB."""


class ModelConfig(Settings):
    """A model by name, and the weights it must have."""

    model: str
    """`timm/<name>` for any timm model, `classical/hog-colour-<n>x<n>` for the classical descriptor."""
    weights: str | None = None
    """A local checkpoint (safetensors, or a torch file that `weights_only=True` accepts) instead of a download."""
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")] | None = None
    """The weights' expected digest; other weights are refused."""
    batch: int = Field(64, ge=1)
    """Images in one forward pass."""


class HashConfig(Settings):
    """Perceptual hash, the cheap first look for duplicates."""

    method: Literal["pca", "phash"] = "pca"
    """`pca`: signs of PCA components of a 32x32 thumbnail; `phash`: imagededup's DCT hash."""
    bits: int = Field(64, ge=8, le=256, multiple_of=8)
    """Length of the PCA hash; `phash` always has 64."""
    radius: int = Field(0, ge=0, le=16)
    """Hamming distance up to which two hashes are one image; 0 for equal hashes only."""


class CopyConfig(ModelConfig):
    """The copy descriptor."""

    model: str = CLASSICAL_COPY


class SelfDedupConfig(Settings):
    """Duplicates within the pool: one image of each component is kept."""

    enabled: bool = True
    threshold: Similarity = 0.6
    """Cosine similarity above which two images are linked. 0.6 is the paper's, for SSCD."""


class RelativeDedupConfig(Settings):
    """Copies of reference images: no image of such a component is kept."""

    threshold: Similarity = 0.45
    """Cosine similarity above which two images are linked. 0.45 is the paper's, for SSCD."""


class DedupConfig(Settings):
    """Copy detection: k nearest neighbours, a threshold, connected components."""

    neighbours: int = Field(64, ge=1, le=1024)
    """k of the kNN graph (the paper's 64)."""
    self_: SelfDedupConfig = Field(default_factory=SelfDedupConfig, alias="self")
    relative: RelativeDedupConfig = Field(default_factory=RelativeDedupConfig)


class EmbedConfig(ModelConfig):
    """The embedding that clusters and retrieval use."""

    model: str = CLASSICAL_CONCEPT


class ClusterConfig(Settings):
    """Spherical k-means over the deduplicated pool."""

    count: int | None = Field(None, ge=1)
    """Clusters; None means one per 100 images, at most 100,000 (the paper's number for 744 M images)."""
    iterations: int = Field(20, ge=1)
    sample_per_cluster: int = Field(256, ge=1)
    """Images per cluster that k-means is trained on; all images are assigned afterwards."""


class SeedConfig(Settings):
    """A curated set, and how the pool is searched with it."""

    name: Name
    data: str
    """A dataset: a folder, WebDataset tars, a Parquet file, a list of URLs, or crawl files."""
    as_is: bool = False
    """Take the seed images themselves too."""
    retrieve: Literal["sample", "cluster"] | None = "sample"
    """`sample`: the nearest pool images of each seed image, for large sets; `cluster`: images from the clusters that
    seed images fall into, for small sets; None: nothing."""
    neighbours: int = Field(4, ge=1, le=1024)
    """Sample mode: images per seed image (the paper: 4, and 32 for ImageNet-1k)."""
    min_seed_images: int = Field(3, ge=0)
    """Cluster mode: only clusters with more seed images than this are used (the paper's 3)."""
    per_cluster: int = Field(10_000, ge=1)
    """Cluster mode: images picked at random from each such cluster (the paper's 10,000)."""
    cap: int = Field(1_000_000, ge=1)
    """Cluster mode: most images retrieved for the set (the paper's 1 M)."""


class ReferenceConfig(Settings):
    """Images that must not leak into the dataset, such as a benchmark's test set."""

    name: Name
    data: str


class ExportConfig(Settings):
    """The shards."""

    samples_per_shard: int = Field(2_000, ge=1)
    quality: int = Field(95, ge=1, le=100)
    """JPEG quality for images that were no JPEG; JPEG bytes are written as they came."""


class Config(Settings):
    """Everything that a run is made from."""

    seed: int = Field(0, ge=0)
    """Seed of all randomness, together with a stage's name and a part's number."""
    pool: list[str] = Field(min_length=1)
    """Datasets that together are the uncurated pool."""
    seeds: list[SeedConfig] = Field(min_length=1)
    references: list[ReferenceConfig] = Field(default_factory=list)
    parts: PartsConfig = PartsConfig()
    runner: RunnerConfig = RunnerConfig()
    crawl: CrawlConfig = CrawlConfig()
    image: ImageConfig = ImageConfig()
    hash: HashConfig = HashConfig()
    copies: CopyConfig = CopyConfig()
    dedup: DedupConfig = DedupConfig()
    embed: EmbedConfig = EmbedConfig()
    clusters: ClusterConfig = ClusterConfig()
    export: ExportConfig = ExportConfig()

    @model_validator(mode="after")
    def _names_are_unique(self) -> Self:
        for field in ("seeds", "references"):
            names = [item.name for item in getattr(self, field)]
            if twice := sorted({name for name in names if names.count(name) > 1}):
                raise ValueError(f"{field}: the name {twice[0]!r} is used twice; give each set its own")
        return self

    def recipe(self) -> dict[str, Any]:
        """The settings that the result depends on: all but where the work runs and where hosts are reached."""
        return self.model_dump(mode="json", by_alias=True, exclude={"runner": True, "crawl": {"connect_to"}})

    def to_yaml(self) -> str:
        """The whole config as YAML that `load_config` reads back to an equal config."""
        return yaml.safe_dump(self.model_dump(mode="json", by_alias=True), sort_keys=False, allow_unicode=True)


def load_config(path: str | Path, overrides: Iterable[str] = ()) -> Config:
    """Read a YAML file, apply `a.b=value` overrides, and check everything once.

    Raises:
        ConfigError: the file is missing, is no YAML mapping, or a setting is unknown or of the wrong type.
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read ({_short(error)}); name a YAML config file") from error
    try:
        values = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ConfigError(f"{path}: is not valid YAML ({_short(error)}); mend the file") from error
    if not isinstance(values, dict):
        raise ConfigError(f"{path}: holds no settings; it should map keys such as pool and seeds to values")
    return parse_config(_merged(values, parse_overrides(overrides)), where=str(path))


def parse_config(values: Mapping[str, Any], where: str = "config") -> Config:
    """Check a mapping of settings; `where` is what errors call it.

    Raises:
        ConfigError: a setting is unknown (the valid ones are named), missing, or of the wrong type or range.
    """
    try:
        return Config.model_validate(dict(values))
    except ValidationError as error:
        raise ConfigError(f"{where}: {_explain(error)}") from error


def parse_overrides(overrides: Iterable[str]) -> dict[str, Any]:
    """Turn `a.b=value` strings (values are YAML) into a nested mapping."""
    nested: dict[str, Any] = {}
    for override in overrides:
        key, equals, text = override.partition("=")
        if not equals or not all(key.split(".")):
            raise ConfigError(f"--set {override}: expected KEY=VALUE, as in --set dedup.self.threshold=0.6")
        try:
            value = yaml.safe_load(text)
        except yaml.YAMLError as error:
            raise ConfigError(f"--set {override}: the value is not valid YAML ({_short(error)})") from error
        *parents, leaf = key.split(".")
        level = nested
        for parent in parents:
            level = level.setdefault(parent, {})
            if not isinstance(level, dict):
                raise ConfigError(f"--set {override}: {parent} was already set to a single value")
        level[leaf] = value
    return nested


def _merged(base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in changes.items():
        old = merged.get(key)
        merged[key] = _merged(old, value) if isinstance(old, dict) and isinstance(value, dict) else value
    return merged


def _explain(error: ValidationError) -> str:
    """All problems in one line; an unknown key is answered with the valid ones."""
    problems = []
    for problem in error.errors(include_url=False):
        location = [part for part in problem["loc"] if part != "self_"]
        where = ".".join(str(part) for part in location)
        if problem["type"] == "extra_forbidden":
            problems.append(f"{where}: unknown key; valid keys here: {', '.join(_valid_keys(location[:-1]))}")
        elif problem["type"] == "missing":
            problems.append(f"{where}: missing; add it")
        elif problem["type"] == "value_error":
            problems.append(problem["msg"].removeprefix("Value error, "))
        else:
            problems.append(f"{where}: {problem['msg'].lower()} (got {problem['input']!r})")
    return "; ".join(problems)


def _valid_keys(location: Iterable[str | int]) -> list[str]:
    model: type[BaseModel] = Config
    for part in location:
        if isinstance(part, int):
            continue
        field = next(f for n, f in model.model_fields.items() if part in (n, f.alias))
        annotation: Any = field.annotation
        model = annotation if isinstance(annotation, type) else annotation.__args__[0]
    return [field.alias or name for name, field in model.model_fields.items()]


def _short(error: BaseException) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__
