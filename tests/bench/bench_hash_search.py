"""Hashes within a Hamming radius, beside imagededup's search: time, ratio, and whether the pairs are equal.

    python -m tests.bench.bench_hash_search [--hashes 40000] [--radius 4] [--slice 4000] [--method brute_force_cython]

A quarter of the 64-bit hashes are others with up to four bits turned. imagededup compares each hash with all of them,
by default with its compiled search in two processes, its fastest. It is run on the first `--slice` as queries against
the whole set, and its time is multiplied to the whole: the extrapolation is printed as such. Pairs are compared on that
slice. Ours runs in one process.
"""

import argparse
import time

import numpy as np
from imagededup.handlers.search.retrieval import HashEval
from imagededup.methods import PHash

from curation.search.components import components_of
from curation.search.links import hash_links

WORKERS = 2


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--hashes", type=int, default=40_000)
    parser.add_argument("--radius", type=int, default=4)
    parser.add_argument("--slice", type=int, default=4_000)
    parser.add_argument(
        "--method", default="brute_force_cython", choices=["brute_force_cython", "bktree", "brute_force"]
    )
    arguments = parser.parse_args()
    hashes = made(arguments.hashes)
    texts = {str(at): row.tobytes().hex() for at, row in enumerate(hashes)}
    queries = {name: texts[name] for name in list(texts)[: arguments.slice]}
    ours, theirs = [], []
    for turn in "ABBA":
        started = time.monotonic()
        if turn == "A":
            links = hash_links(hashes, arguments.radius)
            ours.append(time.monotonic() - started)
        else:
            result = HashEval(
                texts,
                queries,
                PHash.hamming_distance,
                verbose=False,
                threshold=arguments.radius,
                search_method=arguments.method,
                num_dist_workers=WORKERS,
            ).retrieve_results(scores=False)
            theirs.append((time.monotonic() - started) * arguments.hashes / arguments.slice)
    pairs = {(min(a, b), max(a, b)) for a, b in links.tolist()}
    want = {(min(int(a), int(b)), max(int(a), int(b))) for a, others in result.items() for b in others if a != b}
    mine = {pair for pair in pairs if pair[0] < arguments.slice}
    groups = components_of(arguments.hashes, links)
    linked = all(groups[a] == groups[b] for a, b in want)
    one, other = np.median(ours), np.median(theirs)
    print(f"{arguments.hashes:,} hashes, radius {arguments.radius}: {len(pairs):,} pairs")
    print(f"ours        {one:10.2f} s")
    said = "measured whole" if arguments.slice >= arguments.hashes else f"extrapolated from {arguments.slice:,} queries"
    print(
        f"imagededup  {other:10.2f} s, {said}, {arguments.method}, {WORKERS} processes: {other / one:.0f} times as long"
    )
    print(f"pairs of the slice equal: {mine == want} ({len(want)}); all of them linked: {linked}")


def made(count: int) -> np.ndarray:
    """(count, 8) uint8; no two are equal."""
    rng = np.random.default_rng(0)
    bits = rng.integers(0, 2, (count, 64), dtype=np.uint8)
    for at in range(count // 4):
        bits[at] = bits[count // 4 + rng.integers(count - count // 4)]
        bits[at, rng.choice(64, rng.integers(1, 5), replace=False)] ^= 1
    hashes = np.unique(np.packbits(bits, axis=1), axis=0)
    rng.shuffle(hashes)
    return np.ascontiguousarray(
        np.concatenate([hashes, rng.integers(0, 256, (count - len(hashes), 8), dtype=np.uint8)])
    )


if __name__ == "__main__":
    main()
