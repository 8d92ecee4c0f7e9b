"""Trying again what failed for a passing reason."""

from pathlib import Path

import pytest

import curation.crawl.fetch
from curation.crawl.fetch import Fetched
from curation.drops import Dropped, DropReason
from curation.report.verify import verify
from curation.run.directory import Run
from pipelines.curate import curate

URLS = [f"http://photos.test/{number}.jpg" for number in range(30)]


class Internet:
    """What each URL answers, and which URLs were asked for."""

    def __init__(self, bodies: dict[str, bytes]) -> None:
        self.bodies = bodies
        self.failing: dict[str, DropReason] = {}
        self.asked: list[str] = []

    def fetch_all(self, urls, settings, memory):
        self.asked = list(urls)
        for at, url in enumerate(urls):
            if url in self.failing:
                yield at, Dropped(self.failing[url], "as told")
            else:
                yield at, Fetched(self.bodies[url], url, 200, 0.0)


@pytest.fixture
def internet(monkeypatch, photo, encoded) -> Internet:
    internet = Internet({url: encoded(photo(number)) for number, url in enumerate(URLS)})
    monkeypatch.setattr(curation.crawl.fetch, "fetch_all", internet.fetch_all)
    return internet


@pytest.fixture
def pool(tmp_path: Path) -> str:
    path = tmp_path / "urls.txt"
    path.write_text("\n".join(URLS))
    return str(path)


def reasons(run: Run) -> dict[str, str | None]:
    tables = [run.pool.read("fetch", part, ["url", "drop_reason"]) for part in run.pool.parts("fetch")]
    return {row["url"]: row["drop_reason"] for table in tables for row in table.to_pylist()}


def test_only_what_failed_for_a_passing_reason_is_asked_for_again(internet, pool, configure, tmp_path):
    internet.failing = {URLS[3]: DropReason.TIMEOUT, URLS[4]: DropReason.HTTP_CLIENT_ERROR}
    config = configure(pool=[pool], parts={"rows": 100})
    run = curate(config, str(tmp_path / "run"), until="fetch")
    assert len(internet.asked) == 30
    internet.failing = {URLS[4]: DropReason.HTTP_CLIENT_ERROR}
    curate(config, str(tmp_path / "run"), until="fetch", retry_failed=True)
    assert internet.asked == [URLS[3]]
    assert {url: why for url, why in reasons(run).items() if why} == {URLS[4]: "http_client_error"}


@pytest.mark.slow
def test_what_fails_again_keeps_its_newest_reason_and_can_be_tried_once_more(internet, pool, configure, tmp_path):
    internet.failing = {URLS[3]: DropReason.TIMEOUT}
    config = configure(pool=[pool], parts={"rows": 100})
    run = curate(config, str(tmp_path / "run"), until="fetch")
    internet.failing = {URLS[3]: DropReason.HTTP_SERVER_ERROR}
    curate(config, str(tmp_path / "run"), until="fetch", retry_failed=True)
    assert reasons(run)[URLS[3]] == "http_server_error"
    internet.failing = {}
    curate(config, str(tmp_path / "run"), until="fetch", retry_failed=True)
    assert reasons(run)[URLS[3]] is None


@pytest.mark.slow
def test_parts_without_such_failures_are_not_touched_and_the_run_ends_as_an_undisturbed_one(
    internet, pool, configure, tmp_path, snapshot, shards_of
):
    config = configure(pool=[pool], parts={"rows": 10})
    curate(config, str(tmp_path / "smooth"))
    internet.failing = {URLS[3]: DropReason.CONNECTION_FAILED}
    run = curate(config, str(tmp_path / "rough"))
    (failed,) = [part for part in run.pool.parts("fetch") if run.pool.footer("fetch", part).ledger.drops]
    before = snapshot(tmp_path / "rough" / "pool" / "fetch")
    internet.failing = {}
    curate(config, str(tmp_path / "rough"), retry_failed=True)
    after = snapshot(tmp_path / "rough" / "pool" / "fetch")
    assert {name for name in after if after[name] != before[name]} == {f"part-{failed:05d}.parquet"}
    assert list(verify(run)) == []
    assert shards_of(tmp_path / "smooth") == shards_of(tmp_path / "rough")
