"""The pipeline, declared once: what `lvd curate` does, in this order.

Each line is a stage: what it is given, on which row sets it works, when it is on, and what must be fitted for it first.
What comes before what, what is out of date, what `--until` can name, the funnel, the checks of `lvd verify`, progress,
and the table of steps in the docs all follow from this list. A new stage is a file and a line.
"""

from curation.engine.graph import Node, Pipeline, RowSet
from curation.engine.locations import changed_tar
from curation.stages.concepts.clusters import Clusters, FitCentroids
from curation.stages.concepts.embed import Embed, whitening
from curation.stages.concepts.embedding_knn import embedding_knn, is_semantic
from curation.stages.concepts.exclude import Exclude
from curation.stages.concepts.hierarchy import FitHierarchy, Hierarchy
from curation.stages.concepts.semantic_dedup import SemanticDedup
from curation.stages.dedup.copy_knn import copy_knn
from curation.stages.dedup.dedup import Dedup
from curation.stages.dedup.hashes import Hashes, hash_basis
from curation.stages.dedup.local_features import LocalFeatures, is_verified
from curation.stages.dedup.reference_knn import ReferenceKnn
from curation.stages.dedup.verify_copies import VerifyCopies
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

CURATE = Pipeline(
    (
        Node("extract_urls", "part", ("urls",), ExtractUrls.at),
        Node("dedup_urls", "global", ("urls",), DedupUrls.at),
        Node("list", "rows", EVERY, List.at),
        Node("fetch", "part", EVERY, Fetch.at),
        Node("decode", "image", EVERY, Decode.at),
        Node("quality", "image", EVERY, Quality.at, when=Quality.is_on, side=Quality.decoded_for, check=Quality.check),
        Node(
            "safety",
            "image",
            EVERY,
            Safety.at,
            when=Safety.is_on,
            side=Safety.decoded_for,
            check=Safety.check,
            leaves=changed_tar,
        ),
        Node("hashes", "image", ("pool",), Hashes.at, needs=(hash_basis,), side=Hashes.decoded_for),
        Node("copy_descriptors", "image", COMPARED, Embed.at, needs=(whitening,), model="copy_descriptors"),
        Node("bias", "part", COMPARED, Bias.at, when=Bias.is_on, needs=(FitBackground.at,)),
        Node("copy_knn", "part", COMPARED, copy_knn),
        Node("local_features", "part", ("pool",), LocalFeatures.at, when=is_verified, keep=True),
        Node("verify_copies", "part", COMPARED, VerifyCopies.at, when=is_verified, keep=True),
        Node("dedup", "global", ("pool",), Dedup.at),
        Node("embeddings", "image", EMBEDDED, Embed.at, needs=(whitening,), model="embed"),
        Node("exclude", "part", ("pool",), Exclude.at, when=Exclude.is_on),
        Node("embedding_knn", "part", ("pool",), embedding_knn, when=is_semantic),
        Node("semantic_dedup", "global", ("pool",), SemanticDedup.at, when=is_semantic),
        Node("clusters", "part", ("pool", "seed"), Clusters.at, needs=(FitCentroids.at,)),
        Node("hierarchy", "part", ("pool",), Hierarchy.at, when=Hierarchy.is_on, needs=(FitHierarchy.at,)),
        Node("seed_knn", "part", ("seed",), seed_knn, when=is_sampled),
        Node("selection", "rows", ("shards",), Selection.at),
        Node("export", "part", ("shards",), Export.at, withdraw=withdraw_manifest, finish=finish_manifest),
    )
)

DECONTAMINATE = Pipeline(
    (
        *CURATE.until("dedup"),
        Node("reference_knn", "global", ("reference",), ReferenceKnn.at),
    )
)
"""What `lvd decontaminate` does before it writes anything: the dataset is the pool."""
