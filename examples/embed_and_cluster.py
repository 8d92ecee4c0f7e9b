"""Embed crops of a few photographs, cluster them, and look for the nearest neighbours of one."""

import numpy as np
import skimage.data

from curation import embed_images, kmeans, knn

NAMES = ("astronaut", "cat", "coffee", "rocket")


def main() -> None:
    rng = np.random.default_rng(0)
    crops, labels = [], []
    for label, name in enumerate(NAMES):
        photo = getattr(skimage.data, name)()
        for _ in range(60):
            top, left = rng.integers(photo.shape[0] - 150), rng.integers(photo.shape[1] - 150)
            crops.append(photo[top : top + 150, left : left + 150])
            labels.append(label)
    # The model is a classical one, which has no weights; "timm/vit_small_patch14_dinov2.lvd142m" would download some.
    vectors = embed_images(crops, model="classical/hog-colour-1x1")
    print(f"{len(crops)} crops, vectors of {vectors.shape[1]} dimensions")

    clusters = kmeans(vectors, 6, seed=0)
    print(f"mean similarity to the centroid {clusters.objective:.2f}")
    for cluster in range(len(clusters.centroids)):
        counts = np.bincount(np.array(labels)[clusters.assignments == cluster], minlength=len(NAMES))
        print(f"cluster {cluster}: " + ", ".join(f"{n} {name}" for n, name in zip(counts, NAMES, strict=True) if n))

    similarities, rows = knn(vectors[:1], vectors, 4)
    for similarity, row in zip(similarities[0], rows[0], strict=True):
        print(f"crop {row} ({NAMES[labels[row]]}) resembles crop 0: {similarity:.2f}")


if __name__ == "__main__":
    main()
