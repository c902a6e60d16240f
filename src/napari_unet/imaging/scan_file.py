"""An image file that has been opened but not read: what every format's reader gives."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from napari_unet.imaging.volume import Grid


class Voxels(NamedTuple):
    """The voxels of one volume as they are stored.

    Parameters
    ----------
    stored : ndarray, shape (i, j, k)
        File order and type; a memory map where the file allows it.
    slope, intercept : float
        ``stored * slope + intercept`` is the intensity.
    """

    stored: NDArray[Any]
    slope: float = 1.0
    intercept: float = 0.0


@dataclass(frozen=True, slots=True, eq=False)
class ScanFile:
    """One image, its grid known and its voxels still on disk.

    Parameters
    ----------
    path : Path
        The file that was named, or the folder of a DICOM series.
    format : str
        What it is, for people: ``NIfTI-1``, ``NRRD``, ``DICOM``.
    name : str
        Short name for layers, messages and model files. Bytes in the name of a file that are
        no UTF-8 are shown as escapes.
    grid : Grid
        Grid of each of its volumes.
    dtype : numpy dtype
        Number type as stored.
    read : callable
        Gives the `Voxels` of the volume with this number; `VolumeError` if it cannot.
    volumes : tuple of str
        Names of the volumes that it holds on the same grid; one, but for a series.
    notes : tuple of str
        Sentences that somebody who works with the image should know: which of two
        disagreeing transforms is used, a gap between slices.
    is_mask : bool
        Whether the file itself says that its values are class numbers.
    files : tuple of Path
        All files that it consists of, where there are more than `path`.
    """

    path: Path
    format: str
    name: str
    grid: Grid
    dtype: np.dtype[Any]
    read: Callable[[int], Voxels]
    volumes: tuple[str, ...] = ("",)
    notes: tuple[str, ...] = ()
    is_mask: bool = False
    files: tuple[Path, ...] = ()

    def __post_init__(self) -> None:
        # A name with bytes that are no text would break whatever it is written into.
        name = self.name.encode(errors="backslashreplace").decode()
        object.__setattr__(self, "name", name)
