from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import torch

from napari_unet.learning.config import ModelConfig
from napari_unet.learning.network.unet import UNet, folded
from napari_unet.learning.prediction import predictor
from napari_unet.learning.prediction.memory import bytes_per_pixel
from napari_unet.learning.prediction.scan_prediction import segment
from napari_unet.learning.prediction.tiling import plan_tiles, predict_tiled

MULTIPLE = 8


def _net(stride: int = 2, *, uniform: bool = False, **options) -> UNet:
    """A small network with something to say about any image, or the same about all."""
    torch.manual_seed(0)
    levels = 3 if stride == 2 else 4  # either way eight pixels make one of the coarsest
    net = UNet(ModelConfig(n_classes=3, width=4, levels=levels, stride=stride, **options))
    with torch.no_grad():
        net(torch.randn(4, 1, 64, 64))
        net.head.weight.mul_(0 if uniform else 100)
    return folded(net)


def _classify(net: UNet):
    return lambda images: net(images).softmax(dim=1)


@pytest.mark.parametrize("size", [(40, 56), (64, 64), (200, 72), (57, 300), (333, 210), (1, 500)])
def test_tiles_cover_the_slice_in_step_with_the_network_and_within_the_bound(size):
    tiling = plan_tiles(size, 64 * 64, 24, MULTIPLE)
    seen = np.zeros([-(-side // MULTIPLE) * MULTIPLE for side in size], dtype=int)
    for rows, columns in tiling.tiles():
        assert rows.start % MULTIPLE == columns.start % MULTIPLE == 0
        assert (rows.stop - rows.start) % MULTIPLE == (columns.stop - columns.start) % MULTIPLE == 0
        assert (rows.stop - rows.start) * (columns.stop - columns.start) <= 64 * 64
        seen[rows, columns] += 1
    assert seen.min() == 1
    assert seen.shape == (tiling.rows.starts[-1] + tiling.rows.piece, seen.shape[1])
    assert len(tiling) == 1 or size[0] * size[1] > 0.8 * 64 * 64


@pytest.mark.parametrize("size", [(30, 20), (64, 64), (133, 250), (500, 17)])
def test_a_network_that_says_the_same_everywhere_does_so_in_tiles(size):
    net = _net(uniform=True)
    tiling = plan_tiles(size, 64 * 64, 24, MULTIPLE)
    images = torch.randn(2, 1, *size)
    with torch.inference_mode():
        probabilities = predict_tiled(_classify(net), images, tiling, 3)
    assert probabilities.shape == (2, 3, *size)
    expected = probabilities[:1, :, :1, :1].expand_as(probabilities)
    assert torch.allclose(probabilities, expected, atol=1e-6)
    assert torch.allclose(probabilities.sum(dim=1), torch.ones(2, *size), atol=1e-5)


@pytest.mark.parametrize("padding", ["zero", "mirror"])
@pytest.mark.parametrize("stride", [1, 2])
def test_tiles_say_what_the_whole_slice_says_away_from_their_borders(stride, padding):
    net = _net(stride, padding=padding)
    size = (333, 410)
    images = torch.randn(1, 1, *size)
    tiling = plan_tiles(size, 240 * 240, 2 * net.receptive_radius, net.size_divisor)
    assert len(tiling) > 2
    with torch.inference_mode():
        whole = _classify(net)(images)
        tiled = predict_tiled(_classify(net), images, tiling, 3)
    difference = (tiled - whole).abs().amax(dim=(0, 1)).numpy()
    near_border = np.zeros(size, dtype=bool)
    for rows, columns in tiling.tiles():
        for axis, side in enumerate((rows, columns)):
            for edge in (side.start, side.stop):
                if 0 < edge < size[axis]:
                    inside = [rows, columns]
                    inside[axis] = slice(
                        max(0, edge - net.receptive_radius), edge + net.receptive_radius
                    )
                    near_border[tuple(inside)] = True
    assert 0.02 < np.mean(~near_border) < 1
    assert difference[~near_border].max() < 1e-5
    assert whole.std() > 0.1  # there is something to tell apart
    assert difference.max() < 0.1
    assert np.mean((tiled.argmax(1) != whole.argmax(1)).numpy()) < 5e-3


def test_tiles_out_of_step_with_the_network_would_say_something_else():
    net = _net()
    images = torch.randn(1, 1, 160, 160)
    with torch.inference_mode():
        whole, shifted = net(images), net(images[..., 3:, :])
    middle = slice(70, 90)
    assert (whole[..., middle, 80] - shifted[..., 67:87, 80]).abs().max() > 1e-3


@pytest.mark.slow
@pytest.mark.parametrize(
    ("stride", "options"),
    [
        (1, {}),
        (2, {}),
        (1, {"kernel": 5, "initialisation": "he", "normalisation": "none"}),
        (1, {"upsampling": "nearest"}),
        (2, {"upsampling": "nearest", "padding": "mirror"}),
        (1, {"padding": "valid", "normalisation": "none"}),
    ],
)
def test_a_pixel_depends_on_nothing_beyond_the_network_s_receptive_radius(stride, options):
    net = _net(stride, **options).double()
    image = torch.randn(1, 1, 256, 256, dtype=torch.float64, requires_grad=True)
    reach = 0
    for row in range(128, 136):
        (gradient,) = torch.autograd.grad(net(image)[0, :, row, 128].sum(), image)
        rows = gradient[0, 0].abs().amax(dim=1).nonzero()[:, 0]
        reach = max(reach, row - int(rows.min()), int(rows.max()) - row)
    assert 0.6 * net.receptive_radius < reach <= net.receptive_radius


def test_a_scan_in_tiles_is_segmented_as_in_whole_slices(scene, trained, monkeypatch):
    whole = np.stack([event.labels for event in segment(scene.scan, trained.checkpoint)])
    tilings = []

    def smallest(size, _, *rest):
        tilings.append(plan_tiles(size, 1, *rest))
        return tilings[-1]

    monkeypatch.setattr(predictor, "plan_tiles", smallest)
    monkeypatch.setattr(predictor, "SMALLEST_TILE", 1)
    monkeypatch.setattr("napari_unet.learning.prediction.tiling.SMALLEST_TILE", 2)
    tiled = np.stack([event.labels for event in segment(scene.scan, trained.checkpoint)])
    assert all(len(tiling) > 1 for tiling in tilings)
    assert tilings
    assert 2 * np.count_nonzero(tiled & whole) / (tiled.sum() + whole.sum()) > 0.95


@pytest.mark.skipif(sys.platform != "linux", reason="Peak memory is read from /proc")
def test_the_memory_for_a_huge_slice_is_bounded():
    code = r"""
import re
from pathlib import Path
import torch
from napari_unet.learning.prediction import memory
from napari_unet.learning.config import ModelConfig
from napari_unet.learning.prediction.predictor import Predictor
from napari_unet.learning.network.unet import UNet
from napari_unet.learning.preparation import PreparedScan
import numpy as np

def peak():  # not of getrusage: that knows of the parent's, too
    return int(re.search(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text())[1]) // 1024

torch.set_num_threads(1)
memory.MOST_BYTES = {"cpu": 64 * 2**20}
slices = np.zeros((1, 1, 2000, 1500), dtype=np.float32)
scan = PreparedScan(slices, (slice(0, 2000), slice(0, 1500)), (2000, 1500), (1.0, 1.0), 1.0, 0)
net = UNet(ModelConfig(width=8, levels=3, stride=1))
predictor = Predictor(net, (1.0, 1.0), torch.device("cpu"))
before = peak()
probabilities = predictor.probabilities(scan, [0])
assert probabilities.shape == (1, 2, 2000, 1500)
print(peak() - before)
"""

    result = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True
    )
    # A tile, then the image, its padded copy, and two classes of the result.
    assert int(result.stdout) < 64 + 4 * 12 + 30
    assert bytes_per_pixel(ModelConfig(width=8, levels=3, stride=1)) * 2000 * 1500 > 700 * 2**20
