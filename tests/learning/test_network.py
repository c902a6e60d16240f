from __future__ import annotations

import pytest
import torch

from napari_unet.learning.config import ModelConfig
from napari_unet.learning.network import UNet, folded

TINY = ModelConfig(in_channels=2, n_classes=3, width=4, levels=3)


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("size", [(64, 64), (37, 50), (9, 121)])
def test_scores_have_the_size_of_the_image(stride, size):
    net = UNet(ModelConfig(in_channels=2, n_classes=3, width=4, levels=3, stride=stride))
    assert net(torch.randn(2, 2, *size)).shape == (2, 3, *size)


def test_folded_network_predicts_the_same():
    generator = torch.Generator().manual_seed(0)
    net = UNet(TINY, generator)
    for _ in range(3):  # running statistics away from their start
        net(torch.randn(4, 2, 32, 32, generator=generator) * 2 + 1)
    with torch.no_grad():
        for name, weight in net.named_parameters():
            if "norm" in name:
                weight.add_(torch.rand(weight.shape, generator=generator))
    images = torch.randn(2, 2, 40, 40, generator=generator)
    net.eval()
    torch.testing.assert_close(folded(net)(images), net(images), atol=1e-4, rtol=1e-4)


def test_folding_leaves_the_network_as_it_was():
    net = UNet(TINY).eval()
    images = torch.randn(1, 2, 32, 32)
    before = net(images)
    folded(net)
    assert torch.equal(net(images), before)
    assert any(isinstance(module, torch.nn.BatchNorm2d) for module in net.modules())


def test_weights_come_from_the_seed():
    first, second = (UNet(TINY, torch.Generator().manual_seed(5)) for _ in range(2))
    assert all(
        torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True)
    )
