"""The steps of a layer keep in step with napari's own, without a window."""

import numpy as np
from napari.layers import Labels

from napari_unet.annotation.record import AnnotationRecord
from napari_unet.annotation.states import SliceState
from napari_unet.plugin.layers.undo_history import History, Step

OPINION = np.pad(np.ones((2, 2), np.uint8), 3)


def paint(record, at, value=1):
    """Announce a stroke of one voxel and make it; returns its step and the old label."""
    before, old = {at[0]: record.standing(at[0])}, record.labels[at]
    record.painted(tuple(np.array([along]) for along in at), None, value)
    record.labels[at] = value
    return Step(before, {at[0]: record.standing(at[0])}, stroke=True), old


def reset(record, index):
    """Give a slice back to the model, as the window does."""
    before, snapshot = {index: record.standing(index, voxels=True)}, record.snapshot(index)
    record.labels[index] = record.without_strokes(index)
    record.reset(index, snapshot)
    return Step(before, {index: record.standing(index, voxels=True)}, stroke=True, reset=snapshot)


def stroke_and_undo(record, at):
    step, old = paint(record, at)
    record.labels[at] = old
    step.take_back(record)


def test_a_stroke_undone_after_a_reset_that_was_repeated_leaves_no_truth():
    record = AnnotationRecord(np.zeros((5, 8, 8), np.uint8), 0)
    record.write_prediction(2, OPINION)
    paint(record, (2, 6, 6))
    painted = record.labels[2].copy()
    step = reset(record, 2)
    record.labels[2] = painted
    step.take_back(record)
    record.labels[2] = OPINION
    step.repeat(record)
    stroke_and_undo(record, (2, 0, 0))
    assert record.state(2) is SliceState.PREDICTED
    assert not record.human_voxels().any()
    np.testing.assert_array_equal(record.labels[2], OPINION)


def test_a_stroke_undone_after_a_reset_that_changed_no_label_leaves_no_truth():
    record = AnnotationRecord(np.zeros((5, 8, 8), np.uint8), 0)
    record.write_prediction(2, OPINION)
    record.painted((np.array([2]), np.array([3]), np.array([3])), None, 1)
    assert record.state(2) is SliceState.ANNOTATED
    reset(record, 2)
    stroke_and_undo(record, (2, 0, 0))
    assert record.state(2) is SliceState.PREDICTED
    assert not record.human_voxels().any()


def test_strokes_that_napari_has_forgotten_are_no_steps_to_repeat():
    layer = Labels(np.zeros((1, 130), np.uint8))
    replayed = []

    def replay(step, back):
        replayed.append(step)
        return [0]

    history = History(layer, replay)
    steps = []
    for column in range(130):
        layer.data_setitem((np.array([0]), np.array([column])), 1)
        steps.append(Step(after={column: None}, stroke=True))
        history.add(steps[-1])
    for _ in range(130):
        layer.undo()
    assert layer.data.sum() == 30
    for column in range(30, 130):
        replayed.clear()
        layer.redo()
        assert layer.data[0, column]
        assert replayed == [steps[column]]
