"""Predictions while training goes on: what the user looks at first, then outwards."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import torch

from napari_unet.learning.calibration import Calibration
from napari_unet.learning.events import Notice, SlicePredicted
from napari_unet.learning.network.unet import UNet
from napari_unet.learning.prediction.annotation_prior import AnnotationPrior
from napari_unet.learning.prediction.fusion import SliceFusion
from napari_unet.learning.prediction.predictor import Predictor
from napari_unet.learning.preparation import PreparedScan

FIRST_AFTER_STEPS = 8
"""Steps of the network, in a second, before the first answer: between annotated slices that is
their interpolation, which training takes over step by step."""

REFRESH_SECONDS = 1.0
"""How often the slice in view is predicted anew."""

TIME_SHARE = 0.12
"""Part of the training time that predictions may take."""

SLICES_AT_ONCE = 4
"""Slices in view of nobody that are predicted in one go: a stop is to come soon."""


def outwards(n_slices: int, start: int) -> list[int]:
    """Slice numbers ordered by their distance from `start`."""
    return sorted(range(n_slices), key=lambda index: (abs(index - start), index))


class Preview:
    """Decides after each step whether to predict, and which slices.

    Parameters
    ----------
    scans : sequence of PreparedScan
        The scans.
    focus : callable
        Gives the (scan, slice) in view, or None.
    spacing_mm : tuple of float
        Pixel size of the network.
    device : torch.device
        Where to compute.
    """

    def __init__(
        self,
        scans: Sequence[PreparedScan],
        focus: Callable[[], tuple[int, int] | None],
        spacing_mm: tuple[float, float],
        device: torch.device,
    ) -> None:
        self._scans = scans
        self._focus = focus
        self._spacing_mm = spacing_mm
        self._device = device
        self._rounds = [[0] * scan.n_slices for scan in scans]
        self._last_focus: tuple[int, int] | None = None
        self._last_time = 0.0
        self._spent = 0.0

    def focused(self) -> tuple[int, int] | None:
        """Slice in view, if it exists."""
        focus = self._focus()
        if focus is None or not 0 <= focus[0] < len(self._scans):
            return None
        scan, index = focus
        return scan, min(max(index, 0), self._scans[scan].n_slices - 1)

    def after_step(
        self,
        net: UNet,
        step: int,
        seconds: float,
        learned_from: dict[int, frozenset[int]],
        prior: Sequence[AnnotationPrior],
        calibrate: Callable[[Predictor], Calibration],
    ) -> list[Notice | SlicePredicted]:
        """Predict what is due, if anything.

        Parameters
        ----------
        net : UNet
            The network as it is now.
        step : int
            Training steps of the network so far, earlier rounds included.
        seconds : float
            Training time so far.
        learned_from : dict
            Slices that the network has seen, per scan.
        prior : sequence of AnnotationPrior
            What is annotated, per scan.
        calibrate : callable
            Tells how much the network's opinion counts by now; asked only when it is needed.
        """
        focus = self.focused()
        if focus is None or step < FIRST_AFTER_STEPS:
            return []
        in_view = focus != self._last_focus or seconds - self._last_time >= REFRESH_SECONDS
        allowed = self._spent <= TIME_SHARE * seconds
        if not allowed and not (in_view and self._spent <= 2 * TIME_SHARE * seconds):
            return []
        started = time.perf_counter()
        scan, index = focus
        if in_view:
            wanted = [index]
            self._last_focus, self._last_time = focus, seconds
        else:
            wanted = self._others(scan, index, prior[scan])
        predictor = Predictor(net, self._spacing_mm, self._device)
        fusion = SliceFusion(
            predictor,
            self._scans[scan],
            prior[scan],
            calibration=calibrate(predictor),
            steps=step,
        )
        events = fusion.answer(wanted, scan_index=scan, learned_from=learned_from[scan])
        for each in wanted:
            self._rounds[scan][each] += 1
        self._spent += time.perf_counter() - started
        self._device = predictor.device  # where there is memory
        return [*predictor.take_notices(), *events]

    def _others(self, scan: int, index: int, prior: AnnotationPrior) -> list[int]:
        """Find slices to predict: one predicted least often, near `index`, and those behind it.

        Slices on one side share their neighbours. Complete ones are the human's own.
        """
        rounds = self._rounds[scan]
        order = [i for i in outwards(len(rounds), index) if prior.truth(i) is None]
        if not order:
            return [index]
        first = min(order, key=lambda i: rounds[i])
        step = 1 if first >= index else -1
        run = [i for i in order if (i - first) * step >= 0 and rounds[i] == rounds[first]]
        return sorted(run, key=lambda i: abs(i - first))[:SLICES_AT_ONCE]
