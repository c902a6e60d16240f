"""Where to save and what to load: dialogs that propose the scan's folder and name."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from qtpy.QtWidgets import QFileDialog, QMessageBox, QWidget

from napari_unet.errors import SaveError
from napari_unet.imaging.dicom.headers import is_dicom, study_and_number
from napari_unet.imaging.formats.registry import READABLE, WRITABLE, stem, suffixes_of_writers
from napari_unet.plugin.app.session import ScanSession
from napari_unet.plugin.layers.scan_layers import files_of, source_of
from napari_unet.plugin.widgets.message_line import plain

MASKS = {
    f"{writer.format} ({' '.join(f'*{suffix}' for suffix in suffixes)})": suffixes
    for writer, suffixes in suffixes_of_writers().items()
    if writer.in_space
}
"""What the dialog offers for masks, the usual format first, and the suffixes of each."""

DICOM_MASKS = {"DICOM segmentation (*.dcm)": (".dcm",)}
"""And for a scan from DICOM, whose images such a file refers to."""

READ_MASKS = f"Masks ({' '.join(f'*{suffix}' for suffix in (*READABLE, '.dcm'))});;All files (*)"
MODELS = {"Model (*.safetensors)": (".safetensors",)}


LONGEST_PART = 80
"""Bytes of a file name that a study or a series gets: 255 is the limit of most file systems."""


def ask_mask_to_save(parent: QWidget, session: ScanSession | None) -> Path | None:
    """Ask where to save the mask of a scan; None to do nothing.

    Raises
    ------
    SaveError
        If the chosen file is one of the scan's own.
    """
    files = files_of(session.images[0]) if session is not None else ()
    from_dicom = bool(files) and is_dicom(files[0])
    kinds = {**MASKS, **DICOM_MASKS} if from_dicom else MASKS
    return _ask_new(parent, "Save mask", session, "_mask.nii.gz", kinds)


def ask_model_to_save(parent: QWidget, session: ScanSession | None) -> Path | None:
    """Ask where to save the model of a scan; None to do nothing."""
    return _ask_new(parent, "Save model", session, "_unet.safetensors", MODELS)


def ask_model_to_load(parent: QWidget, session: ScanSession | None) -> Path | None:
    """Ask for the file of a model; None to do nothing."""
    return _ask_existing(parent, "Load model", session, ";;".join(MODELS))


def ask_mask_to_load(parent: QWidget, session: ScanSession | None) -> Path | None:
    """Ask for the file of a mask; None to do nothing."""
    return _ask_existing(parent, "Load mask", session, READ_MASKS)


def _ask_existing(
    parent: QWidget, title: str, session: ScanSession | None, kinds: str
) -> Path | None:
    folder = str(_proposed(session, "").parent)
    chosen, _ = QFileDialog.getOpenFileName(parent, title, folder, kinds)
    return Path(chosen) if chosen else None


def _ask_new(
    parent: QWidget,
    title: str,
    session: ScanSession | None,
    ending: str,
    kinds: Mapping[str, Sequence[str]],
) -> Path | None:
    scan = "" if session is None else f" of {session.images[0].name}"
    proposed = str(_proposed(session, ending))
    chosen, kind = QFileDialog.getSaveFileName(parent, f"{title}{scan}", proposed, ";;".join(kinds))
    if not chosen:
        return None
    known = tuple(suffix for suffixes in kinds.values() for suffix in suffixes)
    typed = () if kinds is MODELS else WRITABLE  # other suffixes of masks are kept, too
    path = Path(chosen)
    if not chosen.lower().endswith((*known, *typed)):
        path = Path(chosen + kinds.get(kind, known)[0])
    if any(_same_file(path, source) for source in _sources(session)):
        raise SaveError(f"{path.name} is the scan itself. Choose another name.")
    # The dialog asked about the name as it was typed, not as it was completed.
    if str(path) != chosen and os.path.exists(path) and not _may_replace(parent, title, path):
        return None
    return path


def _may_replace(parent: QWidget, title: str, path: Path) -> bool:
    yes, no = QMessageBox.StandardButton.Yes, QMessageBox.StandardButton.No
    question = plain(f"{path.name} exists already. Replace it?")
    return bool(QMessageBox.question(parent, title, question, yes | no, no) == yes)


def _sources(session: ScanSession | None) -> list[Path]:
    images = session.images if session is not None else ()
    return [path for image in images if (path := source_of(image)) is not None]


def _proposed(session: ScanSession | None, ending: str) -> Path:
    if session is None or not (sources := _sources(session)):
        return Path.cwd() / ((session.images[0].name if session else "scan") + ending)
    image, name = session.images[0], stem(sources[0])
    if (files := files_of(image)) and is_dicom(files[0]):
        # Files and folders are called IM000001, or by what the patient is called.
        parts = [_file_name(part) for part in (*study_and_number(files[0]), image.name)]
        name = "_".join(filter(None, parts)) or name
    return sources[0].with_name(name + ending)


def _file_name(text: str) -> str:
    """Leave of a text what every file system takes in a name."""
    name = re.sub(r"[^\w.+-]+", "_", text).strip("_.-")
    return name.encode()[:LONGEST_PART].decode(errors="ignore")


def ask_complete(parent: QWidget, name: str, n_slices: int | None) -> bool | None:
    """Ask whether all is labelled on the slices of a mask that show a structure.

    Parameters
    ----------
    parent : QWidget
        The window to ask in.
    name : str
        What the mask is called.
    n_slices : int, optional
        How many such slices there are.

    Returns
    -------
    bool or None
        None to do nothing.
    """
    yes, no = QMessageBox.StandardButton.Yes, QMessageBox.StandardButton.No
    cancel = QMessageBox.StandardButton.Cancel
    shows = "shows structures on some slices" if n_slices is None else f"labels {n_slices} slices"
    answer = QMessageBox.question(
        parent,
        "Use a mask",
        plain(
            f"{name} {shows}. Is everything labelled on them?\n\n"
            "Yes: they count as annotated, and are learned from.\n"
            "No: they are predictions, to correct or accept."
        ),
        yes | no | cancel,
        no,
    )
    return None if answer == cancel else bool(answer == yes)


def _same_file(path: Path, other: Path) -> bool:
    """Tell whether two paths lead to one file, also by a link or in other letter case."""
    # Of `os.path`: those of `Path` raise at a name that is too long, or a folder that is denied.
    if os.path.exists(path) and os.path.exists(other):
        return os.path.samefile(path, other)
    return os.path.realpath(path) == os.path.realpath(other)
