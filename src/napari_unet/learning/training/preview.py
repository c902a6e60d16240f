"""Predictions while a network learns: what the user looks at first, then outwards."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

from napari_unet.learning.events import SegmentEvent
from napari_unet.learning.prediction.annotation_prior import AnnotationPrior
from napari_unet.learning.prediction.fusion import SliceFusion
from napari_unet.learning.prediction.scan_prediction import WORTH_TIMING, outwards
from napari_unet.learning.training.round import TrainingRound

FIRST_AFTER_STEPS = 8
"""Steps of the network, in a second, before the first answer: between annotated slices that is
their interpolation, which training takes over step by step."""

REFRESH_SECONDS = 1.0
"""How often the slice in view is predicted anew, at most."""

TIME_SHARE = 0.12
"""Part of the training time that predictions may take."""

SLICES_AT_ONCE = 4
"""Slices in view of nobody that are predicted in one go: a stop is to come soon."""


class Preview:
    """Decides after each step whether to predict, and which slices.

    Parameters
    ----------
    this_round : TrainingRound
        What learns.
    focus : callable
        Gives the (scan, slice) in view, or None.
    """

    def __init__(
        self, this_round: TrainingRound, focus: Callable[[], tuple[int, int] | None]
    ) -> None:
        self._round = this_round
        self._focus = focus
        self._device = this_round.updater.device
        self._predicted = [[0] * scan.n_slices for scan in this_round.scans]  # how often
        self._last_focus: tuple[int, int] | None = None
        self._last_time = 0.0
        self._refreshed = False  # the latest turn was that of the slice in view
        self._spent = 0.0

    def after_step(self, seconds: float) -> list[SegmentEvent]:
        """Predict what is due, if anything.

        Parameters
        ----------
        seconds : float
            Training time so far.
        """
        focus = self._focused()
        if focus is None or self._round.steps < FIRST_AFTER_STEPS:
            return []
        wanted = self._next(focus, seconds)
        if not wanted:
            return []
        started = time.perf_counter()
        scan = focus[0]
        predictor = self._round.predictor(self._device)
        fusion = SliceFusion(
            predictor,
            self._round.scans[scan],
            self._round.priors[scan],
            calibration=self._round.calibrate(predictor),
            steps=self._round.steps,
        )
        known = self._round.examples.learned_from[scan]
        events = fusion.predict(wanted, scan_index=scan, learned_from=known)
        for each in wanted:
            self._predicted[scan][each] += 1
        self._spent += time.perf_counter() - started
        self._device = predictor.device  # where there is memory
        return [*predictor.take_notices(), *events]

    def whole_scan(self) -> Iterator[SegmentEvent]:
        """Predict every slice of the scan in view, outwards, with the weights that are kept."""
        focus = self._focused()
        if focus is None:
            return
        number, index = focus
        scan = self._round.scans[number]
        calibration = self._round.calibrate_finally()
        predictor = self._round.predictor()
        if scan.n_slices >= WORTH_TIMING:
            predictor.speed_up(scan, index)
        fusion = SliceFusion(
            predictor,
            scan,
            self._round.priors[number],
            calibration=calibration,
            steps=self._round.steps,
        )
        known = self._round.examples.learned_from[number]
        order = outwards(scan.n_slices, index)
        while order:
            size = min(SLICES_AT_ONCE, predictor.batch_size(scan))
            batch, order = order[:size], order[size:]
            slices = fusion.predict(batch, scan_index=number, learned_from=known)
            yield from predictor.take_notices()
            yield from slices

    def _next(self, focus: tuple[int, int], seconds: float) -> list[int]:
        """Choose the slices that are due: one that comes into view at once, else in turns.

        Where a single slice takes most of the time there is, the one in view would be due again
        before any other: between two turns of it there is one of others.
        """
        scan, index = focus
        moved = focus != self._last_focus
        if self._spent > TIME_SHARE * seconds * (2 if moved else 1):
            return []
        refresh = seconds - self._last_time >= REFRESH_SECONDS and not self._refreshed
        others = [] if moved or refresh else self._others(scan, index, self._round.priors[scan])
        self._refreshed = not others
        if others:
            return others
        self._last_focus, self._last_time = focus, seconds
        return [index]

    def _focused(self) -> tuple[int, int] | None:
        """Slice in view, if it exists."""
        focus = self._focus()
        if focus is None or not 0 <= focus[0] < len(self._round.scans):
            return None
        scan, index = focus
        return scan, min(max(index, 0), self._round.scans[scan].n_slices - 1)

    def _others(self, scan: int, index: int, prior: AnnotationPrior) -> list[int]:
        """Find slices to predict: one predicted least often, near `index`, and those behind it.

        Slices on one side share their neighbours. Complete ones are the human's own.
        """
        times = self._predicted[scan]
        order = [i for i in outwards(len(times), index) if prior.truth(i) is None]
        if not order:
            return [index]
        first = min(order, key=lambda i: times[i])
        step = 1 if first >= index else -1
        run = [i for i in order if (i - first) * step >= 0 and times[i] == times[first]]
        return sorted(run, key=lambda i: abs(i - first))[:SLICES_AT_ONCE]
