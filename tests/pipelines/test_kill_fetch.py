"""A crawl that is killed while it fetches loses the unfinished part, and leaves no file that is not whole."""

import contextlib
import multiprocessing
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pyarrow.parquet as pq
import pytest

from curation.formats.shards import tar_members
from curation.run.directory import Run
from pipelines.curate import curate

pytestmark = pytest.mark.slow

PARTS, ROWS = 4, 10


@pytest.fixture
def site(photo, encoded):
    """A server of pictures; `asked` are those that were asked for. From `held_at` of them on, no answer until `go`."""
    asked: list[str] = []
    go = threading.Event()
    data = encoded(photo(1))

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self):
            result = self.path.endswith(".jpg")
            if result:
                asked.append(self.path)
                if len(asked) >= self.server.held_at:
                    go.wait()
            with contextlib.suppress(ConnectionError):  # who asked may have been killed meanwhile
                self.send_response(200 if result else 404)
                self.send_header("Content-Length", str(len(data) if result else 0))
                self.end_headers()
                if result:
                    self.wfile.write(data)

        def log_message(self, *arguments):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    server.asked, server.go, server.held_at = asked, go, 10**9
    yield server
    go.set()
    server.shutdown()
    thread.join()
    server.server_close()


def whole_files(root):
    """The names of all files in a run, after every tar and Parquet file among them was read to its end."""
    names = set()
    for path in root.rglob("*"):
        if path.is_file() and ".tmp-" not in path.name:
            names.add(str(path.relative_to(root)))
            if path.suffix == ".tar":
                with path.open("rb") as file:
                    assert all(length > 0 for _, _, length in tar_members(file)), path
                assert path.stat().st_size % 10_240 == 0
            elif path.suffix == ".parquet":
                pq.ParquetFile(path).read()
    return names


@pytest.mark.parametrize("killed_at", [3, 14, 25, 39])
def test_finished_parts_stay_and_only_the_others_are_fetched_again(site, configure, tmp_path, killed_at):
    pool = tmp_path / "urls.txt"
    port = site.server_address[1]
    pool.write_text("".join(f"http://127.0.0.1:{port}/{number}.jpg\n" for number in range(PARTS * ROWS)))
    crawl = {"allow_private_addresses": True, "host_connections": 1}
    config = configure(pool=[str(pool)], references=[], parts={"rows": ROWS}, crawl=crawl)
    root = tmp_path / "run"
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["pipelines.curate"])
    site.held_at = killed_at  # so that it is in that one, however late a busy machine lets us see it there
    process = context.Process(target=curate, args=(config, str(root)), kwargs={"until": "fetch"})
    process.start()
    while process.is_alive() and len(site.asked) < killed_at:
        time.sleep(0.001)
    process.kill()
    process.join()
    site.go.set()
    assert process.exitcode == -9
    names = whole_files(root)
    done = [part for part in range(PARTS) if f"pool/fetch/part-{part:05d}.parquet" in names]
    assert len(done) >= killed_at // ROWS - 1  # all before the one in work, but perhaps one just about to be committed
    for part in done:
        assert f"pool/images/part-{part:05d}.tar" in names
    before = len(site.asked)
    run: Run = curate(config, str(root), until="fetch")
    assert len(site.asked) - before == ROWS * (PARTS - len(done))
    assert sum(int(run.pool.live("fetch", part).sum()) for part in range(PARTS)) == PARTS * ROWS
    whole_files(root)
    assert not list(root.rglob(".tmp-*"))
