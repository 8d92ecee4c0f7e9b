"""Groups of duplicates: connected components of a graph of links, and which member of each is kept."""

import numpy as np
import numpy.typing as npt

from curation.arrays import Int64Array

__all__ = ["components_of", "first_of_each", "keep_order"]


def components_of(nodes: int, edges: Int64Array) -> Int64Array:
    """Number the connected components of a graph.

    Args:
        edges: (E, 2) pairs of nodes, in any order and direction.

    Returns:
        (nodes,) the smallest node of each node's component.
    """
    from scipy.sparse import csr_array
    from scipy.sparse.csgraph import connected_components

    if not len(edges):
        return np.arange(nodes, dtype=np.int64)
    seen = np.zeros(nodes, dtype=bool)  # nodes without a link need no search
    seen[edges.ravel()] = True
    touched = np.flatnonzero(seen)
    number = np.cumsum(seen, dtype=np.int32) - np.int32(1)
    ends = number[edges]
    ones = np.ones(len(ends), dtype=np.int8)
    links = csr_array((ones, (ends[:, 0], ends[:, 1])), shape=(len(touched), len(touched)))
    _, labels = connected_components(links, directed=False)
    # In ascending order of nodes, the first with a label is the smallest of its component.
    first = np.full(int(labels.max()) + 1, -1, dtype=np.int64)
    first[labels[::-1]] = touched[::-1]
    smallest = np.arange(nodes, dtype=np.int64)
    smallest[touched] = first[labels]
    return smallest


def keep_order(pixels: Int64Array, size: Int64Array, ids: npt.NDArray[np.bytes_]) -> Int64Array:
    """Rank of each image as representative, 0 the best: most pixels, then most bytes, then smallest id.

    The rule looks at nothing but the images themselves, so the order in which they are met does not matter.
    """
    order = np.lexsort((np.arange(len(ids)), ids, -size, -pixels))
    rank = np.empty(len(order), dtype=np.int64)
    rank[order] = np.arange(len(order))
    return rank


def first_of_each(components: Int64Array, rank: Int64Array) -> Int64Array:
    """For each node, the member of its component with the smallest rank."""
    node_of_rank = np.empty(len(rank), dtype=np.int64)
    node_of_rank[rank] = np.arange(len(rank))
    best = np.empty(len(components), dtype=np.int64)
    best[components[node_of_rank[::-1]]] = node_of_rank[::-1]  # written last, and so kept: the best of each
    return best[components]
