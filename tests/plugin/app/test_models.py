"""The models of a scan in the window: any earlier one can be had again."""

import numpy as np
import pytest
from qtpy.QtCore import Qt

from napari_unet.learning.config import TrainConfig
from napari_unet.learning.network.checkpoint import Checkpoint
from napari_unet.plugin.app.tasks import Activity
from napari_unet.plugin.widgets.advanced_panel import AdvancedPanel

# -- the panels ------------------------------------------------------------------


def test_the_list_shows_the_model_in_use_and_waits_for_the_end_of_work(qtbot):
    panel = AdvancedPanel(TrainConfig())
    qtbot.addWidget(panel)
    panel.show_activity(None, False)
    assert not panel.model.isEnabled()
    panel.show_models([("Round 2 · 7 slices", "later"), ("Round 1 · 3 slices", "sooner")], 1)
    panel.show_activity(None, True)
    assert panel.model.isEnabled()
    assert panel.model.currentText() == "Round 1 · 3 slices"
    assert panel.model.itemData(0, Qt.ItemDataRole.ToolTipRole) == "<qt>later</qt>"
    assert "sooner" in panel.model.toolTip()
    panel.show_activity(Activity.TRAINING, True)
    assert not panel.model.isEnabled()
    panel.show_models([("Round 1 · 3 slices", "sooner")], None)
    assert panel.model.currentText() == ""
    assert panel.model.placeholderText() == "None in use"


# -- in the window ---------------------------------------------------------------


def choose(bench, position: int) -> None:
    """Choose from the list as a click does."""
    bench.widget.advanced.model.setCurrentIndex(position)
    bench.widget.advanced.model.activated.emit(position)


def annotate(bench, *indices: int) -> None:
    """Paint slices, and accept them: the prediction may be right to the pixel."""
    for index in indices:
        bench.paint(index)
        bench.session.record.accept(index)


def weights(checkpoint: Checkpoint) -> np.ndarray:
    return checkpoint.state["head.weight"].numpy()


@pytest.fixture
def twice(bench, monkeypatch):
    """Two rounds, both kept: two slices, then four more, one of which is held back."""
    monkeypatch.setattr("napari_unet.learning.training.model_selection.TOLERANCE", 2)
    annotate(bench, 6, 10)
    bench.train()
    annotate(bench, 5, 7, 8, 9)
    bench.train()
    return bench


def test_an_earlier_model_can_be_used_again_and_trained_on(twice):
    history, panel = twice.session.models, twice.widget.advanced
    assert "on 1 held-back slice" in twice.widget.message.text
    assert panel.model.count() == 2
    assert panel.model.currentIndex() == 0
    assert panel.model.currentText().startswith("Round 2 · 5 slices · held-back Dice ")
    second, first = (each.checkpoint for each in history.kept)
    choose(twice, 1)
    assert "Round 1 is in use" in twice.widget.message.text
    np.testing.assert_array_equal(weights(history.present), weights(first))
    twice.annotator.segment()
    twice.wait_for_job()
    twice.annotator.config = TrainConfig(seconds=36_000, max_steps=5, threads=1)
    twice.train()
    assert panel.model.count() == 3
    history = history.kept[0].checkpoint.card.provenance
    assert history.parent == first.card.provenance.created
    assert history.steps == 25
    assert history.held_back == second.card.provenance.held_back


@pytest.mark.slow
def test_a_worse_round_says_so_and_its_model_can_be_used_anyway(bench, monkeypatch):
    annotate(bench, 6, 10)
    bench.train()
    kept = weights(bench.session.models.present)
    monkeypatch.setattr("napari_unet.learning.training.model_selection.TOLERANCE", -2)
    annotate(bench, 7, 8, 9)
    bench.train()
    assert "worse on 1 held-back slice" in bench.widget.message.text
    assert "Advanced > Model" in bench.widget.message.text
    np.testing.assert_array_equal(weights(bench.session.models.present), kept)
    assert bench.widget.advanced.model.currentIndex() == 1
    assert bench.widget.advanced.model.itemText(0).endswith("not kept")
    choose(bench, 0)
    assert not np.array_equal(weights(bench.session.models.present), kept)


@pytest.mark.window
def test_a_forgotten_model_can_be_used_again_also_after_reopening(twice):
    twice.widget.advanced.forget.click()
    assert twice.session.models.present is None
    assert twice.widget.advanced.model.currentIndex() == -1
    twice.viewer.window.remove_dock_widget(twice.widget)
    _, again = twice.viewer.window.add_plugin_dock_widget("napari-unet-mri", "U-Net annotator")
    assert again.advanced.model.count() == 2
    again.advanced.model.activated.emit(0)
    assert again.annotator.session.models.present is not None
    assert again.advanced.model.currentIndex() == 0
    assert again.result.segment.isEnabled()
    again.disconnect_viewer()


def test_a_model_of_more_structures_is_refused_and_the_list_stays(twice):
    twice.widget.advanced.forget.click()
    other = np.zeros(twice.truth.shape[1:], bool)
    other[4:9, 4:9] = True
    twice.paint(8, 2, other)
    twice.qtbot.waitUntil(lambda: len(twice.session.structures) == 2)
    twice.annotator.config = TrainConfig(seconds=36_000, max_steps=2, threads=1)
    twice.train()
    assert twice.session.models.present.card.class_names == ("Structure 1", "Structure 2")
    twice.widget.advanced.forget.click()
    twice.session.structures.pop()
    choose(twice, 0)
    assert twice.widget.message.failed
    assert "2 structures" in twice.widget.message.text
    assert twice.widget.advanced.model.currentIndex() == -1
    choose(twice, 1)
    assert twice.session.models.present is not None
