"""What is reported beneath a funnel: how good the search was, and chains of images that are little alike."""

import numpy as np
import pyarrow as pa
import pytest

from curation.config import parse_config
from curation.drops import Dropped, DropReason
from curation.engine.contract import Output, StageSpec, commit_output
from curation.report.notes import LARGE, Chains, Recall, find_chains, measured_recall, notes
from curation.run.directory import Run
from curation.stages.knn.knn import COPY_KNN

COLUMNS = pa.schema([("representative", pa.binary(16)), ("similarity", pa.float32()), ("link", pa.string())])


def new_run(root):
    config = {"pool": ["p"], "seeds": [], "references": [{"name": "test", "data": "r"}]}
    run = Run(str(root), parse_config({**config, "dedup": {"relative": {"threshold": 0.5}}}))
    run.begin()
    return run


def commit_dedup(run, part, rows):
    """Rows of (component, similarity, link, reason)."""
    spec = StageSpec("dedup", 1, None, {}, COLUMNS, {})
    columns = {field.name: pa.array([row[at] for row in rows], field.type) for at, field in enumerate(COLUMNS)}
    drops = {at: Dropped(row[3]) for at, row in enumerate(rows) if row[3] is not None}
    commit_output(spec, run.pool, part, np.ones(len(rows), bool), Output(columns, drops), digest="d")


def commit_recall(collection, part, values, version=COPY_KNN.version):
    spec = StageSpec("copy_knn", version, None, {}, pa.schema([("neighbour_recall", pa.float32())]), {})
    output = Output({"neighbour_recall": pa.array(values, pa.float32())})
    commit_output(spec, collection, part, np.ones(len(values), bool), output, digest="d")


def group(name, similarities, link, reason=DropReason.COPY):
    key = name.encode() * 16
    return [(key, 1.0, None, None), *((key, similarity, link, reason) for similarity in similarities)]


def test_a_run_without_an_index_or_chains_has_nothing_to_report(tmp_path):
    run = new_run(tmp_path / "run")
    assert notes(run) == []
    commit_recall(run.pool, 0, [None, None])
    commit_dedup(run, 0, group("a", [0.9] * 30, "chain"))
    assert notes(run) == []


def test_recall_is_the_mean_over_all_parts_and_reference_sets(tmp_path):
    run = new_run(tmp_path / "run")
    commit_recall(run.pool, 0, [1.0, None, 0.5])
    commit_recall(run.pool, 1, [0.75])
    commit_recall(run.references("test"), 0, [None, 0.75])
    assert measured_recall([run.pool], COPY_KNN) == Recall(3, 0.75)
    assert notes(run) == [
        "copy_knn: the index found 75.00% of the true neighbours of 4 images that were searched exactly as well"
    ]


def test_recall_that_another_version_has_measured_is_left_out(tmp_path):
    run = new_run(tmp_path / "run")
    commit_recall(run.pool, 0, [0.5], version=COPY_KNN.version + 1)
    assert measured_recall([run.pool], COPY_KNN) is None


@pytest.mark.parametrize(
    ("members", "link", "reason", "reported"),
    [
        (LARGE - 1, "chain", DropReason.COPY, True),
        (LARGE - 2, "chain", DropReason.COPY, False),
        (LARGE - 1, "verified", DropReason.COPY, False),
        (LARGE - 1, "chain", DropReason.REFERENCE_LEAK, False),
    ],
)
def test_an_alarm_needs_a_large_component_of_copies_that_is_chained(tmp_path, members, link, reason, reported):
    run = new_run(tmp_path / "run")
    commit_dedup(run, 0, group("a", [0.2] * members, link, reason))
    expected = Chains(components=1, largest=LARGE, images=LARGE - 1, least=pytest.approx(0.2))
    assert find_chains(run.pool, 0.5) == (expected if reported else None)


def test_components_are_counted_over_all_parts_and_only_what_is_unlike_is_reported(tmp_path, lvd):
    run = new_run(tmp_path / "run")
    wide, tight = group("a", [0.4, 0.6, *[0.8] * 6], "chain"), group("b", [0.7] * 40, "chain")
    commit_dedup(run, 0, [*wide[:5], *tight])
    commit_dedup(run, 1, [*wide[5:], *group("c", [0.1] * 3, "chain"), *wide[1:4]])
    assert find_chains(run.pool, 0.5) == Chains(1, 12, 2, pytest.approx(0.4))
    (line,) = notes(run)
    assert line == (
        "warning: dedup chained 2 image(s) to others they are little like (similarity below 0.5, the least 0.40) in "
        "1 component(s) of up to 12; look at `lvd thresholds RUN --filter dedup`, and set a higher threshold or "
        "dedup.min_similarity_to_kept"
    )
    answer = lvd("funnel", tmp_path / "run")
    assert answer.code == 0
    assert answer.out.rstrip().endswith(line)
    assert "warning" not in lvd("funnel", tmp_path / "run", "--json").out


def commit_safety(run, part, rows):
    """Rows of (reason, faces blurred, veto)."""
    schema = pa.schema([("blurred", pa.int32()), ("nsfw_veto", pa.string())])
    columns = {
        "blurred": pa.array([row[1] for row in rows], pa.int32()),
        "nsfw_veto": pa.array([row[2] for row in rows]),
    }
    columns["nsfw_veto"] = columns["nsfw_veto"].cast(pa.string())
    drops = {at: Dropped(row[0]) for at, row in enumerate(rows) if row[0] is not None}
    spec = StageSpec("safety", 2, None, {}, schema, {})
    commit_output(spec, run.pool, part, np.ones(len(rows), bool), Output(columns, drops), digest="d")
    names = [f"{part}-{at} a.jpg" for at in range(len(rows))]
    places = {
        "url": pa.nulls(len(rows), pa.string()),
        "path": pa.array(names),
        "id": pa.array([bytes(16)] * len(rows), pa.binary(16)),
    }
    spec = StageSpec("fetch", 1, None, {}, pa.schema([(name, column.type) for name, column in places.items()]), {})
    commit_output(spec, run.pool, part, np.ones(len(rows), bool), Output(places), digest="d")


def test_what_was_dropped_and_blurred_is_said_with_the_setting_and_an_image_to_ask_about(tmp_path):
    run = new_run(tmp_path / "run")
    commit_safety(run, 0, [(None, 0, None), (None, 2, None), (DropReason.NSFW, 0, None)])
    commit_safety(run, 1, [(None, 3, None), (None, 0, "A 0.5 vetoed"), (DropReason.FACE, 0, None)])
    ask = f"lvd why {run.store.root}"
    assert notes(run) == [
        f"pool: 2 image(s) had 5 face(s) blurred; `--set safety.faces=keep` leaves them, `{ask} '0-1 a.jpg'` says why",
        f"pool: 1 image(s) dropped for a face; `--set safety.faces=keep` keeps them, `{ask} '1-2 a.jpg'` says why",
        f"pool: 1 image(s) dropped as nsfw; `--set safety.nsfw=off` keeps them, `{ask} '0-2 a.jpg'` says why",
        f"pool: 1 image(s) kept that NudeNet alone would have dropped as nsfw, `{ask} '1-1 a.jpg'` says why",
    ]


def test_a_filter_that_found_nothing_is_no_note(tmp_path):
    run = new_run(tmp_path / "run")
    commit_safety(run, 0, [(None, 0, None)] * 3)
    assert notes(run) == []
