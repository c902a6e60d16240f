"""Writing masks onto exactly the voxels of their scan, and proving it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from napari_unet.errors import SaveError
from napari_unet.imaging.atomic import atomic_path
from napari_unet.imaging.nifti import SUFFIXES, UNREADABLE
from napari_unet.imaging.nifti_header import grid_of_header, image_on_grid, same_affine
from napari_unet.imaging.volume import Grid


@dataclass(frozen=True, slots=True)
class GeometryReceipt:
    """What was found when a saved mask was opened again.

    Parameters
    ----------
    path : Path
        The file.
    shape : tuple of int
        Its shape as stored, trailing axes of length one included.
    shape_ok, affine_ok, codes_ok, voxels_ok : bool
        Whether shape, matrix (to float32 precision), sform/qform codes with units,
        and every voxel are what they should be.
    """

    path: Path
    shape: tuple[int, ...]
    shape_ok: bool
    affine_ok: bool
    codes_ok: bool
    voxels_ok: bool

    @property
    def ok(self) -> bool:
        """Whether the mask lies exactly on the grid of its scan."""
        return self.shape_ok and self.affine_ok and self.codes_ok and self.voxels_ok

    def summary(self) -> str:
        """Say in one sentence what was verified, or what differs."""
        size = " x ".join(str(length) for length in self.shape)
        if self.ok:
            return f"Saved {self.path.name} ({size}); re-read and identical to the scan's grid."
        checks = {
            "shape": self.shape_ok,
            "position in space (affine)": self.affine_ok,
            "transform codes": self.codes_ok,
            "voxel values": self.voxels_ok,
        }
        different = ", ".join(name for name, fine in checks.items() if not fine)
        return f"Saved {self.path.name} ({size}), but on re-reading this differs: {different}."


def save_mask(
    labels_zyx: NDArray[Any], grid: Grid, path: str | Path, *, overwrite: bool = True
) -> GeometryReceipt:
    """Write a mask onto exactly the voxels of its scan, then read it back and compare.

    The file appears complete or not at all. It has the scan's shape, matrices,
    transform codes and units, no intensity scaling, and the smallest unsigned
    number type that holds the labels.

    Parameters
    ----------
    labels_zyx : ndarray of integer or bool, shape (z, y, x)
        Display order.
    grid : Grid
        Grid of the scan.
    path : str or Path
        File to write, ``.nii`` or ``.nii.gz``, in an existing folder.
    overwrite : bool
        Whether an existing file may be replaced.

    Returns
    -------
    GeometryReceipt
        What the comparison found. When a header without any valid transform
        (both codes 0) cannot hold the affine, `affine_ok` is false.

    Raises
    ------
    GridMismatchError
        If the mask has not the scan's shape.
    SaveError
        If the file cannot be written, or reads back with other voxels; what was
        there before is untouched.
    """
    path = Path(path)
    if not path.name.lower().endswith(SUFFIXES):
        raise SaveError(f"Cannot save as {path.name}: give the file a name ending in .nii.gz.")
    if not overwrite and path.exists():
        raise SaveError(f"{path} exists already. Choose another name, or allow overwriting.")
    labels = _smallest_unsigned(grid.to_source(labels_zyx))
    labels = labels.reshape(labels.shape + (1,) * grid.trailing_ones)
    image = image_on_grid(labels, grid)
    with atomic_path(path) as temporary:
        image.to_filename(temporary)
        receipt = _compare(temporary, path, labels, grid)
        if not (receipt.shape_ok and receipt.voxels_ok):
            raise SaveError(
                f"{path} was written but did not read back the same. The disk may be failing: "
                "save to another one."
            )
    return receipt


def _smallest_unsigned(labels: NDArray[Any]) -> NDArray[Any]:
    """Convert labels to the smallest unsigned type that holds them."""
    if labels.dtype.kind not in "bui":
        raise SaveError(
            f"A mask needs whole numbers, but this one holds {labels.dtype}. "
            "Round it to class numbers first."
        )
    if labels.size and int(labels.min()) < 0:
        raise SaveError(
            f"The mask holds the negative label {int(labels.min())}. Classes count from 1."
        )
    return labels.astype(np.min_scalar_type(int(labels.max(initial=0))))


def _compare(written: Path, path: Path, labels: NDArray[Any], grid: Grid) -> GeometryReceipt:
    """Open a written mask and compare it with what it should be."""
    try:
        image: Any = nib.load(written)
        voxels = np.asarray(image.dataobj)
    except UNREADABLE as error:
        raise SaveError(f"{path} was written but cannot be read back: {error}") from error
    found = grid_of_header(image)
    same_codes = (found.qform_code, found.sform_code, found.units_code) == (
        grid.qform_code,
        grid.sform_code,
        grid.units_code,
    )
    return GeometryReceipt(
        path=path,
        shape=voxels.shape,
        shape_ok=voxels.shape == labels.shape,
        affine_ok=same_affine(found.affine, grid.affine),
        codes_ok=same_codes,
        voxels_ok=bool(np.array_equal(voxels, labels)),
    )
