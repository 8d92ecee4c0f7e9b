"""How many images go through a model at once: what fits, found once and kept."""

import logging

import numpy as np
import pytest
import torch

from curation.config import ModelConfig, parse_config
from curation.errors import ConfigError, ModelError
from curation.models import batches, open_embedder
from curation.models.batches import CPU_BATCH, GPU_BATCH, Batches, is_out_of_memory
from curation.models.copy.network import Sscd

CPU, GPU = torch.device("cpu"), torch.device("cuda")


@pytest.fixture(autouse=True)
def _nothing_found_yet(monkeypatch):
    monkeypatch.setattr(batches, "_fitting", {})
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: None)


class Memory:
    """A forward pass that holds so many images, as a GPU would have it."""

    def __init__(self, room, error=torch.OutOfMemoryError):
        self.room = room
        self.error = error
        self.calls = []

    def __call__(self, part):
        self.calls.append(part.stop - part.start)
        if self.calls[-1] > self.room:
            raise self.error("CUDA out of memory. Tried to allocate 2.00 GiB.\nGPU 0 has a total capacity of 4 GiB")
        return list(range(part.start, part.stop))


def rows(result):
    return [row for part, answer in result for row in answer if part.start <= row < part.stop]


@pytest.mark.parametrize("error", [torch.OutOfMemoryError, RuntimeError])
def test_the_batch_is_halved_until_it_fits_and_every_image_has_one_answer_in_order(error):
    memory = Memory(70, error)
    assert rows(Batches("m", "auto", GPU).run(300, memory)) == list(range(300))
    assert memory.calls == [256, 128, 64, 64, 64, 64, 44]


def test_what_fits_is_kept_for_the_rest_of_the_process_and_told_in_one_line(caplog):
    with caplog.at_level(logging.WARNING):
        list(Batches("m", "auto", GPU).run(200, Memory(128)))
    assert [record.getMessage() for record in caplog.records] == [
        "model m: out of memory with 200 images at a time, so 100 from now on"
    ]
    again, other = Memory(128), Memory(128)
    list(Batches("m", "auto", GPU).run(200, again))
    assert again.calls == [100, 100]
    assert Batches("m", "auto", GPU).first == 100
    list(Batches("another", "auto", GPU).run(200, other))
    assert other.calls[0] == 200


def test_a_model_that_does_not_hold_one_image_is_the_users_to_replace():
    with pytest.raises(ModelError, match=r"GPU's memory does not hold one image at a time \(CUDA out of") as refused:
        list(Batches("m", "auto", GPU).run(4, Memory(0)))
    assert "\n" not in str(refused.value)
    assert "use a smaller model, or fewer workers (runner.workers)" in str(refused.value)


def test_a_number_is_taken_as_it_is_and_refused_where_it_does_not_fit():
    memory = Memory(100)
    list(Batches("m", 50, GPU).run(120, memory))
    assert memory.calls == [50, 50, 20]
    with pytest.raises(
        ModelError, match=r"does not hold 120 images at a time .* set its batch to a smaller number, or"
    ):
        list(Batches("m", 500, GPU).run(120, memory))


def test_other_errors_are_not_taken_for_want_of_memory():
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
        list(
            Batches("m", "auto", CPU).run(
                4, Memory(-1, lambda _: RuntimeError("mat1 and mat2 shapes cannot be multiplied"))
            )
        )


def test_torch_itself_says_that_a_machine_has_no_memory_left_in_words_that_are_known():
    with pytest.raises(RuntimeError) as refused:
        torch.empty(2**60, dtype=torch.uint8)
    assert is_out_of_memory(refused.value)


def test_a_gpu_begins_large_and_a_cpu_with_what_its_cache_holds():
    assert Batches("m", "auto", GPU).first == GPU_BATCH == 256
    assert Batches("m", "auto", CPU).first == CPU_BATCH == 8


def test_an_embedder_goes_on_after_it_ran_out_of_memory(monkeypatch, tmp_path):
    torch.manual_seed(0)
    torch.save(Sscd().state_dict(), tmp_path / "sscd.pt")
    embedder = open_embedder(ModelConfig(model="sscd/disc_mixup", weights=str(tmp_path / "sscd.pt")))
    embedder.setup()
    images = list(np.random.default_rng(0).integers(0, 256, (9, 40, 50, 3)).astype(np.uint8))
    expected = embedder.embed(images)
    network, sizes = embedder._network, []

    def scarce(pixels):
        sizes.append(len(pixels))
        if len(pixels) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return network(pixels)

    monkeypatch.setattr(embedder, "_network", scarce)
    np.testing.assert_allclose(embedder.embed(images), expected, atol=1e-5)
    assert sizes == [8, 4, 2, 2, 2, 2, 1]


def test_the_batch_is_no_part_of_the_fingerprint(tmp_path):
    (tmp_path / "sscd.pt").write_bytes(b"any")
    settings = {"model": "sscd/disc_mixup", "weights": str(tmp_path / "sscd.pt")}
    prints = {open_embedder(ModelConfig(**settings, batch=n)).fingerprint() for n in ("auto", 1, 64)}
    assert len(prints) == 1


@pytest.mark.parametrize("value", [0, "many", 2.5])
def test_what_is_neither_a_number_nor_auto_is_refused(value):
    with pytest.raises(ConfigError, match=r"embed\.batch"):
        parse_config({"pool": ["p"], "seeds": [], "embed": {"batch": value}})
