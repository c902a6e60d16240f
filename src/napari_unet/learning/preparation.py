"""From a scan to what the network sees: checked, normalised, cropped to the head.

No torch here: preparing a scan is what the user waits for first.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from napari_unet.errors import AnnotationError, VolumeError
from napari_unet.imaging.odd_voxels import OddVoxels, find_odd
from napari_unet.imaging.volume import PLANES, Volume
from napari_unet.learning.config import NORMALISATION, Millimetres
from napari_unet.learning.model_card import ScanSizes

ALL_VOXELS = "foreground-zscore"
"""Normalisation of earlier models: as `NORMALISATION`, but padding and damage count too."""

NORMALISATIONS = (NORMALISATION, ALL_VOXELS)
"""Names of the normalisations that `prepare` knows."""

SMALLEST_SIDE = 16
"""Pixels: a slice narrower than this is not an image to the U-Net."""

_INTENSITY_LIMIT = 8.0
"""Standard deviations beyond which an intensity is an artefact, not information."""


@dataclass(frozen=True, slots=True, eq=False)
class PreparedScan:
    """A scan as a stack of slices for the network.

    Parameters
    ----------
    slices : ndarray of float32, shape (n, c, h, w)
        Normalised slices along `axis`, cropped to `window`.
    window : tuple of slice
        Rows and columns of the whole slice that `slices` shows.
    full_shape : tuple of int
        Rows and columns of the whole slice.
    spacing_mm : tuple of float
        Size of a pixel, (rows, columns), in millimetres.
    slice_mm : float
        Distance from one slice to the next in millimetres.
    axis : int
        Display axis the slices are stacked along (0 axial, 1 coronal, 2 sagittal).
    name : str
        Name of the scan, for messages.
    normalisation : str
        How it was normalised, one of `NORMALISATIONS`.
    notes : tuple of str
        Sentences about odd voxels. Without any, all normalisations are the same.
    channel_names : tuple of str
        Names of its image sequences, in order; may be empty.
    extent_mm : tuple of float, optional
        How far what it shows reaches, (z, y, x), in millimetres: a head without the air
        around it.
    """

    slices: NDArray[np.float32]
    window: tuple[slice, slice]
    full_shape: tuple[int, int]
    spacing_mm: tuple[float, float]
    slice_mm: float
    axis: int
    name: str = "scan"
    normalisation: str = NORMALISATION
    notes: tuple[str, ...] = ()
    channel_names: tuple[str, ...] = ()
    extent_mm: Millimetres | None = None

    @property
    def sizes(self) -> ScanSizes | None:
        """Sizes of this scan, as far as they are known."""
        if self.extent_mm is None:
            return None
        lengths = list(self.spacing_mm)
        lengths.insert(self.axis, self.slice_mm)
        z, y, x = lengths
        return ScanSizes(self.extent_mm, self.extent_mm, (z, y, x), (z, y, x))

    @property
    def n_slices(self) -> int:
        """How many slices the scan has along its axis."""
        return int(self.slices.shape[0])

    @property
    def n_channels(self) -> int:
        """How many image sequences it has."""
        return int(self.slices.shape[1])

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of a cropped slice."""
        return (int(self.slices.shape[2]), int(self.slices.shape[3]))

    def serves(self, normalisation: str) -> bool:
        """Whether a model that expects a normalisation can be used on this."""
        return normalisation == self.normalisation or not self.notes

    def check_serves(self, normalisation: str) -> None:
        """Refuse a scan that was prepared for other models.

        Raises
        ------
        VolumeError
            If it was.
        """
        if not self.serves(normalisation):
            raise VolumeError(
                f"{self.name} was normalised as {self.normalisation!r}, but the model expects "
                f"{normalisation!r}. Prepare it with that normalisation."
            )

    def crop(self, labels: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Take the window out of labels (h, w) of a whole slice."""
        if labels.shape != self.full_shape:
            raise AnnotationError(
                f"An annotated slice has {labels.shape} pixels (rows, columns) but the slices of "
                f"{self.name} have {self.full_shape}. Use labels that were painted on this scan."
            )
        return labels[self.window]

    def paste(self, labels: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Put labels (h, w) of the window back into a whole slice of background."""
        whole = np.zeros(self.full_shape, dtype=np.uint8)
        whole[self.window] = labels
        return whole


def prepare(
    volume: Volume, axis: int | None = None, normalisation: str = NORMALISATION
) -> PreparedScan:
    """Check, normalise and crop a scan.

    Each channel is shifted and scaled to zero mean and unit variance over its
    foreground (everything clearly brighter than air), once for the whole
    volume: the same tissue then looks the same in all slices. Slices are
    cropped to the head with a generous margin. Odd voxels (see `imaging.odd_voxels`)
    do not count in any of this.

    Parameters
    ----------
    volume : Volume
        The scan, channels first, display order.
    axis : int, optional
        Display axis to slice along; default: the thickest spacing, else axial.
    normalisation : str
        One of `NORMALISATIONS`: that of the model which is to see it.

    Raises
    ------
    VolumeError
        If the scan has values that are not finite, no contrast or too few pixels.
    """
    if axis is None:
        axis = volume.grid.default_axis()
    if axis not in (0, 1, 2):
        raise ValueError(f"The slicing axis is 0, 1 or 2 (display order), not {axis}.")
    _check_shape(volume, axis)
    in_plane = [other for other in range(3) if other != axis]
    foregrounds: list[_Foreground] = []
    notes: list[str] = []
    for number, channel in enumerate(volume.data):
        name = _channel_name(volume, number)
        _check_values(channel, name)
        odd = find_odd(channel)
        if odd is not None:
            notes.append(volume.about(number, _about(odd, normalisation)))
        left_out = odd if normalisation != ALL_VOXELS else None
        foregrounds.append(_foreground(channel, left_out))
    rows, columns = (
        _occupied([foreground.profiles[side] for foreground in foregrounds]) for side in in_plane
    )
    slices = np.empty(
        (
            volume.shape_zyx[axis],
            volume.data.shape[0],
            rows.stop - rows.start,
            columns.stop - columns.start,
        ),
        dtype=np.float32,
    )
    for number, (channel, foreground) in enumerate(zip(volume.data, foregrounds, strict=True)):
        target = slices[:, number]
        shown = np.moveaxis(channel, axis, 0)[:, rows, columns]
        if foreground.odd is not None:
            shown = foreground.odd.unpadded(shown)
        np.subtract(shown, foreground.mean, out=target)
        with np.errstate(over="ignore"):
            target /= foreground.spread
        np.clip(target, -_INTENSITY_LIMIT, _INTENSITY_LIMIT, out=target)
    return PreparedScan(
        slices=slices,
        window=(rows, columns),
        full_shape=(volume.shape_zyx[in_plane[0]], volume.shape_zyx[in_plane[1]]),
        spacing_mm=(volume.spacing_mm[in_plane[0]], volume.spacing_mm[in_plane[1]]),
        slice_mm=volume.spacing_mm[axis],
        axis=axis,
        name=volume.name,
        normalisation=normalisation,
        notes=tuple(notes),
        channel_names=volume.channel_names,
        extent_mm=_extent_mm(foregrounds, volume.spacing_mm),
    )


def _about(odd: OddVoxels, normalisation: str) -> str:
    """Say what was found, and what becomes of it."""
    if normalisation != ALL_VOXELS:
        return odd.note
    return (
        f"{odd.finding}. The model is of an earlier version, whose normalisation they disturb: "
        "masks may be wrong. Train a new model, or replace these voxels."
    )


def _check_shape(volume: Volume, axis: int) -> None:
    shape = volume.shape_zyx
    sides = [side for other, side in enumerate(shape) if other != axis]
    if min(sides) < SMALLEST_SIDE:
        raise VolumeError(
            f"The {PLANES[axis]} slices of {volume.name} have only {sides[0]} x {sides[1]} pixels; "
            f"at least {SMALLEST_SIDE} x {SMALLEST_SIDE} are needed. "
            "Choose another slicing axis or a larger scan."
        )


def _channel_name(volume: Volume, number: int) -> str:
    return volume.name if len(volume.data) == 1 else f"{volume.name}, channel {number + 1}"


def _check_values(channel: NDArray[np.float32], name: str) -> None:
    # The sum is finite unless some value is not; much cheaper than looking at each voxel.
    if not np.isfinite(channel.sum(dtype=np.float64)):
        n_bad = int(channel.size - np.count_nonzero(np.isfinite(channel)))
        raise VolumeError(
            f"{name} has {n_bad:,} of {channel.size:,} voxels that are NaN or infinite. "
            "Replace them (with 0, for instance) and open the scan again."
        )
    low = float(channel.min())
    if low == float(channel.max()):
        raise VolumeError(
            f"All {channel.size:,} voxels of {name} have the same value ({low:g}): there is "
            "nothing to see. Check that the right file was opened."
        )


def _foreground_threshold(channel: NDArray[np.float32], low: float) -> float:
    """Intensity that separates air from the head in one channel (z, y, x).

    A quarter of the way from the darkest value `low` to the mean of everything
    brighter than Otsu's threshold: noise in air is below, cerebrospinal fluid
    mostly above. Estimated on a subsample.
    """
    step = max(1, round((channel.size / 250_000) ** (1 / 3)))
    sample = channel[::step, ::step, ::step]
    # Zeros painted around the head (skull stripping, padding) are not tissue.
    sample = sample[sample > low]
    if sample.size < 100:
        return low
    sample = np.minimum(sample, np.percentile(sample, 99.5))
    if sample.min() == sample.max():
        return (low + float(sample[0])) / 2
    tissue = sample[sample >= _otsu(sample)]
    return low + 0.25 * (float(tissue.mean(dtype=np.float64)) - low)


def _otsu(values: NDArray[np.float32], bins: int = 128) -> float:
    """Threshold that maximises the variance between two classes (Otsu, 1979).

    Not `skimage.filters.threshold_otsu`, which counts in single precision: where two bins are
    about equally good it may take the other one, and saved models would see other scans.
    """
    counts, edges = np.histogram(values, bins=bins)
    centres = (edges[:-1] + edges[1:]) / 2
    below = np.cumsum(counts)
    above = below[-1] - below
    sums = np.cumsum(counts * centres)
    with np.errstate(divide="ignore", invalid="ignore"):
        between = below * above * (sums / below - (sums[-1] - sums) / above) ** 2
    return float(centres[int(np.nanargmax(np.where(above > 0, between, np.nan)))])


def _seen(profiles: list[NDArray[np.int64]]) -> NDArray[np.intp]:
    """Rows (or columns, or slices) that show the head in any channel."""
    counts = np.stack(profiles)
    # A thousandth of the fullest row: specks of noise do not count.
    fullest: NDArray[np.int64] = counts.max(axis=1, keepdims=True)
    return np.flatnonzero(np.any(np.greater(1000 * counts, fullest), axis=0))


def _extent_mm(foregrounds: Sequence[_Foreground], spacing_mm: Millimetres) -> Millimetres:
    """How far the head reaches along each display axis, in millimetres."""
    seen = [_seen([each.profiles[side] for each in foregrounds]) for side in range(3)]
    z, y, x = (
        float(where[-1] - where[0] + 1) * mm if where.size else 0.0
        for where, mm in zip(seen, spacing_mm, strict=True)
    )
    return (z, y, x)


def _occupied(profiles: list[NDArray[np.int64]]) -> slice:
    """Range of rows (or columns) that show the head in any channel, with a margin."""
    where, size = _seen(profiles), len(profiles[0])
    if not where.size:
        return slice(0, size)
    margin = max(8, size // 20)
    start = max(0, int(where[0]) - margin)
    stop = min(size, int(where[-1]) + 1 + margin)
    if stop - start < SMALLEST_SIDE:
        return slice(0, size)
    return slice(start, stop)


@dataclass(frozen=True, slots=True, eq=False)
class _Foreground:
    """Where in one channel the head is, and how bright."""

    mean: float
    spread: float
    odd: OddVoxels | None
    profiles: tuple[NDArray[np.int64], ...]  # voxels at each z, y, x


def _foreground(channel: NDArray[np.float32], odd: OddVoxels | None) -> _Foreground:
    """Look at a channel (z, y, x) plane by plane: a mask of it all would be a copy of it all.

    Those that are `odd` are left out.
    """
    if odd is not None:
        channel = odd.left_out(channel)
    darkest = float(channel.min())
    threshold = _foreground_threshold(channel, darkest)
    profiles = tuple(np.zeros(side, dtype=np.int64) for side in channel.shape)
    # Sums about the threshold, which is near the mean: no digits are lost.
    total = squares = 0.0
    for z, plane in enumerate(channel):
        mask = plane > threshold
        profiles[0][z] = np.count_nonzero(mask)
        profiles[1][:] += np.count_nonzero(mask, axis=1)
        profiles[2][:] += np.count_nonzero(mask, axis=0)
        values = plane[mask].astype(np.float64) - threshold
        total += float(values.sum())
        squares += float(values @ values)
    n = int(profiles[0].sum())
    mean = threshold + total / n
    spread = math.sqrt(max(0.0, squares / n - (total / n) ** 2))
    # In an almost binary image the spread of the bright part is noise: air
    # must stay within the limits, or the image would lose its contrast.
    spread = max(spread, (mean - darkest) / _INTENSITY_LIMIT)
    return _Foreground(mean, spread, odd, profiles)
