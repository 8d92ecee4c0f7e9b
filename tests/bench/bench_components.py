"""Connected components of a large graph: wall and CPU time, and the most memory that the process held.

    python -m tests.bench.bench_components [--nodes 20000000] [--edges 10000000]

The edges join random nodes. The result is checked against a plain union-find on a graph of a hundredth of the size.
"""

import argparse
import resource
import time

import numpy as np

from curation.search.components import components_of, first_of_each


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--nodes", type=int, default=20_000_000)
    parser.add_argument("--edges", type=int, default=10_000_000)
    arguments = parser.parse_args()
    rng = np.random.default_rng(0)
    check(rng, max(2, arguments.nodes // 100), arguments.edges // 100)
    edges = rng.integers(0, arguments.nodes, (arguments.edges, 2))
    rank = rng.permutation(arguments.nodes)
    print(f"{arguments.nodes:,} nodes, {arguments.edges:,} edges; {peak():.2f} GiB with the input in memory")
    start = time.monotonic(), time.process_time()
    components = components_of(arguments.nodes, edges)
    say("components", *start)
    start = time.monotonic(), time.process_time()
    first_of_each(components, rank)
    say("representatives", *start)


def say(name: str, wall: float, cpu: float) -> None:
    wall, cpu = time.monotonic() - wall, time.process_time() - cpu
    print(f"{name:<16} {wall:6.1f} s wall {cpu:6.1f} s CPU, peak {peak():.2f} GiB")


def check(rng: np.random.Generator, nodes: int, count: int) -> None:
    """Compare with a plain union-find."""
    edges = rng.integers(0, nodes, (count, 2))
    parent = list(range(nodes))

    def root(node: int) -> int:
        while parent[node] != node:
            parent[node] = parent[parent[node]]
            node = parent[node]
        return node

    for one, other in edges.tolist():
        low, high = sorted((root(one), root(other)))
        parent[high] = low
    assert components_of(nodes, edges).tolist() == [root(node) for node in range(nodes)]


def peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


if __name__ == "__main__":
    main()
