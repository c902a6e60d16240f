"""What was found when a written file was opened again."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from napari_unet.imaging.nifti_header import same_affine
from napari_unet.imaging.output import Contents, Found, Writer
from napari_unet.imaging.volume import Grid, shape_text

NEGLIGIBLE = 1e-3
"""Fraction of a voxel by which corners may lie elsewhere: float32 matrices do that."""

UNPLACED = (
    "Its scan does not say how it lies in the patient: left and right may be swapped; check them."
)


@dataclass(frozen=True, slots=True)
class GeometryReceipt:
    """What was found when a saved file was opened again.

    Parameters
    ----------
    path : Path
        The file.
    shape : tuple of int
        Its shape as stored, trailing axes of length one included.
    shape_ok, affine_ok, codes_ok, voxels_ok : bool
        Whether shape, position in space (to float32 precision), sform/qform codes with
        units, and every voxel are what they should be. Formats without codes have them right.
    format : str
        What it is, for people.
    displacement_mm : float
        How far the corner of the volume that moved most lies from where it should.
    sidecar : Path or None
        The JSON file that keeps this receipt.
    remark : str
        A sentence that the user should know, such as why there is no sidecar.
    """

    path: Path
    shape: tuple[int, ...]
    shape_ok: bool
    affine_ok: bool
    codes_ok: bool
    voxels_ok: bool
    format: str = "NIfTI"
    displacement_mm: float = 0.0
    sidecar: Path | None = None
    remark: str = ""

    @property
    def ok(self) -> bool:
        """Whether the file lies exactly on the grid of its scan."""
        return self.shape_ok and self.affine_ok and self.codes_ok and self.voxels_ok

    def summary(self) -> str:
        """Say in a sentence or two what was verified, or what differs."""
        size = shape_text(self.shape)
        if self.ok:
            said = f"Saved {self.path.name} ({size}); re-read and identical to the scan's grid."
        else:
            said = (
                f"Saved {self.path.name} ({size}), but on re-reading this differs: "
                f"{self.differences()}."
            )
        return f"{said} {self.remark}".rstrip()

    def differences(self) -> str:
        """Name what is not as it should be."""
        checks = {
            "shape": self.shape_ok,
            f"position in space (affine), by up to {self.displacement_mm:.3g} mm": self.affine_ok,
            "transform codes": self.codes_ok,
            "voxel values": self.voxels_ok,
        }
        return ", ".join(name for name, fine in checks.items() if not fine)


def compare(found: Found, wanted: Contents, writer: Writer, path: Path) -> GeometryReceipt:
    """Compare what is in a file with what should be."""
    grid = wanted.grid
    pairs = list(_matrices(found, grid))
    moved = max(displacement_mm(*pair, grid.shape) for pair in pairs)
    codes = (grid.qform_code, grid.sform_code, grid.units_code)
    same_scaling = np.allclose(
        (found.slope, found.intercept), (wanted.slope, wanted.intercept), rtol=1e-6, atol=0
    )
    inexact = wanted.stored.dtype.kind == "f"
    return GeometryReceipt(
        path=path,
        shape=found.shape,
        shape_ok=found.shape == writer.shape_of(grid),
        affine_ok=all(same_affine(*pair) for pair in pairs)
        or moved <= NEGLIGIBLE * min(grid.spacing_mm),
        codes_ok=found.codes in (None, codes),
        voxels_ok=same_scaling and np.array_equal(found.stored, wanted.stored, equal_nan=inexact),
        format=writer.format,
        displacement_mm=moved,
        remark=UNPLACED if writer.in_space and not grid.placed else "",
    )


def _matrices(
    found: Found, grid: Grid
) -> Iterator[tuple[NDArray[np.float64], NDArray[np.float64]]]:
    """Pair every matrix that readers may use, as it was found, with what it should be."""
    yield found.affine, grid.affine
    if found.codes is None:
        return
    for code, own, wanted in (
        (grid.qform_code, found.qform, grid.qform),
        (grid.sform_code, found.sform, grid.sform),
    ):
        if code and wanted is not None:
            yield np.zeros((4, 4)) if own is None else own, wanted


def displacement_mm(
    found: NDArray[np.float64], wanted: NDArray[np.float64], shape: tuple[int, int, int]
) -> float:
    """Largest distance between the corners of one volume under two affines."""
    corners = np.array([(*c, 1) for c in itertools.product(*((0, n - 1) for n in shape))])
    return float(np.linalg.norm(((found - wanted) @ corners.T)[:3], axis=0).max())
