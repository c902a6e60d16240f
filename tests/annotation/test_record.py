"""Truth is derived from the arrays, however an edit was made."""

import numpy as np
import pytest

from napari_unet.annotation.error_estimate import ErrorEstimate
from napari_unet.annotation.record import AnnotationRecord
from napari_unet.annotation.saved_annotation import MaskSources, SavedAnnotation
from napari_unet.annotation.states import BACKGROUND_BRUSH, IGNORE_LABEL, Origin, SliceState
from napari_unet.errors import AnnotationError

SHAPE = (5, 8, 6)


@pytest.fixture
def record() -> AnnotationRecord:
    return AnnotationRecord(np.zeros(SHAPE, np.uint8), axis=0)


def predicted(value: int = 1) -> np.ndarray:
    plane = np.zeros(SHAPE[1:], np.uint8)
    plane[2:5, 2:5] = value
    return plane


def stroke(record: AnnotationRecord, index: int, value: int, rows: slice = slice(0, 2)) -> None:
    """Paint announced, as napari does: the news before the pixels."""
    region = (slice(index, index + 1), rows, slice(0, 3))
    record.painted(region, None, value)
    record.labels[region] = value


def test_everything_starts_empty(record):
    assert set(record.states()) == {SliceState.EMPTY}
    assert (record.truth(0) == IGNORE_LABEL).all()


def test_a_stroke_annotates_its_slice(record):
    stroke(record, 3, 1)
    assert record.slices_in(SliceState.ANNOTATED) == [3]


@pytest.mark.parametrize(("axis", "touched"), [(1, [0, 1]), (2, [0, 1, 2])])
def test_a_stroke_across_slices_makes_them_partial(axis, touched):
    record = AnnotationRecord(np.zeros(SHAPE, np.uint8), axis)
    stroke(record, 3, 1)
    assert record.slices_in(SliceState.PARTIAL) == touched
    assert record.slices_in(SliceState.ANNOTATED) == []


def test_an_annotated_slice_made_partial_keeps_its_structures(record):
    labels = np.zeros(SHAPE, np.uint8)
    labels[2] = predicted()
    record = AnnotationRecord(labels, 0, annotated=[2, 3])
    for index in (2, 3):
        record.set_partial(index, True)
    assert (record.truth(2) == 1).sum() == 9
    assert record.write_prediction(2, np.zeros(SHAPE[1:], np.uint8))
    assert (record.labels[2] == 1).sum() == 9
    for index in (2, 3):
        record.set_partial(index, False)
        assert record.state(index) is SliceState.ANNOTATED


def test_undoing_the_stroke_of_an_accepted_slice_takes_the_acceptance_back(record):
    stroke(record, 1, 1)
    record.accept(1)
    record.labels[1] = 0
    record.sync()
    assert record.state(1) is SliceState.EMPTY


def test_unpainted_voxels_of_an_annotated_slice_are_background(record):
    stroke(record, 1, 2)
    assert set(np.unique(record.truth(1))) == {0, 2}


def test_an_unannounced_edit_counts_as_human(record):
    record.labels[2, 4, 4] = 1
    assert record.sync() == [2]
    assert record.state(2) is SliceState.ANNOTATED


def test_a_half_finished_stroke_is_not_overwritten_by_a_prediction(record):
    record.labels[2, 0, 0] = 1
    assert not record.write_prediction(2, predicted())
    assert record.labels[2].sum() == 1


def test_undoing_the_only_stroke_gives_the_slice_back_to_the_model(record):
    record.write_prediction(1, predicted())
    stroke(record, 1, 2)
    record.labels[1, 0:2, 0:3] = 0
    record.sync()
    assert record.state(1) is SliceState.PREDICTED
    assert record.write_prediction(1, predicted() * 0)


def test_undo_after_a_newer_prediction_shows_the_newer_one(record):
    record.write_prediction(1, predicted())
    region = (slice(1, 2), slice(2, 5), slice(2, 5))
    record.painted(region, None, 2)
    record.labels[region] = 2
    record.labels[region] = 1  # undo
    record.sync()
    record.write_prediction(1, predicted() * 0)
    record.labels[region] = 2  # redo
    record.sync()
    assert record.state(1) is SliceState.ANNOTATED
    record.labels[region] = 1  # undo again: what lay there once
    record.sync()
    assert record.state(1) is SliceState.PREDICTED
    assert not record.labels[1].any()


def test_undoing_a_stroke_over_an_erasure_keeps_the_erasure(record):
    record.write_prediction(1, predicted())
    region = (slice(1, 2), slice(2, 5), slice(2, 5))
    for value in (0, 2):
        record.painted(region, None, value)
        record.labels[region] = value
    record.labels[region] = 0  # undo of the second stroke
    record.sync()
    assert record.state(1) is SliceState.ANNOTATED
    assert not record.labels[1].any()


def test_an_accepted_slice_is_truth_and_never_overwritten(record):
    record.accept(4)
    assert (record.truth(4) == 0).all()
    assert not record.write_prediction(4, predicted())


def test_partial_slices_trust_only_painted_voxels_and_let_the_model_fill_in(record):
    record.set_partial(2, True)
    stroke(record, 2, BACKGROUND_BRUSH)
    truth = record.truth(2)
    assert (truth[0:2, 0:3] == 0).all()
    assert (truth == IGNORE_LABEL).sum() == truth.size - 6
    full = np.ones(SHAPE[1:], np.uint8)
    assert record.write_prediction(2, full)
    assert (record.labels[2, 0:2, 0:3] == BACKGROUND_BRUSH).all()
    assert record.mask()[2].sum() == full.size - 6


def test_a_partial_slice_with_a_prediction_keeps_the_strokes_when_undone(record):
    record.set_partial(2, True)
    record.write_prediction(2, predicted())
    stroke(record, 2, 1)
    record.labels[2, 0:2, 0:3] = 0
    record.sync()
    assert (record.truth(2) == IGNORE_LABEL).all()


def test_a_reset_returns_the_models_prediction(record):
    record.write_prediction(1, predicted())
    stroke(record, 1, 2)
    record.reset(1)
    np.testing.assert_array_equal(record.labels[1], predicted())
    assert record.state(1) is SliceState.PREDICTED


def test_only_predictions_of_unseen_slices_are_held_out(record):
    record.write_prediction(1, predicted(), ErrorEstimate.of(predicted(), np.ones(3), np.ones(3)))
    record.write_prediction(2, predicted())
    for index in (1, 2):
        stroke(record, index, 2)
    np.testing.assert_array_equal(record.held_out_prediction(1), predicted())
    assert record.held_out_prediction(2) is None


def test_origin_and_human_share_follow_the_states(record):
    record.write_prediction(0, predicted())
    record.write_prediction(1, predicted())
    record.accept(1)
    assert (record.origin()[0][predicted() > 0] == Origin.MODEL).all()
    assert (record.origin()[1] == Origin.HUMAN).all()
    sources = MaskSources.of(record)
    assert sources.human / sources.labelled == pytest.approx(0.5)


def test_the_sources_of_a_mask_name_slices_and_voxels_and_what_nobody_has_looked_at(record):
    stroke(record, 1, 2)
    assert str(MaskSources.of(record)) == (
        f"You painted or accepted 1 of {record.n_slices} slices: 6 of 6 labelled voxels. Nobody "
        f"has looked at the other {record.n_slices - 1} slices, of which none show a structure."
    )
    record.write_prediction(0, predicted())
    record.set_partial(1, True)
    told = str(MaskSources.of(record))
    assert told.startswith(f"You painted or accepted 0 of {record.n_slices} slices, and 1 in part")
    assert told.endswith("of which 1 shows a structure.")


def test_another_array_counts_as_human_edits_and_a_wrong_one_is_refused(record):
    fresh = record.labels.copy()
    fresh[3] = 1
    assert record.rebind(fresh) == [3]
    with pytest.raises(AnnotationError, match="kept"):
        record.rebind(np.zeros((2, 2, 2), np.uint8))
    assert record.labels is fresh


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_whole_volume_goes_wherever_no_person_decided(axis):
    record = AnnotationRecord(np.zeros(SHAPE, np.uint8), axis)
    record.accept(1)
    record.set_partial(3, True)
    record.labels[(*[slice(None)] * axis, 3)] = 2  # painted, but not announced
    record.write_volume(np.ones(SHAPE, np.uint8))
    stack = np.moveaxis(record.labels, axis, 0)
    assert [set(np.unique(plane)) for plane in stack[:4]] == [{1}, {0}, {1}, {2}]
    assert record.state(0) is SliceState.PREDICTED


def test_a_stroke_that_is_undone_leaves_nothing_to_save():
    labels = np.zeros((4, 8, 8), np.uint8)
    labels[1, 2:5, 2:5] = 1
    record = AnnotationRecord(labels, 0, [1])
    saved = SavedAnnotation(record)
    assert saved.unsaved() == []
    labels[2, 1, 1] = 1
    assert saved.unsaved() == [2]
    labels[2, 1, 1] = 0
    assert saved.unsaved() == []
    record.reset(1)
    assert saved.unsaved() == [1]
    saved.note()
    assert saved.unsaved() == []
