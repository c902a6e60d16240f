"""Pixel, Rand and warping error of the ISBI 2012 challenge on membranes in electron micrographs.

Everything is 2D, slice by slice. True is cell, False is membrane. Cells are connected over
sides (4), membranes over corners too (8). The challenge (Arganda-Carreras et al., 2015,
doi:10.3389/fnana.2015.00142; definitions as in its Fiji scripts) thresholds the submitted
probabilities at 0.0, 0.1, ..., 0.9 and takes, for each error by itself, the best threshold
of the whole stack:

* pixel error: 1 - F-score of the cell pixels, counts summed over the stack;
* Rand error: 1 - F-score of pairs of pixels that belong to one cell ("foreground-restricted":
  pixels that are membrane in the truth do not take part; each pixel that is membrane in the
  prediction only is a cell of its own), pairs summed over the stack;
* warping error (Jain et al., 2010, doi:10.1109/CVPR.2010.5539950): the truth is changed pixel
  by pixel towards the prediction as far as that is possible without changing its topology.
  Of the pixels that still differ, those that would split or merge cells count; mean over
  all pixels of the stack. A cell that is missed altogether is no split: read it beside the
  others only.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage, sparse

Mask = NDArray[np.bool_]
Probability = NDArray[np.float32]

THRESHOLDS = tuple(step / 10 for step in range(10))
"""Thresholds of the challenge (at its last, 1.0, there are no cells at all)."""

SPLIT_RADIUS = 20
"""Whether a cell is split is looked at within so many pixels around, as its script did."""

EVERY_NEIGHBOUR = np.ones((3, 3), dtype=bool)
SIDES = ndimage.generate_binary_structure(2, 1)


@dataclass(frozen=True, slots=True)
class Counts:
    """True positives, false positives and false negatives: pixels, or pairs of pixels."""

    tp: float = 0.0
    fp: float = 0.0
    fn: float = 0.0

    def __add__(self, other: Counts) -> Counts:
        return Counts(self.tp + other.tp, self.fp + other.fp, self.fn + other.fn)

    @property
    def error(self) -> float:
        """1 - F-score."""
        total = 2 * self.tp + self.fp + self.fn
        return 1 - 2 * self.tp / total if total else 0.0


def pixel_counts(truth: Mask, predicted: Mask) -> Counts:
    """Compare two masks (h, w) pixel by pixel."""
    both = np.count_nonzero(truth & predicted)
    return Counts(both, np.count_nonzero(predicted) - both, np.count_nonzero(truth) - both)


def rand_counts(truth: Mask, predicted: Mask) -> Counts:
    """Compare two masks (h, w) by which pairs of pixels are in one cell."""
    true_cells, n_true = ndimage.label(truth, SIDES)
    found_cells, n_found = ndimage.label(predicted, SIDES)
    both = truth & predicted
    pair = (true_cells[both] - 1, found_cells[both] - 1)
    shared = sparse.coo_array(
        (np.ones(len(pair[0])), pair), shape=(max(n_true, 1), max(n_found, 1))
    ).tocsr()
    together = _pairs(shared.data)
    in_truth = _pairs(np.bincount(true_cells[truth]))
    in_prediction = _pairs(np.asarray(shared.sum(axis=0)))
    return Counts(together, in_prediction - together, in_truth - together)


def _pairs(sizes: NDArray[np.float64] | NDArray[np.int64]) -> float:
    """How many pairs of members groups of these sizes have."""
    sizes = np.asarray(sizes, dtype=np.float64)
    return float((sizes * (sizes - 1) / 2).sum())


# -- warping -----------------------------------------------------------------------

AROUND = ((-1, -1), (-1, 0), (-1, 1), (0, -1), (0, 1), (1, -1), (1, 0), (1, 1))
"""The eight neighbours of a pixel (row, column); bit k of a neighbourhood is neighbour k."""


def _patch(neighbours: Sequence[bool]) -> Mask:
    """Draw a neighbourhood (3, 3), its middle empty."""
    patch = np.zeros((3, 3), dtype=bool)
    for (row, column), cell in zip(AROUND, neighbours, strict=True):
        patch[row + 1, column + 1] = cell
    return patch


def is_simple(neighbours: Sequence[bool]) -> bool:
    """Whether a pixel can change between cell and membrane without changing the topology.

    Parameters
    ----------
    neighbours : sequence of bool
        Which of the eight `AROUND` it are cell.

    Returns
    -------
    bool
        True if the cell pixels around it that it touches by a side hang together there,
        and so do the membrane pixels (over corners), and there are some of both. (Bertrand
        and Malandain, 1994: both topological numbers are 1.)
    """
    patch = _patch(neighbours)
    cells, _ = ndimage.label(patch, SIDES)
    touching = {int(cells[at]) for at in ((0, 1), (1, 0), (1, 2), (2, 1))} - {0}
    ring = ~patch
    ring[1, 1] = False
    _, n_membranes = ndimage.label(ring, EVERY_NEIGHBOUR)
    return len(touching) == 1 and n_membranes == 1


NEIGHBOURHOODS = tuple(each[::-1] for each in itertools.product((False, True), repeat=8))
"""Which of the neighbours are cell, for each of the 256 neighbourhoods, by its number."""

SIMPLE = tuple(map(is_simple, NEIGHBOURHOODS))
"""`is_simple` of each neighbourhood."""

IN_PARTS = np.array([ndimage.label(_patch(each), SIDES)[1] > 1 for each in NEIGHBOURHOODS])
"""Whether the cell pixels of each neighbourhood do not all hang together there."""


def warp(truth: Mask, predicted: Mask, certainty: Probability | None = None) -> Mask:
    """Change the truth towards the prediction, keeping its topology.

    Simple pixels that differ are flipped one by one, those that the prediction is most
    certain of first, until none is left. The outside counts as membrane.

    Parameters
    ----------
    truth, predicted : ndarray of bool, shape (h, w)
        Masks of cells.
    certainty : ndarray, shape (h, w), optional
        How certain the prediction is; default: equally, everywhere.

    Returns
    -------
    ndarray of bool, shape (h, w)
        The warped truth; where it still differs from the prediction, no pixel is simple.
    """
    width = truth.shape[1] + 2
    # Pixel after pixel depends on the one before: plain bytes are fastest there.
    warped = bytearray(np.pad(truth, 1).tobytes())
    wrong = bytearray(np.pad(truth != predicted, 1).tobytes())
    places = np.flatnonzero(np.frombuffer(wrong, dtype=bool))
    if certainty is not None:
        places = places[np.argsort(-np.pad(certainty, 1).ravel()[places], kind="stable")]
    waiting = places.tolist()
    rank = {at: number for number, at in enumerate(waiting)}
    offsets = [row * width + column for row, column in AROUND]
    while waiting:
        again = set()
        for at in waiting:
            number = 0
            for bit, offset in enumerate(offsets):
                number |= warped[at + offset] << bit
            if SIMPLE[number]:
                warped[at] ^= 1
                wrong[at] = 0
                # Others can have become simple only around it.
                again.update(at + offset for offset in offsets if wrong[at + offset])
        waiting = sorted((at for at in again if wrong[at]), key=rank.__getitem__)
    return np.frombuffer(bytes(warped), dtype=bool).reshape(-1, width)[1:-1, 1:-1]


def splits_and_mergers(warped: Mask, predicted: Mask) -> Mask:
    """Which of the pixels (h, w) that differ after `warp` split or merge cells.

    A pixel that the prediction adds merges if its eight neighbours belong to two cells or
    more; one that it takes away splits if they do once it is gone, as far as can be seen
    within `SPLIT_RADIUS`. The others make or fill holes, or are tiny cells of their own.
    """
    cells, _ = ndimage.label(np.pad(warped, 1), SIDES)
    result = np.zeros(warped.shape, dtype=bool)
    # Where all neighbours hang together, there is only one cell to be seen.
    height, width = warped.shape
    around = np.zeros(warped.shape, dtype=np.uint8)
    for bit, (down, right) in enumerate(AROUND):
        moved = np.pad(warped, 1)[1 + down : 1 + down + height, 1 + right : 1 + right + width]
        around |= moved.astype(np.uint8) << bit
    for row, column in np.argwhere((warped != predicted) & IN_PARTS[around]):
        if warped[row, column]:
            top, left = max(row - SPLIT_RADIUS, 0), max(column - SPLIT_RADIUS, 0)
            without = warped[top : row + SPLIT_RADIUS + 1, left : column + SPLIT_RADIUS + 1].copy()
            without[row - top, column - left] = False
            parts, _ = ndimage.label(np.pad(without, 1), SIDES)
            seen = parts[row - top : row - top + 3, column - left : column - left + 3]
        else:
            seen = cells[row : row + 3, column : column + 3]
        result[row, column] = len(set(seen.ravel().tolist()) - {0}) > 1
    return result


def warping_count(truth: Mask, probability: Probability, threshold: float) -> int:
    """Pixels (of h x w) that split or merge cells at a threshold, after warping."""
    predicted = probability > threshold
    warped = warp(truth, predicted, np.abs(probability - threshold))
    return int(np.count_nonzero(splits_and_mergers(warped, predicted)))


# -- stacks ------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class SliceCounts:
    """What a slice contributes at one threshold."""

    pixel: Counts
    rand: Counts
    warping: int
    size: int

    def __add__(self, other: SliceCounts) -> SliceCounts:
        return SliceCounts(
            self.pixel + other.pixel,
            self.rand + other.rand,
            self.warping + other.warping,
            self.size + other.size,
        )

    @property
    def errors(self) -> dict[str, float]:
        """Pixel, Rand and warping error."""
        return {
            "pixel": self.pixel.error,
            "rand": self.rand.error,
            "warping": self.warping / self.size,
        }


def count(
    truth: Mask, probability: Probability, thresholds: Sequence[float] = THRESHOLDS
) -> dict[float, SliceCounts]:
    """Compare a slice (h, w) with the probability of cell, at each threshold."""
    return {
        threshold: SliceCounts(
            pixel_counts(truth, probability > threshold),
            rand_counts(truth, probability > threshold),
            warping_count(truth, probability, threshold),
            truth.size,
        )
        for threshold in thresholds
    }


def pooled(slices: Sequence[dict[float, SliceCounts]]) -> dict[float, SliceCounts]:
    """Sum the counts of the slices of a stack, at each threshold."""
    total = dict(slices[0])
    for each in slices[1:]:
        total = {threshold: total[threshold] + each[threshold] for threshold in total}
    return total


def best(stack: dict[float, SliceCounts]) -> dict[str, tuple[float, float]]:
    """Each error at the threshold that suits it best: name -> (error, threshold)."""
    return {
        name: min((counts.errors[name], threshold) for threshold, counts in stack.items())
        for name in ("pixel", "rand", "warping")
    }
