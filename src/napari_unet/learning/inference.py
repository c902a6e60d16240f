"""Predicting slices and volumes with a trained network."""

from __future__ import annotations

import math
import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import nullcontext

import numpy as np
from numpy.typing import NDArray

from napari_unet.imaging.volume import Volume
from napari_unet.learning.events import Notice, SegmentEvent, SlicePredicted
from napari_unet.learning.preparation import PreparedScan, prepare
from napari_unet.learning.runtime import (
    ThreadChooser,
    available_cores,
    choose_device,
    is_out_of_memory,
    load_torch,
    memory_errors_explained,
    torch_threads,
)

load_torch()

import torch  # noqa: E402
from torch import Tensor  # noqa: E402

from napari_unet.learning.checkpoint import Checkpoint  # noqa: E402
from napari_unet.learning.doubt import entropy, widened  # noqa: E402
from napari_unet.learning.memory import pixels_for_speed, pixels_that_fit  # noqa: E402
from napari_unet.learning.network import UNet, folded  # noqa: E402
from napari_unet.learning.precision import half_if_faster  # noqa: E402
from napari_unet.learning.resampling import network_size, resample_images  # noqa: E402
from napari_unet.learning.tiling import (  # noqa: E402
    SMALLEST_TILE,
    Tiling,
    plan_tiles,
    predict_tiled,
)

WORTH_TIMING = 24
"""Slices still to be predicted that pay for finding the faster arithmetic (some five slices)."""

EDGE_PIXELS = 3
"""Pixels around predicted structures whose doubt counts as doubt about their edge."""

OUT_OF_GRAPHICS_MEMORY = (
    "The graphics card ran out of memory. Predicting goes on without it, which takes longer."
)
"""What the user is told when predictions move to the CPU."""

_REMEDY = "Close other programs, or use a scan with fewer pixels per slice."


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
        rows, columns = network_size(scan, self._spacing_mm)
        pixels = min(self._pixels, pixels_for_speed(self._net.config, self._device))
        return max(1, pixels // (rows * columns))

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
        rows, columns = network_size(scan, self._spacing_mm)
        while True:
            at_once = max(1, self._pixels // (rows * columns))
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
            self._do_with_less(rows * columns, len(indices), failure)

    def _probabilities(self, scan: PreparedScan, indices: Sequence[int]) -> Tensor:
        size = network_size(scan, self._spacing_mm)
        images = resample_images(self._images(scan, indices), size)
        tiling = self._tiling(size)
        if len(tiling) == 1:
            probabilities = self._classify(images)
        else:
            n_classes = self._net.config.n_classes
            probabilities = predict_tiled(self._classify, images, tiling, n_classes)
        return resample_images(probabilities, scan.shape)

    def _images(self, scan: PreparedScan, indices: Sequence[int]) -> Tensor:
        return torch.from_numpy(scan.slices[list(indices)]).to(self._device)

    def _tiling(self, size: tuple[int, int]) -> Tiling:
        return plan_tiles(size, self._pixels, 2 * self._net.sight, self._net.multiple)

    def _classify(self, images: Tensor) -> Tensor:
        """Class probabilities (n, k, h, w), float32, of images that fit into memory."""
        net = self._net if self._half is None else self._half
        logits: Tensor = net(images.to(net.head.weight.dtype))
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
        least = min((SMALLEST_TILE * self._net.multiple) ** 2, slice_pixels)
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

    def predict(
        self,
        scan: PreparedScan,
        indices: Sequence[int],
        *,
        scan_index: int = 0,
        learned_from: frozenset[int] = frozenset(),
    ) -> list[SlicePredicted]:
        """Predict slices of a scan.

        Parameters
        ----------
        scan : PreparedScan
            The scan.
        indices : sequence of int
            Slice numbers.
        scan_index : int
            Number of the scan, passed on to the events.
        learned_from : frozenset of int
            Slices of this scan that the network was trained on, passed on.
        """
        with torch.inference_mode():
            probabilities = self.probabilities(scan, indices)
            # Seven times as fast as argmax on a CPU.
            labels = probabilities.max(dim=1).indices.to(torch.uint8)
            doubt = entropy(probabilities) / math.log(probabilities.shape[1])
            near = widened(labels > 0, EDGE_PIXELS)
            doubts = doubt.sum(dim=(1, 2)).tolist()
            edge_doubts = (doubt * near).sum(dim=(1, 2)).tolist()
            arrays = labels.cpu().numpy()
        return [
            SlicePredicted(
                scan=scan_index,
                index=int(index),
                labels=scan.paste(arrays[position]),
                uncertainty=doubts[position],
                edge_uncertainty=edge_doubts[position],
                learned_from=learned_from,
            )
            for position, index in enumerate(indices)
        ]


def segment(
    scan: PreparedScan,
    checkpoint: Checkpoint,
    *,
    scan_index: int = 0,
    order: Iterable[int] | None = None,
    should_stop: Callable[[], bool] = lambda: False,
    device: str = "auto",
    threads: int | None = None,
) -> Iterator[SegmentEvent]:
    """Predict the slices of a scan.

    Parameters
    ----------
    scan : PreparedScan
        The scan.
    checkpoint : Checkpoint
        The model.
    scan_index : int
        Number of the scan, passed on to the events.
    order : iterable of int, optional
        Slice numbers in the order wanted; default: all, first to last.
    should_stop : callable
        Asked before each batch of slices.
    device : str
        See `TrainConfig.device`.
    threads : int, optional
        torch threads; default: as many as are fastest, up to all available cores.

    Yields
    ------
    SlicePredicted
        One per slice.
    Notice
        Where memory has run out and the work goes on more slowly.

    Raises
    ------
    CheckpointError
        If the model needs another number of channels.
    ResourceError
        If memory runs out.
    """
    checkpoint.check_fits(scan.n_channels)
    wanted = list(range(scan.n_slices)) if order is None else [int(index) for index in order]
    with memory_errors_explained(_REMEDY), torch_threads(threads):
        predictor = Predictor(
            checkpoint.network(), checkpoint.card.spacing_mm, choose_device(device)
        )
        chooser = None
        if threads is None and predictor.device.type == "cpu":
            chooser = ThreadChooser(available_cores())
        size = 1  # the first slice is the one somebody waits for
        tried = False
        while wanted and not should_stop():
            batch, wanted = wanted[:size], wanted[size:]
            with nullcontext() if chooser is None else chooser.trial(len(batch)):
                slices = predictor.predict(scan, batch, scan_index=scan_index)
            yield from predictor.take_notices()
            yield from slices
            if not tried and len(wanted) >= WORTH_TIMING:
                tried = True
                predictor.speed_up(scan, batch[0])
            size = predictor.batch_size(scan)


def predict_volume(
    volume: Volume,
    checkpoint: Checkpoint,
    *,
    axis: int | None = None,
    should_stop: Callable[[], bool] = lambda: False,
) -> NDArray[np.uint8]:
    """Segment a whole volume.

    Parameters
    ----------
    volume : Volume
        The scan.
    checkpoint : Checkpoint
        The model.
    axis : int, optional
        Display axis to slice along; default: the one the model was trained along.
    should_stop : callable
        Asked before each batch of slices; slices not reached stay background.

    Returns
    -------
    ndarray of uint8, shape (z, y, x)
        Class of each voxel.
    """
    axis = checkpoint.card.slice_axis if axis is None else axis
    checkpoint.check_fits(volume.data.shape[0])
    result = np.zeros(volume.shape_zyx, dtype=np.uint8)
    stack = np.moveaxis(result, axis, 0)
    for event in segment(prepare(volume, axis), checkpoint, should_stop=should_stop):
        if isinstance(event, SlicePredicted):
            stack[event.index] = event.labels
    return result
