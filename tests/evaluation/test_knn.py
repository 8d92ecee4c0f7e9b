"""Accuracy by nearest neighbours."""

import numpy as np
import pytest
import torch
from sklearn.neighbors import KNeighborsClassifier
from torch.nn import functional

from curation.evaluation.knn import knn_accuracy


def test_votes_are_those_of_a_weighted_classifier() -> None:
    g = torch.Generator().manual_seed(0)
    features, labels = torch.randn(200, 8, generator=g), torch.randint(0, 4, (200,), generator=g)
    unit = functional.normalize(features, dim=1).numpy()
    other = KNeighborsClassifier(7, weights=lambda distance: np.exp((1 - distance**2 / 2) / 0.07), algorithm="brute")
    other.fit(unit[:150], labels[:150])
    assert knn_accuracy(features, labels, 150, neighbours=7, temperature=0.07) == pytest.approx(
        other.score(unit[150:], labels[150:])
    )


def test_more_neighbours_than_images_are_all_of_them() -> None:
    features = torch.eye(3).repeat_interleave(2, 0)
    assert knn_accuracy(features, torch.tensor([0, 0, 1, 1, 0, 0]), 4, neighbours=50, temperature=0.1) == 0.5 * 2
