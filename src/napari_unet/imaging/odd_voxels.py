"""Voxels that say nothing of the tissue: padding, damage, burnt-in marks.

One voxel of -32767 among millions moves whatever is derived from the darkest or the mean
value. Where the values of a scan lie is therefore asked first, of percentiles; voxels far
beyond are odd. The brightest tissue reaches far too (vessels after contrast medium: 4.7
times as bright as 99 of 100 voxels), but its values thin out; odd ones are few that lie apart or
very far away, or are many and all the same. Where nearly all is noise of air, the whole head or all
vessels lie very far away from it, but those are not few.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_FEWEST = 1000
"""Of fewer voxels nobody can say which are odd."""

_SAMPLE = 250_000
"""Voxels that percentiles are taken of, about."""

_FREQUENT = 0.0025
"""Share of voxels with the same value that makes it background, padding or a mark; tissue of
12 bits has every value less often, and of 8 bits has such values on all its range."""

_PADDING = 0.02
"""Share of voxels with the same value that must be padding where that is far from all others."""

_CORE = (5.0, 95.0)
"""Percentiles between which values are believed: odd ones are fewer than those beyond."""

_FEW_APART = 0.005
_FEW_VERY_FAR = 0.001
"""Shares of voxels, not counting padding, that bright odd ones are at most: beyond a step, and
where none sets them apart.

An object that is the only one in air can be a step away from noise too; burnt-in marks and hot
voxels are fewer. With no step, odd ones are told from a small object or vessels by number alone:
of a cube of 200 voxels a side, a tube of 7 voxels across from end to end is as many."""

_APART = 1.0
_VERY_FAR = 10.0
"""Distances from the core, in lengths of the core, from which on voxels can be odd, and are.

Brightest voxel of 110 channels: 3.6, in one that is mostly noise 6.9; widest step from one
value to the next: .4 of all that lies below."""

_BRIGHTER = 2.5
"""Width of a step up to bright odd voxels, in lengths of the core: a lone lesion of three times the
brightness of all else is none, and does no harm."""

_BELOW_ZERO = 1 / 8
"""That length for what is below zero, as a share: magnitudes are negative by interpolation only."""

_NEARLY_ZERO = 0.1
"""So far below zero, as a share of the bright end, noise can move magnitudes."""


@dataclass(frozen=True, slots=True)
class OddVoxels:
    """Voxels of one channel that do not belong to its picture.

    Parameters
    ----------
    count : int
        How many they are.
    lowest, highest : float
        Range of their values.
    darkest, brightest : float
        Range of all other voxels.
    bright_padding : tuple of float
        Values of odd voxels that are brighter than all others, and fill a side of the volume.
    """

    count: int
    lowest: float
    highest: float
    darkest: float
    brightest: float
    bright_padding: tuple[float, ...] = ()

    @property
    def finding(self) -> str:
        """Say what was found, in a sentence without an end."""
        lie = "voxel lies" if self.count == 1 else "voxels lie"
        values = dict.fromkeys((f"{self.lowest:g}", f"{self.highest:g}"))
        return (
            f"{self.count:,} {lie} far outside the range of all others "
            f"({self.darkest:g} to {self.brightest:g}): {' to '.join(values)}"
        )

    @property
    def note(self) -> str:
        """Say what was found and what becomes of it."""
        return (
            f"{self.finding}. Taken for padding or damage, they are left out where brightness is "
            "normalised."
        )

    def left_out(self, values: NDArray[np.float32]) -> NDArray[np.float32]:
        """Voxels of the channel, odd ones as dark as air."""
        odd = (values < self.darkest) | (values > self.brightest)
        return np.where(odd, np.float32(self.darkest), values)

    def unpadded(self, values: NDArray[np.float32]) -> NDArray[np.float32]:
        """Voxels of the channel, padding as dark as air; bright marks stay bright."""
        padding = (values < self.darkest) | np.isin(values, self.bright_padding)
        return np.where(padding, np.float32(self.darkest), values)


def find_odd(channel: NDArray[np.float32]) -> OddVoxels | None:
    """Look for odd voxels in one channel (z, y, x); None if there are none.

    Nor where values are NaN or infinite (such a scan is refused anyway), or few.
    """
    if channel.size < _FEWEST or not np.isfinite([channel.min(), channel.max()]).all():
        return None
    dark, bright, padding = _core(channel)
    reach = bright - dark
    if not reach > 0:
        return None
    signed = dark < -_NEARLY_ZERO * bright  # z-scores, Hounsfield units
    if signed or dark >= reach:
        floor = _first_odd(channel, dark, -reach, padding, plausible=signed)
    else:
        floor = _first_odd(channel, min(dark, 0.0), -_BELOW_ZERO * reach, padding)
    ceiling = _first_odd(channel, bright, reach, padding)
    if floor is None and ceiling is None:
        return None
    odd = np.zeros(channel.shape, dtype=np.bool_)
    if floor is not None:
        odd |= channel <= floor
    if ceiling is not None:
        odd |= channel >= ceiling
    values, others = channel[odd], channel[~odd]
    brightest = float(others.max())
    return OddVoxels(
        count=int(values.size),
        lowest=float(values.min()),
        highest=float(values.max()),
        darkest=float(others.min()),
        brightest=brightest,
        bright_padding=tuple(
            float(value) for value in padding if value > brightest and _fills_side(channel, value)
        ),
    )


def _fills_side(channel: NDArray[np.float32], value: np.float32) -> bool:
    """Whether an outermost plane is all of one value."""
    return any(
        bool((channel.take(end, axis=axis) == value).all()) for axis in range(3) for end in (0, -1)
    )


def _core(channel: NDArray[np.float32]) -> tuple[float, float, NDArray[np.float32]]:
    """Range of what is surely picture, and the values that are many and all the same.

    Such values could be padding, so percentiles are taken of the others. One that is
    darker than those but not negative is the background of a scan without its skull.
    """
    step = max(1, round((channel.size / _SAMPLE) ** (1 / 3)))
    sample = channel[::step, ::step, ::step]
    values, counts = np.unique(sample, return_counts=True)
    frequent = counts > _FREQUENT * sample.size
    others = np.repeat(values[~frequent], counts[~frequent])
    if others.size < _PADDING * sample.size and np.count_nonzero(frequent) > 1:
        others = values[frequent]  # a picture of a few grey levels
    if not others.size:
        return 0.0, 0.0, others
    dark, bright = (float(value) for value in np.percentile(others, _CORE))
    background = values[frequent & (values >= 0)]
    return (
        min(dark, float(background.min(initial=np.inf))),
        bright,
        values[counts > _PADDING * sample.size],
    )


def _first_odd(
    channel: NDArray[np.float32],
    origin: float,
    unit: float,
    padding: NDArray[np.float32],
    *,
    plausible: bool = False,
) -> float | None:
    """Value from which on voxels are odd, in the direction of `unit` from `origin`; or None.

    `plausible`: what is many and all the same may be a background, unless very far away.
    """

    def distance(values: NDArray[np.float32]) -> NDArray[np.float64]:
        return (values.astype(np.float64) - origin) / unit

    beyond = channel > origin + unit if unit > 0 else channel < origin + unit
    if not beyond.any():
        return None
    tail = np.sort(channel[beyond])[:: 1 if unit > 0 else -1]
    far = distance(tail)
    inside = channel[~beyond]
    nearest = distance(inside.max(keepdims=True) if unit > 0 else inside.min(keepdims=True))
    before = np.maximum(np.concatenate([nearest.ravel(), far[:-1]]), 0)
    # A step as wide as all that lies below it, the core included, or wider.
    apart = far - before >= before + (_BRIGHTER if unit > 0 else _APART)
    very_far = bool(far[-1] > _VERY_FAR)
    padded = np.isin(tail, padding)
    if unit > 0:
        from_here = np.cumsum(~padded[::-1])[::-1]
        apart &= from_here <= _FEW_APART * channel.size
        very_far &= bool(from_here[0] <= _FEW_VERY_FAR * channel.size)
    if plausible:
        apart &= ~padded
        padded &= False
    if apart.any():
        return float(tail[np.argmax(apart)])
    # No step is between padding and tissue where the scan was resampled.
    return float(tail[0]) if very_far or padded.any() else None
