"""The same images in any kind of dataset give the same selection, and the shards read back with other libraries."""

import asyncio
import contextlib
import io
import json
import tarfile
import threading
import warnings

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import webdataset
from aiohttp import web

from curation.report.funnel import funnel
from curation.report.verify import verify
from pipelines.curate import curate
from tests.matrix import first_of


@pytest.fixture(scope="module")
def images(dataset):
    """40 of the pool's files: name and bytes."""
    paths = sorted(path for path in dataset.pool.rglob("*") if path.is_file())[::3]
    return {str(path.relative_to(dataset.pool)).replace("/", "-"): path.read_bytes() for path in paths}


def write_folder(root, images):
    (root / "pool").mkdir()
    for name, data in images.items():
        (root / "pool" / name).write_bytes(data)
    return str(root / "pool")


def write_tars(root, images):
    for number, half in enumerate((list(images.items())[::2], list(images.items())[1::2])):
        with tarfile.open(root / f"{number}.tar", "w") as tar:
            for name, data in half:
                info = tarfile.TarInfo(name)
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))
    return str(root / "{0..1}.tar")


def write_parquet(root, images):
    pq.write_table(pa.table({"image": list(images.values())}), root / "x.parquet", row_group_size=7)
    return str(root / "x.parquet")


def write_structs(root, images):
    structs = [{"bytes": data, "path": name} for name, data in images.items()]
    pq.write_table(pa.table({"image": structs}), root / "x.parquet")
    return str(root / "x.parquet")


@contextlib.contextmanager
def serving(images):
    """A loopback server of the images; yields its port."""
    started, stop = threading.Event(), []

    async def serve():
        async def answer(request):
            data = images.get(request.match_info["name"])
            return web.Response(status=404) if data is None else web.Response(body=data, content_type="image/jpeg")

        app = web.Application()
        app.router.add_get("/img/{name}", answer)
        runner = web.AppRunner(app)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        done = asyncio.Event()
        stop.extend((asyncio.get_running_loop(), done, site._server.sockets[0].getsockname()[1]))
        started.set()
        await done.wait()
        await runner.cleanup()

    thread = threading.Thread(target=lambda: asyncio.run(serve()))
    thread.start()
    started.wait()
    yield stop[2]
    stop[0].call_soon_threadsafe(stop[1].set)
    thread.join()


def write_urls(root, images):
    urls = [f"http://photos.example/img/{name}" for name in images]
    (root / "urls.txt").write_text("\n".join([*urls, urls[0], "not a url", "", "http://photos.example/img/gone.jpg"]))
    return str(root / "urls.txt")


def write_url_table(root, images):
    pq.write_table(pa.table({"url": [f"http://photos.example/img/{name}" for name in images]}), root / "u.parquet")
    return str(root / "u.parquet")


def write_warc(root, images):
    html = "".join(f'<p><img src="/img/{name}" alt="{name}"></p>' for name in images)
    body = f"<html><body>{html}</body></html>".encode()
    http = b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: %d\r\n\r\n" % len(body) + body
    head = (
        "WARC/1.0\r\nWARC-Type: response\r\nWARC-Record-ID: <urn:uuid:00000000-0000-4000-8000-000000000000>\r\n"
        "WARC-Date: 2024-01-01T00:00:00Z\r\nWARC-Target-URI: http://photos.example/page\r\n"
        f"Content-Type: application/http; msgtype=response\r\nContent-Length: {len(http)}\r\n\r\n"
    )
    (root / "x.warc").write_bytes(head.encode() + http + b"\r\n\r\n")
    return str(root / "x.warc")


LOCAL = (write_folder, write_tars, write_parquet, write_structs)
REMOTE = (write_urls, write_url_table, write_warc)


@pytest.fixture(scope="module")
def select(configure):
    """The bytes that are selected of a pool. One part, so that what is fitted on it is the same for all kinds."""

    def select(pool, root, **crawl):
        config = configure(
            pool=[pool],
            parts={"rows": 1000},
            clusters={"count": 1},
            crawl={"user_agent": "test (+mailto:a@b.c)"} | crawl,
        )
        run = curate(config, str(root / "run"))
        assert list(verify(run)) == []
        rows = [
            row
            for part in run.selection.parts("selection")
            for row in run.selection.read("selection", part).to_pylist()
        ]
        return run, sorted((row["collection"], row["sha256"].hex()) for row in rows)

    return select


@pytest.fixture(scope="module")
def expected(select, images, tmp_path_factory):
    root = tmp_path_factory.mktemp("folder")
    return select(write_folder(root, images), root)[1]


@pytest.mark.parametrize("write", LOCAL[1:], ids=lambda write: write.__name__)
def test_local_datasets_give_the_selection_of_a_folder(select, expected, images, tmp_path, write):
    _, selection = select(write(tmp_path, images), tmp_path)
    assert [pick[0] for pick in selection] == [pick[0] for pick in expected]
    assert len(set(selection) & set(expected)) >= 0.9 * len(expected)


@pytest.mark.slow
@pytest.mark.parametrize("write", first_of(*REMOTE), ids=lambda write: write.__name__)
def test_urls_are_fetched_and_give_the_selection_of_a_folder(select, expected, images, tmp_path, write):
    with serving(images) as port:
        crawl = {
            "connect_to": {"photos.example:80": f"127.0.0.1:{port}"},
            "allow_private_addresses": True,
            "respect_robots": False,
        }
        run, selection = select(write(tmp_path, images), tmp_path, **crawl)
    drops = {(row.collection, row.stage): row.ledger.drops for row in funnel(run) if row.collection.startswith("pool")}
    if write is write_urls:
        assert drops["pool/crawl", "extract_urls"] == {"invalid_url": 1}
        assert drops["pool/crawl", "dedup_urls"] == {"duplicate_url": 1}
        assert drops["pool", "fetch"]["http_client_error"] == 1
    assert len(set(selection) & set(expected)) >= 0.9 * len(expected)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # webdataset leaves its files open
def test_shards_read_back_with_webdataset(finished):
    shards = sorted(str(path) for path in (finished / "shards").glob("*.tar"))
    manifest = json.loads((finished / "shards" / "manifest.json").read_text())
    samples = list(webdataset.WebDataset(shards, shardshuffle=False).decode("pil"))
    assert len(samples) == manifest["samples"]
    for sample in samples:
        assert sample["jpg"].size == (sample["json"]["width"], sample["json"]["height"])
        assert sample["json"]["how"] in ("as_is", "sample", "cluster")
    assert len({sample["__key__"] for sample in samples}) == len(samples)
    assert {frozenset(sample["json"]) for sample in samples} == {frozenset(samples[0]["json"])}


@pytest.mark.slow
@pytest.mark.parametrize("streaming", first_of(True, False))
def test_shards_read_back_with_hugging_face_datasets(finished, tmp_path, streaming):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what datasets does with files and processes is not ours
        from datasets import load_dataset

        files = {"train": sorted(str(path) for path in (finished / "shards").glob("*.tar"))}
        data = load_dataset(
            "webdataset", data_files=files, split="train", streaming=streaming, cache_dir=str(tmp_path / "cache")
        )
        samples = list(data)
    manifest = json.loads((finished / "shards" / "manifest.json").read_text())
    assert len(samples) == manifest["samples"]
    for sample in samples:
        assert sample["jpg"].size == (sample["json"]["width"], sample["json"]["height"])


@pytest.mark.slow
@pytest.mark.parametrize("workers", first_of(3, 1))
def test_processes_write_the_shards_of_the_inline_runner(configure, finished, tmp_path, shards_of, workers):
    run = curate(configure(runner={"kind": "processes", "workers": workers}), str(tmp_path / "pool"))
    assert shards_of(tmp_path / "pool") == shards_of(finished)
    assert list(verify(run)) == []


@pytest.mark.slow
@pytest.mark.parametrize("workers", first_of(2, 1))
def test_ray_with_any_number_of_workers_writes_the_shards_of_the_inline_runner(
    configure, finished, tmp_path, shards_of, workers, monkeypatch
):
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Ray's own
        run = curate(configure(runner={"kind": "ray", "workers": workers}), str(tmp_path / "ray"))
    assert shards_of(tmp_path / "ray") == shards_of(finished)
    assert list(verify(run)) == []
