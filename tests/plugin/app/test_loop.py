"""The annotation loop in a real window: paint, train, correct, segment."""

import gc
import weakref
from dataclasses import replace

import numpy as np
import pytest
from napari import Viewer
from qtpy.QtCore import QPoint, Qt, QThreadPool
from qtpy.QtTest import QTest

from napari_unet.annotation.states import BACKGROUND_BRUSH, SliceState
from napari_unet.errors import VolumeError
from napari_unet.imaging.cleanup import CleanUp
from napari_unet.learning import calibration
from napari_unet.learning.config import PRESETS, TrainConfig
from napari_unet.learning.prediction import fusion
from napari_unet.plugin.app import tasks, worker
from napari_unet.plugin.app.annotator import Annotator
from napari_unet.plugin.layers.scan_layers import AXIS_LABELS

from ..conftest import HANGS_MS

FOREVER = TrainConfig(seconds=36_000, threads=1)


def test_opening_the_widget_arms_painting_on_a_layer_exactly_over_the_scan(bench):
    labels, image = bench.session.labels, bench.image
    assert bench.viewer.layers.selection.active is labels
    assert labels.mode == "paint"
    assert labels.data.shape == image.data.shape
    np.testing.assert_allclose(labels.scale, image.scale)
    np.testing.assert_allclose(labels.translate, image.translate)
    assert labels.units == image.units
    assert tuple(labels.axis_labels) == AXIS_LABELS


def test_thick_slices_are_sliced_across_their_thickness(bench):
    assert bench.session.axis == 0
    assert bench.viewer.dims.order[0] == 0
    bench.widget.scan.axis.activated.emit(2)
    bench.widget.scan.axis.setCurrentIndex(2)
    assert bench.session.axis == 2
    assert bench.viewer.dims.order == (2, 0, 1)


def test_a_stroke_annotates_its_slice_only(bench):
    bench.paint(8)
    assert bench.session.record.slices_in(SliceState.ANNOTATED) == [8]


@pytest.mark.slow
def test_training_predicts_the_other_slices_and_leaves_the_painted_ones(bench):
    bench.annotator.config = TrainConfig(seconds=36_000, max_steps=60, threads=1)
    for index in (6, 9):
        bench.paint(index)
    bench.session.segmentation.go_to(2)
    bench.annotator.accept_slice()
    before = bench.session.labels.data[[2, 6, 9]].copy()
    bench.train()
    np.testing.assert_array_equal(bench.session.labels.data[[2, 6, 9]], before)
    states = bench.session.record.states()
    assert states.count(SliceState.PREDICTED) == 13
    assert states.count(SliceState.ANNOTATED) == 3
    assert bench.dice(8) > 0.8
    assert "Done" in bench.widget.message.text


def test_a_stroke_during_training_joins_it_and_survives(bench):
    bench.annotator.config = FOREVER
    bench.paint(8)
    bench.widget.train.start.click()
    bench.wait_for_step()
    bench.paint(5)
    slices = []
    bench.annotator.work.step.connect(lambda step: slices.append(step.n_slices))
    bench.qtbot.waitUntil(lambda: bool(slices) and slices[-1] == 2)
    np.testing.assert_array_equal(bench.session.labels.data[5] == 1, bench.truth[5])
    bench.widget.train.start.click()
    bench.wait_for_job()
    np.testing.assert_array_equal(bench.session.labels.data[5] == 1, bench.truth[5])


@pytest.mark.slow
def test_undo_and_redo_after_predictions_keep_strokes_and_predictions_apart(bench):
    bench.paint(8)
    bench.paint(5)
    bench.session.segmentation.go_to(5)
    bench.train()
    painted = bench.session.labels.data[5].copy()
    bench.session.labels.undo()
    assert bench.session.record.state(5) is SliceState.EMPTY
    bench.session.labels.redo()
    np.testing.assert_array_equal(bench.session.labels.data[5], painted)
    assert bench.session.record.state(5) is SliceState.ANNOTATED
    bench.session.labels.undo()
    bench.annotator.segment()
    bench.wait_for_job()
    predicted = bench.session.labels.data[5].copy()
    assert bench.session.record.state(5) is SliceState.PREDICTED
    bench.session.labels.redo()
    assert (bench.session.labels.data[5][painted == 1] == 1).all()
    bench.session.labels.undo()
    np.testing.assert_array_equal(bench.session.labels.data[5], predicted)


def test_stop_keeps_a_model_and_the_widget_works_on(bench):
    bench.annotator.config = FOREVER
    bench.paint(8)
    bench.widget.train.start.click()
    assert bench.widget.train.start.text() == "Stop"
    bench.wait_for_step()
    bench.widget.train.start.click()
    bench.wait_for_job()
    assert bench.session.models.present is not None
    assert bench.widget.train.start.text() == "Train"
    assert "Stopped" in bench.widget.message.text
    bench.annotator.config = TrainConfig(seconds=36_000, max_steps=3, threads=1)
    before = bench.session.models.present.card.provenance.steps
    bench.train()
    assert bench.session.models.present.card.provenance.steps == before + 3


def test_drawing_holds_the_training_and_it_goes_on_afterwards(bench):
    bench.annotator.config = FOREVER
    bench.paint(8)
    bench.widget.train.start.click()
    bench.wait_for_step()
    bench.session.segmentation.stroking.emit(True)
    steps = []
    bench.annotator.work.step.connect(steps.append)
    bench.qtbot.waitUntil(lambda: _quiet(bench, steps))
    held = len(steps)
    bench.session.segmentation.stroking.emit(False)
    bench.qtbot.waitUntil(lambda: len(steps) > held + 2)
    bench.annotator.stop()
    bench.wait_for_job()


def _quiet(bench, steps) -> bool:
    before = len(steps)
    bench.qtbot.wait(300)
    return len(steps) == before


def test_deleting_the_layer_while_training_stops_it_and_it_can_be_brought_back(bench):
    bench.annotator.config = FOREVER
    bench.paint(8)
    bench.widget.train.start.click()
    bench.wait_for_step()
    labels = bench.session.labels
    bench.viewer.layers.remove(labels)
    bench.wait_for_job()
    assert not bench.widget.train.isEnabled()
    bench.widget.message.button.click()
    assert labels in bench.viewer.layers
    np.testing.assert_array_equal(labels.data[8] == 1, bench.truth[8])
    assert bench.session.record.state(8) is SliceState.ANNOTATED
    assert bench.widget.train.isEnabled()


def test_removing_the_scan_while_training_keeps_the_strokes(bench):
    bench.annotator.config = FOREVER
    bench.paint(8)
    bench.widget.train.start.click()
    bench.wait_for_step()
    labels = bench.session.labels
    bench.viewer.layers.remove(bench.image)
    bench.wait_for_job()
    assert (labels.data[8] == 1).sum() == bench.truth[8].sum()
    assert not bench.widget.train.isEnabled()


@pytest.mark.window
def test_closing_the_dock_while_training_leaves_no_thread(bench):
    bench.annotator.config = FOREVER
    bench.paint(8)
    bench.widget.train.start.click()
    bench.wait_for_step()
    bench.viewer.window.remove_dock_widget(bench.widget)
    bench.qtbot.wait(10)
    assert QThreadPool.globalInstance().waitForDone(HANGS_MS)


@pytest.mark.window
@pytest.mark.slow
def test_reopening_the_widget_goes_on_where_it_was(bench):
    bench.paint(8)
    bench.session.segmentation.go_to(1)
    bench.annotator.accept_slice()
    bench.train()
    model, labels = bench.session.models.present, bench.session.labels
    bench.viewer.window.remove_dock_widget(bench.widget)
    _, again = bench.viewer.window.add_plugin_dock_widget("napari-unet-mri", "U-Net annotator")
    session = again.annotator.session
    assert session.labels is labels
    assert session.record.slices_in(SliceState.ANNOTATED) == [1, 8]
    assert session.models.present is model
    again.disconnect_viewer()


@pytest.mark.window
def test_closing_napari_while_training_leaves_no_thread(bench):
    bench.annotator.config = FOREVER
    bench.paint(8)
    bench.widget.train.start.click()
    bench.wait_for_step()
    bench.viewer.close()
    bench.qtbot.wait(10)
    assert QThreadPool.globalInstance().waitForDone(HANGS_MS)


@pytest.mark.slow
def test_partial_slices_keep_what_was_painted_and_take_the_rest_from_the_model(bench):
    bench.paint(8)
    bench.session.segmentation.go_to(4)
    bench.widget.paint.partial.click()
    some = np.zeros(bench.truth.shape[1:], bool)
    some[2:6, 2:6] = True
    bench.paint(4, BACKGROUND_BRUSH, some)
    assert bench.session.record.state(4) is SliceState.PARTIAL
    truth = bench.session.record.truth(4)
    assert (truth[some] == 0).all()
    assert (truth[~some] == 255).all()
    bench.train()
    assert (bench.session.labels.data[4][some] == BACKGROUND_BRUSH).all()
    assert bench.session.record.state(4) is SliceState.PARTIAL
    assert bench.session.record.mask().max() == 1


@pytest.mark.slow
def test_next_slice_says_why_and_accept_counts_an_empty_slice(bench):
    bench.paint(8)
    bench.train()
    bench.annotator.next_slice()
    index = bench.session.segmentation.visible_index
    assert bench.session.record.state(index) is SliceState.PREDICTED
    assert bench.widget.message.text.startswith(f"Slice {index}: ")
    bench.session.segmentation.go_to(0)
    bench.annotator.accept_slice()
    assert bench.session.record.state(0) is SliceState.ANNOTATED


@pytest.mark.window
def test_keys_accept_and_suggest(bench):
    bench.paint(8)
    bench.session.segmentation.go_to(1)
    canvas = bench.viewer.window._qt_viewer.canvas.native
    bench.viewer.show()
    QTest.keyClick(canvas, Qt.Key.Key_Return, Qt.KeyboardModifier.ShiftModifier)
    assert bench.session.record.state(1) is SliceState.ANNOTATED
    QTest.keyClick(canvas, Qt.Key.Key_N)
    assert bench.session.segmentation.visible_index not in (1, 8)
    QTest.keyClick(canvas, Qt.Key.Key_Z, Qt.KeyboardModifier.ControlModifier)
    bench.qtbot.waitUntil(lambda: bench.session.record.state(1) is SliceState.EMPTY)
    assert bench.session.record.state(8) is SliceState.ANNOTATED
    QTest.keyClick(canvas, Qt.Key.Key_Z, Qt.KeyboardModifier.ControlModifier)
    bench.qtbot.waitUntil(lambda: bench.session.record.state(8) is SliceState.EMPTY)


def test_next_slice_does_not_go_back_to_slices_left_as_they_were(bench):
    bench.paint(4)
    bench.paint(12)
    seen = []
    bench.session.segmentation.go_to(4)
    for _ in range(4):
        bench.annotator.next_slice()
        seen.append(bench.session.segmentation.visible_index)
    assert seen[0] == 8
    assert len(set(seen)) == 4
    bench.annotator.fill()  # they show something else now
    bench.wait_for_job()
    bench.session.segmentation.go_to(4)
    bench.annotator.next_slice()
    assert bench.session.segmentation.visible_index == 8


def test_a_slice_that_is_reset_is_suggested_again(bench):
    for index in (4, 8, 12):
        bench.paint(index)
    bench.session.segmentation.go_to(8)
    bench.annotator.next_slice()
    bench.session.segmentation.go_to(8)
    bench.annotator.reset_slice()
    bench.session.segmentation.go_to(4)
    bench.annotator.next_slice()
    assert bench.session.segmentation.visible_index == 8


def test_the_strip_jumps_and_knows_every_state(bench):
    bench.paint(8)
    strip = bench.widget.paint.strip
    strip.jump.emit(3)
    assert bench.session.segmentation.visible_index == 3
    bench.qtbot.waitUntil(lambda: strip._states.count(SliceState.ANNOTATED) == 1)
    assert strip._states[8] is SliceState.ANNOTATED


@pytest.mark.slow
def test_the_score_is_of_slices_that_nobody_corrected_and_stays_until_a_mask_is_loaded(
    bench, monkeypatch
):
    for module in (calibration, fusion):  # so many steps on a computer without a graphics card
        monkeypatch.setattr(module, "MATURE_STEPS", 80)
    network = PRESETS["fast"]  # a narrow one is not that sure so soon
    bench.annotator.config = TrainConfig(seconds=36_000, max_steps=80, threads=1, model=network)
    for index in (5, 10):
        bench.paint(index)
    assert bench.session.progress.score() is None
    bench.train()
    for index in (8, 7):
        assert bench.session.progress.score() is None  # two slices that show it are the fewest
        bench.paint(index)
        bench.session.segmentation.go_to(index)
        bench.annotator.accept_slice()
    score = bench.session.progress.score()
    assert score.n_slices == 2
    rest = [z for z in range(len(bench.truth)) if z not in (5, 7, 8, 10)]
    found, truth = bench.session.labels.data[rest] > 0, bench.truth[rest] > 0
    dice = 2 * np.count_nonzero(found & truth) / (found.sum() + truth.sum())
    assert score.dice == pytest.approx(dice, abs=0.15)  # a ball is easier than it expects

    bench.annotator.close()
    again = Annotator(bench.viewer)
    again.choose([bench.image])
    assert again.session.progress.score() == score
    mask = np.ones_like(bench.truth, dtype=np.uint8)
    again.session.record.write_volume(mask, range(len(mask)))
    assert again.session.progress.score() is None
    again.close()


def test_a_young_network_is_not_scored(bench):
    bench.annotator.config = TrainConfig(seconds=36_000, max_steps=20, threads=1)
    bench.paint(5)
    bench.train()
    for index in (8, 7):
        bench.paint(index)
        bench.session.segmentation.go_to(index)
        bench.annotator.accept_slice()
    assert bench.session.progress.score() is None


def test_segment_volume_cleans_up_and_measures(bench):
    bench.paint(8)
    bench.train()
    speck = np.zeros(bench.truth.shape[1:], bool)
    speck[1, 1] = True
    bench.paint(15, mask=speck)  # a person's speck is never cleaned away
    bench.session.clean[1] = CleanUp(min_volume_mm3=100_000)
    bench.widget.result.segment.click()
    bench.wait_for_job()
    bench.session.record.sync()
    assert bench.session.labels.data[15, 1, 1] == 1
    np.testing.assert_array_equal(bench.session.labels.data[8] == 1, bench.truth[8])
    untouched = [i for i in range(16) if i not in (8, 15)]
    assert not bench.session.labels.data[untouched].any()
    assert bench.widget.result.table.item(0, 0).text() == "Structure 1"
    expected = np.count_nonzero(bench.session.labels.data) * 2.0 / 1000
    assert float(bench.widget.result.table.item(0, 1).text()) == pytest.approx(expected, abs=0.01)


def test_painting_a_new_label_adds_its_structure(bench):
    bench.paint(8)
    other = np.zeros(bench.truth.shape[1:], bool)
    other[4:9, 4:9] = True
    bench.paint(8, 2, other)
    bench.qtbot.waitUntil(lambda: len(bench.session.structures) == 2)
    bench.train()
    assert bench.session.models.present.card.class_names == ("Structure 1", "Structure 2")


def test_two_sequences_train_together(bench):
    second = bench.viewer.add_image(
        bench.image.data[::1] * -1,
        name="other sequence",
        scale=bench.image.scale,
        translate=bench.image.translate,
        units=bench.image.units,
    )
    labels = bench.session.labels
    bench.annotator.choose([bench.image, second])
    assert bench.session.labels is labels
    bench.paint(8)
    bench.train()
    assert bench.session.models.present.card.model.in_channels == 2


def test_a_runtime_error_in_the_worker_is_told_and_the_next_training_works(bench, monkeypatch):
    def broken(*_args, **_kwargs):
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")
        yield

    bench.paint(8)
    with monkeypatch.context() as patched:
        patched.setattr(tasks.TrainingTask, "run", broken)
        bench.widget.train.start.click()
        bench.wait_for_job()
    assert bench.widget.message.failed
    assert "mat1" in bench.widget.message.text
    bench.train()
    assert bench.session.models.present is not None


def test_a_job_closes_its_generator_when_stopped(qtbot):
    closed = []

    def work_forever(should_stop):
        try:
            while not should_stop():
                yield 1
        finally:
            closed.append(True)

    job = worker.Job()
    job.start(work_forever)
    with qtbot.waitSignal(job.happened):
        pass
    with qtbot.waitSignal(job.ended):
        job.stop()
    assert closed == [True]


def test_a_second_scan_gets_its_own_segmentation(bench):
    first = bench.session
    bench.paint(8)
    other = bench.viewer.add_image(bench.image.data + 1, name="scan 2", scale=bench.image.scale)
    bench.annotator.choose([other])
    assert bench.session is not first
    assert not bench.session.labels.data.any()
    bench.annotator.choose([bench.image])
    assert bench.session is first
    assert bench.session.record.state(8) is SliceState.ANNOTATED


def test_an_empty_viewer_gets_told_what_to_do(make_napari_viewer):
    viewer: Viewer = make_napari_viewer()
    _, widget = viewer.window.add_plugin_dock_widget("napari-unet-mri", "U-Net annotator")
    assert "Open an MRI volume" in widget.message.text
    assert not widget.train.isEnabled()
    widget.disconnect_viewer()


def test_a_new_label_layer_can_be_asked_for(bench):
    bench.paint(8)
    first = bench.session
    bench.widget.scan.labels.setCurrentIndex(0)
    bench.widget.scan.labels.activated.emit(0)
    assert bench.session is not first
    assert not bench.session.labels.data.any()
    bench.annotator.choose([bench.image], labels=first.labels)
    assert bench.session is first


def test_a_scan_that_comes_back_finds_its_segmentation(bench):
    bench.paint(8)
    labels = bench.session.labels
    bench.viewer.layers.remove(bench.image)
    bench.viewer.layers.append(bench.image)
    bench.qtbot.waitUntil(lambda: bench.session is not None)
    assert bench.session.labels is labels
    assert bench.session.record.slices_in(SliceState.ANNOTATED) == [8]


def test_a_hand_made_mask_is_taken_up_as_annotation(bench):
    mask = np.where(bench.truth, 1, 0)
    other = bench.viewer.add_labels(
        mask, name="by hand", scale=bench.image.scale, translate=bench.image.translate
    )
    with_labels = [int(i) for i in np.flatnonzero(mask.any(axis=(1, 2)))]
    bench.annotator.choose([bench.image], labels=other)
    assert bench.session.record.slices_in(SliceState.ANNOTATED) == with_labels
    assert f"{len(with_labels)} slices" in bench.widget.message.text
    bench.train()
    np.testing.assert_array_equal(other.data[with_labels], mask[with_labels])


def test_a_stroke_across_slices_makes_them_partial_and_says_so(bench):
    labels = bench.session.labels
    labels.n_edit_dimensions = 3
    labels.brush_size = 6
    labels.paint((8, 24, 20), 1)
    bench.qtbot.wait(10)
    assert bench.session.record.slices_in(SliceState.ANNOTATED) == []
    assert 8 in bench.session.record.slices_in(SliceState.PARTIAL)
    assert "crossed" in bench.widget.message.text


def test_undo_of_a_slice_that_is_not_on_screen_is_noticed(bench):
    bench.paint(8)
    bench.session.segmentation.go_to(2)
    bench.session.labels.undo()
    bench.qtbot.waitUntil(lambda: bench.session.record.state(8) is SliceState.EMPTY)


def test_reset_can_be_undone(bench):
    bench.paint(8)
    bench.session.segmentation.go_to(8)
    bench.qtbot.waitUntil(bench.widget.paint.reset.isEnabled)
    bench.widget.paint.reset.click()
    assert bench.session.record.state(8) is SliceState.EMPTY
    assert not bench.session.labels.data[8].any()
    bench.session.labels.undo()
    np.testing.assert_array_equal(bench.session.labels.data[8] == 1, bench.truth[8])
    assert bench.session.record.state(8) is SliceState.ANNOTATED


def test_resetting_a_slice_of_a_hidden_mask_can_be_undone(bench):
    bench.paint(8)
    bench.session.segmentation.go_to(2)
    bench.session.labels.visible = False
    bench.session.segmentation.go_to(8)
    bench.session.reset(8)
    assert bench.session.record.state(8) is SliceState.EMPTY
    assert not bench.session.labels.data[8].any()
    bench.session.labels.visible = True
    bench.session.labels.undo()
    np.testing.assert_array_equal(bench.session.labels.data[8] == 1, bench.truth[8])
    assert bench.session.record.state(8) is SliceState.ANNOTATED


def test_a_reset_that_napari_cannot_draw_leaves_no_empty_slice_to_learn_from(bench, monkeypatch):
    def broken():
        raise IndexError("index 15 is out of bounds for axis 0 with size 1")

    bench.paint(8)
    bench.paint(5)
    monkeypatch.setattr(bench.session.labels, "_partial_labels_refresh", broken)
    with pytest.raises(IndexError):
        bench.session.reset(8)
    assert not bench.session.labels.data[8].any()
    assert [s.index for s in bench.session.progress.training_slices(1)] == [5]


@pytest.mark.slow
def test_a_structure_can_be_renamed_and_added_after_training(bench):
    bench.paint(8)
    bench.train()
    bench.annotator.change_structure(1, replace(bench.session.structures[0], name="Rim"))
    bench.annotator.add_structure()
    other = np.zeros(bench.truth.shape[1:], bool)
    other[4:9, 4:9] = True
    bench.widget.result.segment.click()
    assert "Structure 2" in bench.widget.message.text
    bench.paint(8, 2, other)
    bench.train()
    assert bench.session.models.present.card.class_names == ("Rim", "Structure 2")


def test_a_new_label_during_training_joins_the_next_one(bench):
    bench.annotator.config = FOREVER
    bench.paint(8)
    bench.widget.train.start.click()
    bench.wait_for_step()
    other = np.zeros(bench.truth.shape[1:], bool)
    other[4:9, 4:9] = True
    bench.paint(5, 2, other)
    assert "next training" in bench.widget.message.text
    bench.qtbot.wait(300)
    bench.wait_for_step()
    bench.annotator.stop()
    bench.wait_for_job()
    assert bench.session.models.present.card.class_names == ("Structure 1",)


@pytest.mark.window
def test_closing_the_dock_while_training_keeps_the_round(bench):
    bench.annotator.config = FOREVER
    bench.paint(8)
    bench.widget.train.start.click()
    bench.wait_for_step()
    bench.viewer.window.remove_dock_widget(bench.widget)
    _, again = bench.viewer.window.add_plugin_dock_widget("napari-unet-mri", "U-Net annotator")
    assert again.annotator.session.models.present is not None
    again.disconnect_viewer()


@pytest.mark.window
def test_a_second_annotator_leaves_the_first_ones_layer_alone(bench):
    bench.paint(8)
    _, second = bench.viewer.window.add_plugin_dock_widget("napari-unet-mri", "U-Net annotator")
    if second is not bench.widget:
        assert second.annotator.session is None
        assert "another U-Net annotator" in second.message.text
        second.disconnect_viewer()


def test_labels_of_another_type_go_on_as_before(bench):
    bench.paint(8)
    bench.session.labels.data = bench.session.labels.data.astype(np.int32)
    assert bench.session.labels.data.dtype == np.uint8
    bench.paint(5)
    assert bench.session.record.slices_in(SliceState.ANNOTATED) == [5, 8]


def test_a_changed_image_is_looked_at_again(bench):
    bench.paint(8)
    bench.train()
    bench.image.data = np.full(bench.image.data.shape, 7.0, np.float32)
    bench.widget.train.start.click()
    bench.wait_for_job()
    assert bench.widget.message.failed


def test_selecting_another_segmentation_layer_switches_the_scan(bench):
    first = bench.session
    other = bench.viewer.add_image(bench.image.data + 1, name="scan 2", scale=bench.image.scale)
    bench.annotator.choose([other])
    bench.viewer.layers.selection.active = first.labels
    assert bench.session is first


def test_a_deleted_segmentation_layer_comes_back_with_its_strokes(bench):
    other = bench.viewer.add_image(bench.image.data + 1, name="scan 2", scale=bench.image.scale)
    bench.annotator.choose([other])
    bench.annotator.choose([bench.image])
    bench.paint(8)
    first = bench.session
    bench.viewer.layers.selection = {first.labels}
    bench.viewer.layers.remove_selected()  # napari selects the other Segmentation layer now
    assert bench.session is first
    assert "your strokes are kept" in bench.widget.message.text
    bench.annotator.choose([other])
    bench.annotator.choose([bench.image])
    assert bench.session is first
    assert first.labels in bench.viewer.layers
    np.testing.assert_array_equal(first.labels.data[8] == 1, bench.truth[8])


def test_models_of_other_sequences_are_kept(bench):
    bench.paint(8)
    bench.train()
    model = bench.session.models.present
    second = bench.viewer.add_image(
        bench.image.data,
        scale=bench.image.scale,
        translate=bench.image.translate,
        units=bench.image.units,
    )
    bench.annotator.choose([bench.image, second])
    assert bench.session.models.present is None
    bench.annotator.choose([bench.image])
    assert bench.session.models.present is model


def test_the_background_brush_ends_with_its_slice(bench):
    bench.session.segmentation.go_to(4)
    bench.widget.paint.partial.click()
    bench.annotator.pick_structure(BACKGROUND_BRUSH)
    assert bench.session.labels.selected_label == BACKGROUND_BRUSH
    bench.session.segmentation.go_to(5)
    bench.qtbot.waitUntil(lambda: bench.session.labels.selected_label == 1)


def test_what_lies_outside_the_scan_cannot_be_accepted(bench):
    bench.viewer.add_image(
        np.zeros((60, 48, 40)), name="larger", scale=bench.image.scale, units=bench.image.units
    )
    bench.viewer.dims.set_point(0, 100.0)
    bench.widget.try_to(bench.annotator.accept_slice)
    assert bench.widget.message.failed
    assert bench.session.record.slices_in(SliceState.ANNOTATED) == []


@pytest.mark.window
def test_the_widget_may_be_opened_before_the_sample(bench):
    viewer = bench.viewer
    viewer.layers.clear()
    bench.qtbot.wait(20)
    viewer.open_sample("napari-unet-mri", "brain_metastases_annotated")
    bench.qtbot.waitUntil(lambda: bench.session is not None)
    assert len(bench.session.record.slices_in(SliceState.ANNOTATED)) == 5
    assert bench.session.class_names == ("Metastasis",)


def drag(bench, steps: int = 6) -> None:
    """Draw with the real mouse in the middle of the canvas."""
    canvas = bench.viewer.window._qt_viewer.canvas.native
    middle = QPoint(canvas.width() // 2, canvas.height() // 2)
    QTest.mouseMove(canvas, middle)
    QTest.mousePress(canvas, Qt.MouseButton.LeftButton, pos=middle)
    for step in range(steps):
        QTest.mouseMove(canvas, middle + QPoint(3 * step, 0))
        bench.qtbot.wait(20)
    QTest.mouseRelease(canvas, Qt.MouseButton.LeftButton, pos=middle + QPoint(3 * steps, 0))
    bench.qtbot.wait(50)


@pytest.mark.window
def test_a_stroke_with_the_mouse_annotates_its_slice_and_a_second_says_it_changed_nothing(bench):
    bench.viewer.show()
    bench.session.segmentation.go_to(5)
    bench.session.segmentation.write_prediction(5, np.ones(bench.truth.shape[1:], np.uint8))
    drag(bench)
    assert bench.session.record.state(5) is SliceState.PREDICTED
    assert "Nothing changed" in bench.widget.message.text
    bench.session.segmentation.go_to(6)
    drag(bench)
    assert bench.session.record.state(6) is SliceState.ANNOTATED
    assert bench.session.labels.data[6].any()


def test_predictions_wait_for_the_end_of_a_stroke(bench):
    segmentation = bench.session.segmentation
    predicted = np.ones(bench.truth.shape[1:], np.uint8)
    segmentation.drawing = True
    bench.session.labels.data[7, 3, 3] = 1
    segmentation.write_prediction(7, predicted)
    assert bench.session.labels.data[7].sum() == 1
    segmentation._stroke_over()
    assert bench.session.record.state(7) is SliceState.ANNOTATED
    assert bench.session.labels.data[7].sum() == 1


def test_what_was_known_of_a_scan_is_let_go_of_when_its_layers_are_closed(bench):
    bench.paint(8)
    first, labels = weakref.ref(bench.session), bench.session.labels
    other = bench.viewer.add_image(bench.image.data + 1, name="scan 2", scale=bench.image.scale)
    bench.annotator.choose([other])
    gc.collect()
    assert first() is not None
    for layer in (bench.image, labels):
        bench.viewer.layers.remove(layer)
    bench.qtbot.wait(1)
    gc.collect()
    assert first() is None
    assert bench.session.images == (other,)


def test_another_scan_on_the_same_grid_never_takes_up_the_annotation(bench):
    bench.paint(8)
    other = bench.viewer.add_image(
        bench.image.data + 1,
        name="next patient",
        scale=bench.image.scale,
        translate=bench.image.translate,
        units=bench.image.units,
    )
    bench.viewer.layers.remove(bench.image)
    bench.qtbot.wait(20)
    assert bench.session is None
    assert "was removed" in bench.widget.message.text
    bench.annotator.choose([other])
    assert not bench.session.labels.data.any()


@pytest.mark.slow
def test_a_slice_that_was_ever_trained_on_is_no_test(bench):
    bench.paint(8)
    bench.paint(5)
    bench.train()
    bench.session.segmentation.go_to(5)
    bench.annotator.reset_slice()
    bench.train()
    bench.annotator.accept_slice()
    assert bench.session.record.state(5) is SliceState.ANNOTATED
    assert bench.session.progress.score() is None


def test_an_undone_stroke_is_not_learned(bench):
    bench.paint(8)
    bench.paint(5)
    assert len(bench.session.progress.training_slices(1)) == 2
    bench.session.segmentation.go_to(2)
    bench.session.labels.undo()
    bench.annotator.next_slice()
    assert [s.index for s in bench.session.progress.training_slices(1)] == [8]


def test_undoing_a_stroke_across_slices_leaves_nothing(bench):
    labels = bench.session.labels
    labels.n_edit_dimensions = 3
    labels.brush_size = 6
    labels.paint((8, 24, 20), 1)
    labels.undo()
    bench.session.record.sync()
    assert set(bench.session.record.states()) == {SliceState.EMPTY}


def test_undoing_a_reset_gives_a_partial_slice_back_as_it_was(bench):
    bench.session.segmentation.go_to(4)
    bench.annotator.set_partial(True)
    bench.paint(4, 1)
    bench.session.segmentation.write_prediction(4, np.ones(bench.truth.shape[1:], np.uint8))
    truth = bench.session.record.truth(4)
    bench.annotator.reset_slice()
    assert bench.session.record.state(4) is SliceState.PREDICTED
    bench.session.labels.undo()
    assert bench.session.record.state(4) is SliceState.PARTIAL
    np.testing.assert_array_equal(bench.session.record.truth(4), truth)


def test_255_in_a_mask_means_not_annotated(bench):
    mask = np.zeros(bench.truth.shape, np.uint8)
    mask[8] = np.where(bench.truth[8], 1, 0)
    mask[8, :5] = 255
    other = bench.viewer.add_labels(
        mask, name="by hand", scale=bench.image.scale, translate=bench.image.translate
    )
    bench.annotator.choose([bench.image], labels=other)
    assert bench.session.record.state(8) is SliceState.PARTIAL
    truth = bench.session.record.truth(8)
    assert (truth[:5] == 255).all()
    np.testing.assert_array_equal(truth[5:] == 1, bench.truth[8][5:])
    assert not (bench.session.record.mask() == 255).any()
    assert (mask[8, :5] == 255).all(), "somebody's own array is left alone"


def test_a_mask_that_is_all_not_annotated_is_refused(bench):
    mask = np.where(bench.truth, 255, 0).astype(np.uint8)
    before = bench.session
    other = bench.viewer.add_labels(
        mask, name="theirs", scale=bench.image.scale, translate=bench.image.translate
    )
    with pytest.raises(VolumeError, match="“not annotated”"):
        bench.annotator.choose([bench.image], labels=other)
    np.testing.assert_array_equal(other.data, mask)
    assert bench.session is before


def test_a_structure_of_the_value_of_a_brush_stays_a_structure(bench):
    mask = np.where(bench.truth, 254, 0).astype(np.uint8)
    other = bench.viewer.add_labels(
        mask, name="theirs", scale=bench.image.scale, translate=bench.image.translate
    )
    bench.annotator.choose([bench.image], labels=other)
    np.testing.assert_array_equal(bench.session.record.mask() == 1, bench.truth)
    assert [s.value for s in bench.session.structures] == [254]
