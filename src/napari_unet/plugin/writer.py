"""Save a label layer through napari's own dialog, on the grid of its scan."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from napari_unet.annotation.states import BACKGROUND_BRUSH
from napari_unet.errors import SaveError
from napari_unet.imaging.saving import save_mask
from napari_unet.imaging.volume import Grid
from napari_unet.plugin.scan_layers import METADATA_KEY


def write_mask(path: str, data: Any, attributes: dict[str, Any]) -> list[str]:
    """Write one label layer as NIfTI.

    A layer that our reader or annotator made goes back to the grid of its file;
    any other one is placed by its scale and translate.

    Raises
    ------
    SaveError
        If the layer is not 3D, or the file cannot be written.
    """
    labels = np.asarray(data)
    if labels.ndim != 3:
        raise SaveError(f"Only 3D masks can be saved as NIfTI; this layer is {labels.ndim}D.")
    ours = attributes.get("metadata", {}).get(METADATA_KEY, {})
    grid = ours.get("grid")
    if not isinstance(grid, Grid) or grid.shape_zyx != labels.shape:
        z, y, x = (float(s) for s in attributes.get("scale", (1, 1, 1)))
        oz, oy, ox = (float(t) for t in attributes.get("translate", (0, 0, 0)))
        grid = Grid.from_spacing(labels.shape, (z, y, x), (oz, oy, ox))
    if ours:
        labels = np.where(labels == BACKGROUND_BRUSH, 0, labels)
    save_mask(labels, grid, Path(path))
    return [path]
