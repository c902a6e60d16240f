from __future__ import annotations

import pytest
import torch

from napari_unet.learning.config import PRESETS, ModelConfig
from napari_unet.learning.prediction import memory
from napari_unet.learning.prediction.memory import (
    available_bytes,
    pixels_for_speed,
    pixels_that_fit,
)

CPU = torch.device("cpu")


def test_the_computer_has_some_memory_left():
    assert 2**26 < available_bytes(CPU) < 2**50


@pytest.mark.parametrize("preset", PRESETS)
def test_common_slices_are_predicted_whole(preset, monkeypatch):
    monkeypatch.setattr(memory, "available_bytes", lambda _device: 2 * 2**30)
    assert pixels_that_fit(PRESETS[preset], CPU) >= 512 * 512


def test_less_free_memory_means_fewer_pixels_and_more_no_more_than_the_bound(monkeypatch):
    def pixels(free: int) -> int:
        monkeypatch.setattr(memory, "available_bytes", lambda _device: free)
        return pixels_that_fit(PRESETS["standard"], CPU)

    assert pixels(2**28) < pixels(2**30) < pixels(2**31) == pixels(2**36)


def test_larger_networks_get_fewer_pixels():
    fits = [pixels_that_fit(ModelConfig(width=width, stride=1), CPU) for width in (16, 32, 64)]
    assert fits == sorted(fits, reverse=True)


def test_batches_on_a_cpu_stay_in_the_cache():
    assert pixels_for_speed(PRESETS["fast"], CPU) // 256**2 == 4
    assert pixels_for_speed(PRESETS["standard"], CPU) // 256**2 == 0  # one at a time
