"""The order of samples."""

import pytest

from curation.dinov2.data.order import Cursor, Order

SIZES = [5, 1, 7, 3, 9, 4]


def epoch(order: Order, number: int) -> list[tuple[int, int]]:
    return [order.at(Cursor(number, position)) for position in range(order.share)]


@pytest.mark.parametrize("world", [1, 2, 3, 5])
def test_ranks_get_equally_many_samples_and_none_twice(world: int) -> None:
    shares = [epoch(Order(SIZES, seed=1, rank=rank, world=world, window=2), 0) for rank in range(world)]
    seen = [sample for share in shares for sample in share]
    assert {len(share) for share in shares} == {sum(SIZES) // world}
    assert len(set(seen)) == len(seen)
    assert all(0 <= index < SIZES[unit] for unit, index in seen)


def test_an_epoch_of_one_rank_has_every_sample() -> None:
    assert sorted(epoch(Order(SIZES, seed=1), 3)) == [(u, i) for u, size in enumerate(SIZES) for i in range(size)]


def test_epochs_and_seeds_give_other_orders_and_the_same_ones_again() -> None:
    first = epoch(Order(SIZES, seed=1), 0)
    assert first != epoch(Order(SIZES, seed=1), 1)
    assert first != epoch(Order(SIZES, seed=2), 0)
    assert first == epoch(Order(SIZES, seed=1), 0)


def test_no_more_units_than_the_window_are_open_at_once() -> None:
    units = [unit for unit, _ in epoch(Order([10] * 12, seed=0, window=3), 0)]
    windows = [set(units[start : start + 30]) for start in range(0, 120, 30)]
    assert [len(window) for window in windows] == [3] * 4


def test_a_window_mixes_its_units() -> None:
    units = [unit for unit, _ in epoch(Order([50] * 4, seed=0, window=4), 0)]
    assert len(set(units[:20])) == 4


def test_the_cursor_goes_on_into_the_next_epoch() -> None:
    order = Order([2, 2], seed=0, world=2, rank=1)
    assert order.next(Cursor(0, 0)) == Cursor(0, 1)
    assert order.next(Cursor(0, 1)) == Cursor(1, 0)
