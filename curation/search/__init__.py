"""Search without a run: nearest neighbours, components, k-means on one process or several, rows that spill to disk."""
