"""Where to save and what to load: asks for the path, leaves the work to the annotator."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from napari.layers import Labels
from qtpy.QtWidgets import QFileDialog, QMessageBox, QWidget

from napari_unet.errors import SaveError
from napari_unet.imaging.dicom.series import is_dicom
from napari_unet.imaging.formats.registry import READABLE, WRITABLE, stem
from napari_unet.plugin.app.annotator import Annotator
from napari_unet.plugin.app.session import ScanSession
from napari_unet.plugin.layers.label_layers import is_from_elsewhere
from napari_unet.plugin.layers.scan_layers import files_of, source_of

MASKS = {
    "NIfTI (*.nii.gz *.nii)": (".nii.gz", ".nii"),
    "3D Slicer segmentation (*.seg.nrrd)": (".seg.nrrd",),
    "FreeSurfer (*.mgz)": (".mgz",),
    "MetaImage (*.mha)": (".mha",),
}
"""What the dialog offers for masks, the usual format first, and the suffixes of each."""

DICOM_MASKS = {"DICOM segmentation (*.dcm)": (".dcm",)}
"""And for a scan from DICOM, whose images such a file refers to."""

READ_MASKS = f"Masks ({' '.join(f'*{suffix}' for suffix in (*READABLE, '.dcm'))});;All files (*)"
MODELS = {"Model (*.safetensors)": (".safetensors",)}


class FileDialogs:
    """The file dialogs of the widget; each proposes the scan's folder and name."""

    def __init__(self, annotator: Annotator, parent: QWidget) -> None:
        self._annotator = annotator
        self._parent = parent

    def save_mask(self, session: ScanSession | None = None) -> None:
        """Ask where to save the mask of a scan, by default the one at hand, and save it.

        Raises
        ------
        SaveError
            If the chosen file is one of the scan's own.
        """
        session = session or self._annotator.session
        files = files_of(session.images[0]) if session is not None else ()
        from_dicom = bool(files) and is_dicom(files[0])
        kinds = {**MASKS, **DICOM_MASKS} if from_dicom else MASKS
        path = self._ask_new("Save mask", session, "_mask.nii.gz", kinds, WRITABLE)
        if path is not None:
            self._annotator.save_mask(path, session)

    def save_model(self, session: ScanSession | None = None) -> None:
        """Ask where to save the model of a scan, by default the one at hand, and save it."""
        session = session or self._annotator.session
        path = self._ask_new("Save model", session, "_unet.safetensors", MODELS)
        if path is not None:
            self._annotator.model_choice.save(path, session)

    def load_model(self) -> None:
        """Ask for a model, and use it."""
        folder = str(_proposed(self._annotator.session, "").parent)
        chosen, _ = QFileDialog.getOpenFileName(
            self._parent, "Load model", folder, ";;".join(MODELS)
        )
        if chosen:
            self._annotator.model_choice.load(Path(chosen))

    def load_mask(self) -> None:
        """Ask for a mask and whether its slices are complete, and show it on the scan."""
        folder = str(_proposed(self._annotator.session, "").parent)
        chosen, _ = QFileDialog.getOpenFileName(self._parent, "Load mask", folder, READ_MASKS)
        session = self._annotator.session
        if not chosen or session is None:
            return
        mask = self._annotator.find_mask(Path(chosen))
        complete = _ask_complete(self._parent, mask.name, len(mask.slices(session.axis)))
        if complete is not None:
            self._annotator.take_mask(mask, complete=complete)

    def _ask_new(
        self,
        title: str,
        session: ScanSession | None,
        ending: str,
        kinds: Mapping[str, Sequence[str]],
        typed: tuple[str, ...] = (),
    ) -> Path | None:
        """Ask for a new file of some kinds; suffixes that may be `typed` are kept too."""
        scan = "" if session is None else f" of {session.images[0].name}"
        proposed = str(_proposed(session, ending))
        chosen, kind = QFileDialog.getSaveFileName(
            self._parent, f"{title}{scan}", proposed, ";;".join(kinds)
        )
        if not chosen:
            return None
        known = tuple(suffix for suffixes in kinds.values() for suffix in suffixes)
        path = Path(chosen)
        if not chosen.lower().endswith((*known, *typed)):
            path = Path(chosen + kinds.get(kind, known)[0])
        if any(_same_file(path, source) for source in _sources(session)):
            raise SaveError(f"{path.name} is the scan itself. Choose another name.")
        # The dialog asked about the name as it was typed, not as it was completed.
        if str(path) != chosen and os.path.exists(path) and not self._may_replace(title, path):
            return None
        return path

    def _may_replace(self, title: str, path: Path) -> bool:
        yes, no = QMessageBox.StandardButton.Yes, QMessageBox.StandardButton.No
        question = f"{path.name} exists already. Replace it?"
        return bool(QMessageBox.question(self._parent, title, question, yes | no, no) == yes)


def _sources(session: ScanSession | None) -> list[Path]:
    images = session.images if session is not None else ()
    return [path for image in images if (path := source_of(image)) is not None]


def _proposed(session: ScanSession | None, ending: str) -> Path:
    sources = _sources(session)
    if sources:
        name = stem(sources[0])
        return sources[0].with_name(name + ending)
    return Path.cwd() / ((session.images[0].name if session else "scan") + ending)


def ask_complete(parent: QWidget, layer: Labels) -> bool | None:
    """Ask whether a label layer from elsewhere can be learned from; None to do nothing.

    True without asking where the answer is known: our own layers, and empty ones.
    """
    if not is_from_elsewhere(layer) or not np.any(layer.data):
        return True
    return _ask_complete(parent, f"“{layer.name}”", None)


def _ask_complete(parent: QWidget, name: str, n_slices: int | None) -> bool | None:
    yes, no = QMessageBox.StandardButton.Yes, QMessageBox.StandardButton.No
    cancel = QMessageBox.StandardButton.Cancel
    shows = "shows structures on some slices" if n_slices is None else f"labels {n_slices} slices"
    answer = QMessageBox.question(
        parent,
        "Use a mask",
        f"{name} {shows}. Is everything labelled on them?\n\n"
        "Yes: they count as annotated, and are learned from.\n"
        "No: they are predictions, to correct or accept.",
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
