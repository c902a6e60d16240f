"""Open scans and masks in napari: in display order and millimetres, the way back remembered."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from itertools import chain, islice
from pathlib import Path
from typing import Any

import napari
import numpy as np
from napari.utils.notifications import show_info
from numpy.typing import NDArray

from napari_unet.annotation.structures import MOST, values_in
from napari_unet.errors import VolumeError
from napari_unet.imaging.dicom.grouping import files_below
from napari_unet.imaging.dicom.seg_reader import is_segmentation
from napari_unet.imaging.dicom.series import is_dicom, series_in
from napari_unet.imaging.formats.registry import READABLE, is_mask, open_scan
from napari_unet.imaging.loading import load_labels, load_volume
from napari_unet.imaging.odd_voxels import find_odd
from napari_unet.imaging.scan_file import ScanFile
from napari_unet.imaging.volume import Grid
from napari_unet.plugin.layers.choose_dialog import choose, open_window
from napari_unet.plugin.layers.label_layers import MASK_OPACITY
from napari_unet.plugin.layers.metadata import LayerInfo
from napari_unet.plugin.layers.scan_layers import files_of, spatial_arguments
from napari_unet.plugin.layers.writer import named_beside

LayerData = tuple[Any, ...]
Reader = Callable[[str | list[str]], list[LayerData]]

NOTHING: list[LayerData] = [(None,)]
"""What napari takes for "read, but there is nothing to show"."""

MOST_VOLUMES = 4
"""Volumes of one file that open as layers without asking."""

FILES_LOOKED_AT = 512
"""Files of a folder, and below it, among which there must be a DICOM file for it to be ours."""


def get_reader(path: str | list[str]) -> Reader | None:
    """Offer to read images of every format that can be opened; None for anything else."""
    paths = [path] if isinstance(path, str) else path
    return read_scans if all(_can_read(Path(one)) for one in paths) else None


def read_scans(path: str | list[str]) -> list[LayerData]:
    """Read files and DICOM folders: Labels for masks, Image for everything else.

    Of a file with several volumes, and of a folder with several series, the user chooses;
    where there is no window to ask in, the first volume is read, and series are refused.
    What somebody who works with the image should know is shown as a notification.

    Raises
    ------
    VolumeError
        If something cannot be read; the sentence says why.
    """
    layers: list[LayerData] = []
    shown = set(_open_files())
    files = set(shown)
    again: list[str] = []
    for one in [path] if isinstance(path, str) else path:
        # Who selects all files of a series gets it once: each file stands for all of them.
        if Path(one).resolve() in files:
            again += [Path(one).name] * (Path(one).resolve() in shown)
            continue
        for series in _chosen_series(Path(one)):
            scan = open_scan(one, series=series)
            files.update(file.resolve() for file in scan.files)
            mask = _read_mask(scan, series)
            layers += _read_images(scan, series) if mask is None else [mask]
    if again:
        show_info(f"{again[0]} is of a series that is open already: its layer is in the list.")
    return layers or NOTHING


def _can_read(path: Path) -> bool:
    if path.is_dir():
        own = (file for file in sorted(path.iterdir()) if file.is_file())
        with suppress(VolumeError):
            return any(map(is_dicom, islice(chain(own, files_below(path)), FILES_LOOKED_AT)))
        return False
    return path.name.lower().endswith(READABLE) or (path.is_file() and is_dicom(path))


def _open_files() -> Iterator[Path]:
    """Files of the series that the viewer shows already."""
    viewer = napari.current_viewer()
    for layer in viewer.layers if viewer is not None else ():
        yield from (file.resolve() for file in files_of(layer))


def _chosen_series(path: Path) -> list[str | None]:
    """Series of a folder or DICOM file to open; None for the only one, or no series at all."""
    by_name = not path.is_dir() and path.name.lower().endswith(READABLE)
    if by_name or open_window() is None or not (path.is_dir() or is_dicom(path)):
        return [None]
    if not path.is_dir() and is_segmentation(path):
        return [None]
    found = series_in(path)
    if len(found) <= 1:
        return [None]
    names = [f"{one.name} ({' x '.join(str(n) for n in one.shape)})" for one in found]
    why = dict.fromkeys(one.note for one in found if one.note)
    text = "\n\n".join([f"{path.name} holds {len(found)} series. Which shall be opened?", *why])
    return [found[index].uid for index in choose("Open a series", text, names)]


def _chosen_volumes(scan: ScanFile) -> tuple[list[int], str]:
    """Volumes of a file to open, and a sentence about the others."""
    count = len(scan.volumes)
    if count <= MOST_VOLUMES:
        return list(range(count)), ""
    if open_window() is None:
        return [0], f"It holds {count} volumes; the first is shown."
    text = f"{scan.name} holds {count} volumes. Which shall be opened, each as a layer?"
    return choose("Open volumes", text, scan.volumes), ""


def _read_images(scan: ScanFile, series: str | None) -> list[LayerData]:
    chosen, note = _chosen_volumes(scan)
    if not chosen:
        return []
    volume = load_volume(scan, volumes=chosen)
    _tell(scan.name, (*volume.notes, note))
    names = [f"{scan.name} {scan.volumes[index]}".strip() for index in chosen]
    infos = [LayerInfo(grid=scan.grid, files=scan.files, series=series, volume=v) for v in chosen]
    return [
        (
            data,
            {**_arguments(scan.grid, name, info), "colormap": "gray", **_contrast(data)},
            "image",
        )
        for name, info, data in zip(names, infos, volume.data, strict=True)
    ]


_LIMITS = (0.5, 99.99)
"""Percentiles that are black and white. Of a FLAIR with multiple sclerosis 99.8 % of the voxels lie
below 118 and its lesions at 117: all of them were white; 99.99 % lie below 138."""


def _contrast(data: NDArray[np.float32]) -> dict[str, Any]:
    sample = data[:: max(1, len(data) // 32)]
    sample = sample[np.isfinite(sample)]
    if (odd := find_odd(data)) is not None:
        sample = sample[(sample >= odd.darkest) & (sample <= odd.brightest)]
    if not sample.size:
        return {}
    low, high = np.percentile(sample, _LIMITS)
    return {"contrast_limits": (float(low), float(high))} if high > low else {}


def _read_mask(scan: ScanFile, series: str | None) -> LayerData | None:
    """Read a file that says it is a mask, and is one; None for others."""
    # Of a DICOM folder the name says nothing; a file of one may be a segmentation.
    if series is not None or scan.path.is_dir() or not is_mask(scan):
        return None
    try:
        labels, _ = load_labels(scan)
    except VolumeError:
        return None
    # A picture of whole numbers that is only called a mask has a great many.
    if not scan.is_mask and labels.dtype != np.uint8 and len(values_in(labels)) > MOST:
        return None
    _tell(scan.name, scan.notes)
    info = LayerInfo(grid=scan.grid, files=scan.files, structures=named_beside(scan.path))
    arguments = {**_arguments(scan.grid, scan.name, info), "opacity": MASK_OPACITY}
    return (labels, arguments, "labels")


def _tell(name: str, notes: Iterable[str]) -> None:
    said = [note for note in notes if note]
    if said:
        show_info(f"{name}: {' '.join(said)}")


def _arguments(grid: Grid, name: str, info: LayerInfo) -> dict[str, Any]:
    return {**spatial_arguments(grid), "name": name, "metadata": info.as_metadata()}
