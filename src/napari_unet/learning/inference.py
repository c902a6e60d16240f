"""Predicting slices and volumes with a trained network."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from napari_unet.imaging.volume import Volume
from napari_unet.learning.events import SlicePredicted
from napari_unet.learning.preparation import PreparedScan, prepare
from napari_unet.learning.runtime import (
    choose_device,
    load_torch,
    memory_errors_explained,
    torch_threads,
)

load_torch()

import torch  # noqa: E402
from torch import Tensor  # noqa: E402
from torch.nn import functional  # noqa: E402

from napari_unet.learning.checkpoint import Checkpoint  # noqa: E402
from napari_unet.learning.network import UNet, folded  # noqa: E402
from napari_unet.learning.resampling import network_size, resample_images  # noqa: E402

PIXELS_PER_BATCH = 250_000
"""Bounds the memory of a batch; larger batches are not faster on a CPU."""

EDGE_PIXELS = 3
"""Pixels around predicted structures whose doubt counts as doubt about their edge."""

_REMEDY = "Close other programs, or use a scan with fewer pixels per slice."


class Predictor:
    """A network ready to predict: folded, on its device.

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
        with torch.inference_mode():
            self._net = folded(net).to(device)
        self._spacing_mm = spacing_mm
        self._device = device

    def batch_size(self, scan: PreparedScan) -> int:
        """How many slices of a scan to predict at once."""
        rows, columns = network_size(scan, self._spacing_mm)
        return max(1, PIXELS_PER_BATCH // (rows * columns))

    def probabilities(self, scan: PreparedScan, indices: Sequence[int]) -> Tensor:
        """Class probabilities (n, k, h, w) of slices, within the scan's window."""
        with torch.inference_mode():
            images = torch.from_numpy(scan.slices[list(indices)]).to(self._device)
            size = network_size(scan, self._spacing_mm)
            probabilities = self._net(resample_images(images, size)).softmax(dim=1)
            return resample_images(probabilities, scan.shape)

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
            labels = probabilities.argmax(dim=1).to(torch.uint8)
            doubt = torch.special.entr(probabilities).sum(dim=1) / math.log(probabilities.shape[1])
            near = functional.max_pool2d(
                (labels > 0).float()[:, None], 2 * EDGE_PIXELS + 1, 1, EDGE_PIXELS
            )[:, 0]
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
) -> Iterator[SlicePredicted]:
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
        torch threads; default: all available cores.

    Yields
    ------
    SlicePredicted
        One per slice.

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
        size = 1  # the first slice is the one somebody waits for
        while wanted and not should_stop():
            batch, wanted = wanted[:size], wanted[size:]
            yield from predictor.predict(scan, batch, scan_index=scan_index)
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
        stack[event.index] = event.labels
    return result
