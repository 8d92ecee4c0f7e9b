"""The settings of a run: strict models, YAML in, every mistake one line that says where and what to do.

A settings class documents each field and its unit. Stages receive their own section, never the whole config, so
what a stage's output can depend on is visible in its constructor.
"""

import difflib
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import yaml
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    ValidationError,
    field_validator,
    model_serializer,
    model_validator,
)

from curation.errors import ConfigError, cause_of

__all__ = [
    "BALANCED",
    "OTHERS",
    "ClusterConfig",
    "Config",
    "CopyConfig",
    "CrawlConfig",
    "DedupConfig",
    "EmbedConfig",
    "ExcludeConfig",
    "ExportConfig",
    "HashConfig",
    "HierarchyConfig",
    "ImageConfig",
    "ModelConfig",
    "NormaliseConfig",
    "PartsConfig",
    "PlanConfig",
    "PrivacyConfig",
    "QualityConfig",
    "QualityHeadConfig",
    "ReferenceConfig",
    "RetrievalConfig",
    "Role",
    "RunnerConfig",
    "SafetyConfig",
    "SeedConfig",
    "SelectionConfig",
    "SemanticConfig",
    "load_config",
    "parse_config",
    "parse_overrides",
    "parse_yaml",
]

COPY_SMALL = "lvd/copy-small-v1"
CLASSICAL_CONCEPT = "classical/hog-colour-4x4"
PRETRAIN = "lvd/pretrain"

BALANCED = "balanced"
"""How an image was chosen that is a share of the hierarchy; it has no seed set. Also the name of that source."""
OTHERS = "others"
"""The source of all images whose own source has no weight of its own."""

Similarity = Annotated[float, Field(ge=-1.0, le=1.0)]
Weight = Annotated[float, Field(gt=0, le=1e12, allow_inf_nan=False)]
Role = Literal["pool", "seeds", "references", "excludes"]
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,99}$")]


class Settings(BaseModel):
    """Base of all settings: unknown keys and wrong types are refused, values never change after loading."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, populate_by_name=True)


class PartsConfig(Settings):
    """How collections are cut; a run keeps the value that it was made with."""

    rows: int = Field(10_000, ge=1, le=1_000_000)
    """Samples in a part: enough to keep a worker busy for minutes, little enough to redo after a crash. The first parts
    have fewer, from 250 on, so that a small pool keeps all cores busy."""


class RunnerConfig(Settings):
    """Where the work runs. Nothing here changes a single byte of the result."""

    kind: Literal["ray", "processes", "inline"] = "ray"
    """`ray` works on one machine as on many. `processes` are those of this machine alone, ready within a second where
    an embedded Ray takes several. `inline` runs everything in this process: no start-up, one part at a time."""
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
    (header, meta tag, or the host's `/.well-known/tdmrep.json`, asked once) keeps from such use."""
    decode_threads: int = Field(2, ge=1, le=64)
    """Threads of one worker that scale images down (`image.max_side`) beside its requests. One image in work takes up
    to 400 MB, a progressive JPEG of 64 megapixels."""
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
    """Take a picture that the WARC or ARC file of its own page holds from there, without a request."""


class ImageConfig(Settings):
    """What counts as a usable image; the guard is applied to the header, before any pixel is decoded."""

    min_side: int = Field(32, ge=1)
    """Shorter side in pixels below which an image is dropped."""
    max_pixels: int = Field(64_000_000, ge=1)
    """Width x height above which an image is dropped: 64 megapixels are 192 MiB as RGB."""
    max_side: int | None = Field(None, ge=16)
    """Longer side in pixels to which larger images are scaled down before they are stored, as JPEG. None, and images
    that are not larger, keep the bytes that came. Files that are read where they lie are never changed."""
    quality: int = Field(95, ge=1, le=100)
    """JPEG quality of what is scaled down."""
    metadata: Literal["strip", "keep"] = "strip"
    """What becomes of camera data, places (GPS), captions and thumbnails in bytes that are stored: taken out, pixels
    untouched, the colour profile and the orientation kept; or left in."""


class ModelConfig(Settings):
    """A model by name, and the weights it must have."""

    model: str
    """`timm/<name>` for any timm model, `lvd/pretrain` for a checkpoint of `lvd pretrain` (`weights`),
    `lvd/copy-small-v1` or `sscd/disc_mixup` for copies (docs/copy-descriptor.md), `classical/hog-colour-<n>x<n>` for
    the classical descriptor."""
    weights: str | None = None
    """A local checkpoint (safetensors, or a torch file that `weights_only=True` accepts) instead of a download."""
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")] | None = None
    """The weights' expected digest; other weights are refused."""
    batch: Literal["auto"] | Annotated[int, Field(ge=1)] = "auto"
    """Images in one forward pass. `auto`: 8 on a CPU, where more are slower; on a GPU 256, halved each time that memory
    runs out. It changes vectors by rounding at most, and nothing is redone for it."""


class QualityHeadConfig(ModelConfig):
    """An image-quality or aesthetic model: a classifier by name, as for `safety.nsfw`."""

    label: str = "0"
    """The class whose probability is the score; `0` for a model of one output, whose value is the score."""
    min_score: float = 0.0
    """Images with a lower score are dropped."""


class QualityConfig(Settings):
    """Images that teach nothing. None turns a rule off; the measures are kept either way."""

    on: list[Role] = Field(default=["pool"])
    """Collections that it is applied to; an empty list turns it off. Seeds and references are curated already."""
    min_side: int | None = Field(64, ge=1)
    """Shorter side in pixels. Below 64 there are icons, avatars and spacers."""
    max_aspect: float | None = Field(5.0, ge=1.0)
    """Longer side over shorter side. Panoramas reach 4; above are banners, rules and sprites."""
    min_bytes_per_pixel: float | None = Field(0.015, ge=0)
    """Size of the file over its pixels. A JPEG photo has 0.1 to 0.5; one bit in eight pixels leaves no texture."""
    min_jpeg_quality: float | None = Field(10.0, ge=1, le=100)
    """libjpeg quality that the luminance table stands for. At 10, blocks of 8 x 8 pixels are nearly flat."""
    max_uniform: float | None = Field(0.98, ge=0, le=1)
    """Share of pixels within 4 grey levels of the median: blank pages and placeholders."""
    min_entropy: float | None = Field(1.0, ge=0, le=8)
    """Entropy of grey levels in bits: below 1 there are two flat tones, as in plain logos and text."""
    min_sharpness: float | None = Field(10.0, ge=0)
    """Variance of the Laplacian at 256 pixels; sharp photos have hundreds."""
    head: QualityHeadConfig | None = None
    """A model to score images with; none by default."""


class SafetyConfig(Settings):
    """Unsafe images are dropped and faces made unrecognisable, before anything else looks at an image."""

    nsfw: str = "nudenet"
    """`nudenet`, `off`, or a classifier: `hf_hub:<owner>/<repository>`, `timm/<model>` or `local-dir:<folder>`."""
    nsfw_thresholds: dict[str, Annotated[float, Field(ge=0, le=1)]] = Field(
        default_factory=lambda: {
            "ANUS_EXPOSED": 0.25,
            "BUTTOCKS_EXPOSED": 0.3,
            "FEMALE_BREAST_EXPOSED": 0.3,
            "FEMALE_GENITALIA_EXPOSED": 0.45,
            "MALE_GENITALIA_EXPOSED": 0.45,
        }
    )
    """Class -> score from which on an image is dropped; classes that are not named drop nothing. These are NudeNet's;
    a classifier has its own, such as `NSFW`."""
    nsfw_weights: str | None = None
    """A local checkpoint for a classifier, instead of a download."""
    nsfw_sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")] | None = None
    """The classifier's expected digest; other weights are refused."""
    nsfw_on: list[Role] = Field(default=["pool"])
    """Collections that unsafe images are dropped from. Seeds and references were curated by somebody who meant them."""
    faces: Literal["blur", "drop", "keep"] = "blur"
    """What becomes of faces: blurred for good, the image dropped, or no face looked for."""
    faces_on: list[Role] = Field(default=["pool", "seeds", "references", "excludes"])
    """Collections that faces are treated in. References and unwanted examples too, so that a blurred image is compared
    with a blurred one."""
    face_threshold: float = Field(0.3, ge=0.05, le=1)
    """Score from which on a box is a face. Of the boxes between 0.3 and 0.4 on web photos about two thirds are faces,
    and a needless blur costs less than a face."""
    face_side: int = Field(480, ge=64, le=2048, multiple_of=32)
    """Longer side in pixels at which faces are looked for, or the image's own where it is smaller. The smallest faces
    found are about 10 pixels wide there."""
    face_margin: float = Field(0.35, ge=0, le=2)
    """Added around a face before it is blurred, as a share of the box's longer side: hair, ears, chin."""

    @field_validator("nsfw", mode="before")
    @classmethod
    def _off_is_a_word(cls, value: object) -> object:
        return "off" if value is False else value  # `false` is what one may well write for it


class PrivacyConfig(Settings):
    """What stays on disk of images that were dropped or changed."""

    delete_originals: bool = False
    """Rewrite the run's image store, so that it holds no original of a dropped or blurred image. Files of a local
    dataset are the user's, and are never touched."""


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

    model: str = COPY_SMALL
    whiten: bool = False
    """PCA-whiten its vectors, fitted on a sample of the run. Similarities are then others, so thresholds must be chosen
    anew (`lvd thresholds`). A classical descriptor is whitened as it is."""


class NormaliseConfig(Settings):
    """Similarity normalisation, as in SSCD (arXiv 2202.10261). Off by default.

    A sample of the pool's descriptors is the background. An image's *bias* is its mean similarity to those of the
    background that are most similar to it; images that resemble everything have a large one. From the similarity of two
    images `weight` x the mean of their biases is taken off.
    """

    weight: float = Field(0.0, ge=0, le=2)
    """0 for none; 1 is usual. Similarities are then lower, so thresholds must be chosen anew (`lvd thresholds`)."""
    first: int = Field(5, ge=1, le=1024)
    """Rank of the first image of the background that counts; those before it may be copies."""
    last: int = Field(20, ge=1, le=1024)
    """Rank of the last one. The pool must have more images."""

    @model_validator(mode="after")
    def _ranks_are_in_order(self) -> Self:
        if self.first > self.last:
            raise ValueError(f"dedup.normalise: first is {self.first} and last {self.last}; last should be no smaller")
        return self


class SelfDedupConfig(Settings):
    """Duplicates within the pool: one image of each component is kept."""

    enabled: bool = True
    threshold: Similarity = 0.65
    """`dedup.verify: off`: cosine similarity above which two images are linked. 0.65 is right for the classical
    descriptor; the paper's 0.6 is for SSCD."""


class RelativeDedupConfig(Settings):
    """Copies of reference images: no image of such a component is kept."""

    threshold: Similarity = 0.45
    """Cosine similarity above which two images are linked: the paper's for SSCD, and right for the classical one. With
    `dedup.verify: geometry`, that from which on a reference and an image are looked at."""


class DedupConfig(Settings):
    """Copy detection: k nearest neighbours, a geometric look at those that may be copies, connected components.

    Similarities belong to the descriptor, so what a config does not set is taken from `DEDUP_OF` by the descriptor's
    family; the defaults below are for the others.
    """

    neighbours: int = Field(64, ge=1, le=1024)
    """k of the kNN graph (the paper's 64)."""
    exact_up_to: int = Field(200_000, ge=0)
    """Images up to which neighbours are searched exactly. Larger pools get an inverted file, whose recall against exact
    search is measured on a sample of every part."""
    probes: int = Field(32, ge=1)
    """Lists of the inverted file that are searched for each image."""
    compressed_from: int = Field(20_000_000, ge=0)
    """Images from which on the inverted file holds product-quantised codes, and the best are ranked again exactly."""
    shard: int = Field(5_000_000, ge=1)
    """Images of the pool, of whole parts, that a worker searches among at a time: what bounds its memory. Each takes 2
    bytes a dimension, with an inverted file twice as many, or a quarter more where that holds codes (docs/dedup.md)."""
    verify: Literal["geometry", "off"] = "off"
    """`off`: two images are linked when they are more similar than a threshold, the paper's rule; `geometry`: when they
    are more similar than `sure`, or when local features and pixels confirm it."""
    sure: Similarity = 0.95
    """Cosine similarity above which two images are linked without a look. It belongs to the descriptor."""
    floor: Annotated[float, Field(ge=-1, le=1)] = 0.0
    """Cosine similarity below which no pair is looked at."""
    top: int = Field(32, ge=1, le=1024)
    """Neighbours of each image, the most similar, that are looked at."""
    score: float = Field(1.9, ge=0)
    """Agreement of pixels x ln(8 + inliers) from which on a pair is verified: 5 inliers and an agreement of 0.74 have
    1.9, and so have 30 and 0.52."""
    widest: float | None = Field(None, ge=-1, le=1)
    """Ends chains of merges: a copy is dropped only if its similarity to the image that stands for it is at least this.
    None for no limit."""
    normalise: NormaliseConfig = NormaliseConfig()
    """What similarities are lowered by before they are compared with any of these thresholds."""
    self_: SelfDedupConfig = Field(default_factory=SelfDedupConfig, alias="self")
    relative: RelativeDedupConfig = Field(default_factory=RelativeDedupConfig)

    @field_validator("verify", mode="before")
    @classmethod
    def _off_is_a_word(cls, value: object) -> object:
        return "off" if value is False else value


DEDUP_OF: Mapping[str, Mapping[str, Any]] = {
    "lvd": {
        "verify": "geometry",
        "sure": 0.85,
        "floor": 0.2,
        "relative": {"threshold": 0.2},
    },
    "sscd": {"self": {"threshold": 0.6}},
}
"""How images are linked by descriptors of a family. `lvd`: by what `tests/bench/bench_copy_quality.py` shows
(docs/dedup.md); `sscd`: the paper's rule."""

NORMALISED_OF: Mapping[str, Mapping[str, Any]] = {
    "lvd": {"sure": 0.5, "floor": -0.1, "self": {"threshold": 0.45}, "relative": {"threshold": -0.1}},
}
"""The same where similarities are normalised, with weight 1 and these ranks."""


class EmbedConfig(ModelConfig):
    """The embedding that clusters and retrieval use."""

    model: str = CLASSICAL_CONCEPT
    pool: Literal["class", "patches", "both"] | None = None
    """What of a transformer's tokens makes the vector: the class token, the mean of the patches, or the two side by
    side, each of length 1 before. None for what the model itself does: timm's own pooling, and of `lvd/pretrain` the
    class token."""
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    """What a network computes in. `auto`: bf16 where the command finds a GPU that has it, else fp32. Vectors are made
    anew when it changes."""


class RetrievalConfig(Settings):
    """How neighbours are searched among the pool's embeddings."""

    exact_up_to: int = Field(200_000, ge=0)
    """Images up to which they are searched exactly. Larger pools get an inverted file, whose recall against exact
    search is measured on a sample of every part."""
    probes: int = Field(128, ge=1)
    """Lists of the inverted file that are searched for each image."""
    compressed_from: int = Field(20_000_000, ge=0)
    """Images from which on the inverted file holds product-quantised codes, and the best are ranked again exactly."""
    shard: int = Field(5_000_000, ge=1)
    """Images of the pool, of whole parts, that a worker searches among at a time: what bounds its memory. Each takes 2
    bytes a dimension, with an inverted file twice as many, or a quarter more where that holds codes (docs/dedup.md)."""


class SemanticConfig(Settings):
    """Images that show the same thing: one of each component is kept. Off by default."""

    enabled: bool = False
    threshold: Similarity = 0.95
    """Cosine similarity of embeddings above which two images are linked. It belongs to the embedding."""
    neighbours: int = Field(64, ge=1, le=1024)
    """k of the kNN graph over embeddings."""
    widest: float | None = Field(None, ge=-1, le=1)
    """Ends chains: an image is dropped only if its similarity to the one that is kept is at least this. None for no
    limit."""


class ClusterConfig(Settings):
    """Spherical k-means over the deduplicated pool."""

    count: int | None = Field(None, ge=1)
    """Clusters; None means one per 100 images, at most 100,000 (the paper's number for 744 M images)."""
    iterations: int = Field(20, ge=1)
    init: Literal["random", "k-means++"] = "random"
    """First centroids: images at random, or images far from each other, chosen from 32 for each cluster. The latter
    takes a product of all those images with a vector for each cluster: seconds for 1,000 clusters, days for 100,000."""
    growing: bool = True
    """Look at an eighth of the images in the first fifth of the iterations, then at a quarter, then half, and at all
    of them in the second half: centroids that are far from settled need no more."""
    sample_per_cluster: int = Field(256, ge=1)
    """Images per cluster that k-means is trained on; all images are assigned afterwards."""


class HierarchyConfig(Settings):
    """Clusters of clusters, for balanced selection: k-means with resampling, level over level (Vo et al. 2024)."""

    levels: list[Annotated[int, Field(ge=1)]] | None = None
    """Clusters of each level, from the lowest, each fewer than before; None means `clusters.count` on the lowest, and a
    tenth on each one above it. DINOv3 has 200 M, 8 M, 800 k, 100 k and 25 k."""
    resamplings: int = Field(3, ge=0)
    """Times that k-means of a level is run again, on the images nearest to each of its centroids. More cost as much
    again and bring little: see docs/benchmarks.md."""
    nearest: int | None = Field(None, ge=1)
    """Images of each cluster that it is run again on; None for half of what a cluster has on average."""

    @field_validator("levels")
    @classmethod
    def _levels_shrink(cls, value: list[int] | None) -> list[int] | None:
        if value is not None and (not value or sorted(set(value), reverse=True) != value):
            raise ValueError(f"hierarchy.levels: {value} must name at least one level, each with fewer clusters")
        return value


class SelectionConfig(Settings):
    """How images of the pool are chosen; see docs/selection.md."""

    mode: Literal["retrieval", "hierarchical", "both"] = "retrieval"
    """`retrieval`: by the seed sets; `hierarchical`: equally from all clusters of a hierarchy, whatever the seeds;
    `both`: what either chooses. Seed sets that are taken `as_is` are in all of them."""
    size: int | None = Field(None, ge=1)
    """Images that are chosen from the hierarchy; all of the pool, where it has fewer."""
    picks: Literal["random", "nearest"] = "random"
    """Images of a lowest cluster: at random, or those nearest to its centroid."""
    weights: dict[str, Weight] | None = None
    """Share of the trainer's batches by source, relative to each other: a source is the seed set that chose an image,
    `balanced` for the hierarchy, `others` for all that are not named, mixed. Each shard then holds one source's images
    alone. None for shards in which all are mixed."""

    @model_validator(mode="after")
    def _has_a_size(self) -> Self:
        if self.mode != "retrieval" and self.size is None:
            raise ValueError(f"selection.size: missing; say how many images selection.mode: {self.mode} is to choose")
        return self

    @model_serializer(mode="wrap")
    def _unset_weights_leave_no_trace(self, serialize: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """What a run without weights writes down is what it wrote before there were any."""
        values: dict[str, Any] = serialize(self)
        if values.get("weights") is None:
            values.pop("weights", None)
        return values

    def source_of(self, seed_set: str) -> str:
        """The weighted source of an image by the seed set that chose it; of one from the hierarchy, which has none."""
        name = seed_set or BALANCED
        return name if self.weights and name in self.weights else OTHERS

    def shares(self) -> dict[str, float]:
        """Share of the trainer's batches by source; nothing where there are no weights."""
        weights = self.weights or {}
        return {name: weight / sum(weights.values()) for name, weight in weights.items()}

    @property
    def retrieves(self) -> bool:
        """Whether seed sets bring in images of the pool."""
        return self.mode != "hierarchical"

    @property
    def balances(self) -> bool:
        """Whether a hierarchy of clusters does."""
        return self.mode != "retrieval"


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
    """Cluster mode: images picked from each such cluster (the paper's 10,000)."""
    picks: Literal["random", "nearest"] = "random"
    """Cluster mode: images of a cluster at random, as in the paper, or those nearest to its centroid."""
    cap: int = Field(1_000_000, ge=1)
    """Cluster mode: most images retrieved for the set (the paper's 1 M)."""


class ReferenceConfig(Settings):
    """Images that must not leak into the dataset, such as a benchmark's test set."""

    name: Name
    data: str
    neighbours: int | None = Field(None, ge=1, le=1024)
    """Nearest pool images of each reference image; None for `dedup.neighbours`."""
    threshold: Similarity | None = None
    """Cosine similarity above which a pool image is linked to one of these; None for `dedup.relative.threshold`. With
    `dedup.verify: geometry` the pairs above it are looked at, whatever their rank."""


class ExcludeConfig(Settings):
    """Examples of what is unwanted."""

    name: Name
    data: str
    threshold: Similarity = 0.85
    """Cosine similarity of embeddings to the nearest example above which a pool image is dropped. It belongs to the
    embedding: 0.85 is for the classical one, by which few unrelated photos are so similar."""


class PlanConfig(Settings):
    """What `lvd plan` is told of datasets that are not at hand; a run itself never looks at it."""

    images: dict[str, Annotated[int, Field(ge=0)]] = Field(default_factory=dict)
    """Images of seed sets, by name; the others are counted where they lie."""
    clusters: dict[str, Annotated[int, Field(ge=0)]] = Field(default_factory=dict)
    """Cluster mode: clusters that have enough seed images of a set, each with `per_cluster` images or more. A set that
    is not named here is taken to have as many as its images allow."""
    kept: float = Field(1.0, gt=0, le=1)
    """Share of the pool that dedup leaves."""


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
    seeds: list[SeedConfig]
    """What to find more of; `lvd curate` needs at least one, but for `selection.mode: hierarchical`."""
    references: list[ReferenceConfig] = Field(default_factory=list)
    excludes: list[ExcludeConfig] = Field(default_factory=list)
    parts: PartsConfig = PartsConfig()
    runner: RunnerConfig = RunnerConfig()
    crawl: CrawlConfig = CrawlConfig()
    image: ImageConfig = ImageConfig()
    quality: QualityConfig = QualityConfig()
    safety: SafetyConfig = SafetyConfig()
    privacy: PrivacyConfig = PrivacyConfig()
    hash: HashConfig = HashConfig()
    copies: CopyConfig = CopyConfig()
    dedup: DedupConfig = DedupConfig()
    embed: EmbedConfig = EmbedConfig()
    semantic: SemanticConfig = SemanticConfig()
    retrieval: RetrievalConfig = RetrievalConfig()
    clusters: ClusterConfig = ClusterConfig()
    hierarchy: HierarchyConfig = HierarchyConfig()
    selection: SelectionConfig = SelectionConfig()
    export: ExportConfig = ExportConfig()
    plan: PlanConfig = PlanConfig()

    @model_validator(mode="before")
    @classmethod
    def _linked_as_the_descriptor_needs(cls, values: Any) -> Any:
        """Fill in what `dedup` leaves open; what is malformed is for the checks that follow."""
        copies, given = (values.get(name, {}) for name in ("copies", "dedup")) if isinstance(values, dict) else (0, 0)
        if not isinstance(copies, dict) or not isinstance(given, dict):
            return values
        model, normalise = str(copies.get("model", COPY_SMALL)), given.get("normalise")
        family = model.partition("/")[0] if model != PRETRAIN else ""  # that is no copy descriptor
        own = DEDUP_OF.get(family, {})
        if isinstance(normalise, dict) and normalise.get("weight"):
            own = {**own, **NORMALISED_OF.get(family, {})}
        filled = {**own, **given}
        for name in own.keys() & given.keys():
            if isinstance(own[name], Mapping) and isinstance(given[name], dict):
                filled[name] = {**own[name], **given[name]}
        return {**values, "dedup": filled}

    @model_validator(mode="after")
    def _names_are_unique(self) -> Self:
        for field in ("seeds", "references", "excludes"):
            names = [item.name for item in getattr(self, field)]
            if twice := sorted({name for name in names if names.count(name) > 1}):
                raise ValueError(f"{field}: the name {twice[0]!r} is used twice; give each set its own")
        return self

    @model_validator(mode="after")
    def _weights_are_those_of_sources(self) -> Self:
        if (weights := self.selection.weights) is None:
            return self
        sources = self.sources()
        if taken := sorted({BALANCED, OTHERS} & {seed.name for seed in self.seeds}):
            raise ValueError(f"seeds: a set cannot be called {taken[0]!r} with selection.weights; give it another name")
        for name in weights:
            if name not in (*sources, OTHERS):
                near = difflib.get_close_matches(name, [*sources, OTHERS], n=3)
                hint = f"did you mean {' or '.join(near)}? " if near else ""
                raise ValueError(
                    f"selection.weights.{name}: chooses no images; {hint}"
                    f"weights are for {', '.join(sources)}, and {OTHERS} for all that are not named"
                )
        unnamed = [name for name in sources if name not in weights]
        if unnamed and OTHERS not in weights:
            raise ValueError(
                f"selection.weights: none for {', '.join(unnamed)}; add one for each, or {OTHERS} for them together"
            )
        if OTHERS in weights and not unnamed:
            raise ValueError(f"selection.weights.{OTHERS}: every source has a weight of its own; leave it out")
        return self

    def sources(self) -> list[str]:
        """What chooses images: seed sets that are taken or retrieve, then the hierarchy (`balanced`) if it does."""
        chosen = self.selection
        names = [seed.name for seed in self.seeds if seed.as_is or (seed.retrieve and chosen.retrieves)]
        return [*names, *([BALANCED] if chosen.balances else [])]

    def recipe(self) -> dict[str, Any]:
        """The settings that the result depends on: all but where the work runs and where hosts are reached."""
        unused: dict[str, Any] = {"runner": True, "plan": True, "crawl": {"connect_to"}}
        return self.model_dump(mode="json", by_alias=True, exclude=unused)

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
        raise ConfigError(f"{path}: cannot be read ({cause_of(error)}); name a YAML config file") from error
    try:
        values = parse_yaml(text)
    except yaml.YAMLError as error:
        raise ConfigError(f"{path}: is not valid YAML ({cause_of(error)}); mend the file") from error
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


class _Loader(yaml.SafeLoader):
    """YAML 1.2's scalars: `on` and `off` are words, `1e-3` is a number; PyYAML's own rules are those of YAML 1.1."""


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in rules if not tag.endswith((":bool", ":float"))]
    for first, rules in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:bool", re.compile(r"^(?:true|True|TRUE|false|False|FALSE)$"), list("tTfF")
)
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(
        r"^[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?$|^[-+]?\.(?:inf|Inf|INF)$|^\.(?:nan|NaN|NAN)$"
    ),
    list("-+.0123456789"),
)


def parse_yaml(text: str | bytes) -> Any:
    """Read YAML 1.2 scalars, mappings and lists; yaml.YAMLError if it is none."""
    return yaml.load(text, Loader=_Loader)  # a subclass of SafeLoader: no objects, no code


def parse_overrides(overrides: Iterable[str]) -> dict[str, Any]:
    """Turn `a.b=value` strings (values are YAML) into a nested mapping."""
    nested: dict[str, Any] = {}
    for override in overrides:
        key, equals, text = override.partition("=")
        if not equals or not all(key.split(".")):
            raise ConfigError(f"--set {override}: expected KEY=VALUE, as in --set dedup.self.threshold=0.6")
        try:
            value = parse_yaml(text)
        except yaml.YAMLError as error:
            raise ConfigError(f"--set {override}: the value is not valid YAML ({cause_of(error)})") from error
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
            problems.append(f"{where}: {problem['msg'][0].lower()}{problem['msg'][1:]} (got {problem['input']!r})")
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
