"""Part files: ledgers balance, footers say what a file is, and damage is one line about one file."""

import re

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from curation.drops import Dropped, DropReason
from curation.engine.contract import Output, StageSpec, commit_output, expected_digest, is_current
from curation.errors import RunError
from curation.run.parts import Collection, Ledger, digest_of, mask_digest, random_for, verdict_columns
from curation.run.store import Store


@pytest.fixture
def collection(tmp_path):
    return Collection(Store(str(tmp_path)), "pool")


def part_table(live_in, drops, **columns):
    arrays = [*(pa.array(values) for values in columns.values()), *verdict_columns(np.array(live_in), drops)]
    return pa.Table.from_arrays(arrays, names=[*columns, "live", "drop_reason", "drop_detail"])


def test_a_footer_says_what_the_file_is(collection):
    drops = {1: Dropped(DropReason.CORRUPT, "bad\nbytes \x00 here")}
    table = part_table([True, True, False], drops, name=["a", "b", None])
    written = collection.commit("stage", 3, 7, table, digest="d", live_in=2, seconds=1.23456)
    footer = collection.footer("stage", 7)
    assert footer == written
    assert (footer.stage, footer.version, footer.part, footer.rows, footer.digest) == ("stage", 3, 7, 3, "d")
    ledger = footer.ledger
    assert (ledger.live_in, ledger.live_out, ledger.drops, ledger.seconds) == (2, 1, {"corrupt": 1}, 1.235)
    assert footer.live == mask_digest([True, False, False])
    assert collection.parts("stage") == [7]
    assert collection.file("stage", 7) == "pool/stage/part-00007.parquet"
    assert collection.read("stage", 7, ["drop_detail"])["drop_detail"].to_pylist() == [None, "bad bytes here", None]
    assert collection.live("stage", 7).tolist() == [True, False, False]


def test_columns_come_in_the_order_asked_for(collection):
    collection.commit("s", 1, 0, part_table([True], {}, a=[1], b=[2]), digest="d", live_in=1)
    assert collection.read("s", 0, ["b", "a"]).to_pydict() == {"b": [2], "a": [1]}


def test_a_ledger_that_does_not_balance_is_never_written(collection):
    with pytest.raises(AssertionError, match="unbalanced ledger"):
        collection.commit("s", 1, 0, part_table([True, True], {}), digest="d", live_in=3)
    assert collection.footer("s", 0) is None


def test_a_reason_outside_of_the_vocabulary_is_never_written(collection):
    table = part_table([True], {0: Dropped(DropReason.COPY)})
    table = table.set_column(1, "drop_reason", pa.array(["because"]))
    with pytest.raises(AssertionError, match="a reason outside of DropReason"):
        collection.commit("s", 1, 0, table, digest="d", live_in=1)


def test_a_row_cannot_be_dropped_twice():
    with pytest.raises(AssertionError, match="row 1 was dropped twice"):
        verdict_columns(np.array([True, False]), {1: Dropped(DropReason.COPY)})


def test_details_are_cut_to_a_line_of_bounded_length():
    _, _, detail = verdict_columns(np.array([True]), {0: Dropped(DropReason.COPY, "x\u202e\r\n" * 500)})
    assert detail[0].as_py() == "x " * 150


def test_every_damaged_byte_is_noticed_or_harmless(collection, tmp_path):
    """A flipped byte in a page is an error about the file; elsewhere, too, nothing but that error may come."""
    names = [f"name {number}" for number in range(50)]
    collection.commit("s", 1, 0, part_table([True] * 50, {}, name=names), digest="d", live_in=50)
    path = tmp_path / collection.file("s", 0)
    whole = path.read_bytes()
    good = collection.read("s", 0, ["name", "live"])
    columns = [pq.ParquetFile(path).metadata.row_group(0).column(at) for at in range(4)]
    pages_end = max((c.dictionary_page_offset or c.data_page_offset) + c.total_compressed_size for c in columns)
    for at in range(0, len(whole), 3):
        damaged = bytearray(whole)
        damaged[at] ^= 0x41
        path.write_bytes(damaged)
        complaint = ""
        try:
            collection.footer("s", 0)
            same = collection.read("s", 0, ["name", "live"]).equals(good)
        except RunError as error:
            complaint = str(error)
        assert complaint or same or at >= pages_end, f"byte {at}"
        assert not complaint or re.fullmatch(
            re.escape(str(path)) + r": is damaged \(.*\); delete this file .*", complaint
        )


@pytest.mark.parametrize("keep", [0, 3, 100, -8, -1])
def test_a_truncated_file_is_one_error_that_names_it(collection, tmp_path, keep):
    collection.commit("s", 1, 0, part_table([True], {}, a=[1]), digest="d", live_in=1)
    path = tmp_path / collection.file("s", 0)
    path.write_bytes(path.read_bytes()[:keep])
    for look in (lambda: collection.footer("s", 0), lambda: collection.read("s", 0)):
        with pytest.raises(RunError, match=r"part-00000.parquet: is damaged \("):
            look()


def test_a_parquet_file_without_our_footer_is_damaged(collection, tmp_path):
    path = tmp_path / collection.file("s", 0)
    path.parent.mkdir(parents=True)
    for metadata in (None, {b"lvd": b"{"}, {b"lvd": b"[]"}, {b"lvd": b'{"ledger": {}}'}, {b"lvd": b"\xff"}):
        pq.write_table(pa.table({"a": [1]}).replace_schema_metadata(metadata), path)
        with pytest.raises(RunError, match="is damaged"):
            collection.footer("s", 0)


def test_a_missing_file_is_none_as_a_footer_and_an_error_to_read(collection):
    assert collection.footer("s", 0) is None
    with pytest.raises(RunError, match=r"pool/s/part-00000.parquet: is missing; run `lvd curate` again to make it"):
        collection.read("s", 0)


def test_parts_are_numbered_and_other_files_are_not_parts(collection, tmp_path):
    folder = tmp_path / "pool" / "s"
    folder.mkdir(parents=True)
    for name in ("part-00010.parquet", "part-00002.parquet", "part-123456.parquet", "part-1.parquet", "x.parquet"):
        (folder / name).write_bytes(b"")
    (folder / ".tmp-part-00003.parquet-x").write_bytes(b"")
    assert collection.parts("s") == [2, 10, 123456]
    assert collection.parts("t") == []


def test_ledgers_add_up():
    total = Ledger(3, 2, {"copy": 1}, 1.0, 10) + Ledger(5, 2, {"copy": 1, "corrupt": 2}, 2.0, 5)
    assert total == Ledger(8, 4, {"copy": 2, "corrupt": 2}, 3.0, 15)


def test_digests_do_not_depend_on_the_order_of_keys_but_on_everything_else():
    assert digest_of({"a": 1, "b": [2, 3]}) == digest_of({"b": [2, 3], "a": 1})
    different = [{"a": 1}, {"a": 2}, {"a": "1"}, {"a": [1]}, {"b": 1}, {}, None, {"a": None}, {"a": 1.5}]
    assert len({digest_of(value) for value in different}) == len(different)


def test_live_digests_tell_masks_apart_also_by_length():
    masks = [[], [True], [False], [True, False], [False] * 8, [False] * 9]
    assert len({mask_digest(mask) for mask in masks}) == len(masks)


def test_randomness_comes_from_seed_and_place_alone():
    draws = [random_for(*place).integers(1 << 62) for place in ((0, "a"), (0, "a"), (1, "a"), (0, "b"), (0, "a", 1))]
    assert draws[0] == draws[1]
    assert len(set(draws)) == 4


ONE = StageSpec("one", 1, None, {}, pa.schema([("a", pa.int64())]), {})


def two(**changes):
    fields = {"name": "two", "version": 1, "after": "one", "reads": {"one": ["a"]}, "settings": {"x": 1}}
    return StageSpec(**({"adds": pa.schema([])} | fields | changes))


def make_first(collection, live_in=(True, True, True), drops=None, digest="first"):
    live = np.array(live_in)
    output = Output({"a": pa.array(range(int(live.sum())))}, drops or {})
    commit_output(ONE, collection, 0, live, output, digest=digest)


def test_a_digest_changes_with_settings_version_input_and_live_rows_and_with_nothing_else(collection):
    assert expected_digest(two(), collection, 0) is None
    make_first(collection)
    first = expected_digest(two(), collection, 0)
    assert expected_digest(two(), collection, 0) == first
    changes = [{"name": "other"}, {"version": 2}, {"settings": {"x": 2}}, {"settings": {}}, {"reads": {}}]
    digests = [expected_digest(two(**change), collection, 0) for change in changes]
    make_first(collection, digest="other input")
    digests.append(expected_digest(two(), collection, 0))
    make_first(collection, drops={0: Dropped(DropReason.COPY)})
    digests.append(expected_digest(two(), collection, 0))
    assert len({first, *digests}) == 1 + len(digests)
    make_first(collection)
    assert expected_digest(two(), collection, 0) == first


def test_a_stage_is_current_only_while_its_own_file_carries_the_digest(collection):
    make_first(collection)
    assert not is_current(two(), collection, 0)
    commit_output(two(), collection, 0, np.array([True, True, True]), Output({}))
    assert is_current(two(), collection, 0)
    assert not is_current(two(settings={"x": 2}), collection, 0)


def test_answers_for_live_rows_are_spread_over_all_rows(collection):
    make_first(collection, live_in=(False, True, False, True, True), drops={1: Dropped(DropReason.COPY, "of x")})
    table = collection.read("one", 0)
    assert table["a"].to_pylist() == [None, 0, None, 1, 2]
    assert table["live"].to_pylist() == [False, True, False, False, True]
    assert table["drop_reason"].to_pylist() == [None, None, None, "copy", None]


@pytest.mark.parametrize(
    ("column", "message"),
    [(pa.array([1, 2]), "one.a: 2 values for 3 rows"), (pa.array([1.0, 2, 3]), "one.a: type double, not int64")],
)
def test_an_answer_of_the_wrong_shape_is_never_written(collection, column, message):
    with pytest.raises(AssertionError, match=message):
        commit_output(ONE, collection, 0, np.ones(3, dtype=bool), Output({"a": column}), digest="d")
    assert collection.parts("one") == []
