"""A trained network, ready to be asked about slices of a scan, in the faster arithmetic."""

from __future__ import annotations

import copy
import time
import traceback
from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor

from napari_unet.learning.events import Notice
from napari_unet.learning.network import layer_sizes
from napari_unet.learning.network.resampling import network_size, resample_images
from napari_unet.learning.network.unet import UNet, folded
from napari_unet.learning.prediction.memory import pixels_for_speed, pixels_that_fit
from napari_unet.learning.prediction.tiling import (
    SMALLEST_TILE,
    Tiling,
    plan_overlap_tiles,
    plan_tiles,
    predict_overlap_tiles,
    predict_tiled,
)
from napari_unet.learning.preparation import PreparedScan
from napari_unet.learning.runtime import is_out_of_memory

OUT_OF_GRAPHICS_MEMORY = (
    "The graphics card ran out of memory. Predicting goes on without it, which takes longer."
)
"""What the user is told when predictions move to the CPU."""

HALF = {"cuda": torch.float16, "mps": torch.float16, "cpu": torch.bfloat16}
"""Sixteen-bit numbers that each kind of device may have arithmetic for."""

WORTH_IT = 1.2
"""How many times faster it has to be to be worth its rounding."""

TOLERATED = 0.002
"""Part of the pixels that may get another class: those where two classes are all but equal."""

_TRIES = 2


class Predictor:
    """A network ready to predict: folded, on its device, within the memory there is.

    Where memory runs out all the same, slices are predicted one by one, then in
    smaller tiles, then on the CPU; `take_notices` tells of the latter.

    Parameters
    ----------
    net : UNet
        Trained network; a snapshot is taken.
    spacing_mm : tuple of float
        Pixel size (rows, columns) it was trained at.
    device : torch.device
        Where to compute.
    """

    def __init__(self, net: UNet, spacing_mm: tuple[float, float], device: torch.device) -> None:
        self._spacing_mm = spacing_mm
        self._notices: list[Notice] = []
        self._half: UNet | None = None
        with torch.inference_mode():
            self._net = folded(net)
        try:
            self._move_to(device)
        except RuntimeError as error:
            if device.type == "cpu" or not is_out_of_memory(error):
                raise
            self._leave_the_card()

    @property
    def device(self) -> torch.device:
        """Where it computes."""
        return self._device

    def batch_size(self, scan: PreparedScan) -> int:
        """How many slices of a scan to predict at once."""
        pixels = min(self._pixels, pixels_for_speed(self._net.config, self._device))
        return max(1, pixels // self._pixels_of(scan))

    def speed_up(self, scan: PreparedScan, index: int) -> None:
        """Use sixteen-bit arithmetic from now on if that is faster and says the same.

        Both are tried on a slice of the scan, or on a tile where slices are tiled.
        """
        with torch.inference_mode():
            size = network_size(scan, self._spacing_mm)
            image = resample_images(self._images(scan, [index]), size)
            rows, columns = next(self._tiling(size).tiles())
            self._half = half_if_faster(self._net, image[..., rows, columns])

    def take_notices(self) -> list[Notice]:
        """Give what the user should be told since this was last asked for."""
        taken, self._notices = self._notices, []
        return taken

    def probabilities(self, scan: PreparedScan, indices: Sequence[int]) -> Tensor:
        """Class probabilities (n, k, h, w) of slices, within the scan's window."""
        slice_pixels = self._pixels_of(scan)
        while True:
            at_once = max(1, self._pixels // slice_pixels)
            try:
                with torch.inference_mode():
                    parts = [
                        self._probabilities(scan, indices[start : start + at_once])
                        for start in range(0, len(indices), at_once)
                    ]
                    return parts[0] if len(parts) == 1 else torch.cat(parts)
            except (MemoryError, RuntimeError) as error:
                if not is_out_of_memory(error):
                    raise
                failure = error
                traceback.clear_frames(error.__traceback__)  # they hold what is to be freed
            self._do_with_less(slice_pixels, len(indices), failure)

    def _probabilities(self, scan: PreparedScan, indices: Sequence[int]) -> Tensor:
        size = network_size(scan, self._spacing_mm)
        images = resample_images(self._images(scan, indices), size)
        tiling = self._tiling(size)
        n_classes = self._net.config.n_classes
        if len(tiling) == 1:
            probabilities = self._classify(self._net_in_use, images)
        elif self._net.config.padding == "valid":
            surrounded = self._net.surround(images, tiling.size)
            rows, columns = size
            probabilities = predict_overlap_tiles(
                partial(self._classify, self._net_in_use.scores), surrounded, tiling, n_classes
            )[..., :rows, :columns]
        else:
            classify = partial(self._classify, self._net_in_use)
            probabilities = predict_tiled(classify, images, tiling, n_classes)
        return resample_images(probabilities, scan.shape)

    def _pixels_of(self, scan: PreparedScan) -> int:
        """Pixels that the network sees of a slice, with what is added around it."""
        size = network_size(scan, self._spacing_mm)
        rows, columns = (layer_sizes.input_size(self._net.config, side) for side in size)
        return rows * columns

    def _images(self, scan: PreparedScan, indices: Sequence[int]) -> Tensor:
        return torch.from_numpy(scan.slices[list(indices)]).to(self._device)

    def _tiling(self, size: tuple[int, int]) -> Tiling:
        if self._net.config.padding == "valid":
            return plan_overlap_tiles(self._net.config, size, self._pixels)
        return plan_tiles(
            size, self._pixels, 2 * self._net.receptive_radius, self._net.size_divisor
        )

    @property
    def _net_in_use(self) -> UNet:
        """The network, in sixteen-bit numbers where that is better."""
        return self._net if self._half is None else self._half

    def _classify(self, score: Callable[[Tensor], Tensor], images: Tensor) -> Tensor:
        """Class probabilities (n, k, h, w), float32, of images that fit into memory."""
        logits = score(images.to(self._net_in_use.head.weight.dtype))
        return logits.float().softmax(dim=1)

    def _move_to(self, device: torch.device) -> None:
        with torch.inference_mode():
            self._net = self._net.to(device)
        self._device = device
        self._half = None
        self._pixels = pixels_that_fit(self._net.config, device)

    def _do_with_less(self, slice_pixels: int, n_slices: int, failure: Exception) -> None:
        """After a failure predict fewer pixels at once, or move to the CPU; else raise it."""
        tried = min(self._pixels, n_slices * slice_pixels)
        smallest = layer_sizes.input_size(self._net.config, SMALLEST_TILE * self._net.size_divisor)
        least = min(smallest**2, slice_pixels)
        if tried > least:
            self._pixels = max(least, tried // 2)
        elif self._device.type != "cpu":
            self._leave_the_card()
        else:
            raise failure
        if torch.cuda.is_available():
            torch.cuda.empty_cache()

    def _leave_the_card(self) -> None:
        self._move_to(torch.device("cpu"))
        self._notices.append(Notice(OUT_OF_GRAPHICS_MEMORY))


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
