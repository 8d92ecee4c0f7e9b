"""Copies within a dataset: followed to the image that is kept, and removed only where nothing else goes with them."""

import numpy as np
import pyarrow as pa
import pytest

from curation.decontaminate.copies import followed, with_removable
from curation.decontaminate.rows import ROWS

COPY, HASH, LEAK = "copy", "hash_duplicate", "reference_leak"


def key(name):
    return name.encode().ljust(16, b".")


def table(*rows):
    """Rows of (name of the bytes, reason, what stands for it, path), in one tar; without paths each is a sample."""
    listed = []
    for at, (name, reason, instead, *path) in enumerate(rows):
        row = dict.fromkeys(ROWS.names)
        row |= {"tar": "a.tar", "path": path[0] if path else f"{at}.jpg", "offset": at * 1024, "id": key(name)}
        row |= {"pool_part": 0, "pool_row": at, "reason": reason}
        if reason:
            row |= {"representative": key(instead), "similarity": np.float32(0.5 + at / 64), "link": "verified"}
            row |= {"inliers": at, "agreement": 0.75, "mirrored": False, "transform": [1, 0, 0, 0, 1, 0]}
            row |= {"reference": "test" if reason == LEAK else None}
        listed.append(row)
    return pa.Table.from_pylist(listed, schema=ROWS)


def settled(*rows, others=()):
    mask = np.isin(np.arange(len(rows)), others)
    return with_removable(followed(table(*rows)), mask, in_samples=True)


def test_a_copy_names_the_image_that_is_kept_and_has_the_evidence_of_that_link():
    (row,) = followed(table(("a", None, None), ("b", COPY, "a"))).to_pylist()[1:]
    assert (row["kept"], row["representative"], row["link"], row["inliers"]) == (0, key("a"), "verified", 1)


def test_a_copy_of_a_copy_leads_to_what_is_kept_by_a_chain_without_evidence():
    rows = followed(table(("a", None, None), ("b", COPY, "a"), ("c", HASH, "b"))).to_pylist()
    assert (rows[2]["kept"], rows[2]["representative"], rows[2]["link"]) == (0, key("a"), "chain")
    assert [rows[2][name] for name in ("similarity", "inliers", "agreement", "mirrored", "transform")] == [None] * 5


def test_equal_bytes_have_the_evidence_of_the_copy_that_was_compared():
    rows = followed(table(("b", HASH, "b"), ("a", None, None), ("b", COPY, "a"))).to_pylist()
    assert [row["kept"] for row in rows] == [1, None, 1]
    assert (rows[0]["similarity"], rows[0]["inliers"]) == (rows[2]["similarity"], 2)


def test_of_equal_bytes_the_one_that_is_kept_stands_for_the_other_wherever_it_is():
    first = followed(table(("a", None, None), ("a", HASH, "a"))).to_pylist()
    second = followed(table(("a", HASH, "a"), ("a", None, None))).to_pylist()
    assert [row["kept"] for row in first] == [None, 0]
    assert [row["kept"] for row in second] == [1, None]


def test_a_copy_of_an_image_that_leaks_leaks_too():
    rows = followed(table(("a", LEAK, "r"), ("b", HASH, "a"), ("a", HASH, "a"))).to_pylist()
    assert [row["reason"] for row in rows] == [LEAK] * 3
    assert {row["representative"] for row in rows} == {key("r")}
    assert {row["reference"] for row in rows} == {"test"}
    assert [row["link"] for row in rows] == ["verified", "chain", "verified"]
    assert [row["kept"] for row in rows] == [None] * 3


def test_an_image_that_has_the_bytes_of_its_reference_leaks():
    rows = followed(table(("r", LEAK, "r"), ("r", HASH, "r"))).to_pylist()
    assert [(row["reason"], row["reference"]) for row in rows] == [(LEAK, "test")] * 2


@pytest.mark.parametrize("instead", ["b", "nothing"])
def test_a_copy_that_nothing_is_kept_for_is_a_broken_invariant(instead):
    with pytest.raises(AssertionError, match=r"is dropped"):
        followed(table(("a", COPY, instead), ("b", COPY, "a")))


def test_a_sample_goes_only_where_all_of_its_images_are_copies():
    rows = settled(
        ("a", None, None),
        ("b", None, None),
        ("c", COPY, "a", "x.left.jpg"),
        ("d", COPY, "b", "x.right.jpg"),
        ("e", COPY, "a", "y.left.jpg"),
        ("f", None, None, "y.right.jpg"),
    ).to_pylist()
    assert [row["removable"] for row in rows] == [False, False, True, True, False, False]
    assert [row["stays"] for row in rows] == [*[None] * 4, "its WebDataset sample holds what is no copy", None]
    assert [(row["kept_part"], row["kept_row"]) for row in rows[2:5]] == [(0, 0), (0, 1), (0, 0)]


def test_two_samples_that_keep_one_image_for_each_other_both_stay():
    rows = settled(
        ("a", None, None, "x.left.jpg"),
        ("b", COPY, "c", "x.right.jpg"),
        ("c", None, None, "y.left.jpg"),
        ("d", COPY, "a", "y.right.jpg"),
    )
    assert not any(rows["removable"].to_pylist())


def test_copies_stay_where_the_image_that_stands_for_them_goes_with_its_sample():
    images = [("a", None, None, "x.left.jpg"), ("l", LEAK, "r", "x.right.jpg"), ("b", COPY, "a"), ("c", COPY, "a")]
    rows = settled(*images, others=[1]).to_pylist()
    assert [row["removable"] for row in rows] == [False] * 4
    assert {row["stays"] for row in rows[2:]} == {"the image that stands for it is removed with its sample"}


def test_files_and_rows_that_are_no_samples_go_alone():
    rows = table(("a", None, None, "x.a.jpg"), ("b", COPY, "a", "x.b.jpg"))
    none = np.zeros(2, dtype=bool)
    assert with_removable(followed(rows), none, in_samples=False)["removable"].to_pylist() == [False, True]
    assert with_removable(followed(rows), none, in_samples=True)["removable"].to_pylist() == [False, False]


def test_a_dataset_without_images_has_nothing_to_remove():
    assert len(settled()) == 0
