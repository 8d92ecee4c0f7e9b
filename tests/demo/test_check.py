"""The self-check: each target is reached exactly when it should be."""

import pytest

from pipelines.demo.check import Outcome, check
from pipelines.demo.truth import Kind, Planted

TRUTH = [
    *(Planted(f"clean-{n}", Kind.CLEAN, "cat", None) for n in range(150)),
    Planted("texture", Kind.TEXTURE, None, None),
    *(Planted(f"exact-{n}", Kind.EXACT_COPY if n else Kind.CLEAN, "dog", "exact") for n in range(3)),
    *(Planted(f"near-{n}", Kind.CROPPED_COPY if n else Kind.CLEAN, "dog", "near") for n in range(21)),
    *(Planted(f"trimmed-{n}", Kind.TRIMMED_COPY if n else Kind.CLEAN, "dog", "trimmed") for n in range(2)),
    *(Planted(f"alike-{n}", kind, "dog", None) for n, kind in enumerate(Kind) if kind.is_hard_negative),
    Planted("two-frames-0", Kind.SAME_FRAME, "dog", "frames"),
    Planted("two-frames-1", Kind.FRAMED_COPY, "dog", "frames"),
    Planted("leak", Kind.RESIZED_LEAK, "cat", "reference.jpg"),
    Planted("small", Kind.TOO_SMALL, None, None),
]
GOOD = {
    **{item.url: (None, None) for item in TRUTH},
    **{f"exact-{n}": ("dedup", "hash_duplicate") for n in (0, 2)},
    **{f"near-{n}": ("dedup", "copy") for n in range(20)},
    "two-frames-1": ("dedup", "copy"),
    "leak": ("dedup", "reference_leak"),
    "small": ("decode", "too_small"),
}
TARGETS = (
    "URLs accounted for",
    "exact copies caught",
    "near copies caught",
    "reference leaks removed",
    "hard negatives kept",
    "clean images kept",
    "retrieved images of the right concept",
)


def findings(changes=None, extra=(), selected=("clean-0",), labels=None):
    outcomes = [
        Outcome(url, stage, reason, "sample" if url in selected else None, (labels or {}).get(url, "cat"))
        for url, (stage, reason) in {**GOOD, **(changes or {})}.items()
        if stage != "missing"
    ]
    return {row.what: row for row in check([*outcomes, *extra], TRUTH, ["cat"])}


def missed(*args, **kwargs):
    return [row.what for row in findings(*args, **kwargs).values() if not row.passed]


def test_a_run_without_a_fault_reaches_every_target():
    rows = findings()
    assert missed() == []
    assert [row.what for row in rows.values() if row.target] == list(TARGETS)
    assert {what: (row.planted, row.right) for what, row in rows.items()} == {
        "clean": (150, 150),
        "texture": (1, 1),
        "exact_copy": (2, 2),
        "same_background": (1, 1),
        "same_frame": (1, 1),
        "same_veil": (1, 1),
        "cropped_copy": (20, 20),
        "trimmed_copy": (1, 0),
        "framed_copy": (1, 1),
        "resized_leak": (1, 1),
        "too_small": (1, 1),
        "URLs accounted for": (len(TRUTH), len(TRUTH)),
        "exact copies caught": (2, 2),
        "near copies caught": (21, 21),
        "reference leaks removed": (1, 1),
        "hard negatives kept": (3, 3),
        "clean images kept": (158, 158),
        "retrieved images of the right concept": (1, 1),
    }
    assert rows["exact_copy"].reasons == {"hash_duplicate": 1}
    assert rows["too_small"].reasons == {"too_small": 1}


def test_any_one_of_a_group_may_be_the_one_kept():
    assert missed({"exact-0": (None, None), "exact-1": ("dedup", "copy")}) == []


def test_one_exact_copy_that_is_left_is_too_many():
    assert missed({"exact-2": (None, None)}) == ["exact copies caught"]
    assert findings({"exact-2": (None, None)})["exact copies caught"].examples == ("exact-0",)


@pytest.mark.parametrize(("left", "expected"), [(1, []), (2, ["near copies caught"])])
def test_one_near_copy_in_twenty_may_be_left(left, expected):
    assert missed({f"near-{n}": (None, None) for n in range(left)}) == expected


def test_a_group_of_which_nothing_is_kept_is_a_clean_image_lost():
    rows = findings({"exact-1": ("dedup", "copy")})
    assert rows["exact copies caught"].right == 2
    assert rows["clean images kept"].right == 157
    assert rows["clean images kept"].examples == ("exact-0",)


@pytest.mark.parametrize(("lost", "expected"), [(1, []), (2, ["clean images kept"])])
def test_one_clean_image_in_a_hundred_may_be_dropped(lost, expected):
    assert missed({f"clean-{n + 9}": ("dedup", "copy") for n in range(lost)}) == expected


def test_one_hard_negative_that_is_dropped_is_too_many():
    for url in (item.url for item in TRUTH if item.url.startswith("alike")):
        assert missed({url: ("dedup", "copy")}) == ["hard negatives kept"]


def test_of_a_picture_in_two_frames_either_may_be_kept():
    assert missed({"two-frames-0": ("dedup", "copy"), "two-frames-1": (None, None)}) == []
    assert findings({"two-frames-1": (None, None)})["near copies caught"].right == 20


def test_a_leak_must_go_and_for_the_right_reason():
    assert missed({"leak": (None, None)}) == ["reference leaks removed"]
    assert missed({"leak": ("fetch", "timeout")}) == ["reference leaks removed"]
    assert missed({"leak": ("dedup", "hash_duplicate")}) == []


def test_a_failure_dropped_for_the_wrong_reason_is_shown():
    row = findings({"small": ("decode", "corrupt")})["too_small"]
    assert (row.right, row.examples, row.reasons) == (0, ("small",), {"corrupt": 1})


def test_every_url_comes_out_once_and_no_other_does():
    assert missed({"texture": ("missing", None)}) == ["URLs accounted for"]
    assert missed(extra=[Outcome("clean-3")]) == ["URLs accounted for"]
    unknown = findings(extra=[Outcome("never/comment.jpg")])["URLs accounted for"]
    assert (unknown.passed, unknown.examples) == (False, ("never/comment.jpg",))


def test_purity_is_by_the_seeds_label_or_else_by_the_seeded_concepts():
    selected = [f"clean-{n}" for n in range(9)]
    what = "retrieved images of the right concept"
    assert findings(selected=[*selected, "texture"])[what].share == 0.9
    assert missed(selected=[*selected, "texture"]) == []
    assert missed(selected=[*selected, "texture", "near-20"]) == [what]
    assert missed(selected=["near-20"], labels={"near-20": "dog"}) == []
    assert missed(selected=["near-20"], labels={"near-20": None}) == [what]
    assert missed(selected=["clean-1"], labels={"clean-1": None}) == []


def test_nothing_retrieved_at_all_is_no_success():
    assert missed(selected=[]) == ["retrieved images of the right concept"]
