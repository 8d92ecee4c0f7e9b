"""Measures of balance, against plain definitions; and the page, with hostile names."""

import itertools
import re

import numpy as np
import pytest

from curation.report.balance import Balance, Coverage, Level, balance, occupancy_of
from curation.report.balance_page import balance_page
from curation.run.directory import Run
from tests.pages import HOSTILE, assert_harmless


def gini_by_definition(counts):
    """Mean difference of all pairs, over twice the mean."""
    pairs = [abs(one - other) for one, other in itertools.product(counts, counts)]
    return np.mean(pairs) / (2 * np.mean(counts))


@pytest.mark.parametrize("counts", [[5], [3, 3, 3, 3], [10, 0, 0, 0], [1, 2, 3, 4, 90], [7, 0, 1, 1, 0, 30, 2]])
def test_measures_are_those_of_their_definitions(counts):
    result = occupancy_of(np.array(counts))
    shares = [count / sum(counts) for count in counts if count]
    bits = -sum(share * np.log2(share) for share in shares)
    most = np.log2(len(counts))
    assert result.entropy == pytest.approx(bits / most if most else 1.0)
    assert result.gini == pytest.approx(gini_by_definition(counts))
    assert result.top_1 == result.top_10 == pytest.approx(max(counts) / sum(counts))
    assert (result.images, result.occupied) == (sum(counts), len(shares))


def test_the_largest_clusters_are_counted_as_a_share_of_all_of_them():
    counts = np.array([1] * 190 + [81] * 10)
    result = occupancy_of(counts)
    assert result.top_1 == pytest.approx(2 * 81 / 1000)
    assert result.top_10 == pytest.approx((10 * 81 + 10) / 1000)


def test_of_no_images_there_is_nothing_to_measure():
    result = occupancy_of(np.zeros(5, int))
    assert (result.images, result.entropy, result.gini, result.top_10) == (0, 0.0, 0.0, 0.0)


def test_a_run_is_counted_from_its_own_files(finished_run):
    report = balance(finished_run)
    assert [level.name for level in report.levels] == ["clusters"]
    (level,) = report.levels
    live = sum(
        finished_run.pool.footer("clusters", part).ledger.live_out for part in finished_run.pool.parts("clusters")
    )
    assert level.before.sum() == live
    rows = [
        row
        for part in finished_run.selection.parts("selection")
        for row in finished_run.selection.read("selection", part).to_pylist()
    ]
    picks = [row["cluster"] for row in rows if row["collection"] == "pool"]
    np.testing.assert_array_equal(level.after, np.bincount(picks, minlength=len(level.before)))
    (coverage,) = report.coverage
    seeds = [
        cluster
        for part in finished_run.seeds("seeds").parts("clusters")
        for cluster in finished_run.seeds("seeds").read("clusters", part)["cluster"].to_pylist()
    ]
    assert (coverage.seed_set, coverage.images, coverage.clusters) == ("seeds", len(seeds), len(set(seeds)))
    assert coverage.covered == len(set(seeds) & set(picks))
    assert coverage.share == coverage.covered / coverage.clusters


def test_a_page_shows_curves_measures_and_pictures_and_reads_no_name_as_markup(finished_run):
    (level,) = balance(finished_run).levels
    empty = Level(f"none {HOSTILE}", np.zeros(3, int), np.zeros(3, int))
    page = balance_page(finished_run, Balance([level, empty], [Coverage(HOSTILE, 5, 4, 1)]))
    assert_harmless(page, times=2)
    assert page.count("<svg") == 2
    assert page.count("<polyline") == 4
    assert "25.0%" in page
    assert 1 <= page.count("data:image/jpeg;base64,") <= 12 * 8
    assert "no longer stored" not in page
    words = re.sub(r"data:image/jpeg;base64,[^\"]+", "", page)  # any three letters may be in a picture
    for word in ('src="http', "href=", "javascript:", "nan", "inf,"):
        assert word not in words


def test_pictures_that_are_gone_leave_a_remark(finished):
    run = Run.load(str(finished))
    report = balance(run)
    for part in run.pool.parts("fetch"):
        table = run.pool.read("fetch", part)
        gone = table.set_column(table.column_names.index("tar"), "tar", [[f"/nowhere/{n}" for n in range(len(table))]])
        footer = run.pool.footer("fetch", part)
        run.pool.commit("fetch", footer.version, part, gone, digest=footer.digest, live_in=footer.ledger.live_in)
    page = balance_page(run, report)
    assert "(no longer stored)" in page
    assert "data:image" not in page
