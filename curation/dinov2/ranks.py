"""The few collective operations that training needs; with one process they do nothing."""

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

__all__ = ["barrier", "gather_objects", "gather_rows", "max_", "rank", "sum_", "world"]


def world() -> int:
    """Number of processes that train together."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def rank() -> int:
    """This process's number, from 0."""
    return dist.get_rank() if world() > 1 else 0


def barrier() -> None:
    """Wait until every process has come here."""
    if world() > 1:
        dist.barrier()


def sum_(x: Tensor) -> Tensor:
    """Sum `x` over all ranks, in place."""
    if world() > 1:
        dist.all_reduce(x)
    return x


def max_(x: Tensor) -> Tensor:
    """Maximum of `x` over all ranks, in place."""
    if world() > 1:
        dist.all_reduce(x, dist.ReduceOp.MAX)
    return x


def gather_rows(x: Tensor) -> tuple[Tensor, int]:
    """Rows of `x` `(B, D)` of all ranks in rank order, without gradient, and where this rank's begin; B may differ."""
    if world() == 1:
        return x.detach(), 0
    counts = [int(count) for count in gather_objects(len(x))]
    padded = x.new_zeros(max(counts), *x.shape[1:])
    padded[: len(x)] = x.detach()
    pieces = [torch.empty_like(padded) for _ in counts]
    dist.all_gather(pieces, padded)
    rows = torch.cat([piece[:count] for piece, count in zip(pieces, counts, strict=True)])
    return rows, sum(counts[: rank()])


def gather_objects(value: object) -> list[Any]:
    """`value` of every rank, in rank order."""
    if world() == 1:
        return [value]
    values: list[Any] = [None] * world()
    dist.all_gather_object(values, value)
    return values
