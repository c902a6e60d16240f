"""Interpolated labels are shown and saved, and nobody's truth."""

import numpy as np
import pytest

from napari_unet.annotation.error_estimate import ErrorEstimate
from napari_unet.annotation.record import AnnotationRecord
from napari_unet.annotation.saved_annotation import MaskSources
from napari_unet.annotation.scoring import slice_overlap
from napari_unet.annotation.states import IGNORE_LABEL, Origin, SliceState

SHAPE = (5, 8, 6)
STROKE = (slice(2, 3), slice(0, 2), slice(0, 3))


def square(value: int = 1) -> np.ndarray:
    plane = np.zeros(SHAPE[1:], np.uint8)
    plane[2:5, 2:5] = value
    return plane


def nothing() -> np.ndarray:
    return np.zeros(SHAPE[1:], np.uint8)


@pytest.fixture
def record() -> AnnotationRecord:
    """Slices 0 and 4 annotated."""
    labels = np.zeros(SHAPE, np.uint8)
    labels[[0, 4]] = square()
    return AnnotationRecord(labels, 0, annotated=[0, 4])


def fill(record: AnnotationRecord, value: int = 1) -> list[int]:
    return record.write_interpolation({index: square(value) for index in (1, 2, 3)})


def stroke(record: AnnotationRecord, value: int = 2) -> None:
    record.painted(STROKE, None, value)
    record.labels[STROKE] = value


def test_a_filled_slice_shows_its_labels_and_teaches_nothing(record):
    assert fill(record) == [1, 2, 3]
    np.testing.assert_array_equal(record.labels[2], square())
    assert record.state(2) is SliceState.EMPTY
    assert record.filled_slices() == [1, 2, 3]
    assert (record.truth(2) == IGNORE_LABEL).all()
    assert record.slices_in(SliceState.ANNOTATED, SliceState.PARTIAL) == [0, 4]
    assert record.sync() == []


@pytest.mark.parametrize("axis", [1, 2])
def test_slices_are_filled_along_every_axis(axis):
    labels = np.zeros(SHAPE, np.uint8)
    record = AnnotationRecord(labels, axis)
    plane = np.ones_like(np.moveaxis(labels, axis, 0)[2])
    record.write_interpolation({2: plane})
    assert np.moveaxis(labels, axis, 0).any(axis=(1, 2)).nonzero()[0].tolist() == [2]


def filled_fraction(record) -> float:
    sources = MaskSources.of(record)
    return sources.interpolated / max(1, sources.labelled)


def test_the_shares_tell_painted_and_filled_apart(record):
    fill(record)
    record.write_prediction(3, square())
    sources = MaskSources.of(record)
    assert sources.human / sources.labelled == pytest.approx(2 / 5)
    assert filled_fraction(record) == pytest.approx(2 / 5)
    assert (record.origin()[2][square() > 0] == Origin.INTERPOLATED).all()
    assert (record.origin()[3][square() > 0] == Origin.MODEL).all()
    record.accept(2)
    assert filled_fraction(record) == pytest.approx(1 / 5)
    assert not record.human_voxels()[1].any()


def test_a_prediction_takes_the_place_of_a_filling(record):
    fill(record)
    record.write_prediction(1, square(2))
    volume = np.zeros(SHAPE, np.uint8)
    np.testing.assert_array_equal(record.labels[1], square(2))
    assert record.filled_slices() == [2, 3]
    record.write_volume(volume)
    assert record.filled_slices() == []
    assert not record.labels[1:4].any()
    assert filled_fraction(record) == 0


def test_a_stroke_on_a_filled_slice_annotates_all_of_it(record):
    fill(record)
    stroke(record)
    assert record.state(2) is SliceState.ANNOTATED
    assert set(np.unique(record.truth(2))) == {0, 1, 2}
    assert not record.write_prediction(2, nothing())
    assert 2 not in fill(record, 2)
    assert record.labels[2, 3, 3] == 1


def test_undoing_that_stroke_brings_the_filling_back(record):
    fill(record)
    stroke(record)
    record.labels[STROKE] = 0
    record.sync()
    assert record.filled_slices() == [1, 2, 3]
    np.testing.assert_array_equal(record.labels[2], square())
    assert filled_fraction(record) == pytest.approx(3 / 5)


def test_a_reset_slice_shows_its_filling_again(record):
    fill(record)
    stroke(record)
    record.reset(2)
    np.testing.assert_array_equal(record.labels[2], square())
    assert record.filled_slices() == [1, 2, 3]
    assert (record.origin()[2][square() > 0] == Origin.INTERPOLATED).all()


def test_only_what_nobody_painted_is_filled_on_a_partial_slice(record):
    region = (slice(2, 3), slice(2, 4), slice(2, 5))
    record.painted(region, None, 3)
    record.labels[region] = 3
    record.set_partial(2, True)
    assert fill(record) == [1, 2, 3]
    assert record.state(2) is SliceState.PARTIAL
    assert record.labels[2, 2:5, 3].tolist() == [3, 3, 1]
    assert set(np.unique(record.truth(2))) == {3, IGNORE_LABEL}


def test_a_stroke_is_undone_also_after_what_lay_under_it_is_gone(record):
    fill(record)
    stroke_region = (slice(2, 3), slice(2, 5), slice(2, 5))
    record.painted(stroke_region, None, 2)
    record.labels[stroke_region] = 2
    record.set_partial(2, True)
    record.write_prediction(2, nothing())
    record.labels[stroke_region] = 1  # undo
    record.sync()
    assert not (record.origin()[2] == Origin.HUMAN).any()
    assert not record.labels[2].any()


def test_correcting_a_filling_says_nothing_about_the_model(record):
    fill(record)
    stroke(record)
    assert record.held_out_prediction(2) is None
    assert slice_overlap(record, 2) is None


def test_the_score_is_about_the_prediction_under_a_filling(record):
    record.write_prediction(2, square(2), ErrorEstimate.of(square(2), np.ones(3), np.ones(3)))
    fill(record)
    record.accept(2)
    np.testing.assert_array_equal(record.held_out_prediction(2), square(2))
    assert slice_overlap(record, 2).dice == 0


def test_removing_a_filling_shows_what_was_there_before(record):
    record.write_prediction(1, square(2))
    fill(record)
    record.accept(3)
    assert record.remove_interpolation() == [1, 2]
    np.testing.assert_array_equal(record.labels[1], square(2))
    assert not record.labels[2].any()
    np.testing.assert_array_equal(record.labels[3], square())
    assert record.states()[1:4] == [SliceState.PREDICTED, SliceState.EMPTY, SliceState.ANNOTATED]
    assert (record.origin()[1][square() > 0] == Origin.MODEL).all()


def test_filling_again_replaces_the_filling(record):
    fill(record)
    fill(record, 2)
    np.testing.assert_array_equal(record.labels[2], square(2))
    record.remove_interpolation()
    assert not record.labels[1:4].any()
