import numpy as np
import pytest

from napari_unet.annotation.record import AnnotationRecord
from napari_unet.annotation.scoring import USUAL_RATIO, Overlap, estimate, outlook, slice_overlap
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


def one(both: int, total: int, true: int) -> Overlap:
    return Overlap(*(np.array([900, n, 0]) for n in (both, total, true)))


def outlooks(*areas_and_errors: tuple[int, float]) -> np.ndarray:
    """Each prediction of label 1: its pixels, and how many of them it expects to be wrong."""
    found = np.zeros((len(areas_and_errors), 3, 3), np.float32)
    for position, (area, errors) in enumerate(areas_and_errors):
        found[position, :, 1] = area, errors / 2, errors / 2
    return found


def test_a_prediction_is_as_good_elsewhere_as_it_expects_and_corrections_bear_out():
    corrected = [one(80, 200, 100)] * 50  # 40 errors on each
    for expected in (20, 10):  # twice, and four times as many as expected
        found = estimate(
            corrected, outlooks((100, expected)).repeat(50, 0), outlooks((100, 5), (0, 0))
        )
        observed = 40 / expected
        ratio = (50 * 40 + USUAL_RATIO * 8 * 5) / (50 * expected + 8 * 5)
        assert found.dice == pytest.approx(1 - ratio * 5 / 200)
        assert found.dice == pytest.approx(1 - observed * 5 / 200, abs=0.01)
    assert (found.lowest, found.highest, found.n_slices) == (0.8, 0.8, 50)


def test_one_slice_that_surprised_an_early_model_does_not_decide_the_score():
    corrected = [one(0, 200, 100), one(95, 200, 100)]
    found = estimate(corrected, outlooks((100, 4), (100, 4)), outlooks(*[(100, 4)] * 20))
    assert found.dice > 0.75
    assert (found.lowest, found.highest) == (0.0, 0.95)


def test_hard_slices_do_not_make_the_score_of_easy_ones_worse():
    corrected = [one(50, 200, 100)] * 8  # errors on half of them, as foreseen
    foreseen = outlooks((100, 100 / USUAL_RATIO)).repeat(8, 0)
    assert estimate(corrected, foreseen, outlooks((100, 2), (100, 2))).dice > 0.96


def test_structures_count_alike_however_small():
    ahead = np.zeros((1, 3, 3), np.float32)
    ahead[0, 0] = 0, 1000, 10
    ahead[0, 1] = 0, 0, 10 / USUAL_RATIO
    foreseen = outlooks((100, 40 / USUAL_RATIO)).repeat(2, 0)
    found = estimate([one(80, 200, 100)] * 2, foreseen, ahead)
    assert found.dice == pytest.approx((1 + 1 - 10 / (20 - 10 / USUAL_RATIO)) / 2)


def test_there_is_no_score_before_two_corrected_slices_show_a_structure():
    alarm, shown = one(0, 9, 0), one(5, 10, 5)
    foreseen, ahead = outlooks((5, 1)).repeat(2, 0), outlooks((5, 1))
    assert estimate([], outlooks(), ahead) is None
    assert estimate([alarm, shown], foreseen, ahead) is None
    assert estimate([shown, shown], foreseen, ahead) is not None
    assert estimate([shown, shown], foreseen, outlooks()) is None, "nothing is left to judge"


def test_what_a_prediction_says_of_itself_is_counted_by_label():
    labels = np.array([[0, 1, 1], [2, 0, 0]], np.uint8)
    found = outlook(labels, np.array([[0.5, 0.25, 0], [0, 0, 1.5]], np.float32))
    assert found[0, :4].tolist() == [3, 2, 1, 0]
    assert found[1, :3].tolist() == [0.5, 0.25, 0]
    assert found[2, :3].tolist() == [0, 0, 1.5]


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
