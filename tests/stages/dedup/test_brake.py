"""Dedup that would take away most of a dataset stops before it drops anything, and says what to look at."""

import numpy as np
import pytest

from curation.config import DedupConfig
from curation.drops import DropReason
from curation.stages.dedup.brake import TooMuchError, brake
from curation.stages.dedup.components import Verdicts


def verdicts(count, dropped, kept=0):
    """The first `dropped` images after image `kept` go for it."""
    representative = np.arange(count)
    reason = [None] * count
    for at in range(1, dropped + 1):
        representative[at], reason[at] = kept, DropReason.COPY
    return Verdicts(representative, np.ones(count, np.float32), reason, np.empty(0, np.int64))


def name_of(at):
    return f"image {at}"


def test_more_than_half_is_too_much():
    brake(verdicts(10, 5), name_of, DedupConfig())
    with pytest.raises(TooMuchError) as error:
        brake(verdicts(10, 6), name_of, DedupConfig())
    said = str(error.value)
    assert "\n" not in said
    assert "would drop 6 of 10 images, more than dedup.max_share (0.5), and has dropped none" in said
    assert "6 for image 0" in said
    assert "--yes" in said
    assert "dedup.probability" in said


def test_one_image_for_a_twentieth_of_a_large_pool_is_too_much():
    brake(verdicts(200, 10), name_of, DedupConfig())
    with pytest.raises(TooMuchError, match=r"11 of 200 images for a single one, more than dedup\.max_group"):
        brake(verdicts(200, 11), name_of, DedupConfig())


def test_a_small_pool_may_have_one_large_group():
    brake(verdicts(199, 99), name_of, DedupConfig())


def test_the_limits_are_settings():
    with pytest.raises(TooMuchError):
        brake(verdicts(10, 3), name_of, DedupConfig(max_share=0.2))
    brake(verdicts(1000, 999), name_of, DedupConfig(max_share=1.0, max_group=1.0))


def test_the_plain_rule_names_its_own_settings():
    with pytest.raises(TooMuchError, match=r"a higher dedup\.self\.threshold"):
        brake(verdicts(10, 6), name_of, DedupConfig(verify="off"))


def test_a_reference_is_called_one():
    result = verdicts(4, 3, kept=4)
    with pytest.raises(TooMuchError, match="3 for the reference image 4"):
        brake(result, name_of, DedupConfig())
