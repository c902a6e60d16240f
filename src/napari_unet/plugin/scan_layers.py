"""Between napari layers and the core's values: volumes, grids, label layers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from napari.layers import Image, Labels
from napari.utils.colormaps import DirectLabelColormap

from napari_unet.annotation.states import BACKGROUND_BRUSH, Structure
from napari_unet.errors import GridMismatchError, VolumeError
from napari_unet.imaging.volume import Grid, Volume

METADATA_KEY = "napari_unet"
"""Our entry in ``layer.metadata``.

Every layer of ours has ``grid`` (`Grid`). Segmentation layers have ``segmentation`` and
``structures``, and what a `ScanSession` leaves when it ends: ``scan``, ``axis``, ``record``,
``models``; samples have ``annotated`` or ``hidden_answer``. ``owner`` is who annotates now.
"""

AXIS_LABELS = ("S-I", "A-P", "R-L")
"""Names of the three display axes, as the viewer's sliders show them."""

BACKGROUND_BRUSH_COLOR = "#8899aa"


def spatial_arguments(grid: Grid) -> dict[str, Any]:
    """Layer arguments that place a display-order array in millimetres."""
    return {
        "scale": grid.spacing_mm,
        "translate": grid.origin_mm,
        "units": ("mm", "mm", "mm"),
        "axis_labels": AXIS_LABELS,
    }


def why_not_a_scan(layer: Image) -> str | None:
    """Why an Image layer cannot be segmented, in a sentence; None if it can."""
    name = layer.name
    if layer.rgb:
        return f"“{name}” is a colour (RGB) picture. Choose a greyscale MRI volume."
    if layer.multiscale:
        return f"“{name}” is a multiscale image. Open it at one resolution."
    if layer.ndim != 3:
        return f"“{name}” is {layer.ndim}D. Choose a 3D MRI volume."
    if min(layer.data.shape) < 2 or sorted(layer.data.shape)[1] < 8:
        return (
            f"“{name}” has shape {layer.data.shape}. A scan needs several slices of at least "
            "8 voxels a side."
        )
    moved = not np.allclose(layer.affine.affine_matrix, np.eye(layer.ndim + 1))
    turned = not np.allclose(layer.rotate, np.eye(3)) or np.any(layer.shear)
    if moved or turned or np.any(np.asarray(layer.scale) <= 0):
        return (
            f"“{name}” is rotated, sheared or mirrored in the viewer. Open its file with "
            "napari-unet-mri, which brings it upright."
        )
    return None


def grid_of(layer: Image) -> Grid:
    """The file grid of an Image layer; one made from scale and translate for other layers."""
    stored = layer.metadata.get(METADATA_KEY, {}).get("grid")
    if isinstance(stored, Grid) and stored.shape_zyx == tuple(layer.data.shape):
        return stored
    z, y, x = (float(s) for s in layer.scale)
    oz, oy, ox = (float(t) for t in layer.translate)
    return Grid.from_spacing(tuple(layer.data.shape), (z, y, x), (oz, oy, ox))


def identity_of(layer: Image) -> str:
    """Tell a scan from others on the same grid: its file, or else the layer itself."""
    return str(layer.source.path or layer.unique_id)


def same_grid(first: Image, second: Image) -> bool:
    """Whether two layers share shape, voxel size and position."""
    return (
        tuple(first.data.shape) == tuple(second.data.shape)
        and np.allclose(first.scale, second.scale, rtol=1e-3)
        and np.allclose(first.translate, second.translate, atol=1e-2)
    )


def check_scan(layers: Sequence[Image]) -> None:
    """Check that layers can be used as the channels of one scan.

    Raises
    ------
    VolumeError
        If a layer is no scan.
    GridMismatchError
        If the layers do not share one grid.
    """
    for layer in layers:
        if problem := why_not_a_scan(layer):
            raise VolumeError(problem)
        if not same_grid(layers[0], layer):
            raise GridMismatchError(
                f"“{layer.name}” {layer.data.shape} is not on the grid of “{layers[0].name}” "
                f"{layers[0].data.shape}. Choose sequences with the same shape and voxel size."
            )


def volume_of(layers: Sequence[Image]) -> Volume:
    """Return the scan that one or several Image layers show, a channel each.

    Raises
    ------
    VolumeError, GridMismatchError
        See `check_scan`.
    """
    check_scan(layers)
    if len(layers) == 1:
        data = np.asarray(layers[0].data, dtype=np.float32)[None]
    else:
        data = np.stack([np.asarray(layer.data, dtype=np.float32) for layer in layers])
    path = layers[0].source.path
    return Volume(data, grid_of(layers[0]), layers[0].name, Path(path) if path else None)


def new_segmentation(image: Image, axis: int) -> Labels:
    """Make an empty label layer exactly over a scan, quick to write along slicing axis `axis`."""
    shape = list(image.data.shape)
    n = shape.pop(axis)
    return Labels(
        np.moveaxis(np.zeros((n, *shape), np.uint8), 0, axis),
        name="Segmentation",
        scale=image.scale,
        translate=image.translate,
        units=image.units,
        axis_labels=image.axis_labels,
        opacity=0.5,
        metadata={METADATA_KEY: {"grid": grid_of(image), "segmentation": True}},
    )


def check_place(layer: Labels, image: Image) -> None:
    """Check that a label layer lies exactly over a scan.

    Raises
    ------
    GridMismatchError
        If its shape, scale or position is another one.
    """
    data = layer.data
    if layer.ndim != 3 or tuple(data.shape) != tuple(image.data.shape):
        raise GridMismatchError(
            f"The label layer “{layer.name}” has shape {tuple(data.shape)}, the scan "
            f"“{image.name}” {tuple(image.data.shape)}. Choose a label layer of the same shape, "
            "or a new one."
        )
    if not np.allclose(layer.scale, image.scale, rtol=1e-3) or not np.allclose(
        layer.translate, image.translate, atol=1e-2
    ):
        raise GridMismatchError(
            f"The label layer “{layer.name}” lies elsewhere than the scan “{image.name}” "
            "(another scale or position). Choose a new label layer."
        )


def adopt_segmentation(layer: Labels, image: Image) -> None:
    """Make an existing Labels layer usable as the segmentation of a scan.

    Raises
    ------
    GridMismatchError
        If its shape or place is another one, or its values do not fit.
    """
    check_place(layer, image)
    data = layer.data
    if data.dtype != np.uint8 or not isinstance(data, np.ndarray):
        values = np.asarray(data)
        if values.min() < 0 or values.max() > 255:
            raise GridMismatchError(
                f"The label layer “{layer.name}” holds values from {values.min()} to "
                f"{values.max()}; 0 to {BACKGROUND_BRUSH - 1} can be used. Choose a new layer."
            )
        layer.data = values.astype(np.uint8)
    ours = dict(layer.metadata.get(METADATA_KEY, {}))
    ours.setdefault("grid", grid_of(image))
    layer.metadata = {**layer.metadata, METADATA_KEY: ours}


def show_colors(layer: Labels, structures: Sequence[Structure]) -> None:
    """Give each structure its colour in the layer."""
    colors: dict[int | None, Any] = {None: "#ffffff", 0: "transparent"}
    colors.update({value: s.color for value, s in enumerate(structures, start=1)})
    colors[BACKGROUND_BRUSH] = BACKGROUND_BRUSH_COLOR
    layer.colormap = DirectLabelColormap(color_dict=colors)
