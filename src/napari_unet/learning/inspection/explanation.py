"""Why the network decided as it did about one pixel: a map over all that it can see from there.

It is about the log-odds of the class that won there (its score against those of all others
together). Positive values speak for the decision, negative ones against it.

* Gradient x input (Simonyan et al., 2014, arXiv:1312.6034), averaged over noisy copies of the slice
  (SmoothGrad, Smilkov et al., 2017, arXiv:1706.03825): what a little more contrast would change.
  The input counts from the mean grey value of the slice.
* Occlusion (Zeiler & Fergus, 2014, arXiv:1311.2901): what is lost when a patch is hidden behind
  the mean grey value of the slice.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from napari_unet.errors import AnnotationError
from napari_unet.learning.inspection.levels import Place, place_of, receptive_field
from napari_unet.learning.inspection.probe import NetworkProbe
from napari_unet.learning.prediction.memory import pixels_for_speed
from napari_unet.learning.runtime import load_torch

load_torch()

import torch  # noqa: E402
from torch import Tensor  # noqa: E402

Method: TypeAlias = Literal["gradient", "occlusion"]

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
    winner : int
        Class that won.
    probability : float
        Its probability.
    values : ndarray of float32, shape (h, w)
        The map, over the receptive field.
    place : Place
        Where it lies.
    field : tuple of slice
        The receptive field: rows and columns of the whole slice.
    progress : float
        How much of the work is done, 0 to 1.
    """

    winner: int
    probability: float
    values: NDArray[np.float32]
    place: Place
    field: tuple[slice, slice]
    progress: float


def explain(
    probe: NetworkProbe,
    index: int,
    pixel: tuple[int, int],
    method: Method,
    should_stop: Callable[[], bool] = lambda: False,
) -> Iterator[Explanation]:
    """Explain a decision; each event is better than the one before.

    Parameters
    ----------
    probe : NetworkProbe
        The network over the scan.
    index : int
        Slice number.
    pixel : tuple of int
        Row and column of the whole slice.
    method : str
        See above.
    should_stop : callable
        Asked before each step.

    Raises
    ------
    AnnotationError
        If the network does not see that pixel.
    """
    started = time.monotonic()
    decision = _Decision(probe, index, pixel)
    steps = _by_gradient(decision) if method == "gradient" else _by_occlusion(decision)
    while not should_stop() and (step := next(steps, None)) is not None:
        values, progress = step
        yield Explanation(
            winner=decision.winner,
            probability=decision.probability,
            values=values.float().cpu().numpy(),
            place=decision.place,
            field=decision.field,
            progress=progress,
        )
        if time.monotonic() - started > MOST_SECONDS:
            return


class _Decision:
    """What wins at a pixel, and no more of the slice than its scores can depend on."""

    def __init__(self, probe: NetworkProbe, index: int, pixel: tuple[int, int]) -> None:
        scan = probe.scan
        if not all(w.start <= at < w.stop for w, at in zip(scan.window, pixel, strict=True)):
            raise AnnotationError(
                "The network does not see this place: slices are cropped to the head. Click "
                "nearer to it."
            )
        ratios = [given / own for own, given in zip(scan.shape, probe.size, strict=True)]
        row, column = (
            min(side - 1, math.floor((at - window.start + 0.5) * ratio))
            for at, window, ratio, side in zip(pixel, scan.window, ratios, probe.size, strict=True)
        )
        rows, columns = receptive_field(probe.config, probe.size, (row, column))
        # Where the whole slice is cut into coarsest pixels, the part must be too.
        divisor = probe.net.size_divisor
        top, left = (side.start // divisor * divisor for side in (rows, columns))
        whole = probe.images(index)
        self.probe = probe
        self.grey = whole.mean(dim=(2, 3), keepdim=True)
        self.spread = whole.std(dim=(2, 3), keepdim=True)
        self.images = whole[..., top : rows.stop, left : columns.stop]
        self.pixel = (row - top, column - left)
        self.place = place_of(scan, probe.size, start=(top, left))
        seen = [
            slice(
                window.start + math.floor(side.start / ratio),
                min(window.stop, window.start + math.ceil(side.stop / ratio)),
            )
            for side, ratio, window in zip((rows, columns), ratios, scan.window, strict=True)
        ]
        self.field = (seen[0], seen[1])
        scores = self._scores(self.images)[0]
        self.winner = int(scores.argmax())
        self.probability = float(scores.softmax(dim=0)[self.winner])

    def _scores(self, images: Tensor) -> Tensor:
        """Scores (n, k) of the pixel in images (n, c, h, w)."""
        scores: Tensor = self.probe.net(images)[..., self.pixel[0], self.pixel[1]].float()
        return scores

    def log_odds(self, images: Tensor) -> Tensor:
        """Log-odds (n,) of the class that won."""
        scores = self._scores(images)
        others = [k for k in range(scores.shape[1]) if k != self.winner]
        return scores[:, self.winner] - scores[:, others].logsumexp(dim=1)


def _by_gradient(decision: _Decision) -> Iterator[tuple[Tensor, float]]:
    """Map (h, w) of gradient x input and progress, after each noisy copy."""
    images = decision.images
    generator = torch.Generator().manual_seed(0)
    total = torch.zeros_like(images)
    for copies in range(1, NOISY_COPIES + 1):
        drawn = torch.randn(images.shape, generator=generator).to(images.device)
        noisy = (images + NOISE * decision.spread * drawn).requires_grad_()
        [gradient] = torch.autograd.grad(decision.log_odds(noisy).sum(), noisy)
        total += gradient
        yield (total / copies * (images - decision.grey))[0].sum(dim=0), copies / NOISY_COPIES


def _by_occlusion(decision: _Decision) -> Iterator[tuple[Tensor, float]]:
    """Map (h, w) of what hiding each patch takes away and progress, after some patches more."""
    images, probe = decision.images, decision.probe
    height, width = images.shape[-2:]
    side = max(SMALLEST_PATCH, math.ceil(math.sqrt(height * width / MOST_PATCHES)))
    patches = torch.from_numpy(_patches((height, width), decision.pixel, side)).to(images.device)
    numbers = torch.arange(int(patches.max()) + 1, device=images.device)
    lost = torch.zeros(len(numbers), device=images.device)
    with torch.inference_mode():
        whole = decision.log_odds(images)
    for batch in numbers.split(
        max(1, pixels_for_speed(probe.config, probe.device) // patches.numel())
    ):
        with torch.inference_mode():
            hides = (patches == batch[:, None, None])[:, None]
            lost[batch] = whole - decision.log_odds(torch.where(hides, decision.grey, images))
        yield lost[patches], (int(batch[-1]) + 1) / len(numbers)


def _patches(size: tuple[int, int], pixel: tuple[int, int], side: int) -> NDArray[np.int64]:
    """Number the square patches of an image (h, w): 0 around a pixel, higher farther away."""
    rows, columns = (
        (np.arange(n) - at + side // 2) // side for n, at in zip(size, pixel, strict=True)
    )
    away = np.unique(rows)[:, None] ** 2 + np.unique(columns) ** 2
    nearest_first = np.argsort(away, axis=None, kind="stable")
    numbers = np.argsort(nearest_first).reshape(away.shape)
    return numbers[np.ix_(rows - rows[0], columns - columns[0])]
