"""Masks that other tools made, or another scan's: brought onto a scan and taken over."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from napari.layers import Image, Labels
from numpy.typing import NDArray

from napari_unet.annotation.saved_annotation import MaskSources
from napari_unet.annotation.states import IGNORE_LABEL, TOUCHED, Structure
from napari_unet.annotation.structures import MOST, pair, to_classes, to_values, values_in
from napari_unet.errors import VolumeError
from napari_unet.imaging.dicom.seg_writer import is_dicom_seg
from napari_unet.imaging.formats.registry import open_scan
from napari_unet.imaging.loading import load_labels
from napari_unet.imaging.regridding import labels_onto
from napari_unet.imaging.saving import save_mask
from napari_unet.imaging.sidecar import values_beside
from napari_unet.imaging.volume import Grid, slices_where
from napari_unet.plugin.app.session import ScanSession
from napari_unet.plugin.app.shortcuts import Shortcut
from napari_unet.plugin.layers.geometry import is_aligned, matrix_of
from napari_unet.plugin.layers.label_layers import check_255, check_values, values_of_file
from napari_unet.plugin.layers.metadata import LayerInfo
from napari_unet.plugin.layers.scan_layers import (
    GUESSED,
    display_data,
    file_grid_of,
    files_of,
    grid_of,
    grids_of,
    reorder,
    source_of,
    was_moved,
)
from napari_unet.plugin.layers.writer import named_beside, rows_of

NOTES_SAID = 4
"""Structures of which a message says that they are called otherwise here."""


@dataclass(frozen=True, slots=True, eq=False)
class FoundMask:
    """A mask from elsewhere, on the grid of the scan.

    Parameters
    ----------
    name : str
        Its file or layer.
    labels : ndarray of unsigned integer, shape (z, y, x)
        Its values, display order; 255 where nobody has annotated.
    note : str
        How it was brought there, and which structures that changed; empty where it lay there.
    structures : tuple of Structure
        What its values mean, as far as it says so.
    """

    name: str
    labels: NDArray[np.unsignedinteger[Any]]
    note: str = ""
    structures: tuple[Structure, ...] = ()

    def slices(self, axis: int) -> list[int]:
        """Slices along a display axis that show a structure, ascending."""
        shown = (self.labels > 0) & (self.labels != IGNORE_LABEL)
        return slices_where(shown, axis)


def mask_of_file(path: Path, image: Image) -> FoundMask:
    """Read a mask and bring it onto the grid of a scan.

    Raises
    ------
    VolumeError, GridMismatchError
        If it is no mask, its values cannot be used, or it lies elsewhere; or if nobody
        knows how the scan lies in the patient.
    """
    grid = file_grid_of(image)
    if grid is None:
        raise VolumeError(
            f"“{image.name}” does not say which side of it is left or right in the patient, so "
            f"{path.name} cannot be laid on it. Open the scan's file with napari-unet-mri."
        )
    labels, own = load_labels(path)
    check_values(labels, path.name)
    check_255(labels, path.name, values_beside(path))
    found = _found(labels, own, grid, path.name, image)
    labels = reorder(found.labels, grid, grid_of(image))
    return replace(found, labels=labels, structures=named_beside(path))


def mask_of_layer(layer: Labels, image: Image) -> FoundMask:
    """Bring a label layer, made by whatever, onto the grid of a scan.

    Raises
    ------
    VolumeError, GridMismatchError
        If it is rotated or sheared, its values cannot be used, or it lies elsewhere.
    """
    name = f"“{layer.name}”"
    if layer.ndim not in (2, 3) or layer.multiscale:
        raise VolumeError(f"{name} is {layer.ndim}D or multiscale. Choose a 2D or 3D label layer.")
    if was_moved(layer) or not is_aligned(matrix_of(layer)):
        raise VolumeError(
            f"{name} is rotated, sheared or moved in the viewer. Press “Load…” and choose its "
            "file instead."
        )
    values = display_data(layer)
    check_values(values, name)
    check_255(values, name, values_of_file(layer))
    own, grid = grids_of(layer, image)
    found = _found(values, own, grid, name, image)
    return replace(found, structures=LayerInfo.of(layer).structures)


def _found(values: NDArray[Any], own: Grid, grid: Grid, name: str, image: Image) -> FoundMask:
    """Bring a mask, whose values are checked, onto the grid of its scan."""
    labels, note = labels_onto(values, own, grid, name, f"“{image.name}”")
    smallest = labels.astype(np.min_scalar_type(int(labels.max(initial=0))))
    return FoundMask(name, smallest, note)


def take_over(session: ScanSession, mask: FoundMask, *, complete: bool) -> str:
    """Show a mask on a scan, wherever no person has decided; say what became of it.

    Parameters
    ----------
    session : ScanSession
        Where it goes. Slices that are annotated there stay as they are, and so do the
        voxels painted on partial ones. Where nothing is annotated or learned yet, the
        structures become those of the mask.
    mask : FoundMask
        A mask on its grid.
    complete : bool
        Whether slices that show a structure are right as they are and become annotated;
        otherwise they are predictions to correct.

    Raises
    ------
    VolumeError
        If there would be more structures than can be worked on; nothing has changed then.
    """
    record, axis = session.record, session.axis
    unsaved = session.saved.unsaved()
    kept = set(record.slices_in(*TOUCHED))
    fixed = bool(kept) or session.models.present is not None
    pairing = pair(values_in(mask.labels), mask.structures, session.structures, fixed=fixed)
    if len(pairing.structures) > MOST:
        raise VolumeError(
            f"With {mask.name} there would be {len(pairing.structures)} structures; at most {MOST} "
            "can be worked on. Leave some out."
        )
    labels = to_classes(mask.labels, pairing.classes)
    unknown = labels == IGNORE_LABEL
    labels[unknown] = 0
    shown, unsure = mask.slices(axis), slices_where(unknown, axis)
    before = slices_where(record.labels, axis)
    record.write_volume(labels, sorted({*shown, *before}))
    new = [index for index in shown if index not in kept]
    if complete:
        with session.segmentation.step(new):  # taken back, the mask is predictions
            for index in new:
                record.accept(index)
                if index in unsure:
                    record.set_partial(index, True)
    session.set_structures(pairing.structures)
    session.segmentation.refresh()
    session.edited(new)
    session.saved.note(but=unsaved)  # the mask has a file, or a layer, of its own
    session.progress.forget_passed()
    became = "annotated"
    if not complete:
        became = f"predictions: correct them, or accept them ({Shortcut.ACCEPT.key})"
    said = [f"{len(new)} slices of {mask.name} are {became}."]
    if stayed := len(shown) - len(new):
        said.append(f"{stayed} that you had annotated stay as they were.")
    return " ".join([*said, *pairing.notes[:NOTES_SAID], mask.note]).strip()


def export_mask(session: ScanSession, path: Path) -> str:
    """Write the mask of a session and check the file; say in a sentence what was checked.

    Raises
    ------
    SaveError
        If it cannot be written, or not in this format.
    """
    record, images = session.record, session.images
    record.sync()
    files, series = files_of(images[0]), None
    if files and is_dicom_seg(path):  # as it was opened: by its folder, and which series of it
        info = LayerInfo.of(images[0])
        series = open_scan(source_of(images[0]) or files[0], series=info.series)
    grid = file_grid_of(images[0])
    mask = to_values(record.mask(), session.structures)
    receipt = save_mask(
        mask if grid is None else reorder(mask, session.grid, grid),
        session.grid if grid is None else grid,
        path,
        structures=rows_of(session.structures),
        sources=[source for source in map(source_of, images) if source is not None],
        series=series,
        overwrite=True,  # the dialog has asked
    )
    if receipt.ok:
        session.saved.note()
    if grid is None:
        receipt = replace(receipt, remark=f"{GUESSED} {receipt.remark}".rstrip())
    return f"{receipt.summary()} {MaskSources.of(record)}"
