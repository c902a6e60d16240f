"""Filling between slices: what annotated slices alone say about those between them.

Shape-based interpolation (Raya & Udupa, 1990, doi:10.1109/42.52980): each
structure of a slice is turned into the signed distance to its outline, the
distances are interpolated from slice to slice, and what comes out positive is
the structure. No learning, no image; a strong rival to any network, and
stronger still beside one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt

from napari_unet.errors import AnnotationError

ABSENT = -30.0
"""Distance, in units of the spacing, to a structure that none of the slices near shows."""

_CURVES_KEPT = 3
"""Gaps whose curves are kept in memory: that of the slice in view, and those on either side."""

_Field = NDArray[np.float32]


class ShapeInterpolation:
    """Signed distances between completely annotated slices of one scan.

    Distances follow a monotone cubic through up to four annotated slices
    (Fritsch & Butland, 1984): convex structures keep their bulge, which straight
    lines flatten (four deep-grey structures from five slices: Dice .73 against .68).

    Parameters
    ----------
    slices : mapping of int to ndarray of uint8, shape (h, w)
        Completely annotated slices by their number: 0 is background, 1..K the
        structures.
    n_structures : int
        How many structures there are.
    spacing : tuple of float
        Size of a pixel (rows, columns), in the unit that distances are wanted in.
    before : ShapeInterpolation, optional
        One of fewer or other slices of the same scan: what it has worked out for slices
        that are as they were is not worked out again.
    """

    def __init__(
        self,
        slices: Mapping[int, NDArray[np.uint8]],
        n_structures: int,
        spacing: tuple[float, float] = (1.0, 1.0),
        *,
        before: ShapeInterpolation | None = None,
    ) -> None:
        self._slices = dict(slices)
        self._indices = np.array(sorted(slices), dtype=np.int64)
        self._n = n_structures
        self._spacing = spacing
        self._own: dict[int, _Field] = {}
        self._curves: dict[int, tuple[_Field, ...]] = {}
        if before is not None and (before._n, before._spacing) == (n_structures, spacing):
            self._own = {
                index: distances
                for index, distances in before._own.items()
                if index in slices and np.array_equal(slices[index], before._slices[index])
            }

    def __contains__(self, index: int) -> bool:
        """Whether a slice lies between annotated ones, or is annotated itself."""
        first_and_last = self._indices[[0, -1]] if len(self._indices) else (0, -1)
        return bool(first_and_last[0] <= index <= first_and_last[1])

    def nearest(self, index: int) -> int:
        """Find the annotated slice nearest to a slice (itself, if it is annotated)."""
        return int(self._indices[np.abs(self._indices - index).argmin()])

    def gap(self, index: int) -> int:
        """Count the slices to the nearest annotated one; 0 for an annotated slice."""
        return abs(self.nearest(index) - index)

    def distances(self, index: int) -> NDArray[np.float32]:
        """Signed distance to the outline of each structure; positive inside.

        Parameters
        ----------
        index : int
            A slice between the first and the last annotated one.

        Returns
        -------
        ndarray of float32, shape (k, h, w)
            In the unit of the spacing.

        Raises
        ------
        ValueError
            If the slice lies outside the annotated range.
        """
        if index not in self:
            raise ValueError(f"Slice {index} does not lie between annotated slices.")
        after = int(np.searchsorted(self._indices, index))
        if index in self._slices:
            near = self._near(after)
            return np.asarray(self._around(near)[near.index(index)])
        cubic, square, slope, start = self._curve_before(after)
        along = np.float32(index - self._indices[after - 1])
        return np.asarray(((cubic * along + square) * along + slope) * along + start)

    def labels(self, index: int) -> NDArray[np.uint8]:
        """Label a slice (h, w): the structure that a pixel lies deepest in, or background."""
        distances = self.distances(index)
        deepest = distances.argmax(axis=0).astype(np.uint8) + np.uint8(1)
        return np.where(distances.max(axis=0) > 0, deepest, np.uint8(0)).astype(np.uint8)

    def _near(self, after: int) -> tuple[int, ...]:
        """Annotated slices around the gap before the annotated slice number `after`."""
        # A monotone cubic bends only with the next slice on either side.
        return tuple(int(i) for i in self._indices[max(0, after - 2) : after + 2])

    def _curve_before(self, after: int) -> tuple[_Field, ...]:
        """Coefficients, each (k, h, w), of distances in that gap, highest power first."""
        if after not in self._curves:
            while len(self._curves) >= _CURVES_KEPT:
                self._curves.pop(next(iter(self._curves)))
            near = self._near(after)
            gap = near.index(int(self._indices[after - 1]))
            self._curves[after] = monotone_cubic(near, self._around(near), gap)
        return self._curves[after]

    def _around(self, near: tuple[int, ...]) -> NDArray[np.float32]:
        """Distances (m, k, h, w) on annotated slices, with those of absent structures made up."""
        found = np.stack([self.own_distances(index) for index in near])
        shown = np.isfinite(found[:, :, 0, 0])
        for structure in range(self._n):
            have = np.flatnonzero(shown[:, structure])
            for position in np.flatnonzero(~shown[:, structure]):
                if not len(have):
                    found[position, structure] = ABSENT * min(self._spacing)
                    continue
                away = [abs(near[i] - near[position]) for i in have]
                model = found[have[int(np.argmin(away))], structure]
                # It shrinks towards the slice without it and is gone half way.
                gone = model - 2 * max(float(model.max()), min(self._spacing))
                found[position, structure] = np.minimum(gone, -min(self._spacing))
        return found

    def own_distances(self, index: int) -> NDArray[np.float32]:
        """Distances (k, h, w) on an annotated slice; nan for structures it does not show."""
        if index in self._own:
            return self._own[index]
        labels = self._slices[index]
        result = np.full((self._n, *labels.shape), np.nan, dtype=np.float32)
        for structure in range(self._n):
            mask = labels == structure + 1
            if mask.all():  # no outline on this slice
                result[structure] = max(mask.shape) * min(self._spacing)
            elif mask.any():
                inside = distance_transform_edt(mask, sampling=self._spacing)
                outside = distance_transform_edt(~mask, sampling=self._spacing)
                result[structure] = inside - outside
        self._own[index] = result
        return result


def monotone_cubic(at: Sequence[float], values: _Field, gap: int) -> tuple[_Field, ...]:
    """Work out the cubic between two of two to four points, as `scipy` does for all gaps.

    (`scipy.interpolate.PchipInterpolator` works in double precision on every gap: seconds
    and gigabytes for thirty structures on 512 x 512 pixels.)

    Parameters
    ----------
    at : sequence of float
        Where the values are known, ascending; at most one point more on either side
        of the gap.
    values : ndarray of float32, shape (m, ...)
        The values.
    gap : int
        Number of the point that the gap begins at.

    Returns
    -------
    tuple of ndarray, each (...)
        Coefficients for the distance from that point: cubic, square, linear, constant.
    """
    width = np.float32(at[gap + 1] - at[gap])
    rise = _rise(at, values, gap)
    before = _rise(at, values, gap - 1) if gap > 0 else None
    after = _rise(at, values, gap + 1) if gap + 2 < len(at) else None
    first = last = rise
    if before is not None:
        beyond = np.float32(at[gap] - at[gap - 1])
        first = _inner_slope(rise, before, width, beyond)
        last = _end_slope(rise, before, width, beyond)
    if after is not None:
        beyond = np.float32(at[gap + 2] - at[gap + 1])
        last = _inner_slope(rise, after, width, beyond)
        if before is None:
            first = _end_slope(rise, after, width, beyond)
    cubic = (first + last - 2 * rise) / width**2
    square = (3 * rise - 2 * first - last) / width
    return cubic, square, first, values[gap]


def _rise(at: Sequence[float], values: _Field, gap: int) -> _Field:
    return np.asarray((values[gap + 1] - values[gap]) / np.float32(at[gap + 1] - at[gap]))


def _inner_slope(own: _Field, other: _Field, width: np.float32, beyond: np.float32) -> _Field:
    """Weighted harmonic mean of the slopes on both sides of a point; 0 at an extremum."""
    own_weight, other_weight = 2 * beyond + width, beyond + 2 * width
    with np.errstate(divide="ignore", invalid="ignore"):
        mean = (own_weight + other_weight) / (own_weight / own + other_weight / other)
    return np.where(own * other > 0, mean, np.float32(0))


def _end_slope(own: _Field, other: _Field, width: np.float32, beyond: np.float32) -> _Field:
    """Slope at a point without another beyond it: that of a parabola, limited."""
    slope = ((2 * width + beyond) * own - width * other) / (width + beyond)
    slope = np.where(slope * own > 0, slope, np.float32(0))
    turns = (own * other <= 0) & (np.abs(slope) > 3 * np.abs(own))
    return np.where(turns, 3 * own, slope)


def labels_between(
    slices: Mapping[int, NDArray[Any]], spacing: tuple[float, float] = (1.0, 1.0)
) -> Iterator[tuple[int, NDArray[Any]]]:
    """Interpolate the labels of every slice between annotated ones.

    Parameters
    ----------
    slices : mapping of int to ndarray of unsigned integer, shape (h, w)
        Completely annotated slices by their number: 0 is background, any other value
        a structure.
    spacing : tuple of float
        Size of a pixel (rows, columns).

    Returns
    -------
    iterator of (int, ndarray)
        Number and labels (h, w) of each slice that lies between two of `slices`,
        ascending; worked out as it is asked for.

    Raises
    ------
    AnnotationError
        At once, if there is nothing to interpolate.
    """
    known = sorted(slices)
    if len(known) < 2:
        raise AnnotationError(
            "Filling needs two completely annotated slices with others between them. "
            "Paint or accept another slice."
        )
    if known[-1] - known[0] < len(known):
        raise AnnotationError(
            "The annotated slices lie next to one another: nothing is between them. "
            "Annotate a slice farther away."
        )
    shown = np.any([slices[index] > 0 for index in known], axis=0)
    if not shown.any():
        raise AnnotationError("No annotated slice shows a structure. Paint one first.")
    # What lies between outlines lies within them: one pixel of background around suffices.
    window = tuple(
        slice(max(0, int(found[0]) - 1), int(found[-1]) + 2)
        for found in (np.flatnonzero(shown.any(axis=1)), np.flatnonzero(shown.any(axis=0)))
    )
    return _labels_between({index: slices[index] for index in known}, window, spacing)


def _labels_between(
    slices: Mapping[int, NDArray[Any]],
    window: tuple[slice, ...],
    spacing: tuple[float, float],
) -> Iterator[tuple[int, NDArray[Any]]]:
    planes = list(slices.values())
    values = np.unique([0, *(value for plane in planes for value in np.unique(plane[window]))])
    values = values.astype(planes[0].dtype)
    classes = {
        index: np.searchsorted(values, plane[window]).astype(np.uint8)
        for index, plane in slices.items()
    }
    shapes = ShapeInterpolation(classes, len(values) - 1, spacing)
    for index in range(min(slices), max(slices) + 1):
        if index not in slices:
            labels = np.zeros_like(planes[0])
            labels[window] = values[shapes.labels(index)]
            yield index, labels
