"""Exact URL dedup and the cut into shuffled parts: rows per second, and memory that does not grow with their number.

    python tests/bench/bench_url_dedup.py [--urls 4000000] [--parts 40]

URLs are made up, 40 % of them repeats, and written as the parts that extraction writes; each size runs in a process of
its own, which reports its peak memory.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
from rich.console import Console
from rich.table import Table

from curation.engine.contract import Output, commit_output
from curation.engine.work import GlobalWork
from curation.run.parts import Collection
from curation.run.store import Store
from curation.stages.ingest.dedup_urls import DedupUrls
from curation.stages.ingest.extract_urls import EXTRACT_URLS, listed_links, url_key
from curation.stages.ingest.list import List

REPEATED = 0.4


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--urls", type=int, default=4_000_000)
    parser.add_argument("--parts", type=int, default=40)
    parser.add_argument("--measure", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        print(json.dumps(measure(options.measure)))
        return
    table = Table("URLs", "distinct", "dedup s", "URLs/s", "listing s", "rows/s", "peak memory MiB", title="one core")
    for urls in (options.urls // 4, options.urls):
        with tempfile.TemporaryDirectory() as folder:
            write_links(Path(folder), urls, options.parts)
            command = [sys.executable, __file__, "--measure", folder]
            row = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
        rates = (f"{urls / row['dedup']:,.0f}", f"{row['distinct'] / row['listing']:,.0f}")
        table.add_row(
            *(f"{urls:,}", f"{row['distinct']:,}", f"{row['dedup']:.1f}", rates[0]),
            *(f"{row['listing']:.1f}", rates[1], f"{row['peak']:,.0f}"),
        )
    Console(width=130).print(table)


def write_links(folder: Path, urls: int, parts: int) -> None:
    rng = np.random.default_rng(0)
    links = Collection(Store(str(folder)), "pool/crawl")
    for part in range(parts):
        numbers = rng.integers(0, int(urls * (1 - REPEATED)), urls // parts)
        texts = [f"https://host{number % 9973}.example.org/pictures/{number:012d}.jpg" for number in numbers.tolist()]
        columns = {
            "key": pa.array([url_key(text) for text in texts], pa.binary(16)),
            "url": pa.array(texts, pa.string()),
            "page_url": pa.array([text[:40] for text in texts], pa.string()),
            "alt": pa.array(["a picture of something"] * len(texts), pa.string()),
            "source": pa.array([f"crawl-{part}.warc.gz"] * len(texts), pa.string()),
            "archived": pa.nulls(len(texts), pa.int64()),
        }
        commit_output(EXTRACT_URLS, links, part, np.ones(len(texts), dtype=bool), Output(columns), digest=str(part))


def measure(folder: Path) -> dict[str, float]:
    store = Store(str(folder))
    links = Collection(store, "pool/crawl")
    started = time.perf_counter()
    GlobalWork(links, DedupUrls(links)).run()
    between = time.perf_counter()
    tables = (
        listed_links(
            links.read("extract_urls", part, EXTRACT_URLS.adds.names).filter(
                links.read("dedup_urls", part, ["live"])["live"]
            )
        )
        for part in links.parts("dedup_urls")
    )
    pool = Collection(store, "pool")
    GlobalWork(pool, List(pool, tables, 10_000, 0)).run()
    ended = time.perf_counter()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    footers = [pool.footer("list", part) for part in pool.parts("list")]
    distinct = sum(footer.rows for footer in footers if footer)
    return {"dedup": between - started, "listing": ended - between, "distinct": distinct, "peak": peak}


if __name__ == "__main__":
    main()
