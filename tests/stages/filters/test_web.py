"""Filters are on by default for what comes from the web, and for nothing that somebody has."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from curation.config import parse_config
from curation.pipeline import CURATE
from curation.stages.filters.web import is_from_web, with_roles


@pytest.fixture
def data(tmp_path):
    (tmp_path / "photos").mkdir()
    Image.fromarray(np.zeros((80, 80, 3), np.uint8)).save(tmp_path / "photos" / "a.png")
    (tmp_path / "urls.txt").write_text("http://photos.example/a.jpg\n")
    (tmp_path / "crawl.warc.gz").write_bytes(b"")
    (tmp_path / "shard.tar").write_bytes(b"")
    pq.write_table(pa.table({"url": ["http://photos.example/a.jpg"]}), tmp_path / "urls.parquet")
    pq.write_table(pa.table({"image": [b"x"]}), tmp_path / "images.parquet")
    return tmp_path


def config(data, *pool, **safety):
    return parse_config(
        {
            "pool": [str(data / name) for name in pool],
            "seeds": [{"name": "s", "data": str(data / "urls.txt")}],
            "references": [{"name": "r", "data": str(data / "urls.txt")}],
            "exclude": [{"name": "e", "data": str(data / "urls.txt")}],
            "safety": safety,
        }
    )


WHERE = ("pool", "seeds/s", "references/r", "excludes/e")


def on(settings):
    node = CURATE.node("safety")
    return [path for path in WHERE if node.is_on(settings, path)]


@pytest.mark.parametrize("name", ["urls.txt", "urls.parquet", "crawl.warc.gz"])
def test_urls_and_crawl_files_come_from_the_web(data, name):
    assert is_from_web([str(data / name)])
    assert on(config(data, name)) == ["pool"]


@pytest.mark.parametrize("name", ["photos", "images.parquet", "shard.tar"])
def test_images_that_somebody_has_are_left_alone(data, name):
    assert not is_from_web([str(data / name)])
    assert on(config(data, name)) == []


def test_a_pool_of_both_is_filtered(data):
    assert on(config(data, "photos", "urls.txt")) == ["pool"]


def test_what_is_set_holds_wherever_images_come_from(data):
    assert on(config(data, "photos", faces_on=["pool"])) == ["pool"]
    assert on(config(data, "urls.txt", nsfw="off", faces="keep")) == []
    assert on(config(data, "urls.txt", nsfw_on=[], faces_on=[])) == []
    assert on(config(data, "photos", nsfw_on=["seed"], faces_on=["web_pool", "reference"])) == [
        "seeds/s",
        "references/r",
    ]


def test_a_runs_config_names_collections_and_opens_no_dataset_again(data):
    resolved = with_roles(config(data, "urls.txt", faces_on=["seed", "web_pool"]))
    assert (resolved.safety.nsfw_on, resolved.safety.faces_on) == (["pool"], ["pool", "seed"])
    (data / "urls.txt").unlink()
    assert on(resolved) == ["pool", "seeds/s"]
    assert with_roles(config(data, "photos")).safety.nsfw_on == []
    assert with_roles(config(data, "urls.txt")).safety.nsfw_on == []  # it is gone, and reading a run goes on
