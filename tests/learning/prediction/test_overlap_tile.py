"""Tiles of a network of valid convolutions say, voxel for voxel, what the whole slice says."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from napari_unet.learning.config import PRESETS, ModelConfig
from napari_unet.learning.network import layer_sizes
from napari_unet.learning.network.unet import UNet, mirrored
from napari_unet.learning.prediction.predictor import Predictor
from napari_unet.learning.prediction.tiling import plan_overlap_tiles, predict_overlap_tiles
from napari_unet.learning.preparation import PreparedScan

SMALL = ModelConfig(width=3, levels=3, stride=1, padding="valid", normalisation="none")

NETWORKS = {
    "small": SMALL,
    "nearest": dataclasses.replace(SMALL, upsampling="nearest"),
    "wide kernel": dataclasses.replace(SMALL, kernel=5),
    "half resolution": dataclasses.replace(SMALL, stride=2, normalisation="batch"),
    "all at once": dataclasses.replace(SMALL, kernel=5, stride=2, upsampling="nearest", levels=2),
    "paper": dataclasses.replace(PRESETS["paper"], width=2),
}


def exact(config: ModelConfig) -> UNet:
    """A network in double precision, far from saying the same everywhere."""
    he = dataclasses.replace(config, initialisation="he")
    return UNet(he, torch.Generator().manual_seed(0)).double().eval()


def tiled(net: UNet, images: torch.Tensor, pixels: int) -> tuple[torch.Tensor, int]:
    rows, columns = images.shape[-2:]
    tiling = plan_overlap_tiles(net.config, (rows, columns), pixels)
    scores = predict_overlap_tiles(net.scores, net.surround(images, tiling.size), tiling, 2)
    return scores[..., :rows, :columns], len(tiling)


@pytest.mark.parametrize("size", [(1, 1), (5, 130), (96, 64), (133, 157)])
@pytest.mark.parametrize("name", NETWORKS)
def test_tiles_equal_the_untiled_result(name, size):
    net = exact(NETWORKS[name])
    images = torch.randn(2, 1, *size, generator=torch.Generator().manual_seed(1)).double()
    with torch.inference_mode():
        whole = net(images)
        scores, n_tiles = tiled(net, images, 1)
    assert n_tiles > 1 or max(size) < 4 * net.size_divisor + 1
    assert scores.shape == whole.shape == (2, 2, *size)
    assert whole.std() > 1e-3 or size == (1, 1)
    torch.testing.assert_close(scores, whole, rtol=1e-10, atol=1e-12)


def test_tiles_of_another_size_say_the_same():
    net = exact(SMALL)
    images = torch.randn(1, 1, 150, 90, generator=torch.Generator().manual_seed(1)).double()
    with torch.inference_mode():
        few, many = tiled(net, images, 100 * 100), tiled(net, images, 1)
    assert 1 < few[1] < many[1]
    torch.testing.assert_close(few[0], many[0], rtol=1e-10, atol=1e-12)


def test_tiles_keep_to_the_memory_they_are_given():
    config = PRESETS["paper"]
    tiling = plan_overlap_tiles(config, (1000, 1400), 572 * 572)
    rows, columns = (
        layer_sizes.input_size(config, cut.piece) for cut in (tiling.rows, tiling.columns)
    )
    assert rows * columns <= 572 * 572
    assert len(tiling) == 3 * 4
    # Side by side but for what makes them equally large.
    assert len(tiling) * tiling.rows.piece * tiling.columns.piece < 1.1 * 1008 * 1408


def test_beyond_the_border_the_network_sees_the_mirror_image():
    image = torch.arange(6.0).reshape(1, 1, 2, 3)
    expected = np.pad(image[0, 0].numpy(), ((5, 2), (4, 7)), mode="reflect")
    np.testing.assert_array_equal(mirrored(image, 5, 2, 4, 7)[0, 0].numpy(), expected)
    image = torch.arange(20.0).reshape(1, 1, 4, 5)
    expected = np.pad(image[0, 0].numpy(), ((3, 2), (1, 4)), mode="reflect")
    np.testing.assert_array_equal(mirrored(image, 3, 2, 1, 4)[0, 0].numpy(), expected)
    one = torch.full((1, 1, 1, 2), 7.0)
    assert torch.equal(mirrored(one, 2, 3, 0, 0), torch.full((1, 1, 6, 2), 7.0))


def test_a_mirrored_slice_gets_a_mirrored_answer():
    # What is scored lies in the middle of what is seen: nothing is shifted.
    net = exact(SMALL)
    for module in net.modules():
        if isinstance(module, torch.nn.Conv2d | torch.nn.ConvTranspose2d):
            with torch.no_grad():
                module.weight.copy_((module.weight + module.weight.flip(3)) / 2)
    images = torch.randn(1, 1, 20, 48, generator=torch.Generator().manual_seed(1)).double()
    with torch.inference_mode():
        torch.testing.assert_close(net(images.flip(3)), net(images).flip(3))


def test_a_slice_too_large_for_the_memory_is_predicted_as_a_whole_one():
    net = exact(SMALL).float()
    slices = np.random.default_rng(0).normal(size=(2, 1, 100, 150)).astype(np.float32)
    scan = PreparedScan(slices, (slice(0, 100), slice(0, 150)), (100, 150), (1.0, 1.0), 1.0, 0)
    predictor = Predictor(net, (1.0, 1.0), torch.device("cpu"))
    whole = predictor.probabilities(scan, [0, 1])
    assert predictor.batch_size(scan) >= 1
    predictor._pixels = 1
    calls = []
    net_in_use = predictor._net
    net_in_use.register_forward_hook(lambda *_: calls.append("whole"))
    torch.testing.assert_close(predictor.probabilities(scan, [0, 1]), whole, rtol=1e-4, atol=1e-5)
    assert not calls
