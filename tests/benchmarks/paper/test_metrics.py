"""The errors of the ISBI 2012 challenge, against values worked out by hand and other software."""

import itertools

import numpy as np
import pytest
from scipy import ndimage
from skimage.metrics import adapted_rand_error

from benchmarks.paper import metrics
from benchmarks.paper.metrics import (
    SIDES,
    SIMPLE,
    Counts,
    best,
    count,
    is_simple,
    pixel_counts,
    pooled,
    rand_counts,
    splits_and_mergers,
    warp,
    warping_count,
)


def picture(*rows: str) -> np.ndarray:
    """Draw cells with # and membranes with dots."""
    return np.array([[letter == "#" for letter in row] for row in rows])


TWO_CELLS = picture(
    ".........",
    ".###.###.",
    ".###.###.",
    ".###.###.",
    ".........",
)


def with_pixels(mask: np.ndarray, *at: tuple[int, int]) -> np.ndarray:
    changed = mask.copy()
    for place in at:
        changed[place] = not changed[place]
    return changed


# -- pixels and pairs --------------------------------------------------------------


def test_the_pixel_error_is_one_minus_the_f_score_of_the_cells():
    predicted = with_pixels(TWO_CELLS, (1, 1), (1, 2), (2, 4))  # two missed, one too many
    counts = pixel_counts(TWO_CELLS, predicted)
    assert counts == Counts(16, 1, 2)
    assert counts.error == pytest.approx(1 - 2 * 16 / (2 * 16 + 3))


def test_a_bridge_of_one_pixel_makes_one_cell_of_two_for_the_rand_error():
    merged = with_pixels(TWO_CELLS, (2, 4))
    counts = rand_counts(TWO_CELLS, merged)
    # 2 cells of 9: 36 pairs each; together 18 pixels (the bridge is membrane): 153 pairs.
    assert counts == Counts(72, 153 - 72, 0)
    assert rand_counts(TWO_CELLS, TWO_CELLS).error == 0


def test_a_line_through_a_cell_splits_it_for_the_rand_error():
    split = with_pixels(TWO_CELLS, (1, 2), (2, 2), (3, 2))
    # 36 pairs become 3 + 3; the pixels of the line are alone.
    assert rand_counts(TWO_CELLS, split) == Counts(36 + 6, 0, 30)


def test_corners_do_not_join_cells():
    truth = picture("##..", "##..", "..##", "..##")
    assert rand_counts(truth, truth) == Counts(12, 0, 0)


def test_nothing_found_is_all_wrong_and_nothing_there_is_all_right():
    nothing = np.zeros_like(TWO_CELLS)
    assert rand_counts(TWO_CELLS, nothing).error == 1
    assert pixel_counts(TWO_CELLS, nothing).error == 1
    assert rand_counts(nothing, nothing).error == 0


def test_the_rand_error_is_that_of_scikit_image_where_predicted_membranes_are_single_pixels():
    rng = np.random.default_rng(0)
    for _ in range(5):
        truth, predicted = (ndimage.gaussian_filter(rng.normal(size=(2, 40, 50)), (0, 2, 2))) > -0.1
        cells, _ = ndimage.label(truth, SIDES)
        found, n_found = ndimage.label(predicted, SIDES)
        alone = found == 0
        found[alone] = n_found + 1 + np.arange(np.count_nonzero(alone))
        error, _, _ = adapted_rand_error(cells, found, ignore_labels=(0,))
        assert rand_counts(truth, predicted).error == pytest.approx(error)


# -- warping -----------------------------------------------------------------------


def topology(mask: np.ndarray) -> tuple[int, int]:
    """Number of cells, and of connected membranes with the outside."""
    padded = np.pad(mask, 1)
    return ndimage.label(padded, SIDES)[1], ndimage.label(~padded, np.ones((3, 3)))[1]


def test_a_pixel_is_simple_if_and_only_if_flipping_it_leaves_the_topology_as_it_is():
    # In a 3 x 3 picture with a wide margin of membrane, or of cell, topology is all there is.
    for number, neighbours in enumerate(itertools.product((False, True), repeat=8)):
        neighbours = neighbours[::-1]
        patch = np.zeros((3, 3), bool)
        for (row, column), cell in zip(metrics.AROUND, neighbours):
            patch[row + 1, column + 1] = cell
        pictures = []
        for margin in (False, True):
            off = np.pad(patch, 2, constant_values=margin)
            on = with_pixels(off, (3, 3))
            pictures.append(topology(off) == topology(on))
        assert SIMPLE[number] == is_simple(neighbours)
        if SIMPLE[number]:
            assert all(pictures)
        elif all(pictures):
            # It joins and parts at once: it touches two cells, or two membranes, of which
            # the margin hides that they are two.
            assert sum(neighbours[k] for k in (1, 3, 4, 6)) >= 2


@pytest.mark.parametrize(
    ("neighbours", "simple"),
    [
        ("........", False),  # alone: a cell would appear or vanish
        ("########", False),  # within a cell: a hole
        (".#......", True),  # at the end of a line
        (".#....#.", False),  # a bridge
        ("#.......", False),  # touches a cell at a corner only: it would be one of its own
        ("###.....", True),  # at a straight edge
        ("#.##.#..", True),
        (".##.#...", True),
        (".#..#...", False),  # the corner between the two is membrane
    ],
)
def test_simple_pixels_by_hand(neighbours, simple):
    assert is_simple([letter == "#" for letter in neighbours]) is simple


def test_a_cell_that_is_only_thicker_or_shifted_is_no_warping_error():
    truth = np.zeros((30, 40), bool)
    truth[5:20, 5:20] = True
    thicker = np.zeros_like(truth)
    thicker[3:24, 4:26] = True
    shifted = np.roll(truth, (4, 9), axis=(0, 1))
    for predicted in (thicker, shifted):
        np.testing.assert_array_equal(warp(truth, predicted), predicted)
        assert warping_count(truth, predicted.astype(np.float32), 0.5) == 0


def test_warping_never_changes_the_topology_and_leaves_no_simple_pixel():
    rng = np.random.default_rng(1)
    truth, predicted = (ndimage.gaussian_filter(rng.normal(size=(2, 48, 48)), (0, 2, 2))) > 0
    warped = warp(truth, predicted)
    assert topology(warped) == topology(truth)
    assert np.count_nonzero(warped != predicted) < np.count_nonzero(truth != predicted) / 2
    np.testing.assert_array_equal(warp(warped, predicted), warped)


def test_a_bridge_of_one_pixel_is_one_pixel_of_merger():
    merged = with_pixels(TWO_CELLS, (2, 4)).astype(np.float32)
    assert warping_count(TWO_CELLS, merged, 0.5) == 1


def test_a_missing_wall_costs_its_length_however_thick_it_was():
    truth = np.zeros((20, 30), bool)
    truth[2:18, 2:14] = truth[2:18, 16:28] = True  # a wall of 2 x 16
    merged = truth.copy()
    merged[2:18, 14:16] = True
    assert warping_count(truth, merged.astype(np.float32), 0.5) == 16


def test_a_wall_too_many_costs_its_thickness_where_the_last_bridge_was():
    truth = np.zeros((20, 30), bool)
    truth[2:18, 2:28] = True
    split = truth.copy()
    split[2:18, 14:17] = False  # 16 long and 3 thick: until it is shut, it is a bay
    assert warping_count(truth, split.astype(np.float32), 0.5) == 3


def test_holes_and_specks_are_neither_splits_nor_mergers():
    truth = np.zeros((20, 30), bool)
    truth[2:18, 2:20] = True
    predicted = with_pixels(truth, (8, 8), (10, 25))  # a hole, and a speck in the membrane
    warped = warp(truth, predicted)
    np.testing.assert_array_equal(warped, truth)
    assert not splits_and_mergers(warped, predicted).any()


# -- stacks ------------------------------------------------------------------------


def test_each_error_takes_the_threshold_that_suits_the_stack():
    # A wall that is seen as .35 cell, and a cell that is seen as only .25.
    first = np.where(TWO_CELLS, 0.9, 0.0).astype(np.float32)
    first[1:4, 4] = 0.35
    second = np.where(TWO_CELLS, 0.25, 0.0).astype(np.float32)
    stack = pooled([count(TWO_CELLS, each) for each in (first, second)])
    errors = best(stack)
    assert errors["pixel"] == (pytest.approx(1 - 72 / (72 + 3)), 0.0)
    assert errors["warping"] == (0.0, 0.4)
    assert stack[0.3].errors["warping"] == 3 / 90
    assert stack[0.5].pixel == Counts(18, 0, 18)
    assert stack[0.5].errors["rand"] == pytest.approx(1 - 144 / (144 + 72))


def test_a_perfect_stack_has_no_error():
    errors = best(pooled([count(TWO_CELLS, TWO_CELLS.astype(np.float32))] * 2))
    assert {error for error, _ in errors.values()} == {0}
