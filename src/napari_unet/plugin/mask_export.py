"""Writing the mask of a scan on the grid of the scan's file."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from napari_unet.annotation.shares import human_share, interpolated_share
from napari_unet.annotation.structures import to_values
from napari_unet.imaging.dicom_seg import is_dicom_seg
from napari_unet.imaging.files import open_scan
from napari_unet.imaging.saving import save_mask
from napari_unet.plugin.scan_layers import GUESSED, file_grid_of, files_of, reorder, source_of
from napari_unet.plugin.session import ScanSession
from napari_unet.plugin.writer import rows_of


def export_mask(session: ScanSession, path: Path) -> str:
    """Write the mask of a session and check the file; say in a sentence what was checked.

    Raises
    ------
    SaveError
        If it cannot be written, or not in this format.
    """
    record, images = session.record, session.images
    record.sync()
    files = files_of(images[0])
    grid = file_grid_of(images[0])
    mask = to_values(record.mask(), session.structures)
    receipt = save_mask(
        mask if grid is None else reorder(mask, session.grid, grid),
        session.grid if grid is None else grid,
        path,
        structures=rows_of(session.structures),
        sources=[source for source in map(source_of, images) if source is not None],
        series=open_scan(files[0]) if files and is_dicom_seg(path) else None,
        overwrite=True,  # the dialog has asked
    )
    if receipt.ok:
        session.saved.note()
    if grid is None:
        receipt = replace(receipt, remark=f"{GUESSED} {receipt.remark}".rstrip())
    said = f"{human_share(record):.0%} of the mask is painted or accepted by you"
    filled = interpolated_share(record)
    said += f", {filled:.0%} filled between slices." if filled else "."
    return f"{receipt.summary()} {said}"
