"""Training of the copy descriptor: a function of the seed and the photos, whatever interrupts or serves it."""

import math

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from curation.errors import ConfigError
from curation.models.copy.network import SmallCopyNet
from curation.models.copy.objective import copy_losses, mixed
from curation.models.copy.training import Trainer, TrainSettings

TINY = TrainSettings(
    steps=4, batch=4, sides=(32, 48), rate=1e-3, warmup=2, mix=0.3, backbone="test_resnet", dim=16, seed=5
)


@pytest.fixture(scope="module")
def photos():
    rng = np.random.default_rng(0)
    return [rng.integers(0, 256, (int(rng.integers(40, 70)), 50, 3)).astype(np.uint8) for _ in range(9)]


@pytest.fixture(scope="module")
def straight(photos):
    trainer = Trainer(photos, TINY, workers=0)
    return list(trainer.run()), trainer


def equal(left, right):
    return all(torch.equal(value, right[name]) for name, value in left.items())


def test_a_run_that_was_stopped_and_continued_has_identical_losses_and_weights(photos, straight, tmp_path):
    steps, whole = straight
    first = Trainer(photos, TINY, workers=0)
    run = first.run()
    before = [next(run) for _ in range(3)]  # past the step at which the views grow
    first.save(tmp_path / "state")
    run.close()
    second = Trainer(photos, TINY, workers=0)
    second.resume(tmp_path / "state")
    assert before + list(second.run()) == steps
    assert equal(whole.averaged, second.averaged)
    assert equal(whole.network.state_dict(), second.network.state_dict())


def test_workers_and_cores_change_nothing(photos, straight):
    steps, whole = straight
    threads = torch.get_num_threads()
    torch.set_num_threads(1 if threads > 1 else 2)
    try:
        other = Trainer(photos, TINY, workers=1)
        assert list(other.run()) == steps
        assert torch.get_num_threads() != threads, "the caller's number of threads is given back"
    finally:
        torch.set_num_threads(threads)
    assert equal(whole.averaged, other.averaged)


def test_another_seed_is_another_run(photos, straight):
    other = Trainer(photos, TrainSettings(**{**vars_of(TINY), "seed": 6}), workers=0)
    assert next(other.run()).loss != straight[0][0].loss


def vars_of(settings):
    return {name: getattr(settings, name) for name in settings.__dataclass_fields__}


def test_a_state_of_other_settings_or_photos_or_no_state_at_all_is_refused(photos, straight, tmp_path):
    straight[1].save(tmp_path / "state")
    for trainer in (
        Trainer(photos, TrainSettings(**{**vars_of(TINY), "rate": 2e-3}), workers=0),
        Trainer(photos[:-1], TINY, workers=0),
    ):
        with pytest.raises(ConfigError, match="belongs to a run with other settings or photos"):
            trainer.resume(tmp_path / "state")
        assert trainer.step == 0
    (tmp_path / "broken").write_bytes((tmp_path / "state").read_bytes()[:500])
    with pytest.raises(ConfigError, match="is damaged"):
        Trainer(photos, TINY, workers=0).resume(tmp_path / "broken")


def test_weights_are_the_running_mean_in_half_precision(straight, tmp_path):
    trainer = straight[1]
    trainer.save_weights(tmp_path / "w.safetensors")
    written = load_file(tmp_path / "w.safetensors")
    assert written.keys() == SmallCopyNet("test_resnet", 16).state_dict().keys()
    assert {value.dtype for value in written.values()} == {torch.float16, torch.int64}
    assert torch.equal(written["head.weight"], trainer.averaged["head.weight"].half())


@pytest.mark.slow
def test_training_tells_photos_apart():
    rng = np.random.default_rng(1)
    blotches = [rng.integers(0, 256, (4, 4, 3)).astype(np.uint8) for _ in range(16)]
    photos = [np.asarray(Image.fromarray(small).resize((60, 60), Image.Resampling.BICUBIC)) for small in blotches]
    settings = TrainSettings(
        steps=60, batch=16, sides=(32,), rate=3e-3, warmup=5, entropy=1.0, mix=0.0, backbone="test_resnet", dim=16
    )
    contrast = [step.contrast for step in Trainer(photos, settings, workers=0).run()]
    assert np.mean(contrast[-10:]) < 0.9 * np.mean(contrast[:10])


def test_the_loss_is_that_of_the_paper_row_by_row():
    """Against sections 3.2 and 3.3 spelled out in Python: SimCLR's InfoNCE and the nearest other photo's distance."""
    torch.manual_seed(1)
    rows = torch.nn.functional.normalize(torch.randn(6, 8, dtype=torch.float64), dim=1)
    shown = torch.tensor([[0, 0], [1, 1], [2, 2], [0, 0], [1, 2], [2, 2]])  # the fifth is mixed of 1 and 2
    losses = copy_losses(rows, shown, 0.1, 3.0)
    alike = {frozenset(pair) for pair in ((0, 3), (1, 4), (2, 4), (2, 5), (4, 5))}
    contrasts, entropies = [], []
    for i in range(6):
        others = [j for j in range(6) if j != i and frozenset((i, j)) not in alike]
        against = sum(math.exp(float(rows[i] @ rows[j]) / 0.1) for j in others)
        terms = []
        for j in (j for j in range(6) if frozenset((i, j)) in alike):
            match = math.exp(float(rows[i] @ rows[j]) / 0.1)
            terms.append(-math.log(match / (match + against)))
        contrasts.append(sum(terms) / len(terms))
        entropies.append(-math.log(min(float((rows[i] - rows[j]).norm()) for j in others)))
    assert float(losses.contrast) == pytest.approx(np.mean(contrasts), rel=1e-9)
    assert float(losses.entropy) == pytest.approx(np.mean(entropies), rel=1e-9)
    assert float(losses.total) == pytest.approx(np.mean(contrasts) + 3.0 * np.mean(entropies), rel=1e-9)


def test_mixed_views_show_both_photos_and_the_others_are_untouched():
    views = torch.arange(6.0).view(6, 1, 1, 1).expand(6, 3, 10, 10).contiguous()
    photos = torch.tensor([0, 1, 2, 0, 1, 2])
    result, shown = mixed(views, photos, 0.5, torch.Generator().manual_seed(2))
    changed = [row for row in range(6) if not torch.equal(result[row], views[row])]
    assert changed
    assert torch.equal(shown[:, 0], photos)
    assert set(torch.nonzero(shown[:, 1] != photos).flatten().tolist()) <= set(changed)
    untouched, same = mixed(views, photos, 0.0, torch.Generator())
    assert torch.equal(untouched, views)
    assert torch.equal(same[:, 0], same[:, 1])
