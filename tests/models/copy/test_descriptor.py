"""Copy descriptors by name: vectors, weights that fit and weights that do not, SSCD as published."""

import hashlib
import os
import warnings

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw, ImageEnhance, ImageOps
from safetensors.torch import load_file, save_file
from skimage import data
from torchvision.models import resnet50

from curation.config import ModelConfig
from curation.errors import ModelError
from curation.models import ClassicalDescriptor, open_embedder
from curation.models.copy.descriptor import OWN_WEIGHTS, CopyDescriptor, copy_models
from curation.models.copy.network import GeM, SmallCopyNet, Sscd, normalise

SMALL, SSCD = "lvd/copy-small-v1", "sscd/disc_mixup"
WEIGHTS = OWN_WEIGHTS / "copy-small-v1.safetensors"


class Marker:
    """Pickled code: unpickling it makes a directory."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return os.mkdir, (self.path,)


def opened(model=SMALL, **settings):
    embedder = open_embedder(ModelConfig(model=model, **settings))
    embedder.setup()
    return embedder


@pytest.fixture(scope="module")
def small():
    return opened()


@pytest.fixture(scope="module")
def sscd_net():
    torch.manual_seed(3)
    return Sscd().eval()


@pytest.fixture(scope="module")
def images():
    rng = np.random.default_rng(0)
    shapes = ((300, 220), (64, 64), (9, 70), (200, 500), (161, 159))
    return [rng.integers(0, 256, (*shape, 3)).astype(np.uint8) for shape in shapes]


def test_vectors_have_length_one_and_depend_on_their_image_alone(small, images):
    vectors = small.embed(images)
    assert vectors.shape == (5, small.dim)
    assert vectors.dtype == np.float32
    assert np.linalg.norm(vectors, axis=1) == pytest.approx(np.ones(5), abs=1e-6)
    assert np.array_equal(vectors, small.embed(images))
    assert np.array_equal(vectors, opened().embed(images))
    for batch in (1, 2):
        assert np.abs(opened(batch=batch).embed(images) - vectors).max() < 1e-5
    assert np.abs(small.embed(images[::-1])[::-1] - vectors).max() < 1e-5
    assert small.embed([]).shape == (0, small.dim)


def test_the_vector_is_the_networks_of_the_image_scaled_to_a_square_and_of_its_stretched_greys(small, images):
    network = SmallCopyNet().eval()
    network.load_state_dict({key: value.float() for key, value in load_file(WEIGHTS).items()})
    side = 160
    squares = np.stack([Image.fromarray(image).resize((side, side), Image.Resampling.BILINEAR) for image in images])
    mean, deviation = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    greys = []
    for square in squares:
        grey = np.asarray(Image.fromarray(square).convert("L")).astype(np.float64)
        black, white = np.percentile(grey, [2, 98], method="nearest")
        stretched = np.clip((grey - black) * 255.0 / max(white - black, 20.0), 0, 255).round()
        greys.append(np.repeat(stretched[..., None], 3, axis=2))
    said = []
    for pixels in (squares, np.stack(greys)):
        inputs = torch.from_numpy(((pixels / 255.0 - mean) / deviation).astype(np.float32)).permute(0, 3, 1, 2)
        with torch.inference_mode():
            said.append(network(inputs).numpy())
    expected = said[0] + 0.4 * said[1]
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    assert np.abs(small.embed(images) - expected).max() < 1e-3  # Pillow rounds some greys the other way


@pytest.mark.parametrize("edit", ["grey", "much brighter", "dull"])
def test_a_picture_in_other_colours_or_light_is_more_like_itself_than_to_the_network_alone(small, edit):
    network = SmallCopyNet().eval()
    network.load_state_dict({key: value.float() for key, value in load_file(WEIGHTS).items()})
    for picture in (data.astronaut(), data.chelsea(), data.coffee()):
        square = Image.fromarray(picture).resize((160, 160), Image.Resampling.BILINEAR)
        edited = {
            "grey": square.convert("L").convert("RGB"),
            "much brighter": ImageEnhance.Brightness(square).enhance(1.6),
            "dull": ImageEnhance.Contrast(ImageEnhance.Color(square).enhance(0.4)).enhance(0.5),
        }
        both = [np.asarray(square), np.asarray(edited[edit])]
        with torch.inference_mode():
            alone = network(normalise(torch.from_numpy(np.stack(both)))).numpy()
        vectors = small.embed(both)
        assert vectors[0] @ vectors[1] > alone[0] @ alone[1] + 0.03


def test_the_shipped_weights_are_small_and_half_precision_and_their_card_names_their_digest(small):
    assert WEIGHTS.stat().st_size <= 15_000_000
    assert {value.dtype for value in load_file(WEIGHTS).values()} == {torch.float16, torch.int64}
    digest = hashlib.sha256(WEIGHTS.read_bytes()).hexdigest()
    assert digest in WEIGHTS.with_suffix(".md").read_text()
    assert small.fingerprint() == f"{SMALL} v3 sha256:{digest}"


@pytest.mark.slow
def test_shipped_weights_beat_the_classical_descriptor_on_pictures_that_neither_saw(small):
    originals = [_scene(seed) for seed in range(48)]
    copies = [_edited(scene, number) for number, scene in enumerate(originals)]
    classical = ClassicalDescriptor.from_settings(ModelConfig(model="classical/hog-colour-8x8"))
    classical = classical.with_whitening(classical.fit(originals))
    assert _found_first(small, originals, copies) >= _found_first(classical, originals, copies) + 0.2


def _scene(seed):
    """Forty ellipses, boxes and strokes of random colours on a ground of one."""
    rng = np.random.default_rng(seed)
    image = Image.new("RGB", (240, 180), tuple(rng.integers(0, 256, 3).tolist()))
    draw = ImageDraw.Draw(image)
    for _ in range(40):
        (left, right), (top, bottom) = np.sort(rng.integers(0, 240, 2)), np.sort(rng.integers(0, 180, 2))
        shape = (draw.ellipse, draw.rectangle, draw.line)[int(rng.integers(3))]
        shape((int(left), int(top), int(right), int(bottom)), fill=tuple(rng.integers(0, 256, 3).tolist()))
    return np.asarray(image)


def _edited(scene, number):
    image = Image.fromarray(scene)
    kind = number % 4
    if kind == 0:
        image = ImageOps.expand(image, 50, fill=(255, 255, 255))
    elif kind == 1:
        image = ImageOps.mirror(image)
    elif kind == 2:
        image = image.crop((40, 30, 200, 150))
    else:
        image = ImageEnhance.Brightness(image.rotate(15)).enhance(1.4)
    return np.asarray(image)


def _found_first(embedder, originals, copies):
    """The share of copies whose nearest original is their own."""
    similarity = embedder.embed(copies) @ embedder.embed(originals).T
    return float((similarity.argmax(axis=1) == np.arange(len(originals))).mean())


def test_sscd_has_the_keys_and_shapes_of_the_published_file(sscd_net):
    """It is torchvision's ResNet-50 with 512 outputs for its classes, under `backbone.`; GeM has no weights."""
    reference = resnet50(weights=None, num_classes=512).state_dict()
    state = sscd_net.state_dict()
    assert {key: value.shape for key, value in state.items()} == {
        f"backbone.{key}": value.shape for key, value in reference.items()
    }
    assert state["backbone.fc.weight"].shape == (512, 2048)
    assert state["backbone.conv1.weight"].shape == (64, 3, 7, 7)
    assert len(state) == 320


@pytest.mark.slow
def test_sscd_is_read_from_a_state_dict_and_from_torchscript_alike(sscd_net, images, tmp_path):
    torch.save(sscd_net.state_dict(), tmp_path / "sscd_disc_mixup.torchvision.pt")
    save_file(sscd_net.state_dict(), tmp_path / "sscd.safetensors")
    with warnings.catch_warnings(action="ignore"):
        script = torch.jit.trace(sscd_net, torch.randn(1, 3, 64, 64))
        torch.jit.save(script, tmp_path / "sscd_disc_mixup.torchscript.pt")
    vectors = [
        opened(SSCD, weights=str(tmp_path / name)).embed(images[:2])
        for name in ("sscd_disc_mixup.torchvision.pt", "sscd.safetensors", "sscd_disc_mixup.torchscript.pt")
    ]
    assert vectors[0].shape == (2, 512)
    assert np.array_equal(vectors[0], vectors[1])
    assert np.abs(vectors[0] - vectors[2]).max() < 1e-5
    inputs = torch.stack(
        [
            torch.from_numpy(np.array(Image.fromarray(image).resize((320, 320), Image.Resampling.BILINEAR)))
            for image in images[:2]
        ]
    )
    with torch.inference_mode():
        assert np.abs(sscd_net(normalise(inputs)).numpy() - vectors[0]).max() < 1e-5


def test_gem_is_the_third_root_of_the_mean_third_power():
    maps = torch.rand(2, 5, 4, 3, dtype=torch.float64)
    expected = np.cbrt((maps.numpy() ** 3).mean(axis=(2, 3)))
    assert GeM()(maps).numpy() == pytest.approx(expected, rel=1e-12)


def test_weights_that_are_not_the_models_are_refused_in_one_line(sscd_net, tmp_path):
    good = load_file(WEIGHTS)
    save_file({key: value for key, value in good.items() if key != "head.bias"}, tmp_path / "missing.safetensors")
    save_file({**good, "head.more": torch.zeros(1)}, tmp_path / "more.safetensors")
    save_file({**good, "head.bias": torch.zeros(3)}, tmp_path / "shape.safetensors")
    (tmp_path / "cut.safetensors").write_bytes(WEIGHTS.read_bytes()[:5000])
    torch.save([1, 2], tmp_path / "list.pt")
    torch.save({"state_dict": Marker(tmp_path / "made")}, tmp_path / "code.pt")
    (tmp_path / "not.torchscript.pt").write_bytes(b"PK\\x03\\x04 nonsense")
    for model, name, words in (
        (SMALL, "missing.safetensors", "1 missing such as head.bias"),
        (SMALL, "more.safetensors", "1 unknown such as head.more"),
        (SMALL, "shape.safetensors", "1 of another shape such as head.bias"),
        (SMALL, "cut.safetensors", "is damaged"),
        (SMALL, "list.pt", "holds no state dict"),
        (SMALL, "code.pt", "holds more than tensors or is damaged"),
        (SMALL, "none.safetensors", "is no file"),
        (SSCD, "missing.safetensors", "is no checkpoint of this model"),
        (SSCD, "not.torchscript.pt", "is no TorchScript"),
    ):
        with pytest.raises(ModelError, match=words) as caught:
            opened(model, weights=str(tmp_path / name))
        assert "\\n" not in str(caught.value)
    assert not (tmp_path / "made").exists()


def test_pins_are_checked(tmp_path):
    with pytest.raises(ModelError, match="is pinned"):
        opened(sha256="0" * 64)
    with pytest.raises(ModelError, match="no known sha256"):
        open_embedder(ModelConfig(model="sscd/disc_blur")).setup()


def test_names_are_known_or_refused():
    assert copy_models()[0] == SMALL
    assert isinstance(open_embedder(ModelConfig(model=SMALL)), CopyDescriptor)
    for name in ("lvd/copy", "sscd/disc"):
        with pytest.raises(ModelError, match="no such copy descriptor; name one of lvd/copy-small-v1, sscd/"):
            open_embedder(ModelConfig(model=name))
