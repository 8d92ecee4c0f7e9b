"""Folded batch normalisations change no output and are gone."""

import pytest
import timm
import torch
from torch import nn
from torchvision.models import resnet50

from curation.models.copy.network import Sscd
from curation.models.folding import fold_batch_norms


def with_statistics(network: nn.Module) -> nn.Module:
    """As after training: means, variances, factors and addends that are not 0 and 1."""
    generator = torch.Generator().manual_seed(0)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            for values in (module.running_var, module.weight.data):
                values.uniform_(0.5, 1.5, generator=generator)
            for values in (module.running_mean, module.bias.data):
                values.uniform_(-0.2, 0.2, generator=generator)
    return network.eval().requires_grad_(False)


@pytest.mark.parametrize(
    "make",
    [Sscd, lambda: resnet50(num_classes=8), lambda: timm.create_model("mobilenetv3_small_050", num_classes=8)],
    ids=["the copy descriptor", "torchvision's ResNet", "timm's MobileNet"],
)
def test_outputs_stay_and_no_batch_normalisation_is_left(make):
    network = with_statistics(make())
    images = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    before = network(images)
    fold_batch_norms(network)
    assert not [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
    torch.testing.assert_close(network(images), before, rtol=1e-4, atol=1e-5 * float(before.abs().max()))


def test_one_that_no_convolution_stands_before_stays():
    network = with_statistics(nn.Sequential(nn.BatchNorm2d(3), nn.Conv2d(3, 4, 1), nn.ReLU(), nn.BatchNorm2d(4)))
    images = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(1))
    before = network(images)
    fold_batch_norms(network)
    assert [type(module) for module in network] == [nn.BatchNorm2d, nn.Conv2d, nn.ReLU, nn.BatchNorm2d]
    torch.testing.assert_close(network(images), before)


def test_one_that_is_still_training_or_keeps_no_statistics_stays():
    training = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4)).train()
    fold_batch_norms(training)
    assert isinstance(training[1], nn.BatchNorm2d)
    untracked = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4, track_running_stats=False)).eval()
    fold_batch_norms(untracked)
    assert isinstance(untracked[1], nn.BatchNorm2d)
