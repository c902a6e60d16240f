"""The paper's network has the paper's sizes, and each layer of each network the size it says."""

from __future__ import annotations

import dataclasses
import itertools
import subprocess
import sys

import pytest
import torch

from napari_unet.learning.config import PRESETS, ModelConfig
from napari_unet.learning.network.layer_sizes import (
    explain_sizes,
    fitting_size,
    input_margin,
    input_size,
    output_size,
    valid_sizes,
)
from napari_unet.learning.network.layer_table import LayerRow, layer_table
from napari_unet.learning.network.unet import UNet

PAPER = PRESETS["paper"]

FIGURE_1 = [  # of Ronneberger et al., 2015: sides and channels along the U
    *[(570, 64), (568, 64), (282, 128), (280, 128), (138, 256), (136, 256), (66, 512), (64, 512)],
    *[(30, 1024), (28, 1024), (56, 512), (54, 512), (52, 512), (104, 256), (102, 256), (100, 256)],
    *[(200, 128), (198, 128), (196, 128), (392, 64), (390, 64), (388, 64), (388, 2)],
]

OPTIONS = [
    ModelConfig(
        in_channels=2,
        n_classes=3,
        width=2,
        levels=levels,
        stride=stride,
        kernel=kernel,
        padding=padding,
        normalisation=normalisation,
        upsampling=upsampling,
        dropout=0.5,
    )
    for padding, normalisation, upsampling, kernel, stride, levels in itertools.product(
        ("zero", "mirror", "valid"),
        ("batch", "none"),
        ("transposed", "nearest"),
        (1, 3, 5),
        (1, 2),
        (1, 3),
    )
]


def convolutions(table: list[LayerRow]) -> list[LayerRow]:
    return [row for row in table if row.is_convolution]


def sizes_seen(net: UNet, images: torch.Tensor) -> dict[str, tuple[int, ...]]:
    """Shape of what each module of a network really gives."""
    seen = {}
    for name, module in net.named_modules():
        module.register_forward_hook(
            lambda _module, _inputs, result, name=name: seen.update({name: tuple(result.shape)})
        )
    with torch.no_grad():
        net.scores(images)
    return seen


def test_the_paper_s_network_has_the_sizes_and_channels_of_its_figure():
    rows = convolutions(layer_table(PAPER, (572, 572)))
    assert [(row.size[0], row.out_channels) for row in rows] == FIGURE_1
    assert len(rows) == 23
    assert sum(row.parameters for row in rows) == 31_030_658


def test_the_real_network_has_them_too():
    narrow = dataclasses.replace(PAPER, width=1)
    seen = sizes_seen(UNet(narrow), torch.zeros(1, 1, 572, 572))
    rows = convolutions(layer_table(narrow, (572, 572)))
    for row, (side, channels) in zip(rows, FIGURE_1, strict=True):
        expected = channels if row.name == "head" else channels // 64
        assert seen[row.name] == (1, expected, side, side), row.name
    assert sum(p.numel() for p in UNet(PAPER).parameters()) == 31_030_658


@pytest.mark.parametrize("preset", PRESETS)
def test_the_table_counts_the_parameters_of_every_preset(preset):
    config = dataclasses.replace(PRESETS[preset], in_channels=3, n_classes=4)
    table = layer_table(config, (input_size(config, 64),) * 2)
    assert sum(row.parameters for row in table) == sum(p.numel() for p in UNet(config).parameters())


@pytest.mark.parametrize("config", OPTIONS, ids=str)
def test_each_layer_has_the_size_and_parameters_that_the_table_tells(config):
    size = (input_size(config, 8), input_size(config, 17))
    net = UNet(config)
    table = layer_table(config, size)
    seen = sizes_seen(net, torch.randn(2, 2, *size))
    modules = dict(net.named_modules())
    for row in convolutions(table):
        assert seen[row.name] == (2, row.out_channels, *row.size)
    assert {row.name for row in convolutions(table)} == {
        name
        for name, module in modules.items()
        if isinstance(module, torch.nn.Conv2d | torch.nn.ConvTranspose2d)
    }
    assert sum(row.parameters for row in table) == sum(p.numel() for p in net.parameters())
    assert table[-1].size == tuple(output_size(config, side) for side in size)


def test_valid_sizes_of_the_paper_are_16_k_plus_12_and_the_output_is_184_smaller():
    sizes = list(valid_sizes(PAPER, 700))
    assert sizes[0] == 188
    assert all(size % 16 == 12 for size in sizes)
    assert len(sizes) == (700 - 188) // 16 + 1
    assert [size - output_size(PAPER, size) for size in sizes] == [184] * len(sizes)
    assert input_margin(PAPER) == 92
    assert "16 k + 12" in explain_sizes(PAPER)
    assert "184" in explain_sizes(PAPER)


@pytest.mark.parametrize("config", OPTIONS, ids=str)
def test_the_network_takes_exactly_the_valid_sizes(config):
    net = UNet(config)
    longest = input_size(config, 12) + 5
    valid = set(valid_sizes(config, longest))
    other_side = input_size(config, 5)
    for size in range(max(1, longest - 20), longest + 1):
        images = torch.randn(2, 2, size, other_side)
        if size in valid:
            with torch.no_grad():
                scores = net.scores(images)
            assert scores.shape[2:] == (output_size(config, size), output_size(config, other_side))
        else:
            with pytest.raises(ValueError, match="not a valid input size"):
                net.scores(images)


@pytest.mark.parametrize("config", [PAPER, PRESETS["fast"], OPTIONS[-1]], ids=str)
def test_the_next_valid_size_is_the_nearest_one_above(config):
    sizes = list(valid_sizes(config, 900))
    for size in range(1, 800, 7):
        assert fitting_size(config, size) == min(s for s in sizes if s >= size)
        fits = [s for s in sizes if output_size(config, s) >= size]
        assert not fits or input_size(config, size) == fits[0]


def test_sizes_need_no_torch():
    code = (
        "import sys, napari_unet.learning.network.layer_sizes\n"
        "import napari_unet.learning.network.layer_table\n"
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"kernel": 4}, "odd"),
        ({"padding": "same"}, "one of zero, mirror, valid"),
        ({"upsampling": "bilinear"}, "transposed, nearest"),
        ({"dropout": 1.0}, "below 1"),
        ({"levels": 0}, "from 1 to"),
    ],
)
def test_an_impossible_network_is_refused_with_what_is_possible(wrong, words):
    with pytest.raises(ValueError, match=words):
        ModelConfig(**wrong)
