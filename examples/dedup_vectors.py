"""Remove the near duplicates from an array of vectors, keeping the best of each group."""

import numpy as np
from sklearn.datasets import load_digits

from curation import dedup_vectors


def main() -> None:
    digits = load_digits().data[:500]
    rng = np.random.default_rng(0)
    noisy = digits[:100] + rng.normal(0, 0.3, (100, digits.shape[1]))
    vectors = np.concatenate([noisy, digits])  # the originals come last, so without a rank they would go
    quality = np.repeat([0, 1], [len(noisy), len(digits)])

    kept_instead = dedup_vectors(vectors, 0.995, rank=-quality)
    kept = np.flatnonzero(kept_instead == np.arange(len(vectors)))
    print(f"{len(vectors)} vectors, {len(kept)} kept")
    print(f"of {len(noisy)} noisy copies {np.isin(kept, np.arange(len(noisy))).sum()} were kept")
    print(f"row 0 is a copy of row {kept_instead[0]}")


if __name__ == "__main__":
    main()
