"""Closing the window, or the dock, with work that no file holds."""

from pathlib import Path

import pytest
from qtpy.QtGui import QTextDocument
from qtpy.QtWidgets import QFileDialog, QMainWindow, QMessageBox

from napari_unet.learning.config import ModelConfig
from napari_unet.learning.events import RoundDone
from napari_unet.learning.model_card import ModelCard
from napari_unet.learning.model_history import ModelHistory
from napari_unet.learning.network.checkpoint import Checkpoint
from napari_unet.plugin.widgets import close_guard
from napari_unet.plugin.widgets.close_guard import CloseGuard

PLUGIN = "napari-unet-mri"
BUTTON = QMessageBox.StandardButton


def as_shown(text: str) -> str:
    """What people see of a text in which markup is followed."""
    document = QTextDocument()
    document.setHtml(text)
    return document.toPlainText()


@pytest.fixture
def close(bench, monkeypatch):
    """Answer the question of the window before it closes; what was asked, and whether it may."""
    bench.qtbot.wait(5)  # docked now

    def ask(answer):
        asked = []
        monkeypatch.setattr(
            QMessageBox,
            "question",
            lambda _parent, _title, text, *_: asked.append(as_shown(text)) or answer,
        )
        may = bench.viewer.window._qt_window.findChild(CloseGuard).may_close()
        return "\n".join(asked), may

    return ask


def names(monkeypatch, folder: Path) -> list[str]:
    """Accept each name that the file dialog proposes, in another folder; the names."""
    proposed = []

    def save(_parent, title, path, _kinds):
        proposed.append(f"{title}: {Path(path).name}")
        return str(folder / Path(path).name), ""

    monkeypatch.setattr(QFileDialog, "getSaveFileName", save)
    return proposed


@pytest.mark.window
def test_a_window_with_unsaved_annotation_asks_once_and_saves_every_scan(
    bench, close, monkeypatch, tmp_path
):
    assert close(BUTTON.Cancel) == ("", True), "nothing was painted yet"
    bench.paint(8)
    other = bench.viewer.add_image(bench.image.data + 1, name="B", scale=bench.image.scale)
    bench.annotator.choose([other])
    for index in (3, 4):
        bench.session.segmentation.go_to(index)
        bench.annotator.accept_slice()
    asked, may = close(BUTTON.Cancel)
    assert not may
    assert "Segmentation of scan: 1 slice\n" in asked
    assert "Segmentation of B: 2 slices" in asked
    proposed = names(monkeypatch, tmp_path)
    monkeypatch.chdir(tmp_path)
    assert close(BUTTON.Save) == (asked, True)
    assert proposed == [
        "Save mask of scan: scan_mask.nii.gz",
        "Save mask of B: B_mask.nii.gz",
    ]
    assert {each.name for each in tmp_path.glob("*.nii.gz")} == {
        "scan_mask.nii.gz",
        "B_mask.nii.gz",
    }
    assert close(BUTTON.Cancel) == ("", True)


@pytest.mark.window
def test_a_file_dialog_that_is_left_keeps_the_window_open(bench, close, monkeypatch):
    bench.paint(8)
    monkeypatch.setattr(QFileDialog, "getSaveFileName", lambda *_: ("", ""))
    assert close(BUTTON.Save) == ("Not saved yet:\n\n• Segmentation of scan: 1 slice", False)
    assert close(BUTTON.Discard)[1]


@pytest.mark.window
def test_saving_the_layer_through_napari_counts(bench, close, tmp_path):
    bench.paint(8)
    bench.viewer.layers.selection = {bench.session.labels}
    bench.viewer.layers.save(str(tmp_path / "mask.nii.gz"), selected=True, plugin=PLUGIN)
    assert close(BUTTON.Cancel) == ("", True)
    bench.paint(9)
    assert "1 slice" in close(BUTTON.Cancel)[0]


@pytest.mark.window
def test_a_trained_model_counts_until_it_is_saved(bench, close, monkeypatch, tmp_path):
    card = ModelCard(ModelConfig(), ("Tumour",))
    bench.session.models.put_round(RoundDone(Checkpoint({}, card), stopped=False, seconds=1.0))
    asked = "Not saved yet:\n\n• Segmentation of scan: the trained model"
    assert close(BUTTON.Cancel) == (asked, False)
    monkeypatch.setattr(Checkpoint, "save", lambda *_: None)
    monkeypatch.setattr(ModelHistory, "to_segment", lambda history, _structures: history.present)
    proposed = names(monkeypatch, tmp_path)
    assert close(BUTTON.Save) == (asked, True)
    assert proposed == ["Save model of scan: scan_unet.safetensors"]
    assert close(BUTTON.Cancel) == ("", True)


@pytest.mark.window
def test_the_window_asks_for_what_the_closed_dock_has_left(bench, close, monkeypatch):
    told = []
    monkeypatch.setattr(close_guard, "show_info", told.append)
    monkeypatch.setattr(QMainWindow, "isVisible", lambda _window: True)
    bench.paint(8)
    bench.viewer.window.remove_dock_widget(bench.widget)
    assert "stays in “Segmentation of scan”" in told[0]
    assert "Segmentation of scan: 1 slice" in close(BUTTON.Cancel)[0]
    _, again = bench.viewer.window.add_plugin_dock_widget(PLUGIN, "U-Net annotator")
    bench.qtbot.wait(5)
    assert close(BUTTON.Cancel)[0].count("Segmentation of scan: 1 slice") == 1
    again.disconnect_viewer()


@pytest.mark.window
def test_the_window_asks_for_the_mask_of_a_scan_that_was_removed(bench, close):
    bench.paint(8)
    bench.viewer.layers.remove(bench.image)
    assert "Segmentation of scan: 1 slice" in close(BUTTON.Cancel)[0]


@pytest.mark.window
def test_a_window_on_screen_stays_when_closing_is_cancelled(bench, monkeypatch):
    bench.qtbot.wait(5)
    bench.paint(8)
    asked = []
    monkeypatch.setattr(QMessageBox, "question", lambda *_: asked.append(1) or BUTTON.Cancel)
    window = bench.viewer.window._qt_window
    window.show()
    window.close()
    assert asked == [1]
    assert window.isVisible()
    bench.viewer.close()
    assert asked == [1], "a script is not asked"
