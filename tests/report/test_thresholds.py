"""Scores of a run as they are stored, and what each threshold would drop."""

import numpy as np
import pyarrow as pa
import pytest

from curation.config import parse_config
from curation.engine.contract import Output, StageSpec, commit_output
from curation.errors import RunError, UserError
from curation.report.thresholds import FILTERS, Scores, read_scores, scores_text
from curation.report.thresholds_page import scores_histogram
from curation.run.directory import Run
from curation.run.parts import Collection

NSFW = [[{"label": "A", "score": 0.1}, {"label": "B", "score": 0.9}], None, [{"label": "A", "score": 0.6}]]
FACES = [
    [
        {"score": 0.2, "verdict": "low score"},
        {"score": 0.8, "verdict": "face"},
        {"score": 0.9, "verdict": "animal or food"},
    ],
    [],
    None,
]
VETO = [None, None, None]
SHARPNESS = [5.0, None, 300.0]


@pytest.fixture
def run(tmp_path):
    config = parse_config(
        {
            "pool": ["p"],
            "seeds": [{"name": "s", "data": "d"}],
            "safety": {"nsfw_thresholds": {"A": 0.5}, "face_threshold": 0.5},
        }
    )
    run = Run(str(tmp_path / "run"), config)
    score = pa.list_(pa.struct([("label", pa.string()), ("score", pa.float32())]))
    face = pa.list_(pa.struct([("score", pa.float32()), ("verdict", pa.string())]))
    tables = {
        "safety": {
            "nsfw": pa.array(NSFW, score),
            "nsfw_veto": pa.array(VETO, pa.string()),
            "faces": pa.array(FACES, face),
        },
        "quality": {"sharpness": pa.array(SHARPNESS, pa.float32())},
    }
    for part in range(2):
        for stage, columns in tables.items():
            schema = pa.schema([(name, array.type) for name, array in columns.items()])
            spec = StageSpec(stage, 1, None, {}, schema, {})
            commit_output(spec, run.pool, part, np.ones(3, bool), Output(columns), digest="d")
    return run


def test_each_class_has_its_scores_and_its_threshold(run):
    first, second = read_scores(run, "nsfw")
    assert (first.name, first.limit, first.above) == ("nsfw A", 0.5, True)
    np.testing.assert_allclose(first.values, [0.1, 0.6, 0.1, 0.6])
    assert (second.name, second.limit) == ("nsfw B", None)
    assert first.dropped(0.5) == 2
    assert first.dropped(0.05) == 4


def test_a_score_that_was_vetoed_counts_as_none(run, monkeypatch):
    read = Collection.read

    def vetoed(self, stage, part, columns=None):
        table = read(self, stage, part, columns)
        said = pa.array([None, None, "A 0.600 vetoed"])
        return table.set_column(1, "nsfw_veto", said) if columns == ["nsfw", "nsfw_veto"] else table

    monkeypatch.setattr(Collection, "read", vetoed)
    first, second = read_scores(run, "nsfw")
    np.testing.assert_allclose(first.values, [0.1, 0.0, 0.1, 0.0])
    np.testing.assert_allclose(second.values, [0.9, 0.9])


def test_an_images_face_score_is_that_of_its_best_box(run):
    (scores,) = read_scores(run, "faces")
    np.testing.assert_allclose(scores.values, [0.8, 0.0, 0.8, 0.0])
    assert scores.dropped(0.5) == 2


def test_quality_drops_below_its_threshold(run):
    (scores,) = read_scores(run, "sharpness")
    assert scores.values.tolist() == [5.0, 300.0, 5.0, 300.0]
    assert not scores.above
    assert scores.dropped(10.0) == 2
    assert scores.dropped(5.0) == 0


def test_the_text_shows_all_images_and_marks_the_threshold(run):
    text = scores_text(read_scores(run, "nsfw")[0])
    lines = text.splitlines()
    assert lines[0] == "nsfw A: 4 images"
    assert sum(int(line.split()[3]) for line in lines[1:21]) == 4
    assert "        0.5             2   50.00%  <- as set" in lines


def test_scores_that_are_all_equal_are_drawn_too():
    scores = Scores("sharpness", np.full(5, 7.0), np.zeros((5, 2), int), 10.0, above=False)
    assert "5" in scores_text(scores)
    drawn = scores_histogram(scores)
    assert [count for _, count, _ in drawn.bars] == [0] * 10 + [5] + [0] * 9
    assert (drawn.ticks[0][1], drawn.ticks[-1][1]) == ("6.5", "7.5")
    assert drawn.limit == (1.0, "threshold 10 drops 5")  # at the edge: it is above all scores


def test_a_histogram_has_a_bar_for_each_step_and_says_where_the_threshold_is(run):
    first, second = map(scores_histogram, read_scores(run, "nsfw"))
    assert [bar for bar in first.bars if bar[1]] == [("0.1 to 0.15", 2, 1.0), ("0.6 to 0.65", 2, 1.0)]
    assert len(first.bars) == 20
    assert first.limit == (0.5, "threshold 0.5 drops 2")
    assert second.limit is None
    assert first.decades == [(1, pytest.approx(np.log(2) / np.log(3)))]


def test_an_unknown_filter_names_the_known_ones(run):
    with pytest.raises(UserError, match=f"no such filter; the filters are {', '.join(FILTERS)}"):
        read_scores(run, "blur")


@pytest.mark.parametrize(("filter", "collection"), [("nsfw", "seeds/s"), ("score", "pool"), ("entropy", "pool")])
def test_scores_that_a_run_has_not_are_one_line(run, filter, collection):
    with pytest.raises(RunError) as caught:
        read_scores(run, filter, collection)
    assert "\n" not in str(caught.value)
