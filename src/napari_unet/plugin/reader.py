"""Open NIfTI files in napari: upright, in millimetres, with the way back remembered."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from napari_unet.imaging.nifti import load_volume
from napari_unet.plugin.scan_layers import METADATA_KEY, spatial_arguments

Reader = Callable[[str | list[str]], list[tuple[Any, dict[str, Any], str]]]


def get_reader(path: str | list[str]) -> Reader | None:
    """Offer to read NIfTI files; None for anything else."""
    paths = [path] if isinstance(path, str) else path
    if all(str(p).lower().endswith((".nii", ".nii.gz")) for p in paths):
        return read_scans
    return None


def read_scans(path: str | list[str]) -> list[tuple[Any, dict[str, Any], str]]:
    """Read each file as one Image layer."""
    paths = [path] if isinstance(path, str) else path
    layers = []
    for one in paths:
        volume = load_volume(one)
        data = volume.data[0]
        low, high = np.nanpercentile(data[:: max(1, len(data) // 32)], (0.5, 99.8))
        arguments = {
            **spatial_arguments(volume.grid),
            "name": Path(one).name.removesuffix(".gz").removesuffix(".nii"),
            "metadata": {METADATA_KEY: {"grid": volume.grid}},
            "colormap": "gray",
        }
        if np.isfinite([low, high]).all() and high > low:
            arguments["contrast_limits"] = (float(low), float(high))
        layers.append((data, arguments, "image"))
    return layers
