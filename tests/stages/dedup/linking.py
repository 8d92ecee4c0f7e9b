"""Links by similarity alone, out of the search that `find_copies` and `dedup_vectors` make."""

import numpy as np

from curation.search.arrays import nearest_others


def similarity_links(vectors, k, threshold):
    """Pairs of rows more similar than a threshold, the smaller first, each once, and their similarities."""
    source, other, _, similar = nearest_others(vectors, k)
    chosen = similar > threshold
    pairs = np.sort(np.stack([source[chosen], other[chosen]], axis=1), axis=1)
    pairs, first = np.unique(pairs, axis=0, return_index=True)
    return pairs, similar[chosen][first]
