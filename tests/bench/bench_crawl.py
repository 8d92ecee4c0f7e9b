"""Crawling against img2dataset: the same URLs from the same nginx on loopback, wall time of the whole commands.

    python tests/bench/bench_crawl.py DATA --peer /path/to/venv/bin/img2dataset [--case kept] [--rounds 3]

DATA is a folder of photos. Needs nginx, and img2dataset 1.47 in an environment of its own. Each round is A B B A, the
figures are medians. Cases:

    kept     DATA as it is, under several names; bytes kept as they come
    small    the same, resized to 256 where larger
    web      collages with a long side of 1,024 to 2,048 pixels, JPEG quality 85; resized to 256

Beside them stands the fetch alone: `fetch_all` in one process, bodies thrown away. A second table splits the CPU time
of an image: fetch, decode (at a reduced scale where that serves), resize, encode, and write, which is the header, the
metadata, the checksum and the tar. Each is measured alone, in one thread; the floor is fetch and codec, and no more.

Both commands store the same number of files in the same number of tars. CPU seconds are those of all processes of a
command, nginx apart, sampled while it runs.
"""

import argparse
import contextlib
import hashlib
import io
import json
import os
import random
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from PIL import Image
from rich.console import Console
from rich.table import Table

from curation.config import CrawlConfig, ImageConfig
from curation.crawl.fetch import fetch_all
from curation.drops import Dropped
from curation.formats.shards import TarWriter
from curation.imaging.decode import encode_jpeg
from curation.imaging.reencode import Storable, storable

LVD = str(Path(sys.executable).with_name("lvd"))
PER_SHARD = 1_000
SIDE = 256
SPLIT = 400
"""Files that the split is measured on."""
TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Result:
    """One command, run once."""

    seconds: float
    cpu_seconds: float
    stored: int


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--peer", type=Path, required=True, help="the img2dataset command")
    parser.add_argument("--case", choices=["kept", "small", "web"], action="append")
    parser.add_argument("--count", type=int, default=10_000, help="URLs")
    parser.add_argument("--distinct", type=int, default=10_000, help="different files of the case web, 0.45 MB each")
    parser.add_argument("--rounds", type=int, default=3)
    if sys.argv[1:2] == ["--fetch-only"]:
        fetch_only(Path(sys.argv[2]))
        return
    options = parser.parse_args()
    table = Table("case", "command", "images", "s", "images/s", "CPU ms/image", "ratio", title="medians")
    parts = Table("case", "fetch", "decode", "resize", "encode", "write", "other", "lvd", "floor", title="CPU ms/image")
    for case in options.case or ["kept", "small", "web"]:
        with tempfile.TemporaryDirectory() as folder, served(make_site(Path(folder), case, options)) as (port, names):
            urls = Path(folder) / "urls.txt"
            urls.write_text("".join(f"http://127.0.0.1:{port}/{name}\n" for name in names))
            ours, theirs, fetches = compare(Path(folder), urls, case, options)
            split = split_of(case, sorted((Path(folder) / "site").iterdir())[:SPLIT])
        ratio = median_rate(ours) / median_rate(theirs)
        rows = (("lvd curate", ours, f"{ratio:.2f}"), ("img2dataset", theirs, ""), ("fetch alone", fetches, ""))
        fetch = statistics.median(result.cpu_seconds / result.stored for result in fetches) * 1000
        whole = statistics.median(result.cpu_seconds / result.stored for result in ours) * 1000
        floor = fetch + sum(split[name] for name in ("decode", "resize", "encode"))
        known = floor + split["write"]
        figures = (fetch, *split.values(), whole - known, whole, floor)
        parts.add_row(case, *(f"{value:.2f}" for value in figures))
        for name, results, shown in rows:
            cpu = statistics.median(result.cpu_seconds / result.stored for result in results)
            seconds = statistics.median(result.seconds for result in results)
            stored = sorted({result.stored for result in results})
            table.add_row(
                *(case, name, ", ".join(map(str, stored)), f"{seconds:.1f}"),
                *(f"{median_rate(results):,.0f}", f"{cpu * 1000:.2f}", shown),
            )
    Console(width=130).print(table, parts)


def split_of(case: str, files: list[Path]) -> dict[str, float]:
    """CPU milliseconds of an image for each step of storing it, by the calls that `samples` makes."""
    times = dict.fromkeys(("decode", "resize", "encode", "write"), 0.0)
    clock = time.process_time
    settings = ImageConfig(min_side=1, max_side=None if case == "kept" else SIDE)
    writer = TarWriter(io.BytesIO(), checksum=False)
    for path in files:
        data = path.read_bytes()
        if case != "kept":
            start = clock()
            image = Image.open(io.BytesIO(data))
            scale = min(1.0, SIDE / max(image.size))
            size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
            image.draft(None, size)
            image.load()
            decoded = clock()
            small = image if image.size == size else image.resize(size, Image.Resampling.HAMMING, reducing_gap=3.0)
            resized = clock()
            stored = encode_jpeg(small.convert("RGB"), settings.quality)
            encoded = clock()
            hashlib.sha256(stored).digest()
            writer.add(path.name, stored)
            times["decode"] += decoded - start
            times["resize"] += resized - decoded
            times["encode"] += encoded - resized
            times["write"] += clock() - encoded
        else:
            start = clock()
            form = storable(data, settings)
            assert isinstance(form, Storable)
            writer.add(path.name, form.data)
            times["write"] += clock() - start
    return {name: seconds / len(files) * 1000 for name, seconds in times.items()}


def compare(
    folder: Path, urls: Path, case: str, options: argparse.Namespace
) -> tuple[list[Result], list[Result], list[Result]]:
    """Results of ours and of theirs, in turn A B B A, and of the fetch alone."""
    seeds = folder / "seeds" / "any"
    seeds.mkdir(parents=True)
    shutil.copy(next(path for path in sorted(options.data.rglob("*.jpg"))), seeds / "seed.jpg")
    ours: list[Result] = []
    theirs: list[Result] = []
    fetches: list[Result] = []
    for _ in range(options.rounds):
        ours.append(run_ours(folder, urls, case))
        theirs.append(run_theirs(folder, urls, case, options.peer))
        theirs.append(run_theirs(folder, urls, case, options.peer))
        ours.append(run_ours(folder, urls, case))
        fetches.append(run_fetch(folder, urls))
    return ours, theirs, fetches


def run_ours(folder: Path, urls: Path, case: str) -> Result:
    out = folder / "ours"
    settings = {
        "parts.rows": str(PER_SHARD),
        "runner.kind": "processes",  # as the other command has it; an embedded Ray takes seconds to start and to end
        "runner.workers": "2",
        "crawl.allow_private_addresses": "true",
        "crawl.host_connections": "32",
        "crawl.concurrency": "32",
        "image.min_side": "1",
    }
    if case != "kept":
        settings |= {"image.max_side": str(SIDE), "image.quality": "95"}
    command = [LVD, "curate", "--pool", str(urls), "--seed", str(folder / "seeds"), "--until", "fetch"]
    command += ["--out", str(out), *(f"--set={key}={value}" for key, value in settings.items())]
    return measured(command, out, lambda: ours_stored(out))


def ours_stored(out: Path) -> int:
    text = subprocess.run([LVD, "funnel", str(out), "--json"], check=True, capture_output=True, text=True).stdout
    rows = json.loads(text)
    rows = rows if isinstance(rows, list) else rows["rows"]
    return next(int(row["live_out"]) for row in rows if row["collection"] == "pool" and row["stage"] == "fetch")


def run_theirs(folder: Path, urls: Path, case: str, peer: Path) -> Result:
    out = folder / "theirs"
    command = [str(peer), "--url_list", str(urls), "--input_format", "txt", "--output_folder", str(out)]
    command += ["--output_format", "webdataset", "--processes_count", "2", "--thread_count", "32"]
    command += ["--number_sample_per_shard", str(PER_SHARD), "--enable_wandb", "False"]
    if case == "kept":
        command += ["--disable_all_reencoding", "True"]
    else:
        # The longer side, as image.max_side has it; its `keep_ratio` would be the shorter.
        command += ["--image_size", "256", "--resize_mode", "keep_ratio_largest", "--resize_only_if_bigger", "True"]
        command += ["--encode_quality", "95"]
    return measured(command, out, lambda: theirs_stored(out))


def run_fetch(folder: Path, urls: Path) -> Result:
    command = [sys.executable, __file__, "--fetch-only", str(urls)]
    return measured(command, folder / "nothing", lambda: len(urls.read_text().split()))


def fetch_only(urls: Path) -> None:
    settings = CrawlConfig(allow_private_addresses=True, host_connections=32, concurrency=32)
    failed = sum(isinstance(outcome, Dropped) for _, outcome in fetch_all(urls.read_text().split(), settings))
    raise SystemExit(f"{failed} URLs failed" if failed else 0)


def theirs_stored(out: Path) -> int:
    return sum(json.loads(path.read_text())["successes"] for path in out.glob("*_stats.json"))


def measured(command: list[str], out: Path, stored: Callable[[], int]) -> Result:
    """Run a command to its end, in a session of its own whose processes' CPU time is sampled."""
    shutil.rmtree(out, ignore_errors=True)
    environment = os.environ | {"NO_ALBUMENTATIONS_UPDATE": "1"}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)  # compiled once, as any installed command is
    start = time.perf_counter()
    process = subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment, start_new_session=True
    )
    times: dict[int, float] = {}
    ended = threading.Event()

    def sample() -> None:
        while not ended.wait(0.2):
            times.update(cpu_of_descendants(process.pid))

    sampler = threading.Thread(target=sample)
    sampler.start()
    status = process.wait()
    seconds = time.perf_counter() - start
    ended.set()
    sampler.join()
    if status != 0:  # shown again, for its messages
        subprocess.run(command, env=environment)
        raise SystemExit(f"{command[0]} ended with {status}: {' '.join(command)}")
    count = stored()
    return Result(seconds, sum(times.values()), count)


def cpu_of_descendants(root: int) -> dict[int, float]:
    """CPU seconds of a process and all that it started, by process id."""
    parents: dict[int, int] = {}
    used: dict[int, float] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            with contextlib.suppress(OSError, IndexError):
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
                parents[int(entry.name)] = int(fields[1])
                used[int(entry.name)] = (int(fields[11]) + int(fields[12])) / TICKS

    def belongs(pid: int) -> bool:
        while pid > 1 and pid != root:
            pid = parents.get(pid, 0)
        return pid == root

    return {pid: seconds for pid, seconds in used.items() if belongs(pid)}


def make_site(folder: Path, case: str, options: argparse.Namespace) -> tuple[Path, list[str]]:
    """A folder to serve, and the names of `count` files in it."""
    site = folder / "site"
    site.mkdir()
    photos = sorted(options.data.resolve().rglob("*.jpg"))
    originals = photos if case != "web" else make_collages(folder / "collages", photos, options.distinct)
    names = []
    for number in range(options.count):
        names.append(f"{number:06d}.jpg")
        (site / names[-1]).symlink_to(originals[number % len(originals)])
    return site, names


def make_collages(folder: Path, photos: list[Path], count: int) -> list[Path]:
    """Web-sized pictures: photos side by side on a canvas of random size."""
    folder.mkdir()
    chance = random.Random(0)
    tiles = [
        Image.open(path).convert("RGB").resize((256, 256)) for path in chance.sample(photos, min(600, len(photos)))
    ]
    made = []
    for number in range(count):
        long = chance.randint(1024, 2048)
        short = int(long * chance.uniform(0.56, 1.0))
        size = (long, short) if chance.random() < 0.7 else (short, long)
        canvas = Image.new("RGB", size)
        for top in range(0, size[1], 256):
            for left in range(0, size[0], 256):
                canvas.paste(chance.choice(tiles), (left, top))
        made.append(folder / f"{number:04d}.jpg")
        canvas.save(made[-1], quality=85)
    return made


@contextlib.contextmanager
def served(site: tuple[Path, list[str]]) -> Iterator[tuple[int, list[str]]]:
    """nginx on a free port, for as long as the context lasts."""
    root, names = site
    state = root.parent / "nginx"
    state.mkdir()
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    temporary = "".join(
        f"{name}_temp_path {state}/{name};" for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    (state / "nginx.conf").write_text(
        f"""worker_processes 1; pid {state}/pid; error_log {state}/error.log; daemon off; user root;
        events {{ worker_connections 4096; }}
        http {{
            access_log off; sendfile on; tcp_nopush on; keepalive_requests 1000000; {temporary}
            types {{ image/jpeg jpg; }}
            server {{ listen 127.0.0.1:{port} backlog=4096; root {root}; }}
        }}"""
    )
    server = subprocess.Popen(["nginx", "-c", str(state / "nginx.conf"), "-e", str(state / "error.log")])
    try:
        wait_for(port)
        yield port, names
    finally:
        server.terminate()
        server.wait()


def wait_for(port: int) -> None:
    for _ in range(100):
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 0.1):
            return
        time.sleep(0.05)
    raise SystemExit("nginx did not start")


def median_rate(results: list[Result]) -> float:
    return statistics.median(result.stored / result.seconds for result in results)


if __name__ == "__main__":
    main()
