"""Open NIfTI files in napari: upright, in millimetres, with the way back remembered."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from napari_unet.errors import VolumeError
from napari_unet.imaging.files import READABLE, is_mask, stem
from napari_unet.imaging.loading import load_labels, load_volume
from napari_unet.imaging.volume import Grid
from napari_unet.plugin.scan_layers import METADATA_KEY, spatial_arguments

LayerData = tuple[Any, dict[str, Any], str]
Reader = Callable[[str | list[str]], list[LayerData]]


def get_reader(path: str | list[str]) -> Reader | None:
    """Offer to read images of every format that can be opened; None for anything else."""
    paths = [path] if isinstance(path, str) else path
    if all(str(p).lower().endswith(READABLE) for p in paths):
        return read_scans
    return None


def read_scans(path: str | list[str]) -> list[LayerData]:
    """Read each file as one layer: Labels for masks, Image for everything else."""
    paths = [path] if isinstance(path, str) else path
    return [_read_mask(Path(one)) or _read_image(Path(one)) for one in paths]


def _read_image(path: Path) -> LayerData:
    volume = load_volume(path)
    data = volume.data[0]
    low, high = np.nanpercentile(data[:: max(1, len(data) // 32)], (0.5, 99.8))
    arguments = {
        **_arguments(path, volume.grid),
        "colormap": "gray",
    }
    if np.isfinite([low, high]).all() and high > low:
        arguments["contrast_limits"] = (float(low), float(high))
    return (data, arguments, "image")


def _read_mask(path: Path) -> LayerData | None:
    """Read a file that says it is a mask, and is one; None for others."""
    if not is_mask(path):
        return None
    try:
        labels, grid = load_labels(path)
    except VolumeError:
        return None
    if labels.dtype != np.uint8:
        return None
    return (labels, {**_arguments(path, grid), "opacity": 0.5}, "labels")


def _arguments(path: Path, grid: Grid) -> dict[str, Any]:
    return {
        **spatial_arguments(grid),
        "name": stem(path),
        "metadata": {METADATA_KEY: {"grid": grid}},
    }
