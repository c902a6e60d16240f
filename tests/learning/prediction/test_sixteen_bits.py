from __future__ import annotations

import numpy as np
import pytest
import torch

from napari_unet.learning.config import ModelConfig
from napari_unet.learning.network.unet import UNet, folded
from napari_unet.learning.prediction import predictor
from napari_unet.learning.prediction.fusion import SliceFusion
from napari_unet.learning.prediction.predictor import Predictor, half_if_faster


@pytest.fixture
def clock(monkeypatch):
    """Makes sixteen-bit arithmetic take the given part of the time."""

    def set_ratio(ratio: float) -> None:
        monkeypatch.setattr(predictor, "_may_have_arithmetic", lambda _device: True)
        monkeypatch.setattr(
            predictor,
            "_seconds",
            lambda _net, images: 1.0 if images.dtype == torch.float32 else ratio,
        )

    return set_ratio


def test_sixteen_bits_are_used_where_they_are_faster_and_say_the_same(scene, trained, clock):
    clock(0.5)
    net = folded(trained.checkpoint.network())
    half = half_if_faster(net, torch.from_numpy(scene.scan.slices[4:5]))
    assert half.head.weight.dtype == torch.bfloat16
    assert net.head.weight.dtype == torch.float32


def test_sixteen_bits_that_gain_little_are_not_used(scene, trained, clock):
    clock(0.95)
    net = folded(trained.checkpoint.network())
    assert half_if_faster(net, torch.from_numpy(scene.scan.slices[4:5])) is None


def test_sixteen_bits_that_say_something_else_are_not_used(clock):
    clock(0.5)
    net = folded(UNet(ModelConfig(width=4, levels=2, stride=1)).eval())
    with torch.no_grad():
        net.head.weight.zero_()
        net.head.bias.copy_(torch.tensor([1.0, 1.001]))  # alike when rounded
    assert half_if_faster(net, torch.randn(1, 1, 32, 32)) is None


def test_an_operation_that_is_missing_means_full_precision(scene, trained, clock, monkeypatch):
    clock(0.5)

    def forward(_net, images):
        if images.dtype != torch.float32:
            raise NotImplementedError("not for Half")
        return images

    net = folded(trained.checkpoint.network())
    monkeypatch.setattr(UNet, "forward", forward)
    assert half_if_faster(net, torch.from_numpy(scene.scan.slices[4:5])) is None


def test_a_scan_is_segmented_alike_in_both_precisions(scene, trained, clock):
    clock(0.5)
    spacing_mm = trained.checkpoint.card.spacing_mm
    fast = Predictor(trained.checkpoint.network(), spacing_mm, torch.device("cpu"))
    fast.speed_up(scene.scan, 5)
    probabilities = fast.probabilities(scene.scan, [3, 5])
    assert probabilities.dtype == torch.float32
    slow = Predictor(trained.checkpoint.network(), spacing_mm, torch.device("cpu"))
    exact = {e.index: e for e in SliceFusion(slow, scene.scan).predict([3, 5])}
    for event in SliceFusion(fast, scene.scan).predict([3, 5]):
        assert (event.labels != exact[event.index].labels).mean() < 2e-3
        for name in ("excess", "missing"):
            said, due = (getattr(e.error_estimate, name) for e in (event, exact[event.index]))
            np.testing.assert_allclose(said, due, rtol=0.05, atol=0.5)
