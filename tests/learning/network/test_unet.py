from __future__ import annotations

import dataclasses

import pytest
import torch

from napari_unet.learning.config import ModelConfig
from napari_unet.learning.network.unet import NearestUpsampler, UNet, folded

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


@pytest.mark.parametrize("size", [(1, 1), (7, 40), (64, 64)])
@pytest.mark.parametrize("kernel", [1, 5])
@pytest.mark.parametrize("upsampling", ["transposed", "nearest"])
@pytest.mark.parametrize("padding", ["zero", "mirror", "valid"])
def test_every_kind_of_network_scores_images_of_every_size(padding, upsampling, kernel, size):
    config = dataclasses.replace(TINY, padding=padding, upsampling=upsampling, kernel=kernel)
    net = UNet(config)
    assert net(torch.randn(2, 2, *size)).shape == (2, 3, *size)
    assert folded(net)(torch.randn(1, 2, *size)).shape == (1, 3, *size)


@pytest.mark.parametrize("padding", ["zero", "mirror", "valid"])
def test_every_kind_of_padding_folds_to_the_same(padding):
    generator = torch.Generator().manual_seed(0)
    net = UNet(dataclasses.replace(TINY, padding=padding, upsampling="nearest"), generator)
    images = torch.randn(4, 2, 32, 32, generator=generator) * 2 + 1
    net(images)
    net.eval()
    torch.testing.assert_close(folded(net)(images), net(images), atol=1e-4, rtol=1e-4)


def test_an_even_image_has_no_border_for_mirrored_padding():
    def border_shows(padding) -> bool:
        net = UNet(dataclasses.replace(TINY, levels=2, stride=1, padding=padding)).eval()
        with torch.no_grad():
            scores = net(torch.full((1, 2, 32, 32), 0.7))
        # A pixel of the bridge is two: quarters of the image are alike but for their borders.
        return not torch.allclose(scores[..., :16, :16], scores[..., 16:, 16:], atol=1e-6)

    assert border_shows("zero")
    assert not border_shows("mirror")
    assert not border_shows("valid")


def test_nearest_upsampling_repeats_pixels_and_convolves_them_with_two_by_two():
    config = ModelConfig(padding="valid", upsampling="nearest")
    layer = NearestUpsampler(1, 1, config)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([[[[1.0, 10.0], [100.0, 1000.0]]]]))
        layer.bias.zero_()
        result = layer(torch.tensor([[[[1.0, 2.0], [3.0, 4.0]]]]))
    repeated = torch.tensor([[1, 1, 2, 2], [1, 1, 2, 2], [3, 3, 4, 4], [3, 3, 4, 4.0]])
    expected = (
        repeated[:-1, :-1]
        + 10 * repeated[:-1, 1:]
        + 100 * repeated[1:, :-1]
        + 1000 * repeated[1:, 1:]
    )
    assert torch.equal(result[0, 0], expected)
    same = NearestUpsampler(1, 1, dataclasses.replace(config, padding="mirror"))
    assert same(torch.zeros(1, 1, 2, 2)).shape == (1, 1, 4, 4)


@pytest.mark.parametrize("upsampling", ["transposed", "nearest"])
def test_he_s_weights_have_a_variance_of_two_over_the_inputs_of_a_neuron(upsampling):
    config = ModelConfig(width=32, levels=3, initialisation="he", upsampling=upsampling)
    net = UNet(config, torch.Generator().manual_seed(0))
    inputs = {
        "encoder.1.conv2": 9 * 64,
        "decoder.0.conv1": 9 * 64,
        "upsamplers.1": 128 if upsampling == "transposed" else 4 * 128,
    }
    for name, count in inputs.items():
        weight = net.get_submodule(name).weight
        assert float(weight.detach().var()) == pytest.approx(2 / count, rel=0.1)


def test_dropout_acts_at_the_end_of_the_contracting_path_and_in_training_only():
    config = ModelConfig(width=4, levels=3, stride=1, normalisation="none", dropout=0.5)
    net = UNet(config, torch.Generator().manual_seed(0))
    dropped = {}
    for level, block in enumerate([*net.encoder[1:], net.upsamplers[-1]], start=1):
        block.register_forward_pre_hook(
            lambda _module, inputs, level=level: dropped.update({level: (inputs[0] == 0).float()})
        )
    net.encoder[1].conv2.bias.data.fill_(5.0)  # nothing rectified
    net.encoder[2].conv2.bias.data.fill_(5.0)
    images = torch.randn(1, 1, 64, 64)
    net.train()(images)
    assert float(dropped[2].mean()) < 0.2  # the largest of four is seldom dropped
    assert float(dropped[3].mean()) == pytest.approx(0.5, abs=0.1)
    assert torch.equal(net.eval()(images), net(images))
    assert float(dropped[3].mean()) == 0


def test_dropout_draws_from_the_generator_and_from_nothing_else():
    config = ModelConfig(width=4, levels=2, stride=1, dropout=0.5)
    net = UNet(config).train()
    images = torch.randn(1, 1, 32, 32)
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    results = []
    for seed in (1, 1, 2):
        with net.dropping(torch.Generator().manual_seed(seed)):
            results.append(net(images))
    assert torch.equal(torch.rand(1), expected)
    assert torch.equal(results[0], results[1])
    assert not torch.equal(results[0], results[2])
