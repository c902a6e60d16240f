"""Save a label layer through napari's own dialog, on the grid of its scan."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from napari.utils.notifications import show_info, show_warning

from napari_unet.annotation.states import BACKGROUND_BRUSH, IGNORE_LABEL, Structure
from napari_unet.annotation.structures import to_values
from napari_unet.errors import SaveError
from napari_unet.imaging.saving import save_mask
from napari_unet.imaging.scan_file import StructureRow
from napari_unet.imaging.sidecar import structures_beside
from napari_unet.plugin.layers.geometry import (
    is_aligned,
    to_display,
    world_grid,
    world_matrix,
)
from napari_unet.plugin.layers.metadata import LayerInfo
from napari_unet.plugin.layers.scan_layers import GUESSED, reorder


def write_mask(path: str, data: Any, attributes: dict[str, Any]) -> list[str]:
    """Write one label layer in the format that the name asks for.

    A layer that our reader or annotator made goes back to the grid of its file. Any other
    one is placed as the viewer shows it, taking the viewer's axes for those of our scans
    (towards inferior, posterior, left); mirrored and axis-swapped layers included. It is
    said then that left and right are taken from there.

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
    info = LayerInfo.in_metadata(attributes.get("metadata", {}))
    grid, guessed = info.grid, info.in_viewer
    if grid is None or grid.shape_zyx != labels.shape:
        matrix = world_matrix(attributes)
        if not is_aligned(matrix):
            raise SaveError(
                "This layer cannot be saved as a mask: it is rotated or sheared in the "
                "viewer. Open its file with napari-unet-mri, or undo the rotation."
            )
        grid = world_grid(labels.shape, matrix)
        labels, guessed = to_display(labels, grid), True
    elif info.file_grid is not None:
        labels, grid, guessed = reorder(labels, grid, info.file_grid), info.file_grid, False
    if info.is_segmentation:
        labels = to_values(np.where(labels == BACKGROUND_BRUSH, 0, labels), info.structures)
    rows = rows_of(info.structures)
    # napari's dialog has asked before it chose us.
    receipt = save_mask(labels, grid, Path(path), structures=rows, overwrite=True)
    known = info.annotation
    # A copy of the layer tells of the one it was copied from.
    if receipt.ok and known is not None and known.saved.record.labels is data:
        known.saved.note()
    if guessed:
        receipt = replace(receipt, remark=f"{GUESSED} {receipt.remark}".rstrip())
    (show_info if receipt.ok else show_warning)(receipt.summary())
    return [path]


def named_beside(mask: Path) -> tuple[Structure, ...]:
    """Structures of a mask by our JSON file beside it, ascending; none without one."""
    rows = {value: Structure(name, color, value) for value, name, color in structures_beside(mask)}
    return tuple(rows[value] for value in sorted(rows) if value > 0 and value != IGNORE_LABEL)


def rows_of(structures: Sequence[Structure]) -> list[StructureRow]:
    """Value, name and colour of structures."""
    return [(s.value, s.name, s.color) for s in structures]
