"""k-means over more rows than one process holds: exact, and the same to the bit whoever does the work.

`share` is what one worker holds and does, `kmeans` the iterations, `gang` how they talk, `start` the first centroids,
and `hierarchy` k-means of centroids (Vo et al. 2024).
"""
