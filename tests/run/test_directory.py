"""A run directory of another layout is refused in one line, and stays as it is."""

import pytest

OTHER = "is a run of layout {}, which this lvd does not read (its own is 2); use the version that made it, or"


@pytest.mark.parametrize(("first", "layout"), [("", 1), ("# A run of lvd, layout 3\n", 3), ("# of my own\n", 1)])
@pytest.mark.parametrize("command", ["curate", "funnel", "why", "verify"])
def test_a_run_of_another_layout_is_refused_in_one_line_and_untouched(
    lvd, finished, dataset, snapshot, command, first, layout
):
    config = finished / "config.yaml"
    assert config.read_text().startswith("# A run of lvd, layout 2\n")
    config.write_text(first + config.read_text().partition("\n")[2])
    before = snapshot(finished)
    arguments = {
        "curate": ("--pool", dataset.pool, "--seed", dataset.seeds, "--out", finished),
        "why": (finished, "c0/000.jpg"),
    }.get(command, (finished,))
    answer = lvd(command, *arguments)
    assert answer.code == 2
    assert answer.err == f"lvd: {finished}: {OTHER.format(layout)} choose another --out\n"
    assert snapshot(finished) == before


def test_the_config_of_a_run_is_a_config_file(lvd, finished, tmp_path):
    answer = lvd("curate", finished / "config.yaml", "--out", tmp_path / "again", "--until", "fetch")
    assert answer.code == 0
    assert (tmp_path / "again" / "config.yaml").read_text() == (finished / "config.yaml").read_text()
