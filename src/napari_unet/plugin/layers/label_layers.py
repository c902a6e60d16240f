"""Label layers: new ones over a scan, and whether others can be used there."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from napari.layers import Image, Labels
from napari.utils.colormaps import DirectLabelColormap
from numpy.typing import NDArray

from napari_unet.annotation.label_files import ignored_value
from napari_unet.annotation.states import BACKGROUND_BRUSH, Structure
from napari_unet.annotation.structures import FIRST, MOST, pair, to_classes, values_in
from napari_unet.errors import AnnotationError, GridMismatchError, VolumeError
from napari_unet.imaging.scan_file import LARGEST_LABEL
from napari_unet.imaging.sidecar import values_beside
from napari_unet.plugin.layers.geometry import exact_place, in_display_order
from napari_unet.plugin.layers.metadata import LayerInfo, LayerRole
from napari_unet.plugin.layers.scan_layers import grid_info, same_grid, source_of

BACKGROUND_BRUSH_COLOR = "#8899aa"

MASK_OPACITY = 0.5
"""How much of the scan a mask hides."""


def segmentation_name(scan: str) -> str:
    """What the Segmentation layer of a scan is called, which napari proposes for its file too."""
    return f"Segmentation of {scan}"


def new_segmentation(image: Image, axis: int) -> Labels:
    """Make an empty label layer exactly over a scan, quick to write along slicing axis `axis`."""
    shape = list(image.data.shape)
    scale, translate = exact_place(shape, image.scale, image.translate)
    n = shape.pop(axis)
    return Labels(
        np.moveaxis(np.zeros((n, *shape), np.uint8), 0, axis),
        name=segmentation_name(image.name),
        scale=scale,
        translate=translate,
        units=image.units,
        axis_labels=image.axis_labels,
        opacity=MASK_OPACITY,
        metadata=replace(grid_info(image), role=LayerRole.SEGMENTATION).as_metadata(),
    )


def is_from_elsewhere(layer: Labels) -> bool:
    """Whether a label layer is no Segmentation layer of ours."""
    return not LayerInfo.of(layer).is_segmentation


def lies_over(layer: Labels, image: Image) -> bool:
    """Whether a label layer lies exactly over a scan; see `check_place`."""
    try:
        check_place(layer, image)
    except GridMismatchError:
        return False
    return True


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
    moved = not np.allclose(layer.scale, image.scale, rtol=1e-3) or not np.allclose(
        layer.translate, image.translate, atol=1e-2
    )
    if moved or not in_display_order(layer) or not same_grid(layer, image):
        raise GridMismatchError(
            f"The label layer “{layer.name}” lies elsewhere than the scan “{image.name}” "
            "(another scale, position or direction). Choose a new label layer."
        )


def adopt_segmentation(layer: Labels, image: Image) -> None:
    """Make an existing Labels layer usable as the segmentation of a scan.

    A layer from elsewhere gets an array of its own, in which its values are classes 1..K. Its
    place becomes that of a new one (`new_segmentation`).

    Raises
    ------
    GridMismatchError
        If its shape or place is another one.
    VolumeError
        If its values cannot be used.
    """
    check_place(layer, image)
    elsewhere, data = is_from_elsewhere(layer), layer.data
    info = LayerInfo.of(layer)
    if elsewhere or data.dtype != np.uint8 or not isinstance(data, np.ndarray):
        values = np.asarray(data)
        if elsewhere and values.any():
            present = check_values(values, f"“{layer.name}”")
            check_255(values, f"“{layer.name}”", values_of_file(layer))
            found = pair(present, info.structures, (FIRST,), fixed=False)
            values = to_classes(values, found.classes)
            info = replace(info, structures=found.structures)
        elif not elsewhere and highest_label(values) > MOST:
            raise VolumeError(
                f"“{layer.name}” holds the label {highest_label(values)}; {MOST} is the highest "
                "that can be worked on. Repaint it first."
            )
        layer.data = np.array(values, dtype=np.uint8)
    place = exact_place(image.data.shape, image.scale, image.translate)
    for what, value in zip(("scale", "translate"), place, strict=True):
        if not np.array_equal(getattr(layer, what), value):  # each draws the layer anew
            setattr(layer, what, value)
    if info.grid is None:
        info = replace(grid_info(image), structures=info.structures)
    info.put(layer)


def check_values(labels: NDArray[Any], name: str) -> list[int]:
    """Check that a mask from elsewhere, which is called `name`, can be worked on.

    Returns
    -------
    list of int
        Its values, ascending: neither 0 nor 255.

    Raises
    ------
    VolumeError
        If it holds no label, one that cannot be used, or too many.
    """
    if labels.min() < 0:
        raise VolumeError(f"{name} holds negative values. In a mask, classes count from 1.")
    values = values_in(labels)
    if not values:
        only = " but 255, which means “not annotated”" if labels.any() else ""
        raise VolumeError(
            f"{name} holds no label{only}. Save its structures as 1, 2 and so on, then load it."
        )
    if values[-1] > LARGEST_LABEL:
        raise VolumeError(
            f"{name} holds the value {values[-1]}; {LARGEST_LABEL} is the highest that can be "
            "used. Renumber its structures first."
        )
    if len(values) > MOST:
        raise VolumeError(
            f"{name} holds {len(values)} different values; at most {MOST} structures can be worked "
            "on. Choose the mask, not an image, or leave structures out."
        )
    return values


def values_of_file(layer: Labels) -> frozenset[int] | None:
    """Values of structures that the file beside the mask of a layer lists, where there is one."""
    path = source_of(layer)
    return None if path is None else values_beside(path)


def check_255(labels: NDArray[Any], name: str, listed: Collection[int] | None) -> None:
    """Check that 255 in a mask from elsewhere means "not annotated", as it does here.

    Parameters
    ----------
    labels : ndarray of integer
        The mask.
    name : str
        What messages call it.
    listed : collection of int, optional
        Values of structures by the file beside it; see `values_beside`.

    Raises
    ------
    VolumeError
        If it may be a structure, which would be lost.
    """
    try:
        ignored = ignored_value(labels, structures=listed)
    except AnnotationError:
        ignored = None
    if ignored is None:
        raise VolumeError(
            f"{name} holds 255 as a structure, or so it seems by its other values; here it means "
            "“not annotated”. Save its structures as 1, 2 and so on, then load it."
        )


def highest_label(labels: NDArray[Any]) -> int:
    """Highest value of a structure in labels of ours; the background brush is none."""
    highest = int(labels.max(initial=0))
    if highest >= BACKGROUND_BRUSH:
        highest = int(np.max(labels, where=labels < BACKGROUND_BRUSH, initial=0))
    return highest


def show_colors(layer: Labels, structures: Sequence[Structure]) -> None:
    """Give each structure its colour in the layer."""
    colors: dict[int | None, Any] = {None: "#ffffff", 0: "transparent"}
    colors.update({value: s.color for value, s in enumerate(structures, start=1)})
    colors[BACKGROUND_BRUSH] = BACKGROUND_BRUSH_COLOR
    layer.colormap = DirectLabelColormap(color_dict=colors)
