"""Old weights against new, on annotated slices that neither has learned from.

The labels of such slices are not neutral: they began as a prediction of the old model,
and nobody corrects an edge that is a pixel off. Simulated with an annotator who leaves
just those (three deep grey scans and a tumour, eight rounds of six corrected slices), the
old model had a Dice of .70 where .55 was its due; in four rounds it came out first
by up to .006, while the new one was better on the rest of the volume by .004 to .11. At the
edge of a small structure a pixel weighs much more than there, so a loss counts only if
it remains with edges a pixel off forgiven. No torch here.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from napari_unet.text import counted

TOLERANCE = 0.1
"""Dice that new weights may lose on a single held-back slice: they have learned from more, and a
slice differs so much by chance. On several it is that over the root of their number. (With a
fiftieth, a model of Dice .85 on all other slices lost its place to one of .77.)"""


@dataclass(frozen=True, slots=True)
class Comparison:
    """The new weights of a round against those that it started from.

    Parameters
    ----------
    new, old : float
        Dice over the held-back slices, 0 to 1, averaged over the structures.
    n_slices : int
        How many slices there are.
    worse : bool
        Whether the new weights are worse by more than `allowed`, also if edges may be a
        pixel off.
    """

    new: float
    old: float
    n_slices: int
    worse: bool = False

    @property
    def verdict(self) -> str:
        """Say it in a sentence."""
        slices = f"on {counted(self.n_slices, 'held-back slice')}"
        scores = f"(Dice {self.new:.2f} against {self.old:.2f})"
        if self.worse:
            return f"The new model is worse {slices} {scores}: the earlier one is kept."
        if self.new > self.old:
            return f"The new model is better {slices} {scores}."
        but = ", edges within a pixel aside" if self.new < self.old - allowed(self.n_slices) else ""
        return f"The new model is about as good {slices}{but} {scores}: it is kept."


def allowed(n_slices: int) -> float:
    """Dice that new weights may lose on so many held-back slices."""
    return TOLERANCE / math.sqrt(n_slices)


def compare(
    new: Sequence[NDArray[np.uint8]],
    old: Sequence[NDArray[np.uint8]],
    truth: Sequence[NDArray[np.uint8]],
) -> Comparison | None:
    """Compare two predictions of the same slices.

    Parameters
    ----------
    new, old, truth : sequence of ndarray of uint8, each (h, w)
        Predictions of both and the annotation, slice by slice.

    Returns
    -------
    Comparison or None
        None where the annotation shows no structure.
    """
    exact = [pooled_dice(each, truth) for each in (new, old)]
    loose = [pooled_dice(each, truth, forgiving=True) for each in (new, old)]
    if exact[0] is None or exact[1] is None or loose[0] is None or loose[1] is None:
        return None
    most = allowed(len(truth))
    worse = exact[0] < exact[1] - most and loose[0] < loose[1] - most
    return Comparison(exact[0], exact[1], len(truth), worse)


def pooled_dice(
    predicted: Sequence[NDArray[np.uint8]],
    truth: Sequence[NDArray[np.uint8]],
    *,
    forgiving: bool = False,
) -> float | None:
    """Score predictions of several slices together.

    Parameters
    ----------
    predicted, truth : sequence of ndarray of uint8, each (h, w)
        Labels, slice by slice.
    forgiving : bool
        Whether an edge may be a pixel off without being wrong.

    Returns
    -------
    float or None
        Dice of each structure over the pixels of all slices, averaged over the
        structures that the truth shows; None if it shows none.
    """
    values = sorted({int(value) for each in truth for value in np.unique(each[each > 0])})
    if not values:
        return None
    scores = []
    for value in values:
        right = size = 0
        for ours, theirs in zip(predicted, truth, strict=True):
            found, wanted = ours == value, theirs == value
            near = (_widened(found), _widened(wanted)) if forgiving else (found, wanted)
            right += int((found & near[1]).sum() + (wanted & near[0]).sum())
            size += int(found.sum() + wanted.sum())
        scores.append(right / size)
    return float(np.mean(scores))


def _widened(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Add the eight neighbours of every pixel (not SciPy's: it takes 0.2 s to import)."""
    rows = mask.copy()
    rows[1:] |= mask[:-1]
    rows[:-1] |= mask[1:]
    grown = rows.copy()
    grown[:, 1:] |= rows[:, :-1]
    grown[:, :-1] |= rows[:, 1:]
    return grown
