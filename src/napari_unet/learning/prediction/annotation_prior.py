"""What the annotated slices of a scan say about its other slices, network aside.

Between two annotated slices the outline of a structure is known to within some
millimetres, and beyond the last one a structure comes to an end somewhere. Both
are turned into log-odds that are added to the network's: close to an annotated
slice they decide, far from it the network does.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from napari_unet.annotation.states import IGNORE_LABEL, LabelledSlice
from napari_unet.imaging.interpolation import ShapeInterpolation
from napari_unet.learning.calibration import DRIFT, SIZES, Continuity, count_pieces
from napari_unet.learning.config import SliceName
from napari_unet.learning.model_card import ModelCard, Provenance
from napari_unet.learning.preparation import PreparedScan

STRONGEST = 5.0
"""Log-odds that annotated slices give at most for a structure between them."""

STRONGEST_AGAINST = 2.0
"""Log-odds that they give at most against it: a small lesion between two annotated slices need
not show on either. (Against 5: no difference on two tumours and deep grey structures; on two
heads with ten metastases Dice rose from .906 to .912 and from .928 to .941.)"""

STRONGEST_BEYOND = 7.0
"""Log-odds that they give at most against what lies beyond them: a network must be sure to one in
a thousand of a lesion there. (False alarms beyond the annotated slices are what costs most: of 2,
5, 7 and 10, each raised the Dice of two tumours further, from .73 to .89; but lesions must have
a chance.)"""

TAPER = 0.25
"""Millimetres that an outline shrinks, at least, per millimetre beyond the last annotated slice."""

BLUR_BEYOND = 0.1
"""Millimetres of doubt about that outline per millimetre (on top of one and a half pixels)."""


def share_of_learned(
    here: Iterable[SliceName], annotated: Iterable[SliceName], history: Provenance
) -> float:
    """Share that some annotated slices have of all that a network learns, or has learned, from.

    Parameters
    ----------
    here : iterable of SliceName
        Annotated slices of the scan in question.
    annotated : iterable of SliceName
        All annotated slices that are at hand.
    history : Provenance
        Of the network. That of an earlier version only counts slices.
    """
    known = {*annotated, *history.learned_slices}
    return len({*here}) / max(1, len(known), history.annotated_slices)


def continuity_with(
    here: Continuity, annotated: Iterable[SliceName], card: ModelCard
) -> Continuity:
    """Add what a network saw of other slices than those annotated to what these tell.

    Its tallies are of all that it has learned from: they count by the share of others among it.

    Parameters
    ----------
    here : Continuity
        Of the slices that are annotated.
    annotated : iterable of SliceName
        Their names.
    card : ModelCard
        Of the network.
    """
    learned = {*card.provenance.learned_slices}
    others = learned - {*annotated}
    if not others:
        return here
    return here + card.calibration.continuity.times(len(others) / len(learned))


class AnnotationPrior:
    """Log-odds from the complete slices of one scan; partial slices are left out.

    Parameters
    ----------
    scan : PreparedScan
        The scan.
    annotations : sequence of LabelledSlice
        Annotated slices of this scan.
    n_structures : int
        How many structures there are.
    before : AnnotationPrior, optional
        What was known of this scan until now; saves work where slices are as they were.
    share : float
        Share that these slices have of all that the network learns from, 0 to 1. One that
        has learned from other scans knows better than three slices where structures end:
        what is said about slices beyond them counts by this share. (Network of four scans,
        three slices of each of four others: Dice .886 instead of .869 on their other slices.)
    """

    def __init__(
        self,
        scan: PreparedScan,
        annotations: Sequence[LabelledSlice],
        n_structures: int,
        before: AnnotationPrior | None = None,
        *,
        share: float = 1.0,
    ) -> None:
        self._share = np.float32(share)
        windows = {each.index: scan.crop(each.labels) for each in annotations}
        self._truth = {
            index: window for index, window in windows.items() if (window != IGNORE_LABEL).all()
        }
        self._shapes: ShapeInterpolation = ShapeInterpolation(
            self._truth,
            n_structures,
            scan.spacing_mm,
            before=before._shapes if before is not None else None,
        )
        self._counted = self._count(scan, n_structures, before)
        nothing = np.zeros((n_structures, SIZES, 2))
        self.continuity = Continuity.of(sum(self._counted.values(), nothing))
        shown = {int(value) for window in self._truth.values() for value in np.unique(window)}
        self._shows = any(shown)
        # Complete slices say nothing about structures that only partial ones show.
        self._unknown = [value - 1 for value in range(1, n_structures + 1) if value not in shown]
        self._pixel = sum(scan.spacing_mm) / 2
        self._slice_mm = scan.slice_mm

    def _count(
        self, scan: PreparedScan, n_structures: int, before: AnnotationPrior | None
    ) -> dict[tuple[int, ...], NDArray[np.float64]]:
        """Count the pieces of each complete slice that stand alone; as before where nothing new is.

        The keys are a slice and those next to it.
        """
        counted = {}
        for place, index in enumerate(known := self.complete):
            near = [known[other] for other in (place - 1, place + 1) if 0 <= other < len(known)]
            key = (index, *near)
            if before is not None and before._knows_alike(self._truth, key, n_structures):
                counted[key] = before._counted[key]
                continue
            outlines = [
                (self._shapes.own_distances(other), abs(other - index) * scan.slice_mm)
                for other in near
            ]
            counted[key] = count_pieces(self._truth[index], outlines, n_structures, scan.spacing_mm)
        return counted

    def _knows_alike(
        self, truth: Mapping[int, NDArray[np.uint8]], key: tuple[int, ...], n_structures: int
    ) -> bool:
        """Whether slices were counted before, and are as they were."""
        return (
            key in self._counted
            and len(self._counted[key]) == n_structures
            and all(np.array_equal(truth[index], self._truth[index]) for index in key)
        )

    def truth(self, index: int) -> NDArray[np.uint8] | None:
        """Labels (h, w), within the scan's window, of a complete slice; None for others."""
        return self._truth.get(index)

    @property
    def complete(self) -> list[int]:
        """Complete slices, ascending."""
        return sorted(self._truth)

    def log_odds(self, index: int) -> NDArray[np.float32] | None:
        """Log-odds of each structure against background, to be added to the network's.

        Parameters
        ----------
        index : int
            Slice number.

        Returns
        -------
        ndarray of float32, shape (k, h, w), or None
            Within the scan's window; None where nothing is known.
        """
        if not self._shows:
            return None
        gap = self._shapes.gap(index) * self._slice_mm
        if index in self._shapes:
            odds = self._shapes.distances(index) / np.float32(self._pixel + DRIFT * gap)
            return self._for_known(odds.clip(-STRONGEST_AGAINST, STRONGEST))
        # Where a structure ends is the network's to say; that it does end is known.
        outline = self._shapes.distances(self._shapes.nearest(index)) - np.float32(TAPER * gap)
        outline /= np.float32(1.5 * self._pixel + BLUR_BEYOND * gap)
        return self._for_known(outline.clip(-STRONGEST_BEYOND, 0.0) * self._share)

    def _for_known(self, odds: NDArray[np.float32]) -> NDArray[np.float32]:
        odds[self._unknown] = 0
        return odds
