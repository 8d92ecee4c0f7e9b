"""Where weights come from."""

import hashlib
import logging
import os
from types import SimpleNamespace
from urllib.error import URLError

import pytest
from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError
from timm.models._pretrained import PretrainedCfg

from curation.config import ModelConfig
from curation.errors import ModelError
from curation.models import weights
from curation.models.digest import sha256_of
from curation.models.weights import find_weights, verified_weights

MODEL = "timm/resnet10t"
HUB = PretrainedCfg(hf_hub_id="timm/resnet10t.c3_in1k")
SETTINGS = ModelConfig(model=MODEL)


@pytest.fixture
def hub(monkeypatch, tmp_path):
    """A hub whose cache and files are two dicts."""

    state = SimpleNamespace(cache={}, files={}, asked=[])

    def from_cache(repository, name, revision=None):
        return state.cache.get(name)

    def download(repository, name, revision=None):
        state.asked.append(name)
        result = state.files.get(name, EntryNotFoundError(name))
        if isinstance(result, Exception):
            raise result
        return result

    monkeypatch.setattr(weights, "try_to_load_from_cache", from_cache)
    monkeypatch.setattr(weights, "hf_hub_download", download)
    return state


def refusal(published, settings=SETTINGS):
    with pytest.raises(ModelError) as refused:
        find_weights(settings, published)
    assert "\n" not in str(refused.value)
    return str(refused.value)


def test_a_cached_file_is_used_without_asking_the_hub(hub):
    hub.cache = {"pytorch_model.bin": "/cache/pytorch_model.bin"}
    assert str(find_weights(SETTINGS, HUB)) == "/cache/pytorch_model.bin"
    assert hub.asked == []


def test_safetensors_are_asked_for_first_and_pickles_only_if_there_are_none(hub):
    hub.files = {"pytorch_model.bin": "/hub/pytorch_model.bin"}
    assert str(find_weights(SETTINGS, HUB)) == "/hub/pytorch_model.bin"
    assert hub.asked == ["model.safetensors", "pytorch_model.bin"]
    hub.files["model.safetensors"] = "/hub/model.safetensors"
    assert str(find_weights(SETTINGS, HUB)) == "/hub/model.safetensors"


def test_no_network_is_one_line_that_says_what_to_do(hub):
    hub.files = {"model.safetensors": LocalEntryNotFoundError("no\nconnection")}
    text = refusal(HUB)
    assert text.startswith(
        "model timm/resnet10t: its weights could not be downloaded from "
        "https://huggingface.co/timm/resnet10t.c3_in1k (no connection); connect to the network, or"
    )
    assert text.endswith("give the file with the weights setting")
    assert hub.asked == ["model.safetensors"]
    assert logging.getLogger("huggingface_hub.utils._http").level != logging.CRITICAL


def test_a_hub_without_the_file_says_so(hub):
    assert "has neither of model.safetensors, pytorch_model.bin" in refusal(HUB)


def test_a_published_url_that_cannot_be_reached_is_one_line(monkeypatch):
    def unreachable(url):
        raise URLError("no route")

    monkeypatch.setattr(weights, "download_cached_file", unreachable)
    text = refusal(PretrainedCfg(url="https://weights.example/model.pth.tar"))
    assert "could not be downloaded from https://weights.example/model.pth.tar" in text


def test_jax_archives_and_models_without_weights_are_refused():
    assert "only as a JAX archive" in refusal(PretrainedCfg(url="https://weights.example/ViT.npz"))
    assert "has no published weights; give a local checkpoint" in refusal(PretrainedCfg())


def test_a_local_file_must_be_there_and_of_a_known_kind(tmp_path):
    missing = ModelConfig(model=MODEL, weights=str(tmp_path / "none.pth"))
    assert "none.pth is no file; give the path of a checkpoint file" in refusal(HUB, missing)
    assert "is no file" in refusal(HUB, ModelConfig(model=MODEL, weights=str(tmp_path)))
    (tmp_path / "weights.npz").write_bytes(b"x")
    jax = ModelConfig(model=MODEL, weights=str(tmp_path / "weights.npz"))
    assert "of no kind that is read here" in refusal(HUB, jax)


def test_a_file_that_changed_is_hashed_anew(tmp_path):
    path = tmp_path / "weights.pth"
    for number, content in enumerate((b"first", b"other")):
        path.write_bytes(content)
        os.utime(path, ns=(number, number))
        assert sha256_of(path) == hashlib.sha256(content).hexdigest()


def test_a_pin_is_checked_and_the_digest_handed_on(tmp_path):
    path = tmp_path / "weights.pth"
    path.write_bytes(b"weights")
    digest = hashlib.sha256(b"weights").hexdigest()
    settings = ModelConfig(model=MODEL, weights=str(path), sha256=digest)
    assert verified_weights(settings, HUB) == (path, digest)
    with pytest.raises(ModelError, match=f"has sha256 {digest}, but {'0' * 64} is pinned"):
        verified_weights(ModelConfig(model=MODEL, weights=str(path), sha256="0" * 64), HUB)
