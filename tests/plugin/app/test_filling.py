"""The button "Fill between slices" in a real window."""

import numpy as np
import pytest
from qtpy.QtWidgets import QPushButton

from napari_unet.annotation.saved_annotation import MaskSources
from napari_unet.annotation.states import SliceState
from napari_unet.learning.config import TrainConfig


def press(bench) -> None:
    bench.widget.result.fill.click()
    bench.wait_for_job()
    bench.qtbot.wait(150)  # the panels are redrawn ten times a second


def button(bench) -> QPushButton:
    return bench.widget.result.fill


def test_two_painted_slices_fill_those_between_without_a_model(bench):
    for index in (5, 11):
        bench.paint(index)
    bench.session.segmentation.go_to(8)
    assert "without any training" in button(bench).toolTip()
    press(bench)
    for index in (6, 7, 8, 9, 10):
        assert bench.dice(index) > 0.75
    assert not bench.session.labels.data[[4, 12]].any()
    assert bench.session.record.slices_in(SliceState.ANNOTATED) == [5, 11]
    assert bench.widget.paint.slice.text() == "Slice 8: filled"
    assert bench.widget.message.text.startswith("5 slices filled.")
    assert bench.widget.paint.counts.text() == "2/16 done"


def test_one_slice_is_not_enough(bench):
    bench.paint(8)
    press(bench)
    assert "two completely annotated slices" in bench.widget.message.text
    assert bench.widget.message.failed


def test_pressing_again_takes_the_filling_back(bench):
    for index in (5, 11):
        bench.paint(index)
    before = bench.session.labels.data.copy()
    press(bench)
    assert button(bench).text() == "Remove filling"
    press(bench)
    np.testing.assert_array_equal(bench.session.labels.data, before)
    assert button(bench).text() == "Fill between slices"


def test_a_corrected_filled_slice_is_annotated_and_refines_the_filling(bench):
    for index in (5, 11):
        bench.paint(index)
    press(bench)
    before = bench.dice(7)
    bench.paint(8)
    bench.qtbot.wait(150)
    assert bench.session.record.state(8) is SliceState.ANNOTATED
    assert button(bench).text() == "Fill between slices"
    press(bench)
    assert bench.dice(7) > before
    assert bench.session.progress.score() is None


def test_undoing_a_stroke_brings_the_filling_back_and_no_filled_slice_becomes_truth(bench):
    for index in (5, 11):
        bench.paint(index)
    press(bench)
    bench.session.segmentation.go_to(8)
    filled = bench.session.labels.data.copy()
    bench.paint(8, 0, filled[8] == 1)
    bench.session.labels.undo()
    bench.qtbot.wait(400)
    np.testing.assert_array_equal(bench.session.labels.data, filled)
    bench.session.labels.undo()  # the stroke on slice 11, from before the filling
    bench.qtbot.wait(400)
    assert bench.session.record.slices_in(SliceState.ANNOTATED, SliceState.PARTIAL) == [5]


def test_the_next_slice_may_be_a_filled_one(bench):
    for index in (2, 14):
        bench.paint(index)
        bench.session.segmentation.go_to(index)
        bench.annotator.accept_slice()
    bench.paint(8)
    press(bench)
    bench.annotator.next_slice()
    assert bench.session.segmentation.visible_index in bench.session.record.filled_slices()


@pytest.mark.slow
def test_training_learns_from_the_painted_slices_only_and_its_predictions_replace_the_filling(
    bench,
):
    bench.annotator.config = TrainConfig(seconds=36_000, max_steps=20, threads=1)
    for index in (5, 11):
        bench.paint(index)
    press(bench)
    assert [s.index for s in bench.session.progress.training_slices(1)] == [5, 11]
    bench.train()
    assert bench.session.record.filled_slices() == []
    assert bench.session.record.state(8) is SliceState.PREDICTED


def test_the_saved_statistics_tell_the_filled_voxels_apart(bench, tmp_path):
    for index in (5, 11):
        bench.paint(index)
    press(bench)
    bench.annotator.save_mask(tmp_path / "mask.nii.gz")
    text = bench.widget.message.text
    sources = MaskSources.of(bench.session.record)
    assert str(sources) in text
    assert "You painted or accepted 2 of 16 slices" in text
    assert f"{sources.labelled - sources.human} are filled between slices." in text
