"""What is taken of a timm transformer's tokens, held against timm's own features."""

import numpy as np
import pytest
import timm
import torch
from safetensors.torch import save_file

from curation.config import EmbedConfig
from curation.errors import ModelError
from curation.models import open_embedder
from curation.models.class_token import ClassTokenBlock
from curation.models.pooling import pooled_timm_model

PIXELS = torch.randn(3, 3, 64, 64, generator=torch.Generator().manual_seed(0))
NAMES = (
    ("vit_tiny_patch16_224", {}),
    ("vit_tiny_patch16_224", {"global_pool": "avg"}),  # a norm behind the pooling
    ("vit_tiny_patch16_224", {"global_pool": "map"}),
    ("vit_small_patch14_reg4_dinov2", {"img_size": 56}),
    ("deit_tiny_distilled_patch16_224", {}),
    ("eva02_tiny_patch14_224", {"img_size": 56}),
)


def made(name, arguments):
    torch.manual_seed(0)
    model = timm.create_model(name, **{"img_size": 64, "depth": 2, "num_classes": 0, **arguments})
    for parameter in model.eval().requires_grad_(False).parameters():
        parameter.add_(0.05 * torch.randn_like(parameter))
    return model


def unit(vectors):
    return torch.nn.functional.normalize(vectors, dim=1)


@pytest.mark.parametrize(("name", "arguments"), NAMES)
def test_tokens_are_those_that_timm_gives(name, arguments):
    model = made(name, arguments)
    pixels = PIXELS[..., :56, :56] if "img_size" in arguments else PIXELS
    with torch.inference_mode():
        own = model(pixels)
        (layer,) = model.forward_intermediates(pixels, indices=1, output_fmt="NLC", intermediates_only=True, norm=False)
        tokens = model.forward_features(pixels)
        norm = getattr(model, "fc_norm", None) or torch.nn.Identity()
        first, mean = norm(tokens[:, 0]), norm(tokens[:, -layer.shape[1] :].mean(dim=1))  # the last are the patches
        result = {pool: pooled_timm_model(name, model, pool)(pixels) for pool in ("patches", "both", "class", None)}
    torch.testing.assert_close(result[None], own, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(result["class"], first, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(result["patches"], mean, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(result["both"], torch.cat([unit(first), unit(mean)], dim=1), rtol=1e-4, atol=1e-5)


def test_timms_own_pooling_is_one_of_them():
    with torch.inference_mode():
        model = made("vit_tiny_patch16_224", {"global_pool": "avg"})
        torch.testing.assert_close(pooled_timm_model("it", model, "patches")(PIXELS), model(PIXELS))
        model = made("vit_tiny_patch16_224", {})
        own = model(PIXELS)
        torch.testing.assert_close(pooled_timm_model("it", model, "class")(PIXELS), own, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("pool", "short"), [(None, True), ("class", True), ("patches", False), ("both", False)])
def test_the_last_block_is_shortened_only_where_the_class_token_is_all_that_counts(pool, short):
    model = made("vit_tiny_patch16_224", {})
    pooled_timm_model("it", model, pool)
    assert isinstance(model.blocks[-1], ClassTokenBlock) == short


@pytest.mark.parametrize("name", ["test_resnet", "test_convnext"])
def test_networks_without_tokens_are_refused(name):
    model = timm.create_model(name, num_classes=0)
    for pool in ("class", "patches", "both"):
        with pytest.raises(
            ModelError, match=f"^model {name}: has no class and patch tokens to choose among; remove the"
        ):
            pooled_timm_model(name, model, pool)


def test_a_transformer_without_a_class_token_has_patches_alone():
    model = made("vit_tiny_patch16_224", {"class_token": False, "global_pool": "avg"})
    for pool in ("class", "both"):
        with pytest.raises(ModelError, match=r"^model it: has no class token; set pool to patches, or remove it$"):
            pooled_timm_model("it", model, pool)
    with torch.inference_mode():
        torch.testing.assert_close(pooled_timm_model("it", model, "patches")(PIXELS), model(PIXELS))


def test_pooling_and_precision_are_settings_of_networks_alone():
    for name in ("classical/hog-colour-4x4", "lvd/lite0-copy"):
        with pytest.raises(ModelError, match=r"takes no pool setting, which is for timm/\.\.\. and lvd/pretrain$"):
            open_embedder(EmbedConfig(model=name, pool="patches"))
        with pytest.raises(ModelError, match="takes no precision setting"):
            open_embedder(EmbedConfig(model=name, precision="bf16"))
        assert open_embedder(EmbedConfig(model=name)).name == name


def test_settings_are_in_the_fingerprint_only_where_they_are_given(tmp_path):
    weights = tmp_path / "weights.safetensors"
    save_file(timm.create_model("test_vit").state_dict(), weights)

    def opened(**settings):
        return open_embedder(EmbedConfig(model="timm/test_vit", weights=str(weights), **settings))

    plain = opened(precision="fp32").fingerprint()
    assert plain.partition(":")[0] == "timm/test_vit v2 sha256"
    assert opened(precision="fp32", pool="patches").fingerprint() == f"{plain} pool:patches"
    assert opened(precision="bf16").fingerprint() == f"{plain} bf16"
    if not torch.cuda.is_available():
        assert opened().fingerprint() == plain
    images = [np.random.default_rng(0).integers(0, 256, (64, 64, 3)).astype(np.uint8)]
    vectors = []
    for precision in ("fp32", "bf16"):
        embedder = opened(precision=precision)
        embedder.setup()
        vectors.append(embedder.embed(images))
    assert vectors[1].dtype == np.float32
    assert 0 < np.abs(vectors[0] - vectors[1]).max() < 0.02
