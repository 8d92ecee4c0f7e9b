"""The paper's rule: which duplicates go, which image stays, and that nothing linked to a reference image does."""

import numpy as np
import pytest

from curation.config import DedupConfig
from curation.drops import DropReason
from curation.search.links import nearest
from curation.stages.dedup.components import decide
from curation.stages.dedup.edges import Edges
from tests.stages.dedup.linking import similarity_links

NONE = np.empty((0, 8), np.float32)


def unit(vectors):
    vectors = np.asarray(vectors, np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def at_angles(*degrees):
    """Images on a circle: neighbours by angle, cos 20 degrees = 0.94, cos 40 = 0.77, cos 60 = 0.5."""
    radians = np.deg2rad(degrees)
    vectors = np.zeros((len(degrees), 8), np.float32)
    vectors[:, 0], vectors[:, 1] = np.cos(radians), np.sin(radians)
    return vectors


def settle(vectors, references=NONE, hashes=None, rank=None, radius=0, **settings):
    count = len(vectors)
    hashes = np.arange(count, dtype=np.uint8)[:, None] if hashes is None else np.array(hashes, np.uint8)[:, None]
    config = DedupConfig.model_validate({"self": {"threshold": 0.6}, "relative": {"threshold": 0.45}} | settings)
    rank = np.arange(count) if rank is None else np.array(rank)
    return decide(
        hashes, np.concatenate([vectors, references]), *links_of(vectors, references, config), rank, config, radius
    )


def links_of(vectors, references, config):
    """Links by similarity alone, the paper's rule: between images, and those that lead to references."""
    between, wider = (
        Edges.plain(*similarity_links(vectors, config.neighbours, threshold))
        for threshold in (config.self_threshold if config.self_.enabled else 1.0, config.relative_threshold)
    )
    if not len(references):
        return between, wider
    similarity, rows = nearest(vectors, references, config.neighbours)
    image, column = np.nonzero(similarity > config.relative_threshold)
    pairs = np.stack([len(vectors) + rows[image, column], image], axis=1)
    return between, Edges.joined([wider, Edges.plain(pairs, similarity[image, column])])


def test_images_unlike_each_other_all_stay():
    verdicts = settle(at_angles(0, 60, 120, 180))
    assert verdicts.reason == [None] * 4
    assert verdicts.representative.tolist() == [0, 1, 2, 3]
    np.testing.assert_allclose(verdicts.similarity, 1, atol=1e-6)


def test_of_a_chain_of_copies_one_is_kept_though_its_ends_are_unlike():
    verdicts = settle(at_angles(0, 40, 80, 120, 240))
    assert verdicts.reason == [None, *[DropReason.COPY] * 3, None]
    assert verdicts.representative.tolist() == [0, 0, 0, 0, 4]
    np.testing.assert_allclose(verdicts.similarity[3], np.cos(np.deg2rad(120)), atol=1e-6)


def test_the_one_with_the_smallest_rank_is_kept():
    verdicts = settle(at_angles(0, 20, 40), rank=[2, 1, 0])
    assert verdicts.reason == [DropReason.COPY, DropReason.COPY, None]
    assert verdicts.representative.tolist() == [2, 2, 2]


def test_equal_hashes_are_dropped_before_anything_else():
    verdicts = settle(at_angles(0, 180, 90), hashes=[7, 7, 1], rank=[1, 0, 2])
    assert verdicts.reason == [DropReason.HASH_DUPLICATE, None, None]
    assert verdicts.representative.tolist() == [1, 1, 2]


@pytest.mark.parametrize(("radius", "dropped"), [(0, 0), (1, 1), (2, 2)])
def test_a_radius_takes_in_hashes_that_differ_in_so_many_bits(radius, dropped):
    verdicts = settle(at_angles(0, 90, 180), hashes=[0b0, 0b1, 0b1110], radius=radius)
    expected = {0: 0, 1: 1, 2: 1}[radius]
    assert sum(reason is DropReason.HASH_DUPLICATE for reason in verdicts.reason) == expected
    assert dropped >= expected


def test_a_whole_component_goes_with_the_reference_that_it_leads_to():
    """0 is like 1, 1 like the reference; 0 itself is not."""
    verdicts = settle(at_angles(0, 50, 200), references=at_angles(100))
    assert verdicts.reason == [DropReason.REFERENCE_LEAK, DropReason.REFERENCE_LEAK, None]
    assert verdicts.representative.tolist() == [3, 3, 2]
    np.testing.assert_allclose(verdicts.similarity[:2], np.cos(np.deg2rad([100, 50])), atol=1e-6)


def test_a_leak_leads_to_the_reference_that_it_resembles_most():
    verdicts = settle(at_angles(0, 180), references=at_angles(30, 10, 20))
    assert verdicts.reason == [DropReason.REFERENCE_LEAK, None]
    assert verdicts.representative.tolist() == [3, 1]


def test_references_join_components_through_each_other():
    verdicts = settle(at_angles(0, 90), references=at_angles(30, 60))
    assert verdicts.reason == [DropReason.REFERENCE_LEAK] * 2


def test_the_relative_threshold_is_its_own():
    """55 degrees apart: 0.57, over 0.45 and under 0.6."""
    assert settle(at_angles(0, 55)).reason == [None, None]
    assert settle(at_angles(0), references=at_angles(55)).reason == [DropReason.REFERENCE_LEAK]
    assert settle(at_angles(0), references=at_angles(55), relative={"threshold": 0.6}).reason == [None]


def test_self_dedup_can_be_left_out():
    verdicts = settle(at_angles(0, 10), references=at_angles(180), self={"enabled": False})
    assert verdicts.reason == [None, None]


def test_a_hash_duplicate_of_a_leak_says_which_image_stood_for_it():
    verdicts = settle(at_angles(0, 0, 180), references=at_angles(5), hashes=[3, 3, 4])
    assert verdicts.reason == [DropReason.REFERENCE_LEAK, DropReason.HASH_DUPLICATE, None]
    assert verdicts.representative.tolist() == [3, 0, 2]


def test_the_kept_set_does_not_depend_on_the_order_of_the_images():
    rng = np.random.default_rng(0)
    base = unit(rng.normal(size=(60, 64)))
    vectors = unit(np.concatenate([base, base[:30] + 0.02 * rng.normal(size=(30, 64)), base[:10]]))
    hashes = np.concatenate([np.arange(60), np.arange(100, 130), np.arange(10)]).astype(np.uint8)
    references = unit(base[40:45] + 0.02 * rng.normal(size=(5, 64)))
    rank = rng.permutation(100)
    kept = []
    for _ in range(4):
        order = rng.permutation(100)
        verdicts = settle(vectors[order], references, hashes[order], np.argsort(np.argsort(rank[order])))
        kept.append({int(order[at]) for at, reason in enumerate(verdicts.reason) if reason is None})
    assert kept[0] == kept[1] == kept[2] == kept[3]
    assert len(kept[0]) == 55


def test_a_group_larger_than_k_keeps_one():
    crowd = np.repeat(at_angles(0), 30, axis=0)
    verdicts = settle(np.concatenate([crowd, at_angles(90)]), neighbours=2)
    assert verdicts.reason.count(None) == 2
