"""Checkpoints of `lvd pretrain` as embedders: the teacher, at its size, loaded safely."""

import hashlib
import os
import pickle

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from safetensors.torch import save_file

from curation.config import CopyConfig, EmbedConfig, ModelConfig
from curation.dinov2.checkpoint import load_state, save_state
from curation.dinov2.config import PretrainConfig
from curation.dinov2.export import export_backbone
from curation.dinov2.model import build_model
from curation.errors import ModelError
from curation.models import open_embedder
from tests.matrix import first_of

SMALL = {"arch": "vits", "width": 24, "depth": 2, "heads": 2, "patch": 14, "layerscale": 0.1}


class Marker:
    """Pickled code: unpickling it makes a directory."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return os.mkdir, (self.path,)


def checkpoint(path, size=56, **model):
    """A checkpoint whose student and teacher differ."""
    config = PretrainConfig(
        model=SMALL | model,
        crops={"global_size": size, "local_size": 28},
        dino_head={"prototypes": 20, "hidden": 16, "bottleneck": 8},
    )
    torch.manual_seed(0)
    built = build_model(config)
    with torch.no_grad():
        for parameter in built.parameters():
            parameter.add_(0.05 * torch.randn(parameter.shape))
    save_state(path, {"config": config.model_dump(mode="json"), "model": built.state_dict(), "step": 1})
    return path, built.teacher.backbone.eval()


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    return checkpoint(tmp_path_factory.mktemp("pretrained") / "step-00000001.pt", registers=4)


@pytest.fixture(scope="module")
def images():
    rng = np.random.default_rng(0)
    return [
        rng.integers(0, 256, (height, width, 3)).astype(np.uint8) for height, width in ((90, 64), (56, 56), (9, 70))
    ]


def opened(path, **settings):
    embedder = open_embedder(EmbedConfig(model="lvd/pretrain", weights=str(path), **settings))
    embedder.setup()
    return embedder


def pixels_of(images, size):
    """By torchvision, one image at a time."""
    transform = timm.data.create_transform(
        (3, size, size), interpolation="bicubic", crop_pct=1.0, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225)
    )
    return torch.stack([transform(Image.fromarray(image)) for image in images])


def unit(vectors):
    return torch.nn.functional.normalize(vectors, dim=1)


def refusal(path, **settings):
    with pytest.raises(ModelError) as refused:
        opened(path, **settings)
    text = str(refused.value)
    assert "\n" not in text
    assert text.startswith("model lvd/pretrain: ")
    return text


def test_vectors_are_the_teachers_class_tokens_at_the_size_of_its_global_crops(trained, images):
    path, teacher = trained
    embedder = opened(path)
    assert (embedder.name, embedder.side, embedder.dim, embedder.needs_fit) == ("lvd/pretrain", 56, 24, False)
    with torch.no_grad():
        wanted = unit(teacher(pixels_of(images, 56)))
    np.testing.assert_allclose(embedder.embed(images), wanted, atol=2e-3)  # a byte's rounding in resizing 9 rows to 56
    np.testing.assert_allclose(embedder.embed(images[1:2]), wanted[1:2], atol=1e-5)  # of the right size already


def test_pooling_takes_the_class_token_the_mean_of_patches_or_each_at_length_one(trained, images):
    path, teacher = trained
    with torch.no_grad():
        features = teacher.features(pixels_of(images[1:2], 56))
    first, mean = unit(features.cls), unit(features.patches.mean(dim=1))
    assert features.patches.shape[1] == 16
    for pool, wanted in (("class", first), ("patches", mean), ("both", torch.cat([first, mean], 1) / 2**0.5)):
        np.testing.assert_allclose(opened(path, pool=pool).embed(images[1:2]), wanted, atol=1e-5)
    np.testing.assert_array_equal(opened(path).embed(images), opened(path, pool="class").embed(images))


@pytest.mark.slow
@pytest.mark.parametrize("registers", first_of(4, 0))
def test_vectors_are_those_of_the_exported_file_in_timm(tmp_path, images, registers):
    """At timm's size of these models, 518 pixels."""
    full = {"width": None, "depth": None, "heads": None, "registers": registers}
    path, _ = checkpoint(tmp_path / "step-00000001.pt", size=518, **full)
    out = export_backbone(path, "timm", tmp_path / "exported.safetensors")
    name = "vit_small_patch14_reg4_dinov2" if registers else "vit_small_patch14_dinov2"
    for pool in (None, "both"):
        exported = open_embedder(EmbedConfig(model=f"timm/{name}", weights=str(out), pool=pool))
        exported.setup()
        assert opened(path).side == exported.side == 518
        np.testing.assert_allclose(opened(path, pool=pool).embed(images[:1]), exported.embed(images[:1]), atol=1e-5)


def test_the_fingerprint_holds_the_files_sha256_and_what_was_set(trained):
    path, _ = trained
    digest = hashlib.sha256(path.read_bytes()).hexdigest()

    def fingerprint(**settings):
        return open_embedder(EmbedConfig(model="lvd/pretrain", weights=str(path), **settings)).fingerprint()

    assert fingerprint(precision="fp32") == f"lvd/pretrain v1 sha256:{digest}"
    assert fingerprint(precision="bf16", pool="both") == f"lvd/pretrain v1 sha256:{digest} pool:both bf16"
    assert fingerprint(precision="fp32", pool="class") == f"lvd/pretrain v1 sha256:{digest} pool:class"
    assert f"but {'0' * 64} is pinned" in refusal(path, sha256="0" * 64)


def test_an_embedder_that_was_planned_with_is_sent_to_workers_without_weights(trained, images):
    path, _ = trained
    embedder = open_embedder(EmbedConfig(model="lvd/pretrain", weights=str(path)))
    assert embedder.side == 56
    sent = pickle.dumps(embedder)
    assert len(sent) < 10_000
    again = pickle.loads(sent)
    again.setup()
    np.testing.assert_array_equal(again.embed(images), opened(path).embed(images))


def test_it_serves_as_a_copy_descriptor_as_well(trained, images):
    path, _ = trained
    embedder = open_embedder(CopyConfig(model="lvd/pretrain", weights=str(path)))
    embedder.setup()
    np.testing.assert_array_equal(embedder.embed(images), opened(path).embed(images))


def test_a_checkpoint_must_be_named():
    with pytest.raises(ModelError, match=r"^model lvd/pretrain: set weights to a checkpoint, as in runs/.*\.pt$"):
        open_embedder(ModelConfig(model="lvd/pretrain"))


def test_files_of_other_kinds_are_refused_in_one_line(tmp_path):
    others = {"plain.pt": {"weight": torch.zeros(2)}, "list.pt": [1, 2], "hub.pt": {"teacher": {}}}
    for name, content in others.items():
        torch.save(content, tmp_path / name)
        text = refusal(tmp_path / name)
        assert "is damaged or no checkpoint of lvd pretrain; give a step-*.pt of a run's checkpoints folder" in text
    save_file({"cls_token": torch.zeros(1, 1, 24)}, tmp_path / "exported.safetensors")
    assert "what lvd export wrote as timm/<name>" in refusal(tmp_path / "exported.safetensors")
    with pytest.raises(ModelError, match="is damaged or no checkpoint"):  # before there is any work
        open_embedder(ModelConfig(model="lvd/pretrain", weights=str(tmp_path / "plain.pt"))).fingerprint()
    assert "is no file" in refusal(tmp_path)
    with pytest.raises(ModelError, match="is no file"):
        _ = open_embedder(ModelConfig(model="lvd/pretrain", weights=str(tmp_path / "none.pt"))).side


@pytest.mark.parametrize("damage", ["cut short", "empty", "garbage", "code"])
def test_damaged_and_hostile_files_are_refused_and_never_run(trained, tmp_path, damage):
    path, whole = tmp_path / "step-00000001.pt", trained[0].read_bytes()
    if damage == "code":
        torch.save({"format": "lvd-pretrain/1", "config": Marker(tmp_path / "ran")}, path)
    else:
        path.write_bytes({"cut short": whole[: len(whole) // 2], "empty": b"", "garbage": b"\x80\x02" * 999}[damage])
    assert "is damaged or no checkpoint of lvd pretrain" in refusal(path)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda state: state.pop("config"), "'config'"),
        (lambda state: state["config"].update(epochs=3), "epochs"),
        (lambda state: state["config"]["model"].update(depth=10**9), "2 blocks, the config says 1000000000"),
        (lambda state: state["config"]["model"].update(width=2 * 10**7), "size mismatch"),
        (lambda state: state["config"]["crops"].update(global_size=14 * 10**6), "size mismatch"),
        (lambda state: state["model"].pop("teacher.backbone.norm.bias"), "norm.bias"),
        (lambda state: state["model"].update({"teacher.backbone.norm.bias": "x"}), "'str'"),
        (lambda state: state.pop("model"), "'model'"),
    ],
)
def test_a_config_that_is_not_the_weights_costs_no_memory_and_is_named(trained, tmp_path, change, says):
    state = load_state(trained[0])
    change(state)
    save_state(tmp_path / "changed.pt", state)
    assert says in refusal(tmp_path / "changed.pt")
