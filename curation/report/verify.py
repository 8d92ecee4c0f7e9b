"""Checks a run from its files alone: ledgers, digests, the order of stages, shards and checksums."""

import contextlib
import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO, Any

import numpy as np

from curation.engine.locations import CHANGED_BY, PLACE
from curation.errors import RunError
from curation.formats.shards import read_manifest, sources_of, tar_members
from curation.imaging.decode import read_image
from curation.report.funnel import funnel, row_sets
from curation.run.directory import Run
from curation.run.parts import Collection, Footer, mask_digest
from curation.stages.ingest.originals import originals_left
from curation.stages.select.selection import read_composition

__all__ = ["Breach", "verify"]


@dataclass(frozen=True, slots=True)
class Breach:
    """Something that does not hold: where, and what."""

    where: str
    what: str


def verify(run: Run) -> Iterator[Breach]:
    """Yield every breach; nothing for a run that is sound. RunError if the manifest cannot be read."""
    for collection, stages in row_sets(run):
        present = [stage for stage in stages if collection.parts(stage)]
        for before, stage in zip([None, *present], present, strict=False):
            for part in set(collection.parts(before or stage)) - set(collection.parts(stage)):
                yield Breach(collection.store.url(collection.file(stage, part)), "is missing; run `lvd curate` again")
            for part in collection.parts(stage):
                yield from _check_part(collection, before, stage, part)
        if collection.parts(CHANGED_BY):
            yield from _check_changed_images(collection)
        if run.config.privacy.delete_originals and collection.path in run.collections():
            yield from _check_originals(collection, stages)
    yield from _check_shards(run)


def _check_changed_images(collection: Collection) -> Iterator[Breach]:
    """Blurred images are where the safety stage says, with the bytes that it wrote."""
    for part in collection.parts(CHANGED_BY):
        table = collection.read(CHANGED_BY, part, [*PLACE, "sha256"])
        for row in table.filter(table["tar"].is_valid()).to_pylist():
            where = collection.store.url(f"{collection.path}/{row['tar']}")
            try:
                data = read_image(collection.store, collection.path, row["tar"], row["offset"], row["length"])
            except RunError as error:
                yield Breach(where, str(error))
                break
            if hashlib.sha256(data).digest() != row["sha256"]:
                yield Breach(where, f"the image at {row['offset']} is not what was written; delete {CHANGED_BY} files")


def _check_originals(collection: Collection, stages: tuple[str, ...]) -> Iterator[Breach]:
    for part in collection.parts("fetch"):
        for tar, ranges in originals_left(collection, stages, part).items():
            yield Breach(
                collection.store.url(f"{collection.path}/{tar}"),
                f"still holds originals of {len(ranges)} dropped or blurred images; run `lvd curate` again",
            )


def _check_part(collection: Collection, before: str | None, stage: str, part: int) -> Iterator[Breach]:
    where = collection.store.url(collection.file(stage, part))
    try:
        footer = collection.footer(stage, part)
        table = collection.read(stage, part)
    except RunError as error:
        yield Breach(where, str(error))
        return
    assert footer is not None
    live = table["live"].to_numpy(zero_copy_only=False)
    dropped = table["drop_reason"].is_valid().to_numpy()
    if table.num_rows != footer.rows or (footer.stage, footer.part) != (stage, part):
        yield Breach(
            where, f"holds {table.num_rows} rows of {footer.stage} part {footer.part}; its footer says otherwise"
        )
    if mask_digest(live) != footer.live:
        yield Breach(where, "its live rows are not those of its footer")
    if (live & dropped).any():
        yield Breach(where, "has rows that are both live and dropped")
    ledger = footer.ledger
    if ledger.live_in != ledger.live_out + sum(ledger.drops.values()):
        yield Breach(where, f"its ledger does not balance: {ledger}")
    if (int(live.sum()), int(dropped.sum())) != (ledger.live_out, sum(ledger.drops.values())):
        yield Breach(where, "its rows do not add up to its ledger")
    if before is not None:
        yield from _check_order(collection, before, part, footer, live | dropped, where)


def _check_order(
    collection: Collection, before: str, part: int, footer: Footer, came_in: Any, where: str
) -> Iterator[Breach]:
    try:
        earlier = collection.footer(before, part)
        live = collection.live(before, part) if earlier else came_in
    except RunError:
        return  # a breach of its own
    if earlier is None:
        yield Breach(where, f"has no {before} before it")
    elif earlier.rows != footer.rows:
        yield Breach(where, f"has {footer.rows} rows, but {before} has {earlier.rows}: they are not aligned")
    elif not np.array_equal(live, came_in):
        yield Breach(where, f"did not take the rows that {before} let through; run `lvd curate` again")


def _check_shards(run: Run) -> Iterator[Breach]:
    manifest = read_manifest(run.store)
    if manifest is None:
        yield Breach(
            run.store.url("shards/manifest.json"), "is missing: the run is not finished; run `lvd curate` again"
        )
        return
    if manifest["samples"] != sum(shard["samples"] for shard in manifest["shards"]):
        yield Breach(run.store.url("shards/manifest.json"), "its number of samples is not the sum over its shards")
    with contextlib.suppress(RunError):  # a damaged file is a breach of its own
        reported = {
            "funnel": [row.to_dict() for row in funnel(run)],
            "composition": [row.to_dict() for row in read_composition(run)],
            "config": run.config.recipe(),
        }
        for name, value in reported.items():
            if manifest.get(name) != json.loads(json.dumps(value)):
                where = run.store.url("shards/manifest.json")
                yield Breach(where, f"its {name} is not the run's; run `lvd curate` again")
    yield from _check_sources(run, manifest)
    listed = [shard["name"] for shard in manifest["shards"]]
    if present := sorted({name for name in run.store.names("shards") if name.endswith(".tar")} ^ set(listed)):
        yield Breach(run.store.url(f"shards/{present[0]}"), "is in the folder or in the manifest, but not in both")
    for shard in manifest["shards"]:
        yield from _check_shard(run, shard)


def _check_sources(run: Run, manifest: dict[str, Any]) -> Iterator[Breach]:
    """With weights each shard names its source, and sources add up to all samples; without there is nothing of it."""
    where, weights = run.store.url("shards/manifest.json"), run.config.selection.weights
    for shard in manifest["shards"]:
        if (shard.get("source") not in list(weights)) if weights else ("source" in shard):
            yield Breach(where, f"{shard['name']} is of no source that selection.weights names; run `lvd curate` again")
            return
    if manifest.get("sources") != (None if weights is None else sources_of(manifest["shards"], weights)):
        yield Breach(where, "its sources are not what its shards and selection.weights add up to")


def _check_shard(run: Run, shard: dict[str, Any]) -> Iterator[Breach]:
    name = f"shards/{shard['name']}"
    where = run.store.url(name)
    if not run.store.exists(name):
        yield Breach(where, "is missing; run `lvd curate` again to remake it")
        return
    with run.store.open(name) as file:
        checksum = hashlib.file_digest(file, "sha256").hexdigest()  # type: ignore[arg-type]
    if checksum != shard["sha256"] or run.store.size(name) != shard["bytes"]:
        yield Breach(where, "its bytes are not those of the manifest; delete it and run `lvd curate` again")
        return
    with run.store.open(name) as file:
        members = list(tar_members(file))
        if run.config.selection.weights is not None:
            yield from _check_samples_source(run, shard, members, file)
    names = [member for member, _, _ in members]
    pairs = [(f"{key}.jpg", f"{key}.json") for key in sorted({member.partition(".")[0] for member in names})]
    if len(pairs) != shard["samples"] or sorted(names) != sorted(member for pair in pairs for member in pair):
        yield Breach(where, f"does not hold {shard['samples']} samples of one .jpg and one .json each")


def _check_samples_source(
    run: Run, shard: dict[str, Any], members: list[tuple[str, int, int]], file: IO[bytes]
) -> Iterator[Breach]:
    """All samples of a shard were chosen by its source, as their own JSON tells."""
    where = run.store.url(f"shards/{shard['name']}")
    for name, offset, length in members:
        if not name.endswith(".json"):
            continue
        file.seek(offset)
        try:
            result = run.config.selection.source_of(json.loads(file.read(length))["seed_set"])
        except (ValueError, TypeError, KeyError):
            yield Breach(where, f"{name} does not tell which seed set chose the sample")
            return
        if result != shard.get("source"):
            yield Breach(where, f"{name} is of the source {result}, but the manifest says {shard.get('source')}")
            return
