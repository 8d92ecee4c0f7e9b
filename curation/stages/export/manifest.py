"""The manifest of the shards: written last of all, since it vouches for them."""

from typing import Any

from curation import __version__
from curation.engine.graph import Site
from curation.engine.ledgers import funnel
from curation.formats.shards import MANIFEST, read_manifest, sources_of, write_manifest
from curation.run.directory import Run
from curation.stages.select.selection import read_composition

__all__ = ["finish_manifest", "withdraw_manifest"]


def withdraw_manifest(site: Site) -> None:
    """Remove the manifest before shards change that it vouches for."""
    site.run.store.remove(MANIFEST)


def finish_manifest(site: Site) -> None:
    """Write the manifest, unless it says the same already."""
    run = site.run
    shards, weights = _shards(run), run.config.selection.weights
    manifest = {
        "code_version": __version__,
        "samples": sum(shard["samples"] for shard in shards),
        "shards": shards,
        **({} if weights is None else {"sources": sources_of(shards, weights)}),
        "composition": [row.to_dict() for row in read_composition(run)],
        "funnel": [row.to_dict() for row in funnel(run, site.job.pipeline)],
        "config": run.config.recipe(),
    }
    if read_manifest(run.store) != manifest:
        write_manifest(run.store, manifest)


def _shards(run: Run) -> list[dict[str, Any]]:
    export, chosen = run.selection, run.config.selection
    shards: list[dict[str, Any]] = []
    for part in export.parts("export"):
        table = export.read("export", part, ["shard", "shard_bytes", "shard_sha256"])
        row = table.slice(0, 1).to_pylist()[0]
        shard = {
            "name": row["shard"],
            "samples": table.num_rows,
            "bytes": row["shard_bytes"],
            "sha256": row["shard_sha256"],
        }
        if chosen.weights is not None:  # then each shard is of one source
            seed_set = export.read("selection", part, ["seed_set"])["seed_set"][0].as_py()
            shard["source"] = chosen.source_of(seed_set)
        shards.append(shard)
    return shards
