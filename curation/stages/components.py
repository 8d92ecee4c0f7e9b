"""Groups of duplicates: connected components of a graph of links, and which member of each is kept."""

import numpy as np
import numpy.typing as npt
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

__all__ = ["components_of", "first_of_each", "keep_order"]

Ints = npt.NDArray[np.int64]


def components_of(nodes: int, edges: Ints) -> Ints:
    """Number the connected components of a graph.

    Args:
        edges: (E, 2) pairs of nodes, in any order and direction.

    Returns:
        (nodes,) the smallest node of each node's component.
    """
    links = coo_array((np.ones(len(edges), dtype=np.int8), (edges[:, 0], edges[:, 1])), shape=(nodes, nodes))
    _, labels = connected_components(links, directed=False)
    smallest = np.full(labels.max(initial=-1) + 1, nodes, dtype=np.int64)
    np.minimum.at(smallest, labels, np.arange(nodes))
    return np.asarray(smallest[labels], dtype=np.int64)


def keep_order(pixels: Ints, size: Ints, ids: npt.NDArray[np.bytes_]) -> Ints:
    """Rank of each image as representative, 0 the best: most pixels, then most bytes, then smallest id.

    The rule looks at nothing but the images themselves, so the order in which they are met does not matter.
    """
    order = np.lexsort((np.arange(len(ids)), ids, -size, -pixels))
    rank = np.empty(len(order), dtype=np.int64)
    rank[order] = np.arange(len(order))
    return rank


def first_of_each(components: Ints, rank: Ints) -> Ints:
    """For each node, the member of its component with the smallest rank."""
    best = np.full(len(components), len(components), dtype=np.int64)
    np.minimum.at(best, components, rank)
    node_of_rank = np.empty(len(rank), dtype=np.int64)
    node_of_rank[rank] = np.arange(len(rank))
    return np.asarray(node_of_rank[best[components]], dtype=np.int64)
