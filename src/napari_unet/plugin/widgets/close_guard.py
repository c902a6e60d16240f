"""Ask before a window closes on work that is on no disk yet."""

from __future__ import annotations

from typing import Any

from napari.utils.notifications import show_error, show_info
from napari.viewer import Viewer
from qtpy.QtCore import QEvent, QObject
from qtpy.QtWidgets import QMainWindow, QMessageBox

from napari_unet.errors import NapariUnetError
from napari_unet.plugin.app.annotator import Annotator
from napari_unet.plugin.app.session import ScanSession
from napari_unet.plugin.widgets.file_dialogs import ask_mask_to_save, ask_model_to_save
from napari_unet.plugin.widgets.message_line import plain
from napari_unet.text import counted


class CloseGuard(QObject):
    """Asks what is to become of unsaved work when a person closes the window.

    One for each window, in which it stays when the dock of the annotator is closed: the work
    is still there then. A window that is not on screen, or that a script closes with
    ``viewer.close()``, asks nothing.

    Parameters
    ----------
    window : QMainWindow
        The window of the viewer.
    viewer : Viewer
        The viewer.
    """

    def __init__(self, window: QMainWindow, viewer: Viewer) -> None:
        super().__init__(window)
        self._annotators: list[Annotator] = []  # but no window: that would keep it in memory
        window.installEventFilter(self)
        viewer.layers.events.removed.connect(self._forget)

    @property
    def _window(self) -> QMainWindow:
        window = self.parent()
        assert isinstance(window, QMainWindow)
        return window

    @classmethod
    def of(cls, window: QMainWindow, viewer: Viewer) -> CloseGuard:
        """Get the one of a window."""
        return window.findChild(cls) or cls(window, viewer)

    def watch(self, annotator: Annotator) -> None:
        """Ask for the work of an annotator, too, also once that is closed."""
        self._annotators.append(annotator)

    def tell_left(self, annotator: Annotator) -> None:
        """Say where the work is of an annotator whose dock was closed."""
        if annotator.unsaved() and self._window.isVisible():
            names = ", ".join(f"“{each.labels.name}”" for each in annotator.unsaved())
            show_info(
                f"What you annotated stays in {names}. To go on with it or to save it, open the "
                "U-Net annotator again (menu Plugins)."
            )

    def eventFilter(self, watched: QObject | None, event: QEvent | None) -> bool:
        """Stop the window from closing where its work is not to be lost."""
        if event is None or event.type() != QEvent.Type.Close or watched is not self.parent():
            return False
        if not self._window.isVisible() or self.may_close():
            return False
        event.ignore()
        return True

    def may_close(self) -> bool:
        """Ask for all scans at once, and save what is to be saved; whether nothing is lost."""
        work = [(each, session) for each in self._annotators for session in each.unsaved()]
        if not work:
            return True
        button = QMessageBox.StandardButton
        answer = QMessageBox.question(
            self._window,
            "Save before closing?",
            plain("\n".join(["Not saved yet:", "", *(_listed(*each) for each in work)])),
            button.Save | button.Discard | button.Cancel,
            button.Save,
        )
        if answer != button.Save:
            return bool(answer == button.Discard)
        try:
            return all(self._save(annotator, session) for annotator, session in work)
        except (NapariUnetError, OSError) as error:
            show_error(str(error))
            return False

    def _save(self, annotator: Annotator, session: ScanSession) -> bool:
        """Ask where to save the work on a scan; whether all of it is saved."""
        if session.saved.unsaved() and (path := ask_mask_to_save(self._window, session)):
            annotator.save_mask(path, session)
        if not session.saved.unsaved() and annotator.has_unsaved_model(session):
            annotator.work.require_idle("save the model")
            if path := ask_model_to_save(self._window, session):
                annotator.save_model(path, session)
        return not session.saved.unsaved() and not annotator.has_unsaved_model(session)

    def _forget(self, _event: Any = None) -> None:
        """Let go of closed annotators whose work has gone with its layers."""
        self._annotators = [each for each in self._annotators if each.open or each.unsaved()]


def _listed(annotator: Annotator, session: ScanSession) -> str:
    """Say what of a scan is not saved: ``• Segmentation of T1: 3 slices, the model``."""
    slices = session.saved.unsaved()
    said = [counted(len(slices), "slice")] * bool(slices)
    said += ["the trained model"] * annotator.has_unsaved_model(session)
    return f"• {session.labels.name}: {', '.join(said)}"
