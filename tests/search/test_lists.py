"""Lists of neighbours are merged, cut and stored as plain sorting of pairs would have them."""

import numpy as np
import pyarrow as pa
import pytest

from curation.search.lists import COLUMNS, Lists, places_of

IMAGES = 9


def drawn(seed, count=80):
    """Pairs whose similarities are often equal; the last image has none."""
    rng = np.random.default_rng(seed)
    image = rng.integers(0, IMAGES - 1, count)
    similarity = rng.choice(np.linspace(-1, 1, 9, dtype=np.float32), count)
    return image, similarity, rng.permutation(10_000)[:count].astype(np.int64) * 7_000_000


def plain(*several):
    """(similarity, place) of each image."""
    pairs = [pair for some in several for pair in zip(*some, strict=True)]
    return [sorted((-similar, place) for own, similar, place in pairs if own == image) for image in range(IMAGES)]


def as_plain(lists):
    pairs = zip(-lists.similarity, lists.place, strict=True)
    result = [list(pairs_of) for pairs_of in np.split(np.array(list(pairs), object), np.cumsum(lists.lengths)[:-1])]
    return [[tuple(pair) for pair in pairs_of] for pairs_of in result]


def test_joined_lists_are_sorted_by_similarity_and_then_by_place():
    one, two = drawn(0), drawn(1, 30)
    joined = Lists.joined([Lists.of(IMAGES, *one), Lists.of(IMAGES, *two)])
    assert as_plain(joined) == plain(one, two)
    assert as_plain(Lists.of(IMAGES, *one)) == plain(one)


def test_each_list_is_cut_to_its_own_length():
    lists = Lists.of(IMAGES, *drawn(2))
    longest = np.array([0, 1, 2, 3, 100, 5, 0, 4, 7])
    assert as_plain(lists.cut(longest)) == [
        pairs[:most] for pairs, most in zip(as_plain(lists), longest.tolist(), strict=True)
    ]


def test_lists_are_replaced_where_there_are_others():
    one, two = drawn(3), drawn(4, 6)
    expected = [new or old for old, new in zip(plain(one), plain(two), strict=True)]
    assert as_plain(Lists.of(IMAGES, *one).replaced(Lists.of(IMAGES, *two))) == expected


def test_neighbours_above_a_similarity_are_counted():
    image, similarity, place = drawn(5)
    expected = [int(sum(similarity[image == at] > 0.25)) for at in range(IMAGES)]
    assert Lists.of(IMAGES, image, similarity, place).above(0.25).tolist() == expected


def test_lists_come_back_from_a_table_as_they_were_even_at_the_largest_part_and_row():
    place = places_of(np.array([0, 2**31 - 1, 5]), np.array([2**31 - 1, 2**31 - 1, 0]))
    lists = Lists.of(4, np.array([1, 1, 3]), np.array([0.5, 0.25, 1], np.float32), place)
    columns = lists.columns("near")
    assert {name: array.type for name, array in columns.items()} == {
        f"near_{name}": kind for name, kind in COLUMNS.items()
    }
    assert columns["near_part"].to_pylist() == [[], [0, 2**31 - 1], [], [5]]
    table = pa.concat_tables([pa.table(columns), pa.table(columns)]).slice(1, 5)
    back = Lists.read(table, "near")
    assert back.lengths.tolist() == [2, 0, 1, 0, 2]
    assert back.place.tolist() == [*lists.place, *lists.place[:2]]
    assert back.similarity.tolist() == pytest.approx([0.5, 0.25, 1, 0.5, 0.25])


def test_no_lists_at_all_are_joined_cut_and_stored():
    nothing = np.empty(0, np.int64)
    empty = Lists(nothing, np.empty(0, np.float32), nothing)
    joined = Lists.joined([empty, empty]).cut(nothing)
    assert joined.columns("x")["x_row"].to_pylist() == []
