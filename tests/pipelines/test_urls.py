"""A URL that lvd cannot read or reach is one line at every door, and nothing is written."""

import sys

import pytest

LINES = {
    "s3://bucket/x": "s3:// needs a package that is missing (Install s3fs to access S3); run `pip install 'lvd[s3]'`",
    "gs://bucket/x": "gs:// needs a package that is missing (Please install gcsfs to access Google Storage); "
    "run `pip install 'lvd[gcs]'`",
    "ftp://127.0.0.1:9/x": "cannot be reached ([Errno 111] Connection refused); check the address, the network and the "
    "credentials",
    "nope://bucket/x": "nope:// is no protocol that is known; name a local path, or a URL such as s3://bucket/folder",
}
DOORS = {
    "curate --pool": "curate --pool URL --seed SEEDS --out OUT",
    "curate --seed": "curate --pool SEEDS --seed URL --out OUT",
    "curate --out": "curate --pool SEEDS --seed SEEDS --out URL",
    "decontaminate": "decontaminate URL --against SEEDS --out OUT",
    "decontaminate --against": "decontaminate SEEDS --against URL --out OUT",
    "decontaminate --out": "decontaminate SEEDS --against SEEDS --out URL",
    "funnel": "funnel URL",
    "pretrain": "pretrain demo --out OUT --set data.sources=[{path:_URL}]",
}


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("url", LINES)
def test_a_url_that_cannot_be_read_is_one_line(lvd, dataset, tmp_path, monkeypatch, url, door):
    for module in ("s3fs", "gcsfs"):
        monkeypatch.setitem(sys.modules, module, None)
    places = {"URL": url, "SEEDS": str(dataset.seeds), "OUT": str(tmp_path / "out")}
    arguments = DOORS[door]
    for name, place in places.items():
        arguments = arguments.replace(name, place)
    answer = lvd(*(argument.replace(":_", ": ") for argument in arguments.split()))
    assert (answer.code, answer.err) == (2, f"lvd: {url}: {LINES[url]}\n")
    assert not (tmp_path / "out").exists()


def test_a_hub_that_cannot_be_reached_is_one_line(lvd, dataset, tmp_path):
    hub = "hf://datasets/nobody/nothing"
    answer = lvd("curate", "--pool", dataset.seeds, "--seed", dataset.seeds, "--out", hub)
    assert answer.code == 2
    assert answer.err.startswith(f"lvd: {hub}: cannot be reached (")
    assert answer.err.endswith("; check the address, the network and the credentials\n")
    answer = lvd("curate", "--pool", hub, "--seed", dataset.seeds, "--out", tmp_path / "out")
    assert (answer.code, answer.err.count("\n")) == (2, 1)
    assert not (tmp_path / "out").exists()
