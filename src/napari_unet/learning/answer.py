"""The answer for a slice: what the network says of it and of its neighbours, and the annotator."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from napari_unet.learning.events import SlicePredicted
from napari_unet.learning.knowledge import Knowledge
from napari_unet.learning.predictor import Predictor
from napari_unet.learning.preparation import PreparedScan

SMOOTHING_MM = 0.8
"""Standard deviation over which opinions of slices next to each other are averaged.

Anatomy does not jump from slice to slice, errors do. Slices farther apart than twice this stay
alone. (Of .5, .8, 1 and 1.2: .8 was best or .002 from it for tumours, nuclei and metastases; the
hippocampus gains .009 over 1.2, which shrinks its upper and lower ends.)
"""

MOST_NEIGHBOURS = 3
"""Slices on either side that are averaged at most."""

MATURE_STEPS = 250
"""Training steps after which a network's opinion counts in full beside annotated slices.

After 20, 80 and 120 steps the fused answer was best with the opinion at a tenth, a third and
a half of its strength: until it can draw, a network should not spoil what interpolation knows.
Nor does it know how wrong it is before.
"""

LEAST = 1e-4
"""Probability that no class falls below: one slice must not overrule its neighbours for good."""

MOST_OPINIONS = 32
"""Slices whose opinions are kept for their neighbours."""

CERTAIN = 0.999
"""Probability of what a person has annotated, as a neighbour of other slices."""


def neighbour_weights(slice_mm: float) -> list[float]:
    """Weights of a slice (first) and of those 1, 2, ... away from it."""
    sigma = SMOOTHING_MM / slice_mm
    reach = min(MOST_NEIGHBOURS, int(2 * sigma))
    return [math.exp(-0.5 * (offset / sigma) ** 2) for offset in range(reach + 1)]


class Answerer:
    """Answers for slices of one scan, in any order; best asked for neighbours in turn.

    Parameters
    ----------
    predictor : Predictor
        The network.
    scan : PreparedScan
        The scan.
    knowledge : Knowledge, optional
        What is annotated on it.
    steps : int
        Training steps of the network so far, see `MATURE_STEPS`.
    """

    def __init__(
        self,
        predictor: Predictor,
        scan: PreparedScan,
        knowledge: Knowledge | None = None,
        *,
        steps: int = MATURE_STEPS,
    ) -> None:
        self._predictor = predictor
        self._scan = scan
        self._knowledge = knowledge
        self._trust = min(1.0, steps / MATURE_STEPS)
        self._weights = neighbour_weights(scan.slice_mm)
        self._opinions: dict[int, Tensor] = {}  # log-probabilities (k, h, w) of slices
        self._answered: set[int] = set()
        self._device = predictor.device

    def answer(
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
            self._ask(sorted({near for index in indices for near in self._around(index)}))
            scores = torch.stack([self._together(index) for index in indices])
            probabilities = scores.softmax(dim=1)
            # Seven times as fast as argmax on a CPU.
            winners, labels = probabilities.max(dim=1)
            expected = None
            if self._trust == 1:
                expected = expected_errors(probabilities, winners, labels).cpu().numpy()
            arrays = labels.to(torch.uint8).cpu().numpy()
        self._forget(indices)
        return [
            SlicePredicted(
                scan=scan_index,
                index=int(index),
                labels=self._scan.paste(arrays[position]),
                expected_errors=None if expected is None else expected[position],
                learned_from=learned_from,
            )
            for position, index in enumerate(indices)
        ]

    def _around(self, index: int) -> range:
        reach = len(self._weights) - 1
        return range(max(0, index - reach), min(self._scan.n_slices, index + reach + 1))

    def _ask(self, indices: Sequence[int]) -> None:
        """Get the network's opinion of slices that it has not been asked about."""
        new = [index for index in indices if index not in self._opinions]
        size = self._predictor.batch_size(self._scan)
        for start in range(0, len(new), size):
            batch = new[start : start + size]
            logs = self._predictor.probabilities(self._scan, batch).clamp(min=LEAST).log()
            if self._predictor.device != self._device:  # the graphics card was full
                self._device = self._predictor.device
                self._opinions = {i: each.to(self._device) for i, each in self._opinions.items()}
            # Copies: a view would keep the whole batch in memory.
            self._opinions.update({i: each.clone() for i, each in zip(batch, logs, strict=True)})

    def _together(self, index: int) -> Tensor:
        """Log-probabilities (k, h, w), up to a constant a pixel, from all that is known."""
        total = torch.zeros_like(self._opinions[index])
        weight = 0.0
        for near in self._around(index):
            share = self._weights[abs(near - index)]
            total.add_(self._opinion(near) if near != index else self._opinions[near], alpha=share)
            weight += share
        total /= weight
        evidence = self._knowledge.evidence(index) if self._knowledge else None
        if evidence is not None:
            total *= self._trust
            total[1:] += torch.from_numpy(evidence).to(total.device)
        return total

    def _opinion(self, index: int) -> Tensor:
        """Log-probabilities of a neighbour: the annotator's if there are any."""
        truth = self._knowledge.truth(index) if self._knowledge else None
        opinion = self._opinions[index]
        if truth is None:
            return opinion
        known = torch.from_numpy(truth.astype("int64")).to(opinion.device)
        result = torch.full_like(opinion, math.log((1 - CERTAIN) / (len(opinion) - 1)))
        return result.scatter_(0, known[None], math.log(CERTAIN))

    def _forget(self, answered: Sequence[int]) -> None:
        """Drop the opinions whose neighbours have all been answered for."""
        self._answered.update(answered)
        for index in list(self._opinions):
            if all(near in self._answered for near in self._around(index)):
                del self._opinions[index]
        while len(self._opinions) > MOST_OPINIONS:  # whatever the order, memory is bounded
            del self._opinions[next(iter(self._opinions))]


def expected_errors(probabilities: Tensor, winners: Tensor, labels: Tensor) -> Tensor:
    """Sum what probabilities say of their own errors, see `SlicePredicted.expected_errors`.

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
