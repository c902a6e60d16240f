"""Why the network decided as it did about one pixel: two maps over what it can see.

Both are about the log-odds of the class that won there (its score against those of all others
together). Positive values speak for the decision, negative ones against it.

* Gradient x input (Simonyan et al., 2014, arXiv:1312.6034), averaged over noisy copies of the slice
  (SmoothGrad, Smilkov et al., 2017, arXiv:1706.03825): what a little more contrast would change.
* Occlusion (Zeiler & Fergus, 2014, arXiv:1311.2901): what is lost when a patch is hidden behind
  the mean grey value of the slice.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from napari_unet.errors import AnnotationError
from napari_unet.learning.inspection.levels import Place, receptive_field, shifted_place
from napari_unet.learning.inspection.probe import NetworkProbe
from napari_unet.learning.prediction.memory import pixels_for_speed
from napari_unet.learning.runtime import load_torch

load_torch()

import torch  # noqa: E402
from torch import Tensor  # noqa: E402

NOISY_COPIES = 8
"""Copies of the slice whose gradients are averaged."""

NOISE = 0.15
"""Standard deviation of their noise, beside that of the slice."""

MOST_PATCHES = 256
"""Patches that are hidden at most; where more would be needed they are larger."""

SMALLEST_PATCH = 8
"""Side of a patch in pixels, at least."""

MOST_SECONDS = 20.0
"""Time for an explanation. Patches are hidden from the nearest on; those not reached count as 0."""


@dataclass(frozen=True, slots=True, eq=False)
class Explanation:
    """What speaks for and against a decision; complete, or as far as it is known.

    Parameters
    ----------
    method : str
        ``gradient`` or ``occlusion``.
    index : int
        Slice number.
    chosen : int
        Class that won.
    probability : float
        Its probability.
    values : ndarray of float32, shape (h, w)
        The map, over the receptive field.
    place : Place
        Where it lies.
    seen : tuple of slice
        Rows and columns of the whole slice that the pixel's scores can depend on.
    share : float
        How much of the work is done, 0 to 1.
    """

    method: str
    index: int
    chosen: int
    probability: float
    values: NDArray[np.float32]
    place: Place
    seen: tuple[slice, slice]
    share: float


class _Question:
    """One pixel, and no more of the slice than its scores can depend on.

    Parameters
    ----------
    probe : NetworkProbe
        The network over the scan.
    index : int
        Slice number.
    pixel : tuple of int
        Row and column of the whole slice.
    """

    def __init__(self, probe: NetworkProbe, index: int, pixel: tuple[int, int]) -> None:
        scan = probe.scan
        if not all(w.start <= at < w.stop for w, at in zip(scan.window, pixel, strict=True)):
            raise AnnotationError(
                "The network does not see this place: slices are cropped to the head. Click "
                "nearer to it."
            )
        ratios = [given / own for own, given in zip(scan.shape, probe.size, strict=True)]
        at = [
            min(side - 1, math.floor((each - window.start + 0.5) * ratio))
            for each, window, ratio, side in zip(
                pixel, scan.window, ratios, probe.size, strict=True
            )
        ]
        self.field = receptive_field(probe.config, probe.size, (at[0], at[1]))
        # Where the whole slice is cut into coarsest pixels, the part must be too.
        multiple = probe.net.size_divisor
        begins = [side.start // multiple * multiple for side in self.field]
        whole = probe.images(index)
        self._probe = probe
        self.index = index
        self.grey = whole.mean(dim=(2, 3), keepdim=True)
        self.spread = whole.std(dim=(2, 3), keepdim=True)
        self.images = whole[..., begins[0] : self.field[0].stop, begins[1] : self.field[1].stop]
        self.pixel = (at[0] - begins[0], at[1] - begins[1])
        self.place = shifted_place(scan, probe.size, 1.0, (begins[0], begins[1]))
        self.seen = self._in_the_scan(ratios)
        with torch.inference_mode():
            scores = self._scores(self.images)[0]
        self.chosen = int(scores.argmax())
        self.probability = float(scores.softmax(dim=0)[self.chosen])

    def _in_the_scan(self, ratios: list[float]) -> tuple[slice, slice]:
        rows, columns = (
            slice(
                window.start + math.floor(side.start / ratio),
                min(window.stop, window.start + math.ceil(side.stop / ratio)),
            )
            for side, ratio, window in zip(self.field, ratios, self._probe.scan.window, strict=True)
        )
        return rows, columns

    def _scores(self, images: Tensor) -> Tensor:
        """Scores (n, k) of the pixel in images (n, c, h, w)."""
        scores: Tensor = self._probe.net(images)[..., self.pixel[0], self.pixel[1]].float()
        return scores

    def log_odds(self, images: Tensor) -> Tensor:
        """Log-odds (n,) of the class that won."""
        scores = self._scores(images)
        others = [k for k in range(scores.shape[1]) if k != self.chosen]
        return scores[:, self.chosen] - scores[:, others].logsumexp(dim=1)

    def explained(self, method: str, values: Tensor, share: float) -> Explanation:
        """Wrap up a map (h, w)."""
        return Explanation(
            method=method,
            index=self.index,
            chosen=self.chosen,
            probability=self.probability,
            values=values.float().cpu().numpy().copy(),
            place=self.place,
            seen=self.seen,
            share=share,
        )


def by_gradient(
    probe: NetworkProbe,
    index: int,
    pixel: tuple[int, int],
    *,
    copies: int = NOISY_COPIES,
    noise: float = NOISE,
    seed: int = 0,
    seconds: float = MOST_SECONDS,
    should_stop: Callable[[], bool] = lambda: False,
) -> Iterator[Explanation]:
    """Explain a decision by gradient x input; each event is better than the one before.

    The input counts from the mean grey value of the slice, as for occlusion.

    Parameters
    ----------
    probe : NetworkProbe
        The network over the scan.
    index : int
        Slice number.
    pixel : tuple of int
        Row and column of the whole slice.
    copies : int
        Noisy copies to average over; 1 with no noise is the plain gradient.
    noise : float
        Standard deviation of the noise, beside that of the slice.
    seed : int
        Seed of the noise.
    seconds : float
        Stop after this time, however many copies are left.
    should_stop : callable
        Asked before each copy.

    Raises
    ------
    AnnotationError
        If the network does not see that pixel.
    """
    started = time.monotonic()
    question = _Question(probe, index, pixel)
    generator = torch.Generator().manual_seed(seed)
    total = torch.zeros_like(question.images)
    for done in range(copies):
        if should_stop() or (done and time.monotonic() - started > seconds):
            return
        drawn = torch.randn(question.images.shape, generator=generator).to(total.device)
        noisy = question.images + noise * question.spread * drawn
        noisy.requires_grad_()
        [gradient] = torch.autograd.grad(question.log_odds(noisy).sum(), noisy)
        total += gradient
        values = (total / (done + 1) * (question.images - question.grey))[0].sum(dim=0)
        yield question.explained("gradient", values, (done + 1) / copies)


def by_occlusion(
    probe: NetworkProbe,
    index: int,
    pixel: tuple[int, int],
    *,
    patch: int | None = None,
    seconds: float = MOST_SECONDS,
    should_stop: Callable[[], bool] = lambda: False,
) -> Iterator[Explanation]:
    """Explain a decision by hiding patches one after another, from the pixel outwards.

    Parameters
    ----------
    probe : NetworkProbe
        The network over the scan.
    index : int
        Slice number.
    pixel : tuple of int
        Row and column of the whole slice.
    patch : int, optional
        Side of a patch in pixels of the network's input; default: see `MOST_PATCHES`.
    seconds : float
        Stop after this time, however many patches are left.
    should_stop : callable
        Asked before each batch of patches.

    Raises
    ------
    AnnotationError
        If the network does not see that pixel.
    """
    started = time.monotonic()
    question = _Question(probe, index, pixel)
    height, width = question.images.shape[-2:]
    if patch is None:
        patch = max(SMALLEST_PATCH, math.ceil(math.sqrt(height * width / MOST_PATCHES)))
    patches = _patches((height, width), question.pixel, patch)
    at_once = max(1, pixels_for_speed(probe.config, probe.device) // (height * width))
    values = torch.zeros((height, width))
    with torch.inference_mode():
        whole = question.log_odds(question.images)
    for start in range(0, len(patches), at_once):
        if should_stop() or (start and time.monotonic() - started > seconds):
            return
        batch = patches[start : start + at_once]
        with torch.inference_mode():
            hidden = question.images.repeat(len(batch), 1, 1, 1)
            for each, (rows, columns) in zip(hidden, batch, strict=True):
                each[:, rows, columns] = question.grey[0]
            lost = (whole - question.log_odds(hidden)).cpu()
        for (rows, columns), value in zip(batch, lost, strict=True):
            values[rows, columns] = value
        yield question.explained("occlusion", values, (start + len(batch)) / len(patches))


def _patches(
    size: tuple[int, int], pixel: tuple[int, int], patch: int
) -> list[tuple[slice, slice]]:
    """Cut an image into square patches, one of them around a pixel, the nearest first."""
    sides = []
    for side, at in zip(size, pixel, strict=True):
        first = (at - patch // 2) % patch - patch
        starts = [start for start in range(first, side, patch) if start + patch > 0]
        sides.append([slice(max(0, start), min(side, start + patch)) for start in starts])
    result = [(rows, columns) for rows in sides[0] for columns in sides[1]]

    def distance(each: tuple[slice, slice]) -> float:
        down, across = (
            (side.start + side.stop) / 2 - at - 0.5 for side, at in zip(each, pixel, strict=True)
        )
        return float(down**2 + across**2)

    return sorted(result, key=distance)
