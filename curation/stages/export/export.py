"""Writes the shards: each part of the selection becomes one tar."""

import hashlib
import json
import time
from typing import Any

import numpy as np
import pyarrow as pa

from curation.config import ExportConfig, ImageConfig
from curation.drops import Dropped
from curation.engine.contract import Output, StageSpec, commit_output, is_current
from curation.errors import RunError
from curation.formats.shards import TarWriter, shard_name
from curation.imaging.decode import read_image
from curation.imaging.upright import upright_jpeg
from curation.run.parts import Collection

__all__ = ["EXPORT_SCHEMA", "ExportWork"]

EXPORT_SCHEMA = pa.schema(
    [("key", pa.string()), ("shard", pa.string()), ("shard_bytes", pa.int64()), ("shard_sha256", pa.string())]
)
Row = dict[str, Any]


class ExportWork:
    """The stage `export`: `shards/shard-NNNNNN.tar` for part NNNNN of the selection.

    Members are `<key>.jpg` and `<key>.json`. JPEG bytes are written as they came, but for those with an orientation
    tag, which are turned upright; other formats are encoded as JPEG.
    Missing texts are empty strings and missing numbers -1, since readers take types from the first samples they see.
    """

    def __init__(self, collection: Collection, settings: ExportConfig, limits: ImageConfig) -> None:
        self.collection = collection
        self.stages = ["export"]
        self._quality = settings.quality
        self._limits = limits
        self._spec = StageSpec(
            name=self.stages[0],
            version=3,
            after="selection",
            reads={"selection": []},
            schema=EXPORT_SCHEMA,
            settings={"quality": settings.quality},
        )

    def setup(self) -> None:
        pass

    def is_current(self, part: int) -> bool:
        current = is_current(self._spec, self.collection, part)
        return current and self.collection.store.exists(f"shards/{shard_name(part)}")

    def run(self, part: int) -> None:
        started = time.monotonic()
        rows = self.collection.read("selection", part).to_pylist()
        keys = [f"{part:06d}{at:06d}" for at in range(len(rows))]
        shard = shard_name(part)
        self.collection.remove(self._spec.name, part)  # the old file would vouch for a shard that is about to change
        with self.collection.store.writing(f"shards/{shard}") as file:
            writer = TarWriter(file)
            for key, row in zip(keys, rows, strict=True):
                writer.add(f"{key}.jpg", self._jpeg(row))
                writer.add(f"{key}.json", json.dumps(_description(row), ensure_ascii=False).encode())
            writer.close()
        columns = {
            "key": pa.array(keys),
            "shard": pa.array([shard] * len(rows), pa.string()),
            "shard_bytes": pa.array([writer.size] * len(rows), pa.int64()),
            "shard_sha256": pa.array([writer.sha256] * len(rows), pa.string()),
        }
        live = np.ones(len(rows), dtype=bool)
        seconds = time.monotonic() - started
        commit_output(self._spec, self.collection, part, live, Output(columns), seconds=seconds)

    def _jpeg(self, row: Row) -> bytes:
        data = read_image(self.collection.store, row["collection"], row["tar"], row["offset"], row["length"])
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
