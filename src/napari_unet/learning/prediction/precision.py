"""Sixteen-bit arithmetic, where it is faster and says the same."""

from __future__ import annotations

import copy
import time

import torch
from torch import Tensor

from napari_unet.learning.network.unet import UNet

HALF = {"cuda": torch.float16, "mps": torch.float16, "cpu": torch.bfloat16}
"""Sixteen-bit numbers that each kind of device may have arithmetic for."""

WORTH_IT = 1.2
"""How many times faster it has to be to be worth its rounding."""

TOLERATED = 0.002
"""Part of the pixels that may get another class: those where two classes are all but equal."""

_TRIES = 2


def half_if_faster(net: UNet, images: Tensor) -> UNet | None:
    """Time one prediction in both precisions and compare what they say.

    The gain depends on the processor alone: none without instructions for it
    (then it is slower), 1.9 on one with AVX-512 BF16, more on graphics cards.

    Parameters
    ----------
    net : UNet
        A folded network, float32.
    images : Tensor, shape (n, c, h, w)
        Slices to try, on the network's device.

    Returns
    -------
    UNet or None
        A copy of the network in sixteen-bit numbers; None if it is better as it is.
    """
    dtype = HALF.get(images.device.type)
    if dtype is None or not _may_have_arithmetic(images.device):
        return None
    half = copy.deepcopy(net).to(dtype)
    rounded = images.to(dtype)
    try:
        with torch.inference_mode():
            expected, got = net(images), half(rounded).float()
            seconds = [(_seconds(net, images), _seconds(half, rounded)) for _ in range(_TRIES)]
    except (RuntimeError, NotImplementedError):
        return None  # an operation is missing, or memory is short: no need to try
    faster = min(full for full, _ in seconds) / min(short for _, short in seconds)
    differing = (expected.max(dim=1).indices != got.max(dim=1).indices).float().mean()
    agrees = bool(got.isfinite().all()) and float(differing) <= TOLERATED
    return half if agrees and faster >= WORTH_IT else None


def _may_have_arithmetic(device: torch.device) -> bool:
    """Leave out processors that would need seconds to find out how slow they are."""
    return device.type != "cpu" or torch.backends.cpu.get_cpu_capability().startswith("AVX512")


def _seconds(net: UNet, images: Tensor) -> float:
    """How long a prediction takes."""
    started = time.perf_counter()
    # Reading a number waits for devices that work in the background.
    float(net(images)[0, 0, 0, 0])
    return time.perf_counter() - started
