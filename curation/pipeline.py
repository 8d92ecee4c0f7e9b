"""The pipeline, declared once: what `lvd curate` does, in this order.

Each line is a stage: what it is given, on which row sets it works, when it is on, and what must be fitted for it first.
What comes before what, what is out of date, what `--until` can name, the funnel, the checks of `lvd verify`, progress,
and the table of steps in the docs all follow from this list. A new stage is a file and a line.
"""

from curation.engine.graph import Node, Pipeline, RowSet
from curation.stages.concepts.clusters import Clusters, FitCentroids
from curation.stages.concepts.embed import Embed, embeddings, whitening
from curation.stages.concepts.embedding_knn import embedding_knn, is_semantic
from curation.stages.concepts.exclude import Exclude
from curation.stages.concepts.hierarchy import FitHierarchy, Hierarchy
from curation.stages.concepts.semantic_dedup import SemanticDedup
from curation.stages.dedup.copy_knn import copy_knn
from curation.stages.dedup.dedup import Dedup
from curation.stages.dedup.groups import Groups, is_checked
from curation.stages.dedup.hashes import Hashes, hash_basis
from curation.stages.dedup.local_features import LocalFeatures, is_verified
from curation.stages.dedup.reference_knn import ReferenceKnn
from curation.stages.dedup.verify_copies import VerifyCopies
from curation.stages.dedup.verify_kept import VerifyKept
from curation.stages.export.export import Export
from curation.stages.export.manifest import finish_manifest, withdraw_manifest
from curation.stages.filters.decode import Decode
from curation.stages.filters.quality import Quality
from curation.stages.filters.safety import Safety
from curation.stages.ingest.dedup_urls import DedupUrls
from curation.stages.ingest.extract_urls import ExtractUrls
from curation.stages.ingest.fetch import Fetch
from curation.stages.ingest.list import List
from curation.stages.knn.bias import Bias, FitBackground
from curation.stages.select.seed_knn import is_sampled, seed_knn
from curation.stages.select.selection import Selection

__all__ = ["CURATE", "DECONTAMINATE"]


EVERY: tuple[RowSet, ...] = ("pool", "seed", "reference", "exclude")
COMPARED: tuple[RowSet, ...] = ("pool", "reference")
EMBEDDED: tuple[RowSet, ...] = ("pool", "seed", "exclude")
CHOSEN_BY: tuple[RowSet, ...] = ("pool", "seed")
POOL: tuple[RowSet, ...] = ("pool",)
SEED: tuple[RowSet, ...] = ("seed",)
URLS: tuple[RowSet, ...] = ("urls",)
SHARDS: tuple[RowSet, ...] = ("shards",)

CURATE = Pipeline(
    (
        Node("extract_urls", "part", URLS, ExtractUrls, "pool seeds references exclude crawl"),
        Node("dedup_urls", "global", URLS, DedupUrls),
        Node("list", "rows", EVERY, List, "parts seed"),
        Node("fetch", "part", EVERY, Fetch, "crawl image"),
        Node("decode", "image", EVERY, Decode, "image"),
        Node("quality", "image", EVERY, Quality, "quality", Quality.is_on),
        Node("safety", "image", EVERY, Safety, "safety privacy", Safety.is_on),
        Node("hashes", "image", POOL, Hashes, "hash", needs=(hash_basis,)),
        Node("copy_descriptors", "image", COMPARED, Embed, "copy_descriptors", needs=(whitening,), embeds=True),
        Node("bias", "part", COMPARED, Bias, "dedup.normalise", Bias.is_on, needs=(FitBackground.at,)),
        Node("copy_knn", "part", COMPARED, copy_knn, "dedup references"),
        Node("local_features", "part", POOL, LocalFeatures, "dedup", is_verified, keep=True),
        Node("verify_copies", "part", COMPARED, VerifyCopies, "dedup references", is_verified, keep=True),
        Node("groups", "global", POOL, Groups, "dedup hash.radius references", is_checked),
        Node("verify_kept", "part", POOL, VerifyKept, "dedup references", is_checked, keep=True),
        Node("dedup", "global", POOL, Dedup, "dedup hash.radius references"),
        Node("embeddings", "image", EMBEDDED, embeddings, "embed", needs=(whitening,), embeds=True),
        Node("exclude", "part", POOL, Exclude, "exclude", Exclude.is_on),
        Node("embedding_knn", "part", POOL, embedding_knn, "semantic_dedup retrieval", is_semantic),
        Node("semantic_dedup", "global", POOL, SemanticDedup, "semantic_dedup", is_semantic),
        Node("clusters", "part", CHOSEN_BY, Clusters, "clusters", needs=(FitCentroids.at,)),
        Node("hierarchy", "part", POOL, Hierarchy, "hierarchy clusters", Hierarchy.is_on, needs=(FitHierarchy.at,)),
        Node("seed_knn", "part", SEED, seed_knn, "seeds retrieval", is_sampled),
        Node("selection", "rows", SHARDS, Selection, "seeds selection"),
        Node("export", "part", SHARDS, Export, "export", withdraw=withdraw_manifest, finish=finish_manifest),
    )
)

DECONTAMINATE = Pipeline(
    (
        *CURATE.until("dedup"),
        Node("reference_knn", "global", ("reference",), ReferenceKnn),
    )
)
"""What `lvd decontaminate` and `lvd dedup` do before they write anything: the dataset is the pool."""
