"""Lesion metrics against drawings that can be worked out by hand."""

import math

import numpy as np
import pytest

from benchmarks.lesions.metrics import boundary_errors, circularity, compare_lesions, size_bin

SPACING = (3.0, 1.0, 1.0)


def blank() -> np.ndarray:
    return np.zeros((8, 24, 24), np.uint8)


def disc(radius: float, stretch: float = 1.0, size: int = 81) -> np.ndarray:
    y, x = np.ogrid[:size, :size]
    return np.hypot((y - size // 2) * stretch, x - size // 2) < radius


# -- finding -----------------------------------------------------------------------


def test_a_perfect_mask_finds_everything_without_error():
    truth = blank()
    truth[1:4, 2:8, 2:8], truth[5, 15:18, 15:18] = 1, 1
    found = compare_lesions(truth, truth, SPACING)
    assert (found.sensitivity, found.precision, found.f1) == (1, 1, 1)
    for each in found.lesions:
        assert (each.dice, each.volume_ratio, each.surface_dice) == (1, 1, 1)
        assert (each.assd_mm, each.hd95_mm) == (0, 0)


def test_two_of_three_lesions_and_one_false_alarm():
    truth, predicted = blank(), blank()
    truth[1, 2:6, 2:6], truth[1, 12:16, 2:6], truth[5, 2:4, 12:14] = 1, 1, 1
    predicted[1, 2:6, 2:6], predicted[1, 12:16, 4:6], predicted[6, 18:20, 18:20] = 1, 1, 1
    found = compare_lesions(truth, predicted, SPACING)
    assert [each.found for each in found.lesions] == [True, True, False]
    assert found.sensitivity == pytest.approx(2 / 3)
    assert (found.n_pieces, found.false_alarms) == (3, 1)
    assert found.f1 == pytest.approx(2 / 3)  # precision is 2/3 as well
    assert [each.dice for each in found.lesions] == pytest.approx([1, 2 / 3, 0])
    assert [each.volume_ratio for each in found.lesions] == [1, 0.5, 0]
    assert math.isnan(found.lesions[2].assd_mm)


def test_lesions_that_touch_by_a_corner_are_one():
    truth = blank()
    truth[1, 2, 2], truth[2, 3, 3] = 1, 1
    assert len(compare_lesions(truth, truth, SPACING).lesions) == 1


def test_a_tenth_of_a_lesion_finds_it_and_less_does_not():
    truth, predicted = blank(), blank()
    truth[2, 2:7, 2:8] = 1  # 30 voxels
    predicted[2, 2, 2:4] = 1
    assert not compare_lesions(truth, predicted, SPACING).lesions[0].found
    predicted[2, 2, 4] = 1
    assert compare_lesions(truth, predicted, SPACING).lesions[0].found


def test_a_flood_finds_all_lesions_and_is_a_false_alarm():
    truth = blank()
    truth[1, 2:4, 2:4], truth[5, 15:18, 15:18] = 1, 1
    found = compare_lesions(truth, np.ones_like(truth), SPACING)
    assert found.sensitivity == 1
    assert (found.n_pieces, found.false_alarms, found.f1) == (1, 1, 0)
    assert all(each.dice < 0.05 for each in found.lesions)


def test_one_piece_over_two_lesions_is_shared_out_by_distance():
    truth, predicted = blank(), blank()
    truth[2, 4:8, 2:6], truth[2, 4:8, 10:14] = 1, 1
    predicted[2, 4:8, 2:14] = 1  # the gap of four columns, two for each
    found = compare_lesions(truth, predicted, SPACING)
    assert [each.volume_ratio for each in found.lesions] == [1.5, 1.5]
    assert [each.dice for each in found.lesions] == pytest.approx([2 * 16 / 40] * 2)


def test_distance_is_in_millimetres_not_voxels():
    """Two slices (6 mm) away from the one, four columns (4 mm) from the other."""
    truth, predicted = blank(), blank()
    truth[1, 4, 4], truth[3, 4, 8] = 1, 1
    predicted[1, 4, 4], predicted[3, 4, 4:9] = 1, 1
    predicted[2, 4, 4] = 1
    found = compare_lesions(truth, predicted, SPACING)
    # (2, 4, 4): 3 mm from the first, 5 from the second; (3, 4, 4): 6 from the first, 4.
    assert [each.volume_ratio for each in found.lesions] == [2, 5]


def test_without_lesions_every_piece_is_a_false_alarm_and_nothing_at_all_is_no_number():
    predicted = blank()
    predicted[2, 2:4, 2:4] = 1
    found = compare_lesions(blank(), predicted, SPACING)
    assert (found.false_alarms, found.f1) == (1, 0)
    assert math.isnan(compare_lesions(blank(), blank(), SPACING).f1)
    assert compare_lesions(predicted, blank(), SPACING).f1 == 0


# -- size --------------------------------------------------------------------------


def test_the_diameter_is_that_of_a_ball_of_the_same_volume_in_millimetres():
    truth = blank()
    truth[2:4, 2:6, 2:6] = 1  # 32 voxels of 3 mm3
    (lesion,) = compare_lesions(truth, truth, SPACING).lesions
    assert lesion.diameter_mm == pytest.approx((6 * 96 / math.pi) ** (1 / 3))
    assert size_bin(lesion.diameter_mm) == "5-10 mm"
    assert [size_bin(mm) for mm in (2.9, 3, 10, 20)] == [
        "0-3 mm", "3-5 mm", "10-20 mm", "over 20 mm",
    ]  # fmt: skip


# -- boundary ----------------------------------------------------------------------


def test_a_plate_moved_by_one_slice_is_off_by_its_thickness_everywhere():
    a, b = blank().astype(bool), blank().astype(bool)
    a[2, 4:10, 4:10], b[3, 4:10, 4:10] = True, True
    assert boundary_errors(a, b, SPACING) == (3, 3, 0)
    assert boundary_errors(a, b, (1.0, 1.0, 1.0)) == (1, 1, 1)  # within the tolerance


def test_a_row_with_one_voxel_too_much_is_off_at_that_voxel_only():
    a, b = blank().astype(bool), blank().astype(bool)
    a[2, 4, 4:8], b[2, 4, 4:9] = True, True  # surfaces of 4 and 5 voxels; one is 2 mm off
    assd, hd95, surface_dice = boundary_errors(a, b, (3.0, 1.0, 2.0))
    assert assd == pytest.approx(2 / 9)
    assert surface_dice == pytest.approx(8 / 9)
    assert hd95 == pytest.approx(np.percentile([0, 0, 0, 0, 2], 95))


def test_a_cube_in_a_cube_is_off_by_the_distance_of_their_surfaces():
    a, b = np.zeros((2, 9, 9, 9), bool)
    a[2:7, 2:7, 2:7], b[3:6, 3:6, 3:6] = True, True
    _, hd95, _ = boundary_errors(a, b, (1.0, 1.0, 1.0))
    assert hd95 == pytest.approx(math.sqrt(3), abs=0.35)  # the corners; faces are 1 mm off
    assert boundary_errors(a, b, (1.0, 1.0, 1.0)) == boundary_errors(b, a, (1.0, 1.0, 1.0))


# -- circularity -------------------------------------------------------------------


def test_a_disc_has_circularity_one_whatever_the_shape_of_its_pixels():
    assert circularity(disc(30), (1.0, 1.0)) == pytest.approx(1, abs=0.02)
    assert circularity(disc(30, stretch=2), (2.0, 1.0)) == pytest.approx(1, abs=0.03)
    assert circularity(disc(30, stretch=2), (1.0, 1.0)) < 0.9  # an ellipse of 2 to 1


def test_two_discs_side_by_side_are_half_as_circular():
    """Twice the area and twice the perimeter of a disc: 4 pi 2A / (2P)^2."""
    both = np.hstack([disc(30), disc(30)])
    assert circularity(both, (1.0, 1.0)) == pytest.approx(0.5, abs=0.02)


def test_outlines_are_paired_slice_by_slice_without_holes_and_without_specks():
    truth, predicted = np.zeros((2, 4, 40, 40), np.uint8)
    y, x = np.ogrid[:40, :40]
    ball = np.hypot(y - 20, x - 20)
    truth[1:3] = (ball < 12) & (ball > 5)  # the dark core left out
    predicted[1] = ball < 8
    predicted[2, 20, 20:28] = 1  # too small
    (outline,) = compare_lesions(truth, predicted, (2.0, 1.0, 1.0)).outlines
    assert (outline.lesion, outline.index) == (1, 1)
    assert outline.true == pytest.approx(1, abs=0.06)
    assert outline.predicted == pytest.approx(1, abs=0.08)
    assert outline.area_mm2 == pytest.approx(math.pi * 144, rel=0.05)
