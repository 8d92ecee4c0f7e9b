"""Every image is dropped for one that it is itself a copy of; a frame that many share links nothing."""

import dataclasses

import numpy as np
import pytest

from curation.stages.dedup.edges import BYTES, VERIFIED, Edges
from curation.stages.dedup.originals import keep_order_by
from curation.stages.dedup.stars import keep_first, stars_of

SQUARE = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)


def edges(*rows):
    """From (first, second, probability[, original[, agreement, transform, mirrored]])."""
    pairs = np.array([row[:2] for row in rows], np.int64).reshape(-1, 2)
    result = Edges.plain(pairs, np.full(len(rows), 0.8, np.float32), VERIFIED)
    full = [(*row, *(0.5, 1.0, SQUARE, False)[len(row) - 3 :]) for row in rows]
    return dataclasses.replace(
        result,
        probability=np.array([row[2] for row in full], np.float32),
        original=np.array([row[3] for row in full], np.float32),
        agreement=np.array([row[4] for row in full], np.float32),
        transform=np.array([row[5] for row in full], np.float32).reshape(-1, 6),
        mirrored=np.array([row[6] for row in full], bool),
        inliers=np.full(len(rows), 30, np.int32),
    )


def settle(count, looked, rank=None):
    sizes = np.full((count, 2), 300)
    return stars_of(looked, looked.evident(0.95), sizes, np.arange(count) if rank is None else np.array(rank))


def test_a_copy_of_a_copy_stays_where_it_is_no_copy_of_the_image_that_is_kept():
    """0 was made from 1 and 1 from 2, say by cropping; nothing of 0 is to be recognised in 2."""
    stars = settle(3, edges((0, 1, 0.99, 0.1), (1, 2, 0.99, 0.1), (0, 2, 0.3)))
    assert stars.representative.tolist() == [0, 2, 2]


def test_all_copies_of_one_image_go_for_it():
    stars = settle(4, edges((0, 3, 0.99, 0.2), (1, 3, 0.99, 0.2), (2, 3, 0.96, 0.2)))
    assert stars.representative.tolist() == [3, 3, 3, 3]


def test_below_the_probability_nothing_goes():
    assert settle(2, edges((0, 1, 0.949))).representative.tolist() == [0, 1]


def test_equal_bytes_need_no_look():
    twins = Edges.plain(np.array([[0, 1]]), np.ones(1, np.float32), BYTES)
    assert stars_of(twins, twins.evident(0.95), np.full((2, 2), 9), np.array([1, 0])).representative.tolist() == [1, 1]


def test_where_evidence_says_nothing_the_smallest_rank_is_kept():
    assert settle(2, edges((0, 1, 0.99, 0.5)), rank=[1, 0]).representative.tolist() == [1, 1]


def test_only_what_is_itself_a_copy_of_a_reference_goes_with_it():
    """3 is the reference: 0 is a copy of it, 1 a copy of 0."""
    stars = settle(3, edges((3, 0, 0.99), (0, 1, 0.99), (3, 1, 0.4)))
    assert stars.representative.tolist() == [3, 1, 2]


def test_a_leak_names_the_reference_that_it_is_most_likely_a_copy_of():
    stars = settle(1, edges((1, 0, 0.96), (2, 0, 0.99), (3, 0, 0.97)))
    assert stars.representative.tolist() == [2]


def test_a_frame_that_different_pictures_share_links_nothing():
    """Five screenshots are each taken for a copy of an empty one, and none of any other."""
    around = [(at, 5, 0.99, 0.2) for at in range(5)]
    among = [(at, at + 1, 0.01) for at in range(4)]
    stars = settle(6, edges(*around, *among))
    assert stars.representative.tolist() == list(range(6))
    assert stars.hubs.tolist() == [5]


def test_a_crowd_of_true_copies_is_no_frame():
    around = [(at, 5, 0.99, 0.2) for at in range(5)]
    among = [(0, 1, 0.99), (1, 2, 0.98), (2, 3, 0.2), (3, 4, 0.1)]
    stars = settle(6, edges(*around, *among))
    assert stars.representative.tolist() == [5] * 6
    assert not len(stars.hubs)


def test_a_reference_that_is_a_frame_takes_nothing_with_it():
    around = [(5, at, 0.99) for at in range(5)]
    among = [(at, at + 1, 0.01) for at in range(4)]
    stars = settle(5, edges(*around, *among))
    assert stars.representative.tolist() == list(range(5))
    assert stars.hubs.tolist() == [5]


def test_links_of_others_count_again_once_a_hub_is_out():
    around = [(at, 6, 0.99, 0.2) for at in range(5)]
    among = [(at, at + 1, 0.01) for at in range(4)]
    stars = settle(7, edges(*around, *among, (0, 5, 0.99, 0.1)))
    assert stars.representative.tolist() == [5, 1, 2, 3, 4, 5, 6]


def test_the_mirrored_one_of_three_is_not_the_original():
    mirrored = (0.5, 1.0, SQUARE, True)
    looked = edges((0, 1, 0.99, *mirrored), (0, 2, 0.99, *mirrored), (1, 2, 0.99))
    assert settle(3, looked, rank=[0, 1, 2]).representative.tolist() == [1, 1, 1]


def test_the_stretched_one_of_three_is_not_the_original():
    """Shares of the sides are the same; its size says that it is twice as wide."""
    sizes = np.array([[600, 300], [300, 300], [300, 300]])
    looked = edges((0, 1, 0.99), (0, 2, 0.99), (1, 2, 0.99))
    assert keep_order_by(looked, sizes, np.array([0, 1, 2])).tolist() == [2, 0, 1]


def test_what_others_were_cut_from_is_kept_though_they_have_more_pixels():
    looked = edges((0, 2, 0.99, 0.05), (1, 2, 0.99, 0.05), (0, 1, 0.99, 0.5))
    assert settle(3, looked, rank=[0, 1, 2]).representative.tolist() == [2, 2, 2]


@pytest.mark.parametrize("seed", range(20))
def test_rounds_keep_what_one_after_the_other_would(seed):
    rng = np.random.default_rng(seed)
    count = 40
    pairs = rng.integers(0, count, (60, 2))
    pairs = np.unique(np.sort(pairs[pairs[:, 0] != pairs[:, 1]], axis=1), axis=0)
    place = rng.permutation(count)
    expected = np.arange(count)
    kept = []
    for image in np.argsort(place).tolist():
        beside = {int(b if a == image else a) for a, b in pairs if image in (a, b)}
        first = next((other for other in kept if other in beside), None)
        if first is None:
            kept.append(image)
        else:
            expected[image] = first
    np.testing.assert_array_equal(keep_first(count, pairs, place), expected)


def test_the_order_of_pairs_does_not_matter():
    rng = np.random.default_rng(0)
    pairs = {tuple(sorted(pair)) for pair in rng.integers(0, 30, (60, 2)).tolist() if pair[0] != pair[1]}
    rows = [(*pair, float(rng.choice([0.5, 0.99])), float(rng.random())) for pair in sorted(pairs)]
    expected = settle(30, edges(*rows)).representative
    for _ in range(5):
        shuffled = [rows[at] for at in rng.permutation(len(rows))]
        np.testing.assert_array_equal(settle(30, edges(*shuffled)).representative, expected)


def test_many_copies_of_a_reference_go_where_images_stay_among_themselves():
    """Without self-dedup the copies' links among each other still tell that the reference is no frame."""
    around = [(5, at, 0.99) for at in range(5)]
    among = [(at, at + 1, 0.99) for at in range(4)]
    looked = edges(*around, *among)
    sizes, rank = np.full((5, 2), 300), np.arange(5)
    stars = stars_of(looked, looked.evident(0.95), sizes, rank, self_dedup=False)
    assert stars.representative.tolist() == [5] * 5
    assert not len(stars.hubs)
    alone = edges((0, 1, 0.99))
    assert stars_of(alone, alone, sizes, rank, self_dedup=False).representative.tolist() == [0, 1, 2, 3, 4]
