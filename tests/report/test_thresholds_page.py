"""The page of images around a threshold."""

import base64
import dataclasses
import io
import re

import numpy as np
import pytest
from PIL import Image

from curation.report.thresholds import read_scores
from curation.report.thresholds_page import BLURRED_SIDE, thresholds_page
from pipelines.curate import curate
from tests.pages import HOSTILE, assert_harmless

QUALITY = {"on": ["pool"], "min_side": None, "min_entropy": 7.0, "max_uniform": None, "min_sharpness": None}


@pytest.fixture(scope="module")
def run(configure, tmp_path_factory):
    return curate(configure(quality=QUALITY), str(tmp_path_factory.mktemp("thresholds") / "run"), until="quality")


def pictures(page: str) -> list[Image.Image]:
    result = re.findall(r'data:image/jpeg;base64,([^"]+)', page)
    return [Image.open(io.BytesIO(base64.b64decode(text))) for text in result]


def test_it_shows_the_nearest_images_on_both_sides_of_the_threshold(run):
    scores = read_scores(run, "entropy")
    page = thresholds_page(run, scores, "entropy", blur=False)
    (item,) = scores
    assert f"narrowly dropped: {item.dropped(7.0)} images" in page
    assert f"narrowly kept: {len(item.values) - item.dropped(7.0)} images" in page
    assert len(pictures(page)) == min(12, item.dropped(7.0)) + min(12, len(item.values) - item.dropped(7.0))
    part, row = item.places[np.argmin(np.abs(item.values - 7.0))].tolist()
    assert run.pool.read("fetch", part, ["id"])["id"][row].as_py().hex() in page


def test_blurred_thumbnails_hold_no_more_than_a_few_cells(run):
    page = thresholds_page(run, read_scores(run, "entropy"), "entropy", blur=True)
    for picture in pictures(page):
        cells = picture.resize((BLURRED_SIDE, BLURRED_SIDE), Image.Resampling.BOX)
        smooth = cells.resize(picture.size, Image.Resampling.BILINEAR)
        assert np.abs(np.asarray(picture, float) - np.asarray(smooth, float)).mean() < 8


def test_a_name_from_outside_is_escaped(run):
    scores = [dataclasses.replace(item, name=HOSTILE) for item in read_scores(run, "entropy")]
    assert_harmless(thresholds_page(run, scores, HOSTILE, blur=True), times=5)  # title, h1, histogram, table, h2


def test_the_command_prints_the_histogram_and_where_the_page_is(run, lvd):
    answer = lvd("thresholds", run.store.root, "--filter", "entropy")
    assert answer.code == 0
    assert "<- as set" in answer.out
    assert answer.out.rstrip().endswith("report/thresholds-entropy.html")
    page = run.store.read_bytes("report/thresholds-entropy.html").decode()
    assert page == thresholds_page(run, read_scores(run, "entropy"), "entropy", blur=False)
    refused = lvd("thresholds", run.store.root, "--filter", "nonsense")
    assert refused.code == 2
    assert refused.err.startswith("lvd: --filter nonsense: no such filter; the filters are nsfw, faces")
