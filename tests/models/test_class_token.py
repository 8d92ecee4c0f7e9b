"""The last block for its class token alone gives what the whole block gives."""

import pytest
import timm
import torch

from curation.models.class_token import ClassTokenBlock, keep_class_token


def made(name, **arguments):
    torch.manual_seed(0)
    arguments = {"img_size": 64, "depth": 2, "num_classes": 0, **arguments}
    model = timm.create_model(name, **arguments).eval().requires_grad_(False)
    for parameter in model.parameters():  # so that no part of a block is an identity or zero
        parameter.copy_(torch.randn_like(parameter) * 0.1)
    return model


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("vit_tiny_patch16_224", {}),
        ("vit_tiny_patch16_224", {"qkv_bias": False, "qk_norm": True, "scale_attn_norm": True}),
        ("vit_small_patch14_dinov2", {"img_size": 56}),
        ("vit_small_patch14_reg4_dinov2", {"img_size": 56}),
    ],
)
def test_features_are_the_same(name, arguments):
    model = made(name, **arguments)
    pixels = torch.randn(3, 3, 64, 64) if "img_size" not in arguments else torch.randn(3, 3, 56, 56)
    with torch.inference_mode():
        before = model(pixels)
        after = keep_class_token(model)(pixels)
    assert isinstance(model.blocks[-1], ClassTokenBlock)
    torch.testing.assert_close(after, before, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("vit_tiny_patch16_224", {"global_pool": "avg"}),
        ("vit_tiny_patch16_224", {"global_pool": "map"}),
        ("vit_tiny_patch16_224", {"class_token": False, "global_pool": "avg"}),
    ],
)
def test_models_that_look_at_more_keep_their_last_block(name, arguments):
    model = made(name, **arguments)
    last = model.blocks[-1]
    assert keep_class_token(model).blocks[-1] is last


def test_a_block_that_does_something_else_stays():
    model = made("vit_tiny_patch16_224")
    last = model.blocks[-1]
    last.attn.forward = lambda tokens, **_: tokens * 2  # a method replaced, as some wrappers do
    assert keep_class_token(model).blocks[-1] is last


def test_other_networks_are_returned_as_they_are():
    model = timm.create_model("test_resnet", num_classes=0).eval()
    names = [name for name, _ in model.named_modules()]
    assert [name for name, _ in keep_class_token(model).named_modules()] == names
