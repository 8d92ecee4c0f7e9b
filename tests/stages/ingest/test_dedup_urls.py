"""Of equal URLs the first stays, whatever parts they are in and however little memory there is."""

import random

import numpy as np
import pyarrow as pa
import pytest

from curation.drops import Dropped, DropReason
from curation.engine.contract import Output, commit_output
from curation.engine.work import GlobalWork
from curation.run.parts import Collection
from curation.run.store import Store
from curation.search.buckets import MEMORY, Buckets
from curation.stages.ingest.dedup_urls import DedupUrls
from curation.stages.ingest.extract_urls import EXTRACT_URLS, url_key


@pytest.fixture
def collection(tmp_path):
    return Collection(Store(str(tmp_path)), "pool/crawl")


def commit(collection, part, urls, refused=()):
    columns = {name: pa.nulls(len(urls), EXTRACT_URLS.adds.field(name).type) for name in EXTRACT_URLS.adds.names}
    columns["url"] = pa.array(urls, pa.string())
    columns["key"] = pa.array([url_key(url) for url in urls], pa.binary(16))
    drops = {at: Dropped(DropReason.BLOCKED_URL) for at in refused}
    digest = f"{part}: {urls} {refused}"
    commit_output(EXTRACT_URLS, collection, part, np.ones(len(urls), dtype=bool), Output(columns, drops), digest=digest)


def find_repeats(collection):
    work = GlobalWork(collection, DedupUrls(collection))
    work.run()
    assert work.is_current()


def kept(collection):
    """(part, row) of all live rows after the stage."""
    return [
        (part, row)
        for part in collection.parts("dedup_urls")
        for row in np.flatnonzero(collection.live("dedup_urls", part))
    ]


def first_of_each(urls_of_parts):
    seen = set()
    places = []
    for part, urls in urls_of_parts.items():
        for row, url in enumerate(urls):
            if url not in seen:
                places.append((part, row))
            seen.add(url)
    return places


@pytest.mark.parametrize("memory", [1, MEMORY])
@pytest.mark.parametrize("parts", [1, 3, 40])
def test_the_first_of_equal_urls_stays(collection, monkeypatch, parts, memory):
    monkeypatch.setattr(Buckets.__init__, "__defaults__", (memory,))
    rng = random.Random(parts)
    urls = {part: [f"http://h.test/{rng.randrange(1500)}" for _ in range(2000 // parts)] for part in range(parts)}
    for part, of_part in urls.items():
        commit(collection, part, of_part)
    find_repeats(collection)
    assert kept(collection) == first_of_each(urls)
    assert collection.parts("dedup_urls") == list(range(parts))


def test_a_url_that_is_refused_does_not_stand_for_a_later_one(collection):
    commit(collection, 0, ["http://a.test/", "http://a.test/"], refused=[0])
    commit(collection, 1, ["http://b.test/", "http://a.test/"])
    find_repeats(collection)
    assert kept(collection) == [(0, 1), (1, 0)]
    footer = collection.footer("dedup_urls", 1)
    assert footer.ledger.drops == {"duplicate_url": 1}


def test_a_part_without_any_url_is_done_too(collection):
    commit(collection, 0, [])
    commit(collection, 1, ["http://a.test/"])
    find_repeats(collection)
    assert kept(collection) == [(1, 0)]


def test_a_changed_part_is_looked_at_again_with_all_that_come_after_it(collection, tmp_path):
    for part in range(3):
        commit(collection, part, ["http://a.test/", f"http://{part}.test/"])
    find_repeats(collection)
    before = [(tmp_path / collection.file("dedup_urls", part)).stat().st_mtime_ns for part in range(3)]
    find_repeats(collection)
    assert [(tmp_path / collection.file("dedup_urls", part)).stat().st_mtime_ns for part in range(3)] == before
    commit(collection, 1, ["http://2.test/"])
    find_repeats(collection)
    after = [(tmp_path / collection.file("dedup_urls", part)).stat().st_mtime_ns for part in range(3)]
    assert [new == old for new, old in zip(after, before, strict=True)] == [True, False, False]
    assert kept(collection) == [(0, 0), (0, 1), (1, 0)]
