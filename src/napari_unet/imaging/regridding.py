"""Bringing voxels from one grid onto another through the millimetres that both name.

(In-plane resizing for the network is `learning.network.resampling`.)
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from napari_unet.errors import GridMismatchError
from napari_unet.imaging.nifti_header import itk_affine
from napari_unet.imaging.scan_file import spans_space
from napari_unet.imaging.volume import Grid

GRID_TOLERANCE = 0.05
"""Fraction of a voxel by which two grids may differ and still be the same.

Programs store the matrix in float32, or only as a quaternion; that moves far
corners by some micrometres.
"""

LEAST_OVERLAP = 0.1
"""Share of a scan that a further sequence of it must cover; less is another body part."""

CHANGE_TOLD = 0.1
"""Share of its volume by which resampling may change a structure without a word."""

CHANGES_NAMED = 4
"""Structures of which a message says what resampling did to them."""

NO_PLACE = 1e-4
"""Millimetres, or shares of a voxel, up to which a header is one that nobody filled in."""

SAMPLES = 24
"""Points along each axis at which `overlap` looks."""

DIGITS = 6
"""Decimals of a voxel that count: a point halfway between two must not flip with rounding."""


def grid_distance_mm(found: Grid, wanted: Grid) -> float | None:
    """How far corners of two grids lie apart, in mm; None if they differ in shape.

    Both are compared in display order, so that the axis order of the files does not matter.
    """
    if found.shape_zyx != wanted.shape_zyx:
        return None
    corners = np.array(np.meshgrid(*[(0, n - 1) for n in wanted.shape_zyx])).reshape(3, -1)
    offset = (found.affine_zyx - wanted.affine_zyx) @ np.vstack([corners, np.ones(8)])
    return float(np.sqrt((offset[:3] ** 2).sum(axis=0)).max())


def same_grid(found: Grid, wanted: Grid) -> bool:
    """Whether two grids have the same voxels, in whatever axis order their files store them."""
    apart = grid_distance_mm(found, wanted)
    return apart is not None and apart <= GRID_TOLERANCE * min(wanted.spacing_mm)


@dataclass(frozen=True, slots=True, eq=False)
class SameVoxels:
    """Two grids whose voxels are the same, one for one.

    Parameters
    ----------
    own, onto : Grid
        The grids as their files are read.
    own_there, onto_there : Grid
        Both placed so that they agree.
    note : str
        Why their voxels are taken for the same; empty where they lie in one place.
    """

    own: Grid
    onto: Grid
    own_there: Grid
    onto_there: Grid
    note: str = ""

    def bring(self, data_zyx: NDArray[Any]) -> NDArray[Any]:
        """Bring an array in the display order of `own` to that of `onto`; a view."""
        if not self.note:
            return data_zyx
        there = self.own_there.to_display(self.own.to_source(data_zyx))
        return self.onto.to_display(self.onto_there.to_source(there))


def same_voxels(own: Grid, onto: Grid, name: str, reference: str) -> SameVoxels | None:
    """Whether two grids have the same voxels, also where one header tells another place.

    A NIfTI header may hold two transforms that disagree. Then programs place a scan, and
    what is drawn on it, by either: a mask from 3D Slicer lies where the scan's qform is. And
    a header that nobody filled in (no transform code, or voxels of 1 mm or of the scan's
    size counted from zero) says nothing; then the order of the voxels in the file counts.
    (Of a scan only a header without code: phantoms and atlases do count from zero.)

    Parameters
    ----------
    own, onto : Grid
        What is brought, and the grid of the scan.
    name, reference : str
        What both are called in the note.
    """
    if same_grid(own, onto):
        return SameVoxels(own, onto, own, onto)
    if sorted(own.shape) != sorted(onto.shape):
        return None
    for (mine, first), (theirs, second) in itertools.product(
        _places(own, name), _places(onto, reference)
    ):
        if same_grid(first, second):
            return SameVoxels(own, onto, first, second, _elsewhere(own, onto, name, mine, theirs))
    if own.shape == onto.shape:
        which = name if _says_no_place(own, onto) else "" if onto.has_orientation else reference
        if which:
            note = (
                f"The header of {which} does not say where it lies. {name} has the shape of "
                f"{reference}, so it was taken voxel by voxel: check left and right."
            )
            return SameVoxels(own, onto, onto, onto, note)
    return None


def _places(grid: Grid, name: str) -> Iterator[tuple[str, Grid]]:
    """Where programs may place a file, as it is placed here first, and words for each place."""
    yield name, grid
    for words, affine in (
        (f"the qform of {name}", grid.qform),
        (f"the sform of {name}", grid.sform),
        (f"the place that ITK gives {name}", itk_affine(grid)),
    ):
        if affine is not None and spans_space(affine):
            yield words, dataclasses.replace(grid, affine=affine)


def _elsewhere(own: Grid, onto: Grid, name: str, mine: str, theirs: str) -> str:
    """Say by which of two places grids agree that lie apart as they are placed here."""
    apart = grid_distance_mm(own, onto)
    off = "" if apart is None else f" (as placed here, they lie up to {apart:.2g} mm apart)"
    lies = f"{mine[0].upper() if mine != name else mine[0]}{mine[1:]} lies on {theirs}"
    return f"{lies}{off}, and both have the same voxels: {name} was taken voxel by voxel."


def _says_no_place(grid: Grid, other: Grid) -> bool:
    """Whether a header is one that nobody filled in: voxels counted from zero along the axes."""
    if not grid.has_orientation:
        return True
    sizes, wanted = (np.linalg.norm(g.affine[:3, :3], axis=0) for g in (grid, other))
    along = np.abs(grid.affine[:3, :3] - np.diag(np.diag(grid.affine[:3, :3])))
    at_zero = max(along.max(), np.abs(grid.affine[:3, 3]).max()) <= NO_PLACE
    unit = np.abs(sizes - 1).max() <= NO_PLACE
    return bool(at_zero and (unit or (np.abs(sizes - wanted) <= 0.01 * wanted).all()))


def overlap(own: Grid, onto: Grid) -> float:
    """Share of the volume of `onto` that the voxels of `own` cover, 0 to 1."""
    steps = [(np.arange(SAMPLES) + 0.5) / SAMPLES * n - 0.5 for n in onto.shape_zyx]
    points = np.stack([axis.ravel() for axis in np.meshgrid(*steps, indexing="ij")])
    matrix = _to_own(own, onto)
    return float(_inside(matrix[:3, :3] @ points + matrix[:3, 3:], own).mean())


def resample(
    data_zyx: NDArray[np.generic],
    own: Grid,
    onto: Grid,
    *,
    nearest: bool,
    out: NDArray[np.generic] | None = None,
) -> NDArray[np.generic]:
    """Sample an image or a mask at the voxels of another grid.

    The outermost voxels reach half a voxel beyond their centres; beyond them a mask
    is 0, and an image what its corners show (air). Two planes are in memory besides
    the two volumes.

    Parameters
    ----------
    data_zyx : ndarray, shape of `own` in display order (z, y, x)
        Its values; a mask keeps them all.
    own, onto : Grid
        The grid that the values are on, and the one that they are wanted on.
    nearest : bool
        Take the nearest voxel (masks) instead of interpolating linearly (images).
    out : ndarray, shape of `onto` in display order, optional
        Where to write.

    Returns
    -------
    ndarray, shape of `onto` in display order (z, y, x)
        `out`, or a new array of the type of `data_zyx`.
    """
    result = np.empty(onto.shape_zyx, data_zyx.dtype) if out is None else out
    background = 0.0 if nearest else _corner_value(data_zyx)
    matrix = _to_own(own, onto)
    _, height, width = onto.shape_zyx
    rows, columns = np.arange(height)[:, None], np.arange(width)[None]
    for index, plane in enumerate(result):
        points = np.stack(
            [z * index + y * rows + x * columns + start for z, y, x, start in matrix[:3].tolist()]
        ).round(DIGITS)
        inside = _inside(points, own)
        if not inside.any():
            plane[...] = background
            continue
        ndimage.map_coordinates(
            data_zyx, points, output=plane, order=0 if nearest else 1, mode="nearest"
        )
        plane[~inside] = background
    return result


def labels_onto(
    labels_zyx: NDArray[np.generic],
    own: Grid,
    onto: Grid,
    name: str,
    reference: str = "the scan",
) -> tuple[NDArray[np.generic], str]:
    """Bring a mask onto the grid of a scan: voxel by voxel where they are the same, else nearest.

    Returns
    -------
    labels : ndarray, shape of `onto` in display order (z, y, x)
        The mask there.
    note : str
        How it was brought, which labels fell between the voxels of the scan, and which
        changed their volume by more than `CHANGE_TOLD`; empty for a mask that lies on them.

    Raises
    ------
    GridMismatchError
        If it has labels, and none of them lies in the scan.
    """
    same = same_voxels(own, onto, name, reference)
    if same is not None:
        return same.bring(labels_zyx), same.note
    labels = resample(labels_zyx, own, onto, nearest=True)
    if labels_zyx.any() and not labels.any():
        raise GridMismatchError(
            f"No label of {name} lies in {reference}: they show different places. Choose the mask "
            "of this scan, or register it first."
        )
    lost = _changes(_volumes_ml(labels_zyx, own), _volumes_ml(labels, onto))
    return labels, f"{resampling_note(own, onto, name, reference)} {lost}".strip()


def _volumes_ml(labels: NDArray[np.generic], grid: Grid) -> dict[int, float]:
    """Volume of every label above 0."""
    voxel_ml = float(np.prod(grid.spacing_mm)) / 1000
    values, counts = np.unique(labels, return_counts=True)
    found = zip(values.tolist(), counts.tolist(), strict=True)
    return {value: count * voxel_ml for value, count in found if value}


def _changes(before: dict[int, float], after: dict[int, float]) -> str:
    """Say which labels are gone, and which are much smaller or larger than they were."""
    said = [
        f"Label {value} ({ml:.3g} mL) fell between the voxels of the scan, or lies outside it: "
        "it is gone."
        for value, ml in before.items()
        if value not in after
    ]
    said += [
        f"Label {value} had {before[value]:.3g} mL and has {ml:.3g} mL."
        for value, ml in after.items()
        if abs(ml - before[value]) > CHANGE_TOLD * before[value]
    ]
    more = len(said) - CHANGES_NAMED
    rest = [f"{more} more labels changed."] if more > 0 else []
    return " ".join([*said[:CHANGES_NAMED], *rest])


def check_overlap(own: Grid, onto: Grid, name: str, reference: str) -> None:
    """Refuse a further sequence that does not show what the scan shows.

    Raises
    ------
    GridMismatchError
        If it covers less than `LEAST_OVERLAP` of the scan.
    """
    covered = overlap(own, onto)
    if covered < LEAST_OVERLAP:
        share = f"only {covered:.0%} of" if covered > 0 else "nothing of"
        raise GridMismatchError(
            f"{name} covers {share} {reference}: they lie in different places. Choose sequences "
            "of one examination, or register them first."
        )


def resampling_note(own: Grid, onto: Grid, name: str, reference: str) -> str:
    """Say what was resampled, from what voxel size onto what, and what it does not cover."""
    covered = overlap(own, onto)
    part = "" if covered > 0.99 else f"; it covers {covered:.0%} of it"
    said = f"{name} was resampled from {size_mm(own)} onto the grid of {reference}{part}."
    guessed = [
        which for grid, which in ((own, name), (onto, reference)) if not grid.has_orientation
    ]
    if not guessed:
        return said
    return f"{said} {guessed[0]} does not say where it lies in the patient: check the place."


def size_mm(grid: Grid) -> str:
    """Voxel size for people, in the order x, y, z: ``0.9 x 0.9 x 5 mm``."""
    return " x ".join(f"{mm:.3g}" for mm in reversed(grid.spacing_mm)) + " mm"


def _to_own(own: Grid, onto: Grid) -> NDArray[np.float64]:
    """Matrix from voxels (z, y, x) of `onto` to those of `own`, shape (4, 4)."""
    return np.asarray(np.linalg.solve(own.affine_zyx, onto.affine_zyx))


def _inside(points: NDArray[np.float64], grid: Grid) -> NDArray[np.bool_]:
    """Which points (3, ...), in voxels (z, y, x), lie in a voxel of the grid."""
    within: Iterable[NDArray[np.bool_]] = (
        (axis >= -0.5) & (axis <= n - 0.5) for axis, n in zip(points, grid.shape_zyx, strict=True)
    )
    return np.asarray(np.logical_and.reduce(list(within)))


def _corner_value(data: NDArray[np.generic]) -> float:
    """What an image shows in most of its eight corners."""
    corners = np.asarray(data[np.ix_(*[(0, n - 1) for n in data.shape])], dtype=np.float64)
    finite = corners[np.isfinite(corners)]
    return float(np.median(finite)) if finite.size else 0.0
