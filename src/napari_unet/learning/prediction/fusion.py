"""Labels of a slice from all sources: the network on it and its neighbours, and the annotator."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial

import numpy as np
import torch
from skimage.measure import label
from torch import Tensor

from napari_unet.annotation.error_estimate import ErrorEstimate
from napari_unet.learning.calibration import (
    MATURE_STEPS,
    Calibration,
    by_steps,
    diameters,
    strengths,
)
from napari_unet.learning.events import SlicePredicted
from napari_unet.learning.prediction.annotation_prior import AnnotationPrior
from napari_unet.learning.prediction.predictor import Predictor
from napari_unet.learning.preparation import PreparedScan

SMOOTHING_MM = 0.8
"""Standard deviation over which log-probabilities of slices next to each other are averaged.

Anatomy does not jump from slice to slice, errors do. Slices farther apart than twice this stay
alone. (Of .5, .8, 1 and 1.2: .8 was best or .002 from it for tumours, nuclei and metastases; the
hippocampus gains .009 over 1.2, which shrinks its upper and lower ends.)
"""

MOST_NEIGHBOURS = 3
"""Slices on either side that are averaged at most."""

MOST_BY_NEIGHBOURS = 2.0
"""Log-odds that the slices next to one can change at most: where all are sure, and of different
things, a structure begins, ends, or shows on one slice only."""

LEAST = 1e-4
"""Probability that no class falls below: one slice must not overrule its neighbours for good."""

MOST_KEPT = 32
"""Slices whose log-probabilities are kept for their neighbours."""

MOST_COMPARED = 8
"""Painted slices that a network is compared with at most."""

CERTAIN = 0.999
"""Probability of what a person has annotated, as a neighbour of other slices."""


def neighbour_weights(slice_mm: float) -> list[float]:
    """Weights of a slice (first) and of those 1, 2, ... away from it."""
    sigma = SMOOTHING_MM / slice_mm
    reach = min(MOST_NEIGHBOURS, int(2 * sigma))
    return [math.exp(-0.5 * (offset / sigma) ** 2) for offset in range(reach + 1)]


class SliceFusion:
    """Predicts slices of one scan, in any order; best neighbours in turn.

    Parameters
    ----------
    predictor : Predictor
        The network.
    scan : PreparedScan
        The scan.
    prior : AnnotationPrior, optional
        What is annotated on it.
    calibration : Calibration, optional
        How much the network counts; default: by the steps.
    steps : int
        Training steps of the network so far, see `MATURE_STEPS`.
    """

    def __init__(
        self,
        predictor: Predictor,
        scan: PreparedScan,
        prior: AnnotationPrior | None = None,
        *,
        calibration: Calibration | None = None,
        steps: int = MATURE_STEPS,
    ) -> None:
        self._predictor = predictor
        self._scan = scan
        self._prior = prior
        self._mature = steps >= MATURE_STEPS
        self._by_steps = by_steps(steps)
        self._calibration = calibration or Calibration()
        self._weights = neighbour_weights(scan.slice_mm)
        self._log_probabilities: dict[int, Tensor] = {}  # (k, h, w) of slices
        self._predicted: set[int] = set()
        self._device = predictor.device

    def predict(
        self,
        indices: Sequence[int],
        *,
        scan_index: int = 0,
        learned_from: frozenset[int] = frozenset(),
    ) -> list[SlicePredicted]:
        """Predict slices of the scan.

        Parameters
        ----------
        indices : sequence of int
            Slice numbers.
        scan_index : int
            Number of the scan, passed on to the events.
        learned_from : frozenset of int
            Slices of this scan that the network was trained on, passed on.
        """
        with torch.inference_mode():
            self._run_network(sorted({near for index in indices for near in self._around(index)}))
            scores = torch.stack([self._together(index) for index in indices])
            probabilities = scores.softmax(dim=1)
            # Seven times as fast as argmax on a CPU.
            winners, labels = probabilities.max(dim=1)
            expected = None
            if self._mature:
                expected = sum_errors(probabilities, winners, labels).cpu().numpy()
            arrays = labels.to(torch.uint8).cpu().numpy()
        self._forget(indices)
        events = []
        for place, index in enumerate(indices):
            whole = self._scan.paste(arrays[place])
            said = None if expected is None else ErrorEstimate.of(whole, *expected[place])
            events.append(SlicePredicted(scan_index, int(index), whole, said, learned_from))
        return events

    def _around(self, index: int) -> range:
        reach = len(self._weights) - 1
        return range(max(0, index - reach), min(self._scan.n_slices, index + reach + 1))

    def _run_network(self, indices: Sequence[int]) -> None:
        """Ask the network about slices that it has not been asked about."""
        new = [index for index in indices if index not in self._log_probabilities]
        size = self._predictor.batch_size(self._scan)
        for start in range(0, len(new), size):
            batch = new[start : start + size]
            logs = self._predictor.probabilities(self._scan, batch).clamp(min=LEAST).log()
            if self._predictor.device != self._device:  # the graphics card was full
                self._device = self._predictor.device
                self._log_probabilities = {
                    i: each.to(self._device) for i, each in self._log_probabilities.items()
                }
            # Copies: a view would keep the whole batch in memory.
            self._log_probabilities.update(
                {i: each.clone() for i, each in zip(batch, logs, strict=True)}
            )

    def _together(self, index: int) -> Tensor:
        """Log-odds (k, h, w) of each class against background, from all that is known."""
        own = self._log_probabilities[index]
        strength = self._strength_of(own)
        odds = own - own[:1]
        alone = odds * strength
        total = alone
        if len(self._weights) > 1:
            near = self._with_neighbours(index)
            change = (near - near[:1]) * strength - alone
            total = alone + change.clamp(-MOST_BY_NEIGHBOURS, MOST_BY_NEIGHBOURS)
        log_odds = self._prior.log_odds(index) if self._prior else None
        if log_odds is not None:
            total = total.clone()
            total[1:] += torch.from_numpy(log_odds).to(total.device)
        if self._calibration.continuity.all_goes_on:
            return total
        return self._standing_alone(odds, alone, total)

    def _strength_of(self, own: Tensor) -> Tensor | float:
        """Factor for log-odds; where structures differ, that of the likeliest one of each pixel."""
        known = self._calibration.strengths
        factors = [*known, *[self._by_steps] * (len(own) - 1 - len(known))]
        if len({*factors}) == 1:
            return factors[0]
        likeliest = own[1:].max(dim=0)[1]
        return torch.tensor(factors, dtype=own.dtype, device=own.device)[likeliest]

    def _with_neighbours(self, index: int) -> Tensor:
        """Log-probabilities (k, h, w) of a slice, averaged with those of the slices around it."""
        total = torch.zeros_like(self._log_probabilities[index])
        weight = 0.0
        for near in self._around(index):
            share = self._weights[abs(near - index)]
            logs = self._log_probabilities[near] if near == index else self._as_neighbour(near)
            total.add_(logs, alpha=share)
            weight += share
        return total.div_(weight)

    def _standing_alone(self, odds: Tensor, alone: Tensor, total: Tensor) -> Tensor:
        """Leave pieces as the network finds them on a slice, where such pieces stand alone.

        What neighbours and annotated slices say against a piece is that it does not go on. How
        often that is so of painted pieces sets the limit to how much it counts. Where pieces
        as a rule stand alone, nobody knows better than the network, however young it is.

        Parameters
        ----------
        odds, alone, total : Tensor, shape (k, h, w)
            Log-odds that the network gives the slice by itself, as much as they count, and
            what all together say.
        """
        found = odds.max(dim=0)[1].cpu().numpy()
        for structure in range(1, len(odds)):
            pieces, n = label(found == structure, return_num=True)
            if not n:
                continue
            limit = partial(self._calibration.continuity.log_odds_alone, structure)
            limits = np.array([-np.inf, *map(limit, diameters(pieces, self._scan.spacing_mm))])
            less = torch.from_numpy(limits.astype(np.float32)[pieces]).to(odds.device)
            least = alone[structure] + less
            least = torch.where(less == 0, torch.maximum(least, odds[structure]), least)
            stands = least > total[structure]
            total = torch.where(stands, alone, total)
            total[structure] = torch.where(stands, least, total[structure])
        return total

    def _as_neighbour(self, index: int) -> Tensor:
        """Log-probabilities of a neighbour: the annotator's if there are any."""
        truth = self._prior.truth(index) if self._prior else None
        own = self._log_probabilities[index]
        if truth is None:
            return own
        known = torch.from_numpy(truth.astype("int64")).to(own.device)
        result = torch.full_like(own, math.log((1 - CERTAIN) / (len(own) - 1)))
        return result.scatter_(0, known[None], math.log(CERTAIN))

    def _forget(self, predicted: Sequence[int]) -> None:
        """Drop the log-probabilities of slices whose neighbours have all been predicted."""
        self._predicted.update(predicted)
        for index in list(self._log_probabilities):
            if all(near in self._predicted for near in self._around(index)):
                del self._log_probabilities[index]
        while len(self._log_probabilities) > MOST_KEPT:  # whatever the order, memory is bounded
            del self._log_probabilities[next(iter(self._log_probabilities))]


def compare_with_painted(
    predictor: Predictor,
    known: Sequence[tuple[PreparedScan, AnnotationPrior]],
    n_structures: int,
    steps: int,
) -> tuple[float, ...]:
    """Find how much a network counts: by how it draws slices that were painted.

    Parameters
    ----------
    predictor : Predictor
        The network.
    known : sequence of (PreparedScan, AnnotationPrior)
        Scans, and what is annotated on them: `MOST_COMPARED` complete slices are compared.
    n_structures, steps : int
        See `calibration.strengths`.
    """
    painted = [
        (scan, index, truth)
        for scan, prior in known
        for index in prior.complete
        if (truth := prior.truth(index)) is not None and truth.any()
    ]
    chosen = painted[:: -(-len(painted) // MOST_COMPARED) or 1]
    answers = (
        (predictor.probabilities(scan, [index])[0].float().cpu().numpy(), truth)
        for scan, index, truth in chosen
    )
    return strengths(answers, n_structures, steps)


def sum_errors(probabilities: Tensor, winners: Tensor, labels: Tensor) -> Tensor:
    """Sum what probabilities say of their own errors, shape (n, 2, k): see `ErrorEstimate`.

    Parameters
    ----------
    probabilities : Tensor, shape (n, k, h, w)
        Of each class.
    winners, labels : Tensor, shape (n, h, w)
        The largest of them, and its class.
    """
    n, k = probabilities.shape[:2]
    places = (labels.flatten(1) + k * torch.arange(n, device=labels.device)[:, None]).flatten()
    excess = torch.zeros(n * k, device=winners.device).index_add_(0, places, 1 - winners.flatten())
    right = torch.bincount(places, minlength=n * k) - excess
    missed = probabilities.sum(dim=(2, 3)) - right.view(n, k)
    return torch.stack([excess.view(n, k), missed.clamp(min=0)], dim=1)
