import numpy as np
import pytest

from napari_unet.annotation.error_estimate import ErrorEstimate
from napari_unet.annotation.record import AnnotationRecord
from napari_unet.annotation.scoring import USUAL_RATIO, Overlap, estimate, slice_overlap
from napari_unet.annotation.states import SliceState
from napari_unet.annotation.suggestion import suggest

P, A = SliceState.PREDICTED, SliceState.ANNOTATED


def record_with(predicted: np.ndarray, corrected: np.ndarray) -> AnnotationRecord:
    record = AnnotationRecord(np.zeros((2, 4, 4), np.uint8), 0)
    record.write_prediction(0, predicted, ErrorEstimate.of(predicted, np.ones(2), np.ones(2)))
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


def expectations(*areas_and_errors: tuple[int, float]) -> list[ErrorEstimate]:
    """Each prediction of label 1: its pixels, and how many of them it expects to be wrong."""
    said = []
    for area, errors in areas_and_errors:
        half = np.array([0, errors / 2, 0], np.float32)
        said.append(ErrorEstimate(np.array([0, area, 0], np.float32), half, half))
    return said


def test_a_prediction_is_as_good_elsewhere_as_it_expects_and_corrections_bear_out():
    corrected = [one(80, 200, 100)] * 50  # 40 errors on each
    for expected in (20, 10):  # twice, and four times as many as expected
        found = estimate(
            corrected, expectations((100, expected)) * 50, expectations((100, 5), (0, 0))
        )
        observed = 40 / expected
        ratio = (50 * 40 + USUAL_RATIO * 8 * 5) / (50 * expected + 8 * 5)
        assert found.dice == pytest.approx(1 - ratio * 5 / 200)
        assert found.dice == pytest.approx(1 - observed * 5 / 200, abs=0.01)
    assert (found.lowest, found.highest, found.n_slices) == (0.8, 0.8, 50)


def test_one_slice_that_surprised_an_early_model_does_not_decide_the_score():
    corrected = [one(0, 200, 100), one(95, 200, 100)]
    found = estimate(corrected, expectations((100, 4), (100, 4)), expectations(*[(100, 4)] * 20))
    assert found.dice > 0.75
    assert (found.lowest, found.highest) == (0.0, 0.95)


def test_hard_slices_do_not_make_the_score_of_easy_ones_worse():
    corrected = [one(50, 200, 100)] * 8  # errors on half of them, as foreseen
    foreseen = expectations((100, 100 / USUAL_RATIO)) * 8
    assert estimate(corrected, foreseen, expectations((100, 2), (100, 2))).dice > 0.96


def test_structures_count_alike_however_small():
    excess = np.array([0, 0, 10 / USUAL_RATIO], np.float32)
    ahead = ErrorEstimate(np.array([0, 1000, 10], np.float32), excess, np.zeros(3, np.float32))
    foreseen = expectations((100, 40 / USUAL_RATIO)) * 2
    found = estimate([one(80, 200, 100)] * 2, foreseen, [ahead])
    assert found.dice == pytest.approx((1 + 1 - 10 / (20 - 10 / USUAL_RATIO)) / 2)


def test_a_structure_added_since_is_not_held_against_the_model():
    foreseen = expectations((100, 10)) * 2
    for each in foreseen:
        each.excess[2] = each.missing[2] = np.nan
    new = Overlap(np.array([900, 90, 0]), np.array([0, 200, 50]), np.array([0, 100, 50]))
    before = estimate([one(90, 200, 100)] * 2, foreseen, foreseen)
    assert estimate([new] * 2, foreseen, foreseen).dice == before.dice


def test_a_structure_missed_wherever_it_was_corrected_counts_as_missed_elsewhere():
    foreseen = expectations((100, 10)) * 2
    missed = Overlap(np.array([900, 90, 0]), np.array([0, 200, 50]), np.array([0, 100, 50]))
    assert estimate([missed] * 2, foreseen, foreseen).dice < 0.5
    found = Overlap(np.array([900, 90, 45]), np.array([0, 200, 95]), np.array([0, 100, 50]))
    assert estimate([found] * 2, foreseen, foreseen).dice > 0.8, "all of it is annotated"


def test_there_is_no_score_before_two_corrected_slices_show_a_structure():
    alarm, shown = one(0, 9, 0), one(5, 10, 5)
    foreseen, ahead = expectations((5, 1)) * 2, expectations((5, 1))
    assert estimate([], expectations(), ahead) is None
    assert estimate([alarm, shown], foreseen, ahead) is None
    assert estimate([shown, shown], foreseen, ahead) is not None
    assert estimate([shown, shown], foreseen, expectations()) is None, "nothing is left to judge"


def test_what_a_prediction_says_of_itself_is_counted_by_label():
    labels = np.array([[0, 1, 1], [2, 0, 0]], np.uint8)
    said = ErrorEstimate.of(labels, [0.5, 0.25, 0], [0, 0, 1.5])
    assert said.area[:4].tolist() == [3, 2, 1, 0]
    assert said.excess[:3].tolist() == [0.5, 0.25, 0]
    assert said.missing[:3].tolist() == [0, 0, 1.5]
    assert np.isnan(said.excess[3:]).all()


def areas(n: int, shown: dict[int, int]) -> np.ndarray:
    found = np.zeros(n, np.int64)
    found[list(shown)] = list(shown.values())
    return found


def states(n: int, *annotated: int) -> list[SliceState]:
    return [A if index in annotated else P for index in range(n)]


def test_without_predictions_the_widest_gap_between_painted_slices_is_next():
    found = suggest(states(30, 10, 12, 24), areas(30, {10: 9, 12: 9, 24: 9}))
    assert found.index == 18
    assert "far" in found.reason


def test_a_side_of_the_only_painted_slice_is_next():
    found = suggest(states(30, 10), areas(30, {10: 9}))
    assert found.index == 20
    assert "gap" in found.reason


def test_before_anything_is_painted_the_middle_or_the_largest_prediction_is_next():
    assert suggest(states(9), areas(9, {})).index == 4
    assert suggest(states(9), areas(9, {}), passed={4}).index in (3, 5)
    assert suggest(states(9), areas(9, {6: 50, 7: 40})).index == 6


def test_the_end_of_what_is_predicted_is_looked_at_before_gaps_that_are_narrower():
    shown = dict.fromkeys(range(8, 46), 50)
    annotated = [20, 28]
    found = []
    for _ in range(5):
        found.append(suggest(states(60, *annotated), areas(60, shown)).index)
        annotated.append(found[-1])
    assert found == [45, 8, 36, 14, 24]
    assert "real" in suggest(states(60, 20, 28), areas(60, shown)).reason


def test_a_speck_beyond_the_painted_slices_is_nothing_to_go_to():
    shown = {10: 90, 11: 90, 12: 90, 13: 90, 14: 90, 50: 1}
    assert suggest(states(60, 10, 14), areas(60, shown)).index == 12
    assert suggest(states(60, 10, 14), areas(60, shown | {50: 30})).index == 50


def test_an_accepted_empty_slice_settles_what_lies_beside_it():
    shown = dict.fromkeys(range(20, 41), 50) | {50: 40}
    assert suggest(states(60, 20, 30, 40), areas(60, shown)).index == 50
    assert suggest(states(60, 20, 30, 40, 51), areas(60, shown)).index in (25, 35)


def test_nothing_is_left_when_all_is_annotated():
    assert suggest([A] * 3, areas(3, {})) is None


def test_slices_passed_over_are_not_gone_back_to():
    shown = areas(60, dict.fromkeys(range(10, 51), 50))
    passed: list[int] = []
    while (found := suggest(states(60, 10, 40), shown, passed=passed)) is not None:
        passed.append(found.index)
    assert passed[:5] == [25, 50, 17, 32, 45]
    assert sorted(passed) == [index for index in range(60) if index not in (10, 40)]
