"""Where to save and what to load: asks for the path, leaves the work to the annotator."""

from __future__ import annotations

from pathlib import Path

from qtpy.QtWidgets import QFileDialog, QWidget

from napari_unet.errors import SaveError
from napari_unet.plugin.annotator import Annotator

MASKS = "NIfTI (*.nii.gz *.nii)"
MODELS = "Model (*.safetensors)"


class FileDialogs:
    """The three file dialogs of the widget; each proposes the scan's folder and name."""

    def __init__(self, annotator: Annotator, parent: QWidget) -> None:
        self._annotator = annotator
        self._parent = parent

    def save_mask(self) -> None:
        """Ask where to save the mask, and save it."""
        path = self._ask_new("Save mask", "_mask.nii.gz", MASKS, (".nii.gz", ".nii"))
        if path is None:
            return
        source = self._source()
        if source is not None and path.resolve() == source.resolve():
            raise SaveError("That is the scan itself. Choose another name for its mask.")
        self._annotator.save_mask(path)

    def save_model(self) -> None:
        """Ask where to save the model, and save it."""
        path = self._ask_new("Save model", "_unet.safetensors", MODELS, (".safetensors",))
        if path is not None:
            self._annotator.save_model(path)

    def load_model(self) -> None:
        """Ask for a model, and use it."""
        folder = str(self._proposed("").parent)
        chosen, _ = QFileDialog.getOpenFileName(self._parent, "Load model", folder, MODELS)
        if chosen:
            self._annotator.load_model(Path(chosen))

    def _ask_new(
        self, title: str, ending: str, kinds: str, suffixes: tuple[str, ...]
    ) -> Path | None:
        chosen, _ = QFileDialog.getSaveFileName(
            self._parent, title, str(self._proposed(ending)), kinds
        )
        if not chosen:
            return None
        return Path(chosen if chosen.endswith(suffixes) else chosen + suffixes[0])

    def _source(self) -> Path | None:
        session = self._annotator.session
        path = session.images[0].source.path if session is not None else None
        return Path(path) if path else None

    def _proposed(self, ending: str) -> Path:
        source = self._source()
        if source is not None:
            name = source.name.removesuffix(".gz").removesuffix(".nii")
            return source.with_name(name + ending)
        session = self._annotator.session
        return Path.cwd() / ((session.images[0].name if session else "scan") + ending)
