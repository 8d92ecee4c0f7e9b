"""The backbone: packing, chosen rows and stochastic depth against the plain computation."""

import pytest
import timm
import torch
from torch import Tensor

from curation.dinov2.depth import draw, narrow
from curation.dinov2.layout import Layout
from curation.dinov2.vit import ARCHITECTURES, Shape, VisionTransformer

GLOBALS = torch.randn(4, 3, 28, 28, generator=torch.Generator().manual_seed(0))
LOCALS = torch.randn(6, 3, 14, 14, generator=torch.Generator().manual_seed(1))
MASK = torch.rand(4, 16, generator=torch.Generator().manual_seed(2)) < 0.4


def build(**options: object) -> VisionTransformer:
    torch.manual_seed(3)
    model = VisionTransformer(Shape(32, 3, 2), image_size=28, patch=7, layerscale=0.5, **options)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape))
    return model


def all_rows(model: VisionTransformer, crops: list[Tensor]) -> Tensor:
    return torch.arange(sum(images * tokens for images, tokens in model.layout(crops).groups))


@pytest.mark.parametrize("options", [{}, {"swiglu": True}, {"registers": 3}], ids=str)
def test_packed_crops_equal_separate_passes(options: dict[str, object]) -> None:
    model = build(**options)
    crops = [GLOBALS, LOCALS]
    packed = model.forward_rows(crops, MASK, all_rows(model, crops))
    one = model.forward_rows([GLOBALS], MASK, all_rows(model, [GLOBALS]))
    two = model.forward_rows([LOCALS], None, all_rows(model, [LOCALS]))
    torch.testing.assert_close(packed, torch.cat([one, two]), rtol=1e-5, atol=1e-5)


def test_chosen_rows_are_those_of_the_whole_output() -> None:
    model = build(registers=2)
    features = model.features(GLOBALS)
    whole = torch.cat([features.cls.unsqueeze(1), features.registers, features.patches], dim=1).flatten(0, 1)
    rows = torch.tensor([0, 19, 5, 40, 75])
    torch.testing.assert_close(model.forward_rows([GLOBALS], None, rows), whole[rows], rtol=1e-5, atol=1e-5)


def with_gates(model: VisionTransformer, images: Tensor, kept: list[tuple[Tensor, Tensor]], scale: float) -> Tensor:
    """Stochastic depth the plain way: compute every branch for all images and multiply by 0 or the scale."""
    layout = model.layout([images])
    x = model.embed(images)
    for block, branches in zip(model.blocks, kept, strict=True):
        gates = []
        for chosen in branches:
            gate = torch.zeros(len(images), 1, 1)
            gate[chosen] = scale
            gates.append(gate)
        x = x + gates[0] * block.attend(x.flatten(0, 1), layout).view_as(x)
        x = x + gates[1] * block.feed(x)
    return model.norm(x).flatten(0, 1)


def test_stochastic_depth_computes_only_kept_images_but_equals_gating() -> None:
    model = build()
    crops = [GLOBALS, LOCALS]
    rows = all_rows(model, crops)[::3]
    draws = draw([0.4] * 3, model.layout(crops), rows, torch.Generator().manual_seed(5))
    packed = model.forward_rows(crops, None, rows, draws)
    plain = []
    for group, images in enumerate(crops):
        kept = [(d.attn.images[group], d.mlp.images[group]) for d in draws if d is not None]
        plain.append(with_gates(model, images, kept, draws[0].attn.scales[group]))
    torch.testing.assert_close(packed, torch.cat(plain)[rows], rtol=1e-5, atol=1e-5)


def test_a_draw_keeps_the_rounded_down_share_of_each_group_and_scales_it_up() -> None:
    draws = draw([0.0, 0.4], Layout(((10, 2), (1, 3))), torch.tensor([0]), torch.Generator())
    assert draws[0] is None
    assert [len(kept) for kept in draws[1].attn.images] == [6, 1]
    assert draws[1].attn.scales == (10 / 6, 1.0)


def test_a_narrowed_draw_gives_the_global_crops_of_the_packed_pass() -> None:
    model = build()
    crops = [GLOBALS, LOCALS]
    layout = model.layout(crops)
    rows = layout.class_rows()
    draws = draw([0.3] * 3, layout, rows, torch.Generator().manual_seed(6))
    packed = model.forward_rows(crops, MASK, rows, draws)[:4]
    alone = Layout(layout.groups[:1])
    narrowed = narrow(draws, alone, alone.class_rows())
    torch.testing.assert_close(
        packed, model.forward_rows([GLOBALS], MASK, alone.class_rows(), narrowed), rtol=1e-5, atol=1e-5
    )


def test_bfloat16_autocast_with_stochastic_depth_stays_close_to_float32() -> None:
    model = build()
    rows = all_rows(model, [GLOBALS])
    draws = draw([0.3] * 3, model.layout([GLOBALS]), rows, torch.Generator().manual_seed(6))
    exact = model.forward_rows([GLOBALS], MASK, rows, draws)
    with torch.autocast("cpu", torch.bfloat16):
        rough = model.forward_rows([GLOBALS], MASK, rows, draws)
    torch.testing.assert_close(rough.float(), exact, rtol=0.1, atol=0.1)


def test_images_that_are_no_multiple_of_the_patch_are_refused() -> None:
    with pytest.raises(ValueError, match=r"multiples of the patch \(7\), got 28x27"):
        build().embed(torch.zeros(1, 3, 28, 27))


@pytest.mark.parametrize(("arch", "name"), [("vits", "small"), ("vitb", "base"), ("vitl", "large"), ("vitg", "giant")])
def test_architectures_have_as_many_parameters_as_timms_and_a_mask_token(arch: str, name: str) -> None:
    with torch.device("meta"):
        other = timm.create_model(f"vit_{name}_patch14_dinov2", pretrained=False)
        ours = VisionTransformer(ARCHITECTURES[arch], image_size=518, patch=14, swiglu=arch == "vitg")
    count = sum(p.numel() for p in ours.parameters())
    assert count == sum(p.numel() for p in other.parameters()) + ARCHITECTURES[arch].width
