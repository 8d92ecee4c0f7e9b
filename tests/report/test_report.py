"""What a run says of itself: the funnel, the trail of one image, and a verification that misses no tampering."""

import json
import shutil

import pyarrow.parquet as pq
import pytest

from curation.report.funnel import funnel
from curation.report.verify import verify
from curation.report.why import why
from curation.run.directory import Run
from curation.run.parts import Collection


def breaches(root):
    return [f"{breach.where}: {breach.what}" for breach in verify(Run.load(str(root)))]


def test_the_funnel_is_a_row_for_each_stage_in_order_and_adds_up(finished_run):
    rows = funnel(finished_run)
    assert [row.collection for row in rows if row.stage == "list"] == ["pool", "seeds/seeds", "references/test"]
    assert [row.stage for row in rows if row.collection == "seeds/seeds"] == [
        *("list", "fetch", "decode", "embeddings", "clusters", "seed_knn")
    ]
    assert [row.stage for row in rows if row.collection == "references/test"] == [
        *("list", "fetch", "decode", "copy_descriptors", "copy_knn")
    ]
    assert [row.stage for row in rows if row.collection == "selection"] == ["selection", "export"]
    for row in rows:
        assert row.ledger.live_in == row.ledger.live_out + sum(row.ledger.drops.values())
    decode = next(row for row in rows if (row.collection, row.stage) == ("pool", "decode"))
    assert decode.ledger.drops == {"too_small": 1, "truncated": 1}
    assert decode.parts == 4


def test_why_finds_an_image_by_every_name_it_has(finished_run):
    row = finished_run.selection.read("selection", 0).to_pylist()[3]
    key = finished_run.selection.read("export", 0, ["key"])["key"].to_pylist()[3]
    for name in (row["path"], row["id"].hex(), row["sha256"].hex(), row["id"].hex().upper()):
        trails = why(finished_run, name)
        assert row["collection"] in [trail.collection for trail in trails], name
        assert "selection" in [trail.collection for trail in trails], name
    (trail,) = why(finished_run, key)
    assert (trail.collection, trail.part, trail.row) == ("selection", 0, 3)
    assert [event.stage for event in trail.events] == ["selection", "export"]
    assert trail.events[0].facts["id"] == row["id"].hex()
    assert trail.fate == "in play after export"


def test_why_ends_at_the_stage_that_dropped_the_image(finished_run, dataset):
    for name, reason in dataset.bad.items():
        (trail,) = why(finished_run, name)
        assert trail.events[-1].drop_reason == reason
        assert trail.fate.startswith(f"dropped by {trail.events[-1].stage}: {reason}")
    copy, original = next(iter(dataset.planted["leak"].items()))
    (leak,) = why(finished_run, copy)
    (reference,) = why(finished_run, original)
    assert leak.fate == f"dropped by dedup: reference_leak ({reference.events[1].facts['id']})"


def test_why_finds_nothing_under_a_name_that_is_not_there(finished_run):
    for key in ("no such thing", "", "ab", "00" * 16, "http://nowhere.example/a.jpg"):
        assert why(finished_run, key) == []


def flip(path, at=None):
    data = bytearray(path.read_bytes())
    data[len(data) // 2 if at is None else at] ^= 1
    path.write_bytes(data)


def with_footer(path, **changes):
    """Write a part file again with other fields in its footer."""
    table = pq.read_table(path)
    footer = json.loads(table.schema.metadata[b"lvd"])
    ledger = footer["ledger"] | changes.pop("ledger", {})
    pq.write_table(table.replace_schema_metadata({b"lvd": json.dumps(footer | {"ledger": ledger} | changes)}), path)


def edit_manifest(root, edit):
    path = root / "shards" / "manifest.json"
    manifest = json.loads(path.read_text())
    edit(manifest)
    path.write_text(json.dumps(manifest))


TAMPERING = {
    "a byte of a shard": (lambda r: flip(r / "shards/shard-000001.tar"), "its bytes are not those of the manifest"),
    "a shard that is gone": (lambda r: (r / "shards/shard-000000.tar").unlink(), "is missing; run `lvd curate` again"),
    "a shard too many": (
        lambda r: shutil.copy(r / "shards/shard-000000.tar", r / "shards/shard-000009.tar"),
        "shard-000009.tar: is in the folder or in the manifest, but not in both",
    ),
    "two shards swapped": (
        lambda r: swap(r / "shards/shard-000000.tar", r / "shards/shard-000001.tar"),
        "its bytes are not those of the manifest",
    ),
    "no manifest": (lambda r: (r / "shards/manifest.json").unlink(), "the run is not finished"),
    "a wrong total": (lambda r: edit_manifest(r, lambda m: m.update(samples=1)), "not the sum over its shards"),
    "a wrong count": (
        lambda r: edit_manifest(r, lambda m: (m["shards"][0].update(samples=21), m.update(samples=m["samples"] + 1))),
        "does not hold 21 samples",
    ),
    "a wrong checksum": (
        lambda r: edit_manifest(r, lambda m: m["shards"][0].update(sha256="0" * 64)),
        "its bytes are not those of the manifest",
    ),
    "a wrong funnel": (
        lambda r: edit_manifest(r, lambda m: m["funnel"][3].update(live_out=7)),
        "its funnel is not the run's",
    ),
    "a wrong composition": (
        lambda r: edit_manifest(r, lambda m: m["composition"][0].update(unique=7)),
        "its composition is not the run's",
    ),
    "a wrong config": (
        lambda r: edit_manifest(r, lambda m: m["config"]["dedup"].update(neighbours=7)),
        "its config is not the run's",
    ),
    "two parts swapped": (
        lambda r: swap(r / "pool/hashes/part-00000.parquet", r / "pool/hashes/part-00001.parquet"),
        "its footer says otherwise",
    ),
    "a part of another stage": (
        lambda r: shutil.copy(r / "pool/decode/part-00000.parquet", r / "pool/hashes/part-00000.parquet"),
        "its footer says otherwise",
    ),
    "a part that is gone": (lambda r: (r / "pool/hashes/part-00001.parquet").unlink(), "has no hashes before it"),
    "the last part of the last stage": (
        lambda r: (r / "pool/clusters/part-00001.parquet").unlink(),
        "pool/clusters/part-00001.parquet: is missing",
    ),
    "a stage that is gone": (lambda r: shutil.rmtree(r / "pool/dedup"), "did not take the rows that copy_knn let"),
    "an unbalanced ledger": (
        lambda r: with_footer(r / "pool/decode/part-00000.parquet", ledger={"live_in": 41}),
        "its ledger does not balance",
    ),
    "a ledger of other rows": (
        lambda r: with_footer(r / "pool/hashes/part-00000.parquet", ledger={"live_in": 3, "live_out": 3}),
        "its rows do not add up to its ledger",
    ),
    "a wrong number of rows": (
        lambda r: with_footer(r / "pool/hashes/part-00000.parquet", rows=39),
        "its footer says otherwise",
    ),
    "a wrong digest of live rows": (
        lambda r: with_footer(r / "pool/hashes/part-00000.parquet", live="0" * 64),
        "its live rows are not those of its footer",
    ),
    "a cut part": (
        lambda r: (r / "pool/fetch/part-00000.parquet").write_bytes(
            (r / "pool/fetch/part-00000.parquet").read_bytes()[:-100]
        ),
        "is damaged",
    ),
    "a byte of a page": (lambda r: flip_page(r / "pool/list/part-00000.parquet"), "is damaged"),
}


def flip_page(path):
    column = pq.ParquetFile(path).metadata.row_group(0).column(0)
    flip(path, column.data_page_offset + column.total_compressed_size // 2)


def swap(one, other):
    data = one.read_bytes()
    one.write_bytes(other.read_bytes())
    other.write_bytes(data)


@pytest.mark.parametrize("kind", TAMPERING)
def test_verify_finds(finished, kind):
    tamper, message = TAMPERING[kind]
    tamper(finished)
    result = breaches(finished)
    assert any(message in breach for breach in result), result


def test_verify_changes_nothing(finished, snapshot):
    before = snapshot(finished)
    assert breaches(finished) == []
    assert snapshot(finished) == before


def test_rows_that_are_live_and_dropped_are_a_breach(finished):
    path = finished / "pool/hashes/part-00000.parquet"
    table = pq.read_table(path)
    reasons = ["copy"] + [None] * (table.num_rows - 1)
    at = table.column_names.index("drop_reason")
    pq.write_table(table.set_column(at, table.schema.field("drop_reason"), [reasons]), path)
    assert any("has rows that are both live and dropped" in breach for breach in breaches(finished))


def test_collections_of_the_layout_are_what_the_config_names(finished_run):
    assert list(finished_run.collections()) == ["pool", "seeds/seeds", "references/test"]
    assert isinstance(finished_run.seeds("seeds"), Collection)
