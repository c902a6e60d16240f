"""A simulated annotator: what he draws, and how long it takes him.

He knows the truth, but his outlines wander by about a voxel and he overlooks some small
lesions, the same ones on every slice. A slice that he corrects becomes his drawing. What
it costs follows the added path length (Vaassen et al. 2020, doi 10.1016/j.phro.2019.12.001):
only outlines that are more than a voxel from where they were have to be drawn, or erased;
or he clears the slice and draws all of it, where that is faster.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from skimage.measure import label

from benchmarks.common.cases import Case

LOOK_SECONDS = 5.0
"""Seconds to go to a slice and look at it, painted or not."""

SECONDS_PER_MM = 0.2
"""Seconds to draw or erase a millimetre of outline."""

CLEAR_SECONDS = 3.0
"""Seconds to clear a slice that is not worth correcting."""

JITTER_VOXELS = 1.0
"""How far outlines wander: root mean square length of the displacement, in voxels."""

JITTER_SMOOTHNESS = 4.0
"""Over how many voxels (sigma) the displacement changes."""

SMALL_MM = 6.0
"""Lesions of a smaller diameter (of a sphere of the same volume) may be overlooked."""

MISSED = 0.3
"""Share of the small lesions that are overlooked."""


@dataclass(frozen=True, slots=True, eq=False)
class SimulatedAnnotator:
    """Draws slices of one case; the same seed draws the same.

    Parameters
    ----------
    case : Case
        What is drawn.
    seed : int
        Seed of the jitter and of what is overlooked.
    """

    case: Case
    seed: int
    _seen: NDArray[np.uint8]

    @classmethod
    def of(cls, case: Case, seed: int) -> SimulatedAnnotator:
        """Sit down before a case."""
        return cls(case, seed, _without_missed(case, np.random.default_rng([seed, 1])))

    def draw(self, index: int) -> NDArray[np.uint8]:
        """Labels (h, w) of a slice as he draws it."""
        truth = self._seen[index]
        if not truth.any():
            return truth.copy()
        rng = np.random.default_rng([self.seed, 2, index])
        shift = rng.standard_normal((2, *truth.shape))
        shift = ndimage.gaussian_filter(shift, (0, JITTER_SMOOTHNESS, JITTER_SMOOTHNESS))
        shift *= JITTER_VOXELS / math.sqrt(2) / shift.std()
        where = np.indices(truth.shape) + shift
        layers = [
            ndimage.map_coordinates((truth == value).astype(np.float32), where, order=1)
            for value in range(self.case.n_classes + 1)
        ]
        return np.argmax(layers, axis=0).astype(np.uint8)

    def seconds(self, drawn: NDArray[np.uint8], before: NDArray[np.uint8]) -> float:
        """How long it takes to turn the labels `before` (h, w) into `drawn`."""
        spacing = self.case.spacing_mm[1:]
        pixel_mm = math.sqrt(spacing[0] * spacing[1])
        correct, redraw = 0, 0
        for value in range(1, self.case.n_classes + 1):
            new, old = _outline(drawn == value), _outline(before == value)
            correct += np.count_nonzero(new & ~_near(old)) + np.count_nonzero(old & ~_near(new))
            redraw += np.count_nonzero(new)
        seconds_per_pixel = SECONDS_PER_MM * pixel_mm
        return LOOK_SECONDS + min(
            seconds_per_pixel * correct, CLEAR_SECONDS + seconds_per_pixel * redraw
        )

    def whole(self) -> NDArray[np.uint8]:
        """All slices as he would draw them (n, h, w): the full annotation."""
        return np.stack([self.draw(index) for index in range(self.case.n_slices)])


def _without_missed(case: Case, rng: np.random.Generator) -> NDArray[np.uint8]:
    """The truth without the small lesions that are overlooked."""
    pieces, n = label(case.truth > 0, return_num=True)
    sizes = np.bincount(pieces.ravel(), minlength=n + 1) * math.prod(case.spacing_mm)
    small = np.cbrt(6 * sizes / math.pi) < SMALL_MM
    missed = small & (rng.random(n + 1) < MISSED)
    missed[0] = False
    return np.where(missed[pieces], np.uint8(0), case.truth)


def _outline(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Pixels of a mask (h, w) with a neighbour outside."""
    return mask & ~ndimage.binary_erosion(mask)


def _near(outline: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Within a pixel of an outline."""
    return np.asarray(ndimage.binary_dilation(outline, np.ones((3, 3), bool)))
