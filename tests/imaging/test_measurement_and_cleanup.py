"""Volumes in millilitres, overlap, and three-dimensional clean-up."""

import math

import numpy as np
import pytest
from scipy import ndimage
from skimage.measure import label

from napari_unet.imaging.cleanup import CleanUp, clean_up
from napari_unet.imaging.measurement import dice, measure


def test_volumes_and_pieces_of_every_class():
    labels = np.zeros((10, 10, 10), np.uint8)
    labels[1:3, 1:3, 1:3] = 1  # 8 voxels
    labels[3, 3, 3] = 1  # touches at a corner: the same piece
    labels[8, 8, 8] = 1  # apart
    labels[6, 1:6, 1] = 3
    first, absent, third = measure(labels, (2.0, 1.0, 0.5), ["tumour", "cyst", "vessel"])
    assert (first.value, first.name, first.n_components) == (1, "tumour", 2)
    assert first.volume_ml == pytest.approx(0.010)
    assert first.largest_ml == pytest.approx(0.009)
    assert (absent.volume_ml, absent.n_components, absent.largest_ml) == (0.0, 0, 0.0)
    assert (third.value, third.n_components) == (3, 1)
    assert third.volume_ml == pytest.approx(0.005)


@pytest.mark.parametrize("shape", [(40, 40), (12, 16, 20)])
def test_pieces_touch_at_corners_too_and_have_the_numbers_that_scipy_gives_them(shape):
    mask = np.random.default_rng(0).random(shape) < (0.3 if len(shape) == 2 else 0.05)
    pieces, n = label(mask, return_num=True)
    expected, n_expected = ndimage.label(mask, structure=np.ones((3,) * mask.ndim))
    assert n == n_expected > 20  # calibration in saved models has counted such pieces
    np.testing.assert_array_equal(pieces, expected)


def test_an_empty_mask_measures_nothing():
    (only,) = measure(np.zeros((3, 4, 5), np.uint8), (1.0, 1.0, 1.0), ["tumour"])
    assert (only.volume_ml, only.n_components) == (0.0, 0)


def test_dice_counts_overlap_of_one_class():
    a = np.array([1, 1, 1, 0, 2])
    b = np.array([0, 1, 1, 1, 2])
    assert dice(a, b, 1) == pytest.approx(2 / 3)
    assert dice(a, b, 2) == 1.0
    assert dice(a, np.zeros(5), 1) == 0.0
    assert math.isnan(dice(a, b, 3))


def shell() -> np.ndarray:
    """Class 1 around a hole that holds one voxel of class 2, and a lone voxel of class 1."""
    labels = np.zeros((9, 9, 9), np.uint8)
    labels[1:6, 1:6, 1:6] = 1
    labels[2:5, 2:5, 2:5] = 0
    labels[3, 3, 3] = 2
    labels[8, 8, 8] = 1
    return labels


def test_holes_are_filled_around_other_classes():
    labels = shell()
    before = labels.copy()
    cleaned = clean_up(labels, (1.0, 1.0, 1.0), {1: CleanUp(fill_holes=True)})
    assert np.count_nonzero(cleaned == 1) == 5**3 - 1 + 1
    assert cleaned[3, 3, 3] == 2
    np.testing.assert_array_equal(labels, before)
    assert cleaned.dtype == labels.dtype


def test_an_open_hole_stays_open():
    labels = shell()
    labels[3, 3, 5] = 0  # a hole in the wall
    cleaned = clean_up(labels, (1.0, 1.0, 1.0), {1: CleanUp(fill_holes=True)})
    np.testing.assert_array_equal(cleaned, labels)


def test_pieces_below_the_volume_in_mm3_go():
    labels = shell()
    cleaned = clean_up(labels, (2.0, 1.0, 1.0), {1: CleanUp(min_volume_mm3=2.5)})
    assert cleaned[8, 8, 8] == 0
    assert cleaned[3, 3, 3] == 2  # no setting for class 2
    assert np.count_nonzero(cleaned == 1) == 5**3 - 3**3
    kept = clean_up(labels, (2.0, 1.0, 1.0), {1: CleanUp(min_volume_mm3=2.0)})
    assert kept[8, 8, 8] == 1


def test_absent_classes_are_no_problem():
    labels = shell()
    settings = {7: CleanUp(min_volume_mm3=100, fill_holes=True)}
    np.testing.assert_array_equal(clean_up(labels, (1.0, 1.0, 1.0), settings), labels)
