"""Pool images near an example of what is unwanted are dropped, with the example that did it; all others stay."""

import numpy as np
import pytest

from curation.config import ExcludeConfig
from curation.engine.contract import is_current
from curation.errors import RunError
from curation.stages.concepts.exclude import Exclude
from tests.engine.running import run_parts


def sets(**thresholds):
    return [ExcludeConfig(name=name, data="d", threshold=threshold) for name, threshold in thresholds.items()]


def done(pool, examples, settings):
    stage = Exclude(examples, settings)
    assert not any(is_current(stage.spec, pool, part) for part in pool.parts("embeddings"))
    run_parts(pool, stage)
    return [row for part in pool.parts("exclude") for row in pool.read("exclude", part).to_pylist()]


def vectors_and_ids(collection):
    result = []
    for part in collection.parts("embeddings"):
        ids = collection.read("fetch", part, ["id"])["id"].to_pylist()
        for key, fields in zip(ids, collection.read("embeddings", part).to_pylist(), strict=True):
            if fields["live"]:
                result.append((key, np.array(fields["vector"], np.float64)))
    return result


def test_verdicts_are_those_of_a_plain_comparison_with_every_example(embedded, clustered):
    live = [np.arange(80) % 5 != 2, np.zeros(6, bool), np.arange(40) % 9 != 0]
    pool = embedded("pool", [clustered(80, seed=1), clustered(6, seed=2), clustered(40, seed=3)], live)
    examples = [
        embedded("excludes/a", [clustered(4, seed=8), clustered(3, seed=9)], [[True, False, True, True], [True] * 3]),
        embedded("excludes/b", [clustered(5, seed=10)]),
    ]
    thresholds = {"a": 0.8, "b": 0.9}
    rows = done(pool, examples, sets(**thresholds))
    known = [(name, key, vector) for name, each in zip("ab", examples, strict=True) for key, vector in _of(each)]
    images = iter(_of(pool))
    dropped = 0
    for row, was_live in zip(rows, np.concatenate(live), strict=True):
        if not was_live:
            assert row == dict.fromkeys(row, None) | {"live": False}
            continue
        _, vector = next(images)
        scored = [(float(vector @ example), name, key) for name, key, example in known]
        near_enough = [item for item in scored if item[0] > thresholds[item[1]]]
        similarity, name, key = max(near_enough or scored, key=lambda item: item[0])
        assert (row["example_set"], row["example"]) == (name, key)
        assert row["example_similarity"] == pytest.approx(similarity, abs=1e-6)
        assert row["live"] == (not near_enough)
        dropped += not row["live"]
        if near_enough:
            assert row["drop_reason"] == "unwanted"
            assert row["drop_detail"] == f"{name} {key.hex()}, similarity {similarity:.3f}"
    assert 10 < dropped < 80


_of = vectors_and_ids


def test_the_example_named_is_one_that_was_near_enough_and_not_a_nearer_one_of_a_stricter_set(embedded):
    pool = embedded("pool", [[[1.0, 0.0]]])
    strict = embedded("excludes/strict", [[[0.96, 0.28]]])
    loose = embedded("excludes/loose", [[[0.8, 0.6]]])
    (row,) = done(pool, [strict, loose], sets(strict=0.99, loose=0.5))
    assert row["example_set"] == "loose"
    assert row["drop_detail"].endswith("similarity 0.800")
    (row,) = done(pool, [strict, loose], sets(strict=0.99, loose=0.9))
    assert (row["live"], row["example_set"]) == (True, "strict")


def test_a_similarity_that_equals_the_threshold_is_not_above_it(embedded):
    pool, twin = embedded("pool", [[[0.0, 1.0]]]), embedded("excludes/x", [[[0.0, 1.0]]])
    assert done(pool, [twin], sets(x=1.0))[0]["live"]
    assert not done(pool, [twin], sets(x=0.999))[0]["live"]


def test_a_part_is_redone_when_a_set_or_its_threshold_changes_and_only_then(embedded, clustered):
    pool = embedded("pool", [clustered(20)])
    one, two = embedded("excludes/one", [clustered(3, seed=5)]), embedded("excludes/two", [clustered(3, seed=6)])
    done(pool, [one], sets(one=0.9))
    assert is_current(Exclude([one], sets(one=0.9)).spec, pool, 0)
    assert not is_current(Exclude([one], sets(one=0.91)).spec, pool, 0)
    assert not is_current(Exclude([one, two], sets(one=0.9, two=0.9)).spec, pool, 0)
    again = embedded("excludes/one", [clustered(4, seed=7)])
    assert not is_current(Exclude([again], sets(one=0.9)).spec, pool, 0)


def test_examples_of_another_dimension_are_named(embedded, clustered):
    pool, examples = embedded("pool", [clustered(20)]), embedded("excludes/x", [clustered(3, dim=8)])
    message = r"pool/embeddings/part-00000\.parquet: vectors of 16 dimensions, those of excludes/x have 8; they are of"
    with pytest.raises(RunError, match=message):
        done(pool, [examples], sets(x=0.9))
    assert pool.parts("exclude") == []


@pytest.mark.parametrize("where", ["pool", "excludes"])
def test_vectors_that_are_not_finite_are_named(embedded, clustered, where):
    bad = clustered(20)
    bad[3, 1] = np.inf
    pool = embedded("pool", [bad if where == "pool" else clustered(20)])
    examples = embedded("excludes/x", [bad if where == "excludes" else clustered(20)])
    with pytest.raises(
        RunError, match=rf"{where}.*: 1 of 20 vectors hold NaN or infinity, the first at live image 3; "
    ):
        done(pool, [examples], sets(x=0.9))
    assert pool.parts("exclude") == []
