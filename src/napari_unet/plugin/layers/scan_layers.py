"""Between napari's image layers and the core's values: volumes and grids."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from napari.layers import Image, Layer
from numpy.typing import NDArray

from napari_unet.errors import VolumeError
from napari_unet.imaging.formats.registry import open_scan
from napari_unet.imaging.regridding import (
    SameVoxels,
    check_overlap,
    resample,
    resampling_note,
    same_voxels,
)
from napari_unet.imaging.regridding import same_grid as one_grid
from napari_unet.imaging.volume import Grid, Volume
from napari_unet.plugin.layers.geometry import (
    exact_place,
    in_display_order,
    is_aligned,
    matrix_of,
    shape_of,
    to_display,
    world_grid,
)
from napari_unet.plugin.layers.metadata import LayerInfo

GUESSED = "Left and right are taken from the viewer, not from a file: check them."
"""What is said of a mask that is saved for a scan whose `file_grid_of` nobody knows."""

AXIS_LABELS = ("S-I", "A-P", "R-L")
"""Names of the three display axes, as the viewer's sliders show them."""


def spatial_arguments(grid: Grid) -> dict[str, Any]:
    """Layer arguments that place a display-order array in millimetres; see `exact_place`."""
    scale, translate = exact_place(grid.shape_zyx, grid.spacing_mm, grid.origin_mm)
    return {
        "scale": scale,
        "translate": translate,
        "units": ("mm", "mm", "mm"),
        "axis_labels": AXIS_LABELS,
    }


def why_not_a_scan(layer: Image) -> str | None:
    """Why an Image layer cannot be segmented, in a sentence; None if it can."""
    name = layer.name
    if layer.rgb:
        return (
            f"“{name}” is a colour (RGB) picture. Split it (right-click the layer, Split RGB) and "
            "choose one of its channels, or open it in greyscale."
        )
    if layer.multiscale:
        return f"“{name}” is a multiscale image. Open it at one resolution."
    if layer.ndim not in (2, 3):
        return f"“{name}” is {layer.ndim}D. Choose a 3D MRI volume, or a 2D picture."
    if sorted(shape_of(layer))[1] < 8:
        return f"“{name}” has shape {layer.data.shape}. Slices need at least 8 voxels a side."
    if was_moved(layer):
        return (
            f"“{layer.name}” was moved or turned in the viewer. Take that back (its transform), or "
            "open its file again."
        )
    if not in_display_order(layer) and not is_aligned(matrix_of(layer)):
        return (
            f"“{layer.name}” is rotated or sheared in the viewer, so its voxels do not lie along "
            "its axes. Open its file with napari-unet-mri, which brings it upright."
        )
    return None


def stored_grid(layer: Layer) -> Grid | None:
    """The grid that our reader or annotator left in a layer, if it still fits."""
    grid = LayerInfo.of(layer).grid
    return grid if grid is not None and grid.shape_zyx == tuple(layer.data.shape) else None


def was_moved(layer: Layer) -> bool:
    """Whether a layer no longer lies in the viewer where its stored grid says."""
    grid = stored_grid(layer)
    if grid is None:
        return False
    same_size = np.allclose(layer.scale, grid.spacing_mm, rtol=1e-3)
    same_place = np.allclose(layer.translate, grid.origin_mm, atol=1e-2)
    return not (in_display_order(layer) and same_size and same_place)


def files_of(layer: Layer) -> tuple[Path, ...]:
    """All files that a layer of our reader was read from; of other layers none."""
    return LayerInfo.of(layer).files


def grid_of(layer: Layer) -> Grid:
    """The file grid of a layer; for other layers, one made from where the viewer shows it."""
    stored = stored_grid(layer)
    return world_grid(shape_of(layer), matrix_of(layer)) if stored is None else stored


def knows_patient(layer: Layer) -> bool:
    """Whether the file of a layer says how its voxels lie in the patient."""
    return _has_file_grid(layer) and grid_of(layer).has_orientation


def _has_file_grid(layer: Layer) -> bool:
    """Whether a layer's grid is that of a file, not only a place in the viewer."""
    return stored_grid(layer) is not None and not LayerInfo.of(layer).in_viewer


def source_of(layer: Layer) -> Path | None:
    """The file or folder that a layer, or what it is a reoriented copy of, was read from."""
    path = LayerInfo.of(layer).source or layer.source.path
    return Path(path) if path else None


def file_grid_of(layer: Layer) -> Grid | None:
    """Where the voxels of a scan lie in the patient; None if nobody knows.

    Another reader's layer says it only by its file: where that holds the layer's voxels,
    in the same order, last axis first.
    """
    if _has_file_grid(layer):
        return grid_of(layer)
    info, path = LayerInfo.of(layer), source_of(layer)
    if info.in_viewer or path is None:
        return info.file_grid
    try:
        scan = open_scan(path)
        if len(scan.volumes) > 1 or scan.grid.shape[::-1] != shape_of(layer):
            return None
        stored, slope, intercept = scan.read(0)
    except (VolumeError, OSError):
        return None
    own = np.reshape(np.asarray(layer.data), shape_of(layer))
    planes = zip(own, np.transpose(stored), strict=True)
    same = (np.allclose(one, other * slope + intercept, equal_nan=True) for one, other in planes)
    return scan.grid if all(same) else None


def reorder(display: NDArray[Any], grid: Grid, onto: Grid) -> NDArray[Any]:
    """Bring an array from the display order of one grid to that of another of the same voxels."""
    return onto.to_display(grid.to_source(display))


def grid_info(image: Image) -> LayerInfo:
    """Give what is known of a layer on the grid of a scan."""
    if _has_file_grid(image):
        return LayerInfo(grid=grid_of(image))
    return LayerInfo(grid=grid_of(image), in_viewer=True, file_grid=file_grid_of(image))


def grids_of(first: Layer, second: Layer) -> tuple[Grid, Grid]:
    """Grids of two layers in one frame: the files' if both have one, else the viewer's."""
    layers = (first, second)
    if all(_has_file_grid(layer) for layer in layers):
        return (grid_of(first), grid_of(second))
    one, other = (world_grid(shape_of(layer), matrix_of(layer)) for layer in layers)
    return (one, other)


def display_data(layer: Layer) -> NDArray[Any]:
    """Voxels of a layer in display order; a view where it can be."""
    data = np.reshape(np.asarray(layer.data), shape_of(layer))
    if in_display_order(layer):
        return data
    return to_display(data, world_grid(data.shape, matrix_of(layer)))


def identity_of(layer: Image) -> str:
    """Tell a scan from others on the same grid: its file with series and volume, or the layer."""
    path, info = source_of(layer), LayerInfo.of(layer)
    return str(layer.unique_id) if path is None else f"{path} {info.series or ''} {info.volume}"


def same_grid(first: Layer, second: Layer) -> bool:
    """Whether two layers in display order have the same voxels."""
    return one_grid(*grids_of(first, second))


def _same_voxels(layer: Layer, first: Layer) -> SameVoxels | None:
    """How the voxels of a layer are those of another, also where headers disagree on the place."""
    return same_voxels(*grids_of(layer, first), f"“{layer.name}”", f"“{first.name}”")


def check_scan(layers: Sequence[Image]) -> None:
    """Check that layers can be used as the channels of one scan.

    Raises
    ------
    VolumeError
        If a layer is no scan.
    GridMismatchError
        If a layer shows another place than the first one.
    """
    for layer in layers:
        if problem := why_not_a_scan(layer):
            raise VolumeError(problem)
        if _same_voxels(layer, layers[0]) is None:
            own, onto = grids_of(layer, layers[0])
            check_overlap(own, onto, f"“{layer.name}”", f"“{layers[0].name}”")


def resampling_notes(layers: Sequence[Image]) -> tuple[str, ...]:
    """Say which channels are on another grid than the first one, and what is done about it."""
    notes = []
    for layer in layers[1:]:
        same = _same_voxels(layer, layers[0])
        if same is None:
            names = f"“{layer.name}”", f"“{layers[0].name}”"
            notes.append(resampling_note(*grids_of(layer, layers[0]), *names))
        elif same.note:
            notes.append(same.note)
    return tuple(notes)


def reader_of(layers: Sequence[Image]) -> Callable[[], Volume]:
    """Return what reads the scan that one or several Image layers show, a channel each.

    Channels on another grid are resampled onto that of the first, in memory. That takes
    seconds: layers are looked at now, and voxels when the result is called, in any thread.

    Parameters
    ----------
    layers : sequence of Image
        Layers that pass `check_scan`.
    """
    first = layers[0]
    arrays = [layer.data for layer in layers]
    places = [(_same_voxels(layer, first), grids_of(layer, first)) for layer in layers]
    make = partial(
        Volume,
        grid=grid_of(first),
        name=first.name,
        source=source_of(first),
        channel_names=tuple(layer.name for layer in layers),
        notes=resampling_notes(layers),
    )

    def read() -> Volume:
        if len(arrays) == 1:
            return make(np.asarray(arrays[0], dtype=np.float32)[None])
        data = np.empty((len(arrays), *arrays[0].shape), dtype=np.float32)
        for channel, values, (same, grids) in zip(data, arrays, places, strict=True):
            if same is not None:
                channel[...] = same.bring(np.asarray(values))
            else:
                values = np.asarray(values, dtype=np.float32)
                resample(values, *grids, nearest=False, out=channel)
        return make(data)

    return read
