"""Save a label layer through napari's own dialog, on the grid of its scan."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pint
from napari.utils.notifications import show_info, show_warning
from napari.utils.transforms import CompositeAffine
from numpy.typing import NDArray

from napari_unet.annotation.states import BACKGROUND_BRUSH, Structure
from napari_unet.errors import GridMismatchError, SaveError
from napari_unet.imaging.output import StructureRow
from napari_unet.imaging.placing import grid_of_array
from napari_unet.imaging.saving import save_mask
from napari_unet.imaging.volume import Grid
from napari_unet.plugin.scan_layers import METADATA_KEY


def write_mask(path: str, data: Any, attributes: dict[str, Any]) -> list[str]:
    """Write one label layer in the format that the name asks for.

    A layer that our reader or annotator made goes back to the grid of its file. Any other
    one is placed as the viewer shows it, taking the viewer's axes for those of our scans
    (towards inferior, posterior, left); mirrored and axis-swapped layers included.

    Raises
    ------
    SaveError
        If the layer is not 3D, or is turned or sheared, or the file cannot be written.
    """
    labels = np.asarray(data)
    if labels.ndim != 3:
        raise SaveError(
            f"Only 3D masks can be saved; this layer is {labels.ndim}D. Save a layer of one volume."
        )
    ours = attributes.get("metadata", {}).get(METADATA_KEY, {})
    grid = ours.get("grid")
    if not isinstance(grid, Grid) or grid.shape_zyx != labels.shape:
        try:
            grid = grid_of_array(labels.shape, world_of(attributes))
        except GridMismatchError as error:
            raise SaveError(f"This layer cannot be saved as a mask. {error}") from error
        labels = grid.to_display(labels.T)
    if ours:
        labels = np.where(labels == BACKGROUND_BRUSH, 0, labels)
    # napari's dialog has asked before it chose us.
    receipt = save_mask(
        labels, grid, Path(path), structures=rows_of(ours.get("structures", ())), overwrite=True
    )
    (show_info if receipt.ok else show_warning)(receipt.summary())
    return [path]


def rows_of(structures: Sequence[Structure]) -> list[StructureRow]:
    """Value, name and colour of structures that count from 1."""
    return [(value, s.name, s.color) for value, s in enumerate(structures, start=1)]


def world_of(attributes: dict[str, Any]) -> NDArray[np.float64]:
    """Matrix (4, 4) from indices of a 3D layer to millimetres in the viewer.

    Parameters
    ----------
    attributes : dict
        What `as_layer_data_tuple` says of the layer.
    """
    placed = CompositeAffine(
        scale=attributes.get("scale", (1.0, 1.0, 1.0)),
        translate=attributes.get("translate", (0.0, 0.0, 0.0)),
        rotate=attributes.get("rotate", np.eye(3)),
        shear=attributes.get("shear", np.zeros(3)),
    ).affine_matrix
    moved = np.asarray(attributes.get("affine", np.eye(4)), dtype=np.float64)
    units = attributes.get("units") or ("mm",) * 3
    return np.asarray(np.diag([*map(_millimetres, units), 1.0]) @ moved @ placed)


def _millimetres(unit: Any) -> float:
    """Length of a unit; pixels, and what else is no length, count as millimetres."""
    try:
        return float(pint.get_application_registry().Quantity(1.0, str(unit)).to("mm").magnitude)
    except pint.DimensionalityError:
        return 1.0
