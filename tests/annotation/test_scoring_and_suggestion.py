import numpy as np
import pytest

from napari_unet.annotation.record import AnnotationRecord
from napari_unet.annotation.scoring import Overlap, slice_overlap, summarise
from napari_unet.annotation.states import SliceState
from napari_unet.annotation.suggestion import Evidence, suggest

E, P, A = SliceState.EMPTY, SliceState.PREDICTED, SliceState.ANNOTATED


def record_with(predicted: np.ndarray, corrected: np.ndarray) -> AnnotationRecord:
    record = AnnotationRecord(np.zeros((2, 4, 4), np.uint8), 0)
    record.write_prediction(0, predicted, held_out=True)
    record.labels[0] = corrected
    record.sync()
    record.accept(0)
    return record


def test_no_score_before_a_prediction_was_corrected():
    assert slice_overlap(AnnotationRecord(np.zeros((2, 4, 4), np.uint8), 0), 0) is None
    assert summarise([]) is None


def test_the_score_is_the_dice_of_prediction_and_correction():
    predicted, corrected = np.zeros((2, 4, 4), np.uint8)
    predicted[0, :2] = 1
    corrected[0, :4] = 1
    assert slice_overlap(record_with(predicted, corrected), 0).dice == pytest.approx(
        2 * 2 / (2 + 4)
    )


def test_a_false_alarm_counts_as_zero_and_agreeing_on_nothing_does_not_count():
    nothing, alarm = np.zeros((2, 4, 4), np.uint8)
    alarm[1, 1] = 1
    assert slice_overlap(record_with(alarm, nothing), 0).dice == 0
    assert slice_overlap(record_with(nothing, nothing), 0) is None


def test_the_summary_counts_pixels_of_all_slices_together_and_tells_the_range():
    small = Overlap(both=np.array([0, 1]), total=np.array([0, 4]), true=np.array([0, 2]))
    large = Overlap(both=np.array([0, 30]), total=np.array([0, 60]), true=np.array([0, 30]))
    found = summarise([small, large])
    assert found.dice == pytest.approx(2 * 31 / 64)
    assert (found.lowest, found.highest, found.n_slices) == (0.5, 1.0, 2)


def test_there_is_no_score_before_two_corrected_slices_show_each_structure():
    alarm = Overlap(both=np.array([0, 0, 0]), total=np.array([0, 9, 0]), true=np.array([0, 0, 0]))
    first = Overlap(both=np.array([0, 5, 0]), total=np.array([0, 10, 0]), true=np.array([0, 5, 0]))
    second = Overlap(both=np.array([0, 5, 4]), total=np.array([0, 10, 8]), true=np.array([0, 5, 4]))
    assert summarise([alarm]) is None
    assert summarise([alarm, first]) is None
    assert summarise([alarm, first, first]).dice == pytest.approx(2 * 10 / 29)
    assert summarise([first, second]) is None  # a single slice shows the other structure
    assert summarise([first, second, second]).dice == pytest.approx(1)


def evidence(n: int, doubt: dict[int, float], area: dict[int, int]) -> Evidence:
    e, a = np.zeros(n), np.zeros(n, np.int64)
    for index, value in doubt.items():
        e[index] = value
    for index, value in area.items():
        a[index] = value
    return Evidence(e, a, (a > 0).astype(np.int64))


def test_without_predictions_the_widest_gap_inside_is_next():
    states = [E] * 30
    for index in (10, 12, 24):
        states[index] = A
    found = suggest(states, None, spacing_mm=1, empty=[])
    assert found.index == 18
    assert "gap" in found.reason


def test_the_slice_with_the_most_doubtful_edge_is_next():
    states = [P] * 30
    for index in (0, 4, 24, 29):
        states[index] = A
    doubt = evidence(30, {5: 60.0, 15: 50.0}, {5: 90, 15: 80})
    found = suggest(states, doubt, spacing_mm=2, empty=[0, 29], class_names=["Tumour"])
    assert found.index == 15, "slice 5 is next to an annotated one"
    assert found.reason == "uncertain tumour edge"


def test_structures_far_beyond_the_painted_slices_come_first():
    states = [P] * 60
    states[10] = states[14] = A
    doubt = evidence(60, {12: 90.0, 50: 5.0}, {12: 9, 50: 40})
    found = suggest(states, doubt, spacing_mm=1, empty=[])
    assert found.index == 50
    assert "beyond" in found.reason


@pytest.mark.parametrize(("empty", "side"), [(5, "above"), (55, "below")])
def test_an_empty_slice_is_asked_for_on_the_side_that_has_none(empty, side):
    states = [P] * 60
    for index in (28, 32, empty):
        states[index] = A
    doubt = evidence(60, {30: 90.0}, {30: 9})
    found = suggest(states, doubt, spacing_mm=1, empty=[empty])
    assert "empty" in found.reason
    assert found.index == (52 if side == "above" else 8)


def test_a_certain_model_sends_to_the_widest_gap():
    states = [P] * 31
    for index in (0, 8, 22, 30):
        states[index] = A
    found = suggest(states, evidence(31, {}, {9: 3}), spacing_mm=1, empty=[0, 30])
    assert found.index == 15


def test_nothing_is_left_when_all_is_annotated():
    assert suggest([A] * 3, None, spacing_mm=1, empty=[]) is None


def test_asking_again_leaves_the_slice():
    states = [P] * 30
    for index in (0, 2, 29):
        states[index] = A
    doubt = evidence(30, {12: 60.0, 20: 50.0}, {12: 90, 20: 80})
    first = suggest(states, doubt, spacing_mm=2, empty=[0, 29])
    again = suggest(states, doubt, spacing_mm=2, empty=[0, 29], skip=first.index)
    assert (first.index, again.index) == (12, 20)
