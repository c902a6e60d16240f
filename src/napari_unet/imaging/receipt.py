"""What was found when a written file was opened again: that it holds what it should."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from napari_unet.imaging.volume import shape_text
from napari_unet.text import printable


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
        """Say in a sentence or two that it is saved, and what was verified or what differs."""
        return f"Saved {self.verified(self.path.name)}"

    def verified(self, name: str) -> str:
        """Say what was verified of the file, called `name`, or what differs."""
        said = f"{printable(name)} ({shape_text(self.shape)})"
        if self.ok:
            said = f"{said}; re-read and identical to the scan's grid."
        else:
            said = f"{said}, but on re-reading this differs: {self.differences()}."
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
