"""What the panels show and tell, without the loop behind them."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from napari.layers import Image, Labels
from qtpy.QtCore import QPoint, QPointF, Qt
from qtpy.QtGui import QColor, QTextDocument, QWheelEvent
from qtpy.QtWidgets import QApplication, QFileDialog, QLabel, QMessageBox, QScrollArea, QWidget

from napari_unet.annotation.progress import Judgement
from napari_unet.annotation.scoring import CorrectionScore
from napari_unet.annotation.states import BACKGROUND_BRUSH, PALETTE, SliceState, Structure
from napari_unet.errors import SaveError, UsageError
from napari_unet.imaging.cleanup import CleanUp
from napari_unet.imaging.measurement import StructureMeasure
from napari_unet.imaging.volume import Grid
from napari_unet.learning.config import AUTO, PRESETS, TrainConfig
from napari_unet.learning.events import StepDone
from napari_unet.plugin.app.panel_text import PanelState, panel_text
from napari_unet.plugin.widgets.advanced_panel import AdvancedPanel
from napari_unet.plugin.widgets.file_dialogs import MASKS, ask_complete, ask_mask_to_save
from napari_unet.plugin.widgets.message_line import MessageLine, plain
from napari_unet.plugin.widgets.paint_panel import PaintPanel
from napari_unet.plugin.widgets.result_panel import ResultPanel
from napari_unet.plugin.widgets.scan_panel import ScanPanel
from napari_unet.plugin.widgets.slice_strip import STATE_COLORS
from napari_unet.plugin.widgets.train_panel import TrainPanel

NAMES = ("Metastasis", "Oedema around the metastasis", "Necrosis")
STRUCTURES = [Structure(*each) for each in zip(NAMES, PALETTE, range(1, 31))]
MEASURES = [StructureMeasure(v, name, 131.05, 1205, 9.0) for v, name in enumerate(NAMES, start=1)]


@pytest.fixture
def shown(qtbot):
    """Show a panel and let go of it after the test."""

    def show(panel):
        qtbot.addWidget(panel)
        panel.show()
        return panel

    return show


def click_row(qtbot, panel: PaintPanel, row: int) -> None:
    rows = panel.structures.list
    middle = rows.visualItemRect(rows.item(row)).center()
    qtbot.mouseClick(rows.viewport(), Qt.MouseButton.LeftButton, pos=middle)


def step(n_slices: int = 1) -> StepDone:
    return StepDone(step=3, progress=0.5, loss=0.42, seconds=65.0, n_slices=n_slices)


# -- painting ------------------------------------------------------------------


def test_a_click_on_the_only_structure_leaves_the_background_brush(shown, qtbot):
    panel = shown(PaintPanel())
    panel.structures.show_structures(STRUCTURES[:1], 1)
    panel.show_slice(4, SliceState.PARTIAL, BACKGROUND_BRUSH)
    assert panel.background.isChecked()
    assert not panel.structures.list.selectedItems()
    with qtbot.waitSignal(panel.structures.picked) as picked:
        click_row(qtbot, panel, 0)
    assert picked.args == [1]
    assert not panel.background.isChecked()


def test_a_click_on_the_structure_being_painted_arms_the_brush_again(shown, qtbot):
    panel = shown(PaintPanel())
    panel.structures.show_structures(STRUCTURES, 2)
    with qtbot.waitSignal(panel.structures.picked) as picked:
        click_row(qtbot, panel, 1)
    assert picked.args == [2]


def test_the_background_button_goes_there_and_back_to_the_structure_painted_before(shown):
    panel = shown(PaintPanel())
    painted = []
    panel.brush.connect(painted.append)
    panel.structures.show_structures(STRUCTURES, 2)
    panel.show_slice(4, SliceState.PARTIAL, 2)
    panel.background.click()
    panel.background.click()
    assert painted == [BACKGROUND_BRUSH, 2]
    assert [item.text() for item in panel.structures.list.selectedItems()] == [NAMES[1]]


def test_the_background_brush_can_be_left_on_every_slice(shown):
    panel = shown(PaintPanel())
    panel.structures.show_structures(STRUCTURES, 1)
    panel.show_slice(4, SliceState.EMPTY, BACKGROUND_BRUSH)
    assert panel.background.isVisible()
    panel.show_slice(4, SliceState.EMPTY, 1)
    assert not panel.background.isVisible()


def test_a_structure_is_renamed_in_its_row(shown):
    panel = shown(PaintPanel())
    told = []

    def rename(value, structure):
        told.append((value, structure))
        panel.structures.show_structures([STRUCTURES[0], structure], value)

    panel.structures.changed.connect(rename)
    panel.structures.show_structures(STRUCTURES[:2], 1)
    panel.structures.list.item(1).setText("Ventricle")
    assert told == [(2, Structure("Ventricle", PALETTE[1], 2))]
    assert panel.structures.list.item(1).text() == "Ventricle"


def test_a_selected_structure_keeps_its_colour(shown):
    panel = shown(PaintPanel())
    panel.structures.show_structures(STRUCTURES, 1)
    icon = panel.structures.list.item(0).icon()
    normal, selected = (
        icon.pixmap(14, 14, mode).toImage().pixelColor(7, 7).name()
        for mode in (icon.Mode.Normal, icon.Mode.Selected)
    )
    assert selected == normal


# -- training ------------------------------------------------------------------


def test_progress_shows_its_text_from_the_start_and_hides_the_curve_of_another_scan(shown):
    panel = shown(TrainPanel())
    panel.show_text(panel_text(PanelState()), None)
    assert panel.progress.text() == "not trained yet"
    assert not panel.score.isVisible()
    panel.restart("dark")
    assert panel.plot.isVisible()
    panel.hide_curve()
    assert not panel.plot.isVisible()


def test_the_dice_axis_comes_with_the_first_score(shown):
    panel = shown(TrainPanel())
    panel.restart("light")
    panel.add_step(step())
    panel.finish()
    assert not panel.plot.shows_dice
    panel.show_text(panel_text(PanelState()), CorrectionScore(0.8, 0.8, 0.8, 1))
    panel.add_step(step())
    panel.follow_theme("dark")
    panel.finish()
    assert panel.plot.shows_dice


# -- results -------------------------------------------------------------------


def test_volumes_can_be_out_of_date_or_gone(shown):
    panel = shown(ResultPanel())
    panel.show_measures(MEASURES)
    for changed, title in ((False, "Structure"), (True, "Before your last changes")):
        panel.show_text(panel_text(PanelState(measured=True, changed=changed)))
        assert panel.table.horizontalHeaderItem(0).text() == title
    assert "again" in panel.table.toolTip()
    panel.show_text(panel_text(PanelState()))
    assert not panel.table.isVisible()


# -- scan and settings -----------------------------------------------------------


def test_a_renamed_layer_is_offered_under_its_new_name(shown):
    data = np.zeros((4, 5, 6), np.float32)
    first, second = Image(data, name="t1"), Image(data, name="flair")
    labels = Labels(data.astype(np.uint8), name="mask")
    panel = shown(ScanPanel())
    assert not panel.sequences.isVisible()
    panel.show_layers([first, second], [labels])
    panel.show_choice([second], 0, labels, Grid.from_spacing((4, 5, 6), (1.0, 1.0, 1.0)))
    second.name, labels.name = "t2", "tumour"
    panel.show_layers([first, second], [labels])
    assert panel.image.currentText() == "t2"
    assert panel.labels.currentText() == "tumour"
    assert panel.sequences.isVisible()


def test_scrolling_past_a_box_does_not_choose_another_scan(shown):
    data = np.zeros((4, 5, 6), np.float32)
    panel = shown(ScanPanel())
    panel.show_layers([Image(data, name="a"), Image(data, name="b")], [])
    middle = QPointF(panel.image.rect().center())
    wheel = QWheelEvent(
        middle,
        panel.image.mapToGlobal(middle),
        QPoint(),
        QPoint(0, -120),
        Qt.MouseButton.NoButton,
        Qt.KeyboardModifier.NoModifier,
        Qt.ScrollPhase.NoScrollPhase,
        False,
    )
    QApplication.sendEvent(panel.image, wheel)
    assert panel.image.currentText() == "a"
    assert not wheel.isAccepted(), "the scroll area gets it"


def test_every_preset_can_be_chosen_and_is_explained(shown):
    panel = shown(AdvancedPanel(TrainConfig()))
    configs = []
    panel.config_changed.connect(configs.append)
    assert tuple(panel.preset.choices) == (AUTO, *PRESETS)
    assert all(f"{name}:" in panel.preset.tooltip for name in panel.preset.choices)
    panel.preset.value = "paper"
    assert configs[-1].preset == "paper"


def test_the_window_refuses_settings_with_the_words_of_python_and_the_command_line(shown, qtbot):
    panel = shown(AdvancedPanel(TrainConfig()))
    configs = []
    panel.config_changed.connect(configs.append)
    panel.seconds.min = -1
    with pytest.raises(UsageError) as refused:
        TrainConfig(seconds=-1.0)
    with qtbot.capture_exceptions() as caught:
        panel.seconds.value = -1
    assert str(caught[0][1].__cause__) == str(refused.value)
    assert not configs


def test_the_model_can_be_forgotten(shown, qtbot):
    panel = shown(AdvancedPanel(TrainConfig()))
    panel.expand()
    panel.show_activity(None, False)
    assert not panel.forget.isEnabled()
    panel.show_activity(None, True)
    with qtbot.waitSignal(panel.forget_model):
        panel.forget.click()


def test_settings_show_their_units(shown):
    panel = shown(AdvancedPanel(TrainConfig(seconds=60)))
    assert panel.seconds.native.text() == "60 s"
    told = []
    panel.clean_changed.connect(lambda value, clean: told.append((value, clean)))
    panel.show_structures(NAMES, {2: CleanUp(50, fill_holes=True)})
    box = panel._clean_grid.itemAtPosition(2, 1).widget()
    assert box.text() == "≥ 50 mm³"
    box.setValue(0)
    assert box.text() == "any size"
    assert told == [(2, CleanUp(0, fill_holes=True))]


def test_everything_fits_beside_a_scrollbar(bench):
    widget = bench.widget
    widget.paint.structures.show_structures(STRUCTURES, 1)
    widget.paint.show_slice(144, SliceState.PARTIAL, BACKGROUND_BRUSH)
    widget.paint.show_counts(100, 144, "axial")
    widget.train.restart("dark")
    score = CorrectionScore(0.8, 0.7, 0.9, 12)
    state = PanelState(step=step(12), judgement=Judgement(score, 12, 9), measured=True)
    widget.train.show_text(panel_text(state), score)
    widget.result.show_measures(MEASURES)
    widget.result.show_text(panel_text(state))
    widget.advanced.show_structures(NAMES, {})
    widget.advanced.expand()
    bench.qtbot.wait(50)
    area = widget.findChild(QScrollArea)
    assert area.widget().minimumSizeHint().width() <= 330 - 13


# -- files ---------------------------------------------------------------------


@pytest.fixture
def dialogs(tmp_path, qtbot, monkeypatch):
    """File dialogs on a scan of two files; what they ask and save is noted."""
    noted = SimpleNamespace(
        typed="", kind="", answer=QMessageBox.StandardButton.No, asked=[], saved=[]
    )
    files = [tmp_path / "t1.nii.gz", tmp_path / "flair.nii.gz"]
    for file in files:
        file.touch()
    images = [
        SimpleNamespace(name=f.name, source=SimpleNamespace(path=str(f)), metadata={})
        for f in files
    ]

    def question(_parent, _title, text, *_buttons):
        noted.asked.append(text)
        return noted.answer

    monkeypatch.setattr(
        QFileDialog, "getSaveFileName", lambda *_: (str(tmp_path / noted.typed), noted.kind)
    )
    monkeypatch.setattr(QMessageBox, "question", question)

    def save_mask():
        if path := ask_mask_to_save(None, SimpleNamespace(images=images)):
            noted.saved.append(path)

    noted.save_mask = save_mask
    noted.folder = tmp_path
    return noted


def test_a_completed_name_replaces_a_file_only_after_asking(dialogs):
    (dialogs.folder / "other.nii.gz").touch()
    dialogs.typed = "other"
    dialogs.save_mask()
    assert dialogs.asked == [plain("other.nii.gz exists already. Replace it?")]
    assert not dialogs.saved
    dialogs.answer = QMessageBox.StandardButton.Yes
    dialogs.save_mask()
    assert dialogs.saved == [dialogs.folder / "other.nii.gz"]


@pytest.mark.parametrize(
    ("typed", "kind", "name"),
    [
        ("new", "FreeSurfer MGH (*.mgz *.mgh)", "new.mgz"),
        ("new", "3D Slicer segmentation (*.seg.nrrd)", "new.seg.nrrd"),
        ("new.mha", "FreeSurfer MGH (*.mgz *.mgh)", "new.mha"),
        ("new", "NRRD (*.nrrd)", "new.nrrd"),
        ("NEW.NII.GZ", "", "NEW.NII.GZ"),
    ],
)
def test_the_name_decides_the_format_and_else_the_chosen_kind(dialogs, typed, kind, name):
    assert kind in ("", *MASKS)
    dialogs.typed, dialogs.kind = typed, kind
    dialogs.save_mask()
    assert dialogs.saved == [dialogs.folder / name]


@pytest.mark.parametrize("typed", ["new", "new.nii", "there.nii.gz"])
def test_no_question_where_the_file_dialog_has_asked_or_nothing_is_lost(dialogs, typed):
    (dialogs.folder / "there.nii.gz").touch()
    dialogs.typed = typed
    dialogs.save_mask()
    assert not dialogs.asked
    assert len(dialogs.saved) == 1


@pytest.mark.parametrize("typed", ["t1.nii.gz", "flair.nii.gz", "flair", "link.nii.gz"])
def test_no_file_of_the_scan_is_overwritten(dialogs, typed):
    Path(dialogs.folder / "link.nii.gz").symlink_to(dialogs.folder / "flair.nii.gz")
    dialogs.typed = typed
    with pytest.raises(SaveError, match="scan itself"):
        dialogs.save_mask()
    assert not dialogs.saved


def test_markup_in_messages_and_names_is_shown_as_it_is(shown, monkeypatch):
    name = "<img src=x>\x1b"
    line = shown(MessageLine())
    line.say(name)
    assert line.text == r"<img src=x>\x1b"
    panel = shown(AdvancedPanel(TrainConfig()))
    panel.show_structures([name], {})
    asked = []
    monkeypatch.setattr(
        QMessageBox, "question", lambda *arguments: asked.append(arguments[2]) or arguments[-1]
    )
    ask_complete(None, name, 3)
    widgets = [line.label, *panel.findChildren(QWidget)]
    texts = [*(each.toolTip() for each in widgets if "img" in each.toolTip()), *asked]
    assert len(texts) == 5
    for text in texts:
        document = QTextDocument()
        document.setHtml(text)
        assert r"<img src=x>\x1b" in document.toPlainText()


def test_orange_in_the_strip_is_partial_and_nothing_else(shown):
    states = [SliceState.EMPTY] * 20
    panel = shown(PaintPanel())
    panel.strip.resize(200, 40)
    orange = QColor(STATE_COLORS[SliceState.PARTIAL])

    def is_orange() -> bool:
        image = panel.strip.grab().toImage()
        size = image.size()
        return any(
            image.pixelColor(x, y) == orange
            for x in range(size.width())
            for y in range(size.height())
        )

    panel.strip.show_states(states, 3, 10)
    assert not is_orange()
    panel.strip.show_states([*states[:5], SliceState.PARTIAL, *states[6:]], 3, 10)
    assert is_orange()
    assert any("▲ next" in each.text() for each in panel.findChildren(QLabel))
