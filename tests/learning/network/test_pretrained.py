"""The packaged weights fit networks of any channels and classes, and of no other shape."""

from __future__ import annotations

import dataclasses
from importlib import resources

import pytest
import torch

from napari_unet.errors import CheckpointError
from napari_unet.learning.config import PRESETS, ModelConfig
from napari_unet.learning.network import pretrained
from napari_unet.learning.network.pretrained import pretrained_state
from napari_unet.learning.network.unet import UNet

FAST = PRESETS["fast"]


def started(model: ModelConfig) -> UNet:
    """A network with the packaged weights and a head that is the same for any channels."""
    net = UNet(model)
    net.load_state_dict(pretrained_state(model), strict=False)
    with torch.no_grad():
        net.head.weight.copy_(
            torch.linspace(-1, 1, net.head.weight.numel()).view_as(net.head.weight)
        )
    return net.eval()


@pytest.mark.parametrize("in_channels", [1, 2, 4])
def test_all_layers_but_the_head_have_weights(in_channels):
    model = dataclasses.replace(FAST, in_channels=in_channels, n_classes=5)
    net = UNet(model)
    result = net.load_state_dict(pretrained_state(model), strict=False)
    assert result.missing_keys == ["head.weight", "head.bias"]
    assert not result.unexpected_keys
    assert all(p.dtype == torch.float32 for p in net.parameters())


@pytest.mark.parametrize("other", [{"width": 32}, {"levels": 4}, {"stride": 1}])
def test_a_network_of_another_shape_starts_without(other):
    assert pretrained_state(dataclasses.replace(FAST, **other)) is None


def test_two_channels_with_the_same_image_show_what_one_channel_shows():
    image = torch.randn(1, 1, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        one = started(FAST)(image)
        two = started(dataclasses.replace(FAST, in_channels=2))(image.repeat(1, 2, 1, 1))
    torch.testing.assert_close(two, one, atol=1e-4, rtol=1e-4)


def test_packaged_weights_that_are_damaged_or_gone_are_not_started_from(monkeypatch, tmp_path):
    (tmp_path / "weights").mkdir()
    packaged = resources.files("napari_unet.learning.network") / "weights" / "fast.safetensors"
    content = bytearray(packaged.read_bytes())
    content[-1000] ^= 1
    monkeypatch.setattr(pretrained.resources, "files", lambda package: tmp_path)
    with pytest.raises(CheckpointError, match=r"cannot be read.*Install napari-unet-mri again"):
        pretrained_state(FAST)
    (tmp_path / "weights" / "fast.safetensors").write_bytes(content)
    with pytest.raises(CheckpointError, match=r"not as they were packaged.*Install"):
        pretrained_state(FAST)
