"""Features by the labels of their nearest neighbours: no training, so nothing to tune or to get wrong."""

import torch
from torch import Tensor
from torch.nn import functional

__all__ = ["knn_accuracy"]


def knn_accuracy(features: Tensor, labels: Tensor, bank: int, *, neighbours: int, temperature: float) -> float:
    """Share of rows from `bank` on whose neighbours among the rows before vote for their label.

    Votes weigh exp(cosine similarity / temperature), as in DINO's evaluation (arXiv 2104.14294 section 4.1).
    """
    unit = functional.normalize(features.float(), dim=-1)
    hits = 0
    for queries, wanted in zip(torch.split(unit[bank:], 512), torch.split(labels[bank:], 512), strict=True):
        similarity, nearest = (queries @ unit[:bank].T).topk(min(neighbours, bank))
        votes = torch.zeros(len(queries), int(labels.max()) + 1)
        votes.scatter_add_(1, labels[:bank][nearest], torch.exp(similarity / temperature))
        hits += int((votes.argmax(dim=1) == wanted).sum())
    return hits / (len(features) - bank)
