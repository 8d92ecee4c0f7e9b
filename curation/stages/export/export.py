"""Writes the shards: each part of the selection becomes one tar."""

import hashlib
import json
from typing import Any

import pyarrow as pa

from curation.config import ExportConfig, ImageConfig
from curation.drops import Dropped
from curation.engine.contract import Output, Place, StageSpec
from curation.engine.graph import Site
from curation.errors import RunError
from curation.formats.shards import TarWriter, shard_name
from curation.imaging.decode import read_image
from curation.imaging.upright import upright_jpeg
from curation.run.store import Store
from curation.stages.select.selection import SELECTION

__all__ = ["EXPORT_SCHEMA", "Export"]

EXPORT_SCHEMA = pa.schema(
    [("key", pa.string()), ("shard", pa.string()), ("shard_bytes", pa.int64()), ("shard_sha256", pa.string())]
)
Row = dict[str, Any]


class Export:
    """The stage `export`: `shards/shard-NNNNNN.tar` for each part of the selection, and their manifest.

    Members are `<key>.jpg` and `<key>.json`. JPEG bytes are written as they came, but for those with an orientation
    tag, which are turned upright; other formats are encoded as JPEG.
    Missing texts are empty strings and missing numbers -1, since readers take types from the first samples they see.
    """

    def __init__(self, settings: ExportConfig, limits: ImageConfig) -> None:
        self._quality = settings.quality
        self._limits = limits
        self.spec = StageSpec(
            name="export",
            version=3,
            after="selection",
            reads={"selection": SELECTION.adds.names},
            adds=EXPORT_SCHEMA,
            settings={"quality": settings.quality},
        )

    @classmethod
    def at(cls, site: Site) -> "Export":
        return cls(site.config.export, site.config.image)

    def setup(self) -> None:
        pass

    def is_written(self, place: Place) -> bool:
        return place.collection.store.exists(f"shards/{shard_name(place.part)}")

    def remove_files(self, place: Place) -> None:
        place.collection.store.remove(f"shards/{shard_name(place.part)}")

    def process(self, rows: pa.Table, place: Place) -> Output:
        """Raises RunError where an image has changed since it was listed."""
        samples = rows.to_pylist()
        keys = [f"{place.part:06d}{at:06d}" for at in range(len(samples))]
        shard, store = shard_name(place.part), place.collection.store
        with store.writing(f"shards/{shard}") as file:
            writer = TarWriter(file)
            for key, row in zip(keys, samples, strict=True):
                writer.add(f"{key}.jpg", self._jpeg(store, row))
                writer.add(f"{key}.json", json.dumps(_description(row), ensure_ascii=False).encode())
            writer.close()
        columns = {
            "key": pa.array(keys),
            "shard": pa.array([shard] * len(samples), pa.string()),
            "shard_bytes": pa.array([writer.size] * len(samples), pa.int64()),
            "shard_sha256": pa.array([writer.sha256] * len(samples), pa.string()),
        }
        return Output(columns)

    def _jpeg(self, store: Store, row: Row) -> bytes:
        data = read_image(store, row["collection"], row["tar"], row["offset"], row["length"])
        if hashlib.sha256(data).digest() != row["sha256"]:
            raise RunError(
                f"{row['tar']}: the image {row['id'].hex()} has changed since it was listed; bring the file back, "
                "or make a new run"
            )
        jpeg = upright_jpeg(data, self._limits, self._quality)
        assert not isinstance(jpeg, Dropped), f"{row['id'].hex()} decoded before: {jpeg}"
        return jpeg


def _description(row: Row) -> dict[str, Any]:
    """The sample's JSON: where it comes from, what chose it, and what its bytes as stored in the run hash to."""
    texts = {name: row[name] or "" for name in ("url", "page_url", "alt", "label", "path")}
    return {
        "id": row["id"].hex(),
        **texts,
        "source": row["collection"],
        "how": row["how"],
        "seed_set": row["seed_set"],
        "seed_id": row["seed_id"].hex() if row["seed_id"] else "",
        "similarity": round(row["similarity"], 6),
        "rank": row["rank"],
        "picks": row["picks"],
        "cluster": row["cluster"],
        "cluster_path": "/".join(map(str, row["cluster_path"] or [])),
        "width": row["width"],
        "height": row["height"],
        "sha256": row["sha256"].hex(),
    }
