"""Schedules at their ends and beyond."""

import math

import pytest

from curation.dinov2.config import OptimConfig, TeacherConfig
from curation.dinov2.schedules import Schedule, schedule


def test_warm_up_includes_both_ends_and_the_cosine_stops_short_of_its_end() -> None:
    values = [Schedule(1.0, 0.0, 10, warmup=5).at(step) for step in range(12)]
    assert values[:6] == pytest.approx([0, 0.25, 0.5, 0.75, 1, 1])
    assert values[9] > 0
    assert values[10:] == [0, 0]


def test_the_learning_rate_grows_with_the_root_of_the_batch() -> None:
    optim = OptimConfig(warmup_epochs=0, freeze_last_layer_epochs=0)
    small, large = (schedule(0, optim, TeacherConfig(), images).lr for images in (256, 1024))
    assert large == pytest.approx(4e-3)
    assert large / small == pytest.approx(2)


def test_prototypes_rest_for_the_first_epochs() -> None:
    optim = OptimConfig(epochs=4, epoch_length=5, warmup_epochs=0, freeze_last_layer_epochs=2)
    rates = [schedule(step, optim, TeacherConfig(), 64).last_layer_lr for step in range(20)]
    assert rates[:10] == [0] * 10
    assert all(rate > 0 for rate in rates[10:])


def test_no_temperature_warm_up_gives_the_final_temperature_at_once() -> None:
    assert schedule(0, OptimConfig(), TeacherConfig(warmup_epochs=0), 64).temperature == 0.07


def test_weight_decay_and_momentum_follow_half_a_cosine() -> None:
    optim = OptimConfig(epochs=2, epoch_length=10, warmup_epochs=0)
    values = schedule(5, optim, TeacherConfig(), 64)
    half = 0.5 * (1 + math.cos(math.pi / 4))
    assert values.weight_decay == pytest.approx(0.4 + (0.04 - 0.4) * half)
    assert values.momentum == pytest.approx(1 + (0.992 - 1) * half)
