"""The log of a run: its stages, warnings and failures, whichever process they come from."""

import io
import logging
import re
import warnings

import fsspec
import pytest

from curation.config import RunnerConfig
from curation.engine.runner import Task, open_runner
from curation.errors import PartsFailed, RunError
from curation.run.log import LOG, logged, logged_stage
from curation.run.parts import Collection
from curation.run.store import Store
from pipelines.curate import curate


def progress(name):
    with logged_stage(name, 3):
        pass


def lines(root):
    """The log without its times."""
    return [re.sub(r"^[\d-]+ [\d:,]+ ", "", line) for line in (root / LOG).read_text().splitlines()]


def test_a_run_has_a_line_per_stage_with_its_seconds_and_running_it_again_adds_none(configure, tmp_path):
    curate(configure(), str(tmp_path), until="decode")
    first = lines(tmp_path)
    stages = [line for line in first if line.startswith("INFO curation.stages: ")]
    assert any("fetch: " in line and re.search(r"\d rows, \d+\.\d s", line) for line in stages)
    curate(configure(), str(tmp_path), until="decode")
    assert lines(tmp_path) == first


class Work:
    """Warns of each part, and cannot do the second."""

    stages = ("stage",)

    def __init__(self, store: Store) -> None:
        self.collection = Collection(store, "pool")

    def setup(self) -> None:
        pass

    def run(self, part: int) -> None:
        logging.getLogger("a.library").warning("part %d is odd", part)
        if part == 1:
            raise ValueError("no good")


@pytest.mark.parametrize("kind", ["inline", pytest.param("processes", marks=pytest.mark.slow)])
def test_the_log_has_what_workers_warn_of_and_the_traceback_of_each_attempt_that_failed(tmp_path, kind):
    store = Store(str(tmp_path))
    with pytest.raises(PartsFailed), logged(store), open_runner(RunnerConfig(kind=kind, workers=1)) as runner:
        list(runner.run_tasks([Task(Work(store), part) for part in (0, 1)]))
    log = lines(tmp_path)
    assert log.count("WARNING a.library: part 0 is odd") == 1
    assert log.count("WARNING a.library: part 1 is odd") == 2
    assert log.count("WARNING curation.engine.runner.worker: pool/stage/part-00001.parquet: ValueError: no good") == 2
    assert log.count("Traceback (most recent call last):") == 2
    assert log[-1].startswith("ERROR curation.run.log: pool/stage/part-00001.parquet: ValueError: no good;")


def test_verbose_shows_on_the_terminal_what_the_log_has_but_for_the_stages(lvd, dataset, tmp_path, monkeypatch):
    def fails(*_: object) -> None:
        raise ValueError("no good")

    monkeypatch.setattr("curation.stages.ingest.fetch.Fetch.setup", fails)
    asked = ("curate", "--pool", dataset.pool, "--seed", dataset.seeds, "--set", "runner.kind=inline")
    asked += ("--set", "safety.nsfw=off", "--set", "safety.faces=keep", "--out")
    quiet = lvd(*asked, tmp_path / "quiet")
    loud = lvd(*asked, tmp_path / "loud", "--verbose")
    assert quiet.code == loud.code == 1
    assert "Traceback" not in quiet.err
    assert "Traceback" in (tmp_path / "quiet" / LOG).read_text()
    assert "Traceback" in loud.err
    assert loud.err.count("fetch ") == quiet.err.count("fetch ")


def test_warnings_are_kept_in_the_log_and_not_shown(tmp_path, capsys):
    store = Store(str(tmp_path))
    with logged(store), warnings.catch_warnings():
        warnings.simplefilter("default")
        logging.captureWarnings(True)
        warnings.warn("this will change", FutureWarning, stacklevel=1)
        progress("decode")
    text = (tmp_path / LOG).read_text()
    assert "FutureWarning: this will change" in text
    assert text.index("this will change") < text.index("decode")
    assert capsys.readouterr().err == ""


def test_a_directory_that_is_refused_gets_no_log(tmp_path):
    with pytest.raises(RunError), logged(Store(str(tmp_path))):
        raise RunError("another's")
    assert not (tmp_path / LOG).exists()


def test_an_error_that_nobody_foresaw_leaves_its_traceback(tmp_path):
    def fails() -> None:
        with logged(Store(str(tmp_path))):
            progress("decode")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fails()
    assert "ZeroDivisionError" in (tmp_path / LOG).read_text()
    assert "Traceback" in (tmp_path / LOG).read_text()


def test_on_an_object_store_the_log_is_written_when_the_command_ends_behind_what_was_there():
    store = Store("memory://log-test")
    for number in (1, 2):
        with logged(store):
            progress(f"decode {number}")
    text = fsspec.filesystem("memory").cat_file("/log-test/log.txt").decode()
    assert re.findall(r"decode \d", text) == ["decode 1", "decode 2"]
    assert io.StringIO(text).readline().endswith(" s\n")
