"""What annotated slices alone say about those between them."""

import gc
import weakref

import numpy as np
import pytest
from scipy.interpolate import PchipInterpolator
from scipy.ndimage import distance_transform_edt

from napari_unet.errors import AnnotationError
from napari_unet.imaging import interpolation
from napari_unet.imaging.interpolation import (
    ShapeInterpolation,
    labels_between,
    monotone_cubic,
)
from napari_unet.imaging.measurement import dice

H, W = 40, 48


def disc(radius: float, row: float = 20, column: float = 24, value: int = 1) -> np.ndarray:
    rows, columns = np.ogrid[:H, :W]
    inside = (rows - row) ** 2 + (columns - column) ** 2 < radius**2
    return (inside * value).astype(np.uint8)


def sphere(index: int) -> np.ndarray:
    """A slice of a ball of radius 16 around slice 20."""
    return disc(np.sqrt(max(0.0, 16.0**2 - (index - 20) ** 2)))


def signed_distance(mask: np.ndarray) -> np.ndarray:
    return distance_transform_edt(mask) - distance_transform_edt(~mask)


def test_a_ball_keeps_the_bulge_that_straight_lines_between_slices_flatten():
    annotated = [6, 13, 20, 27, 34]
    shapes = ShapeInterpolation({index: sphere(index) for index in annotated}, 1)
    curved, straight = [], []
    for index in (9, 10, 16, 17, 23, 24, 30, 31):
        after = next(i for i in annotated if i > index)
        share = (after - index) / 7
        between = share * signed_distance(sphere(after - 7) > 0)
        between += (1 - share) * signed_distance(sphere(after) > 0)
        curved.append(dice(shapes.labels(index), sphere(index), 1))
        straight.append(dice((between > 0).astype(np.uint8), sphere(index), 1))
    assert np.mean(curved) > np.mean(straight)
    assert np.mean(curved) > 0.96


def test_annotated_slices_come_back_exactly():
    slices = {3: disc(8) + disc(4, column=40, value=2), 9: disc(3), 10: disc(0), 20: disc(6)}
    shapes = ShapeInterpolation(slices, 2)
    for index, labels in slices.items():
        np.testing.assert_array_equal(shapes.labels(index), labels)


def test_a_structure_missing_on_one_side_shrinks_and_ends_in_between():
    shapes = ShapeInterpolation({0: disc(8), 20: disc(0)}, 1)
    areas = [int((shapes.labels(index) == 1).sum()) for index in range(21)]
    assert areas == sorted(areas, reverse=True)
    assert areas[5] > 0
    assert areas[15] == 0


def test_a_structure_that_no_slice_nearby_shows_is_nowhere():
    shapes = ShapeInterpolation({0: disc(8), 10: disc(8)}, 2)
    assert set(np.unique(shapes.labels(5))) == {0, 1}


def test_touching_structures_share_the_space_without_a_gap_or_an_overlap():
    halves = np.where(np.arange(W) < 24, 1, 2)
    slices = {0: (disc(10) * halves).astype(np.uint8), 8: (disc(14) * halves).astype(np.uint8)}
    labels = ShapeInterpolation(slices, 2).labels(4)
    assert set(np.unique(labels[:, :24])) == {0, 1}
    assert set(np.unique(labels[:, 24:])) == {0, 2}
    assert labels[disc(10) > 0].all()


def test_distances_are_in_the_unit_of_the_pixel_size():
    square = np.zeros((H, W), np.uint8)
    square[10:30, 10:30] = 1
    distances = ShapeInterpolation({0: square, 4: square}, 1, (3.0, 1.0)).distances(2)[0]
    assert distances[20, 7] == pytest.approx(-3)  # columns are 1 apart
    assert distances[7, 20] == pytest.approx(-9)  # rows are 3 apart
    assert distances[20, 11] == pytest.approx(2)


def test_outlines_grow_as_far_in_millimetres_along_rows_as_along_columns():
    low, high = np.zeros((2, H, W), np.uint8)
    low[15:25, 19:29] = 1
    high[13:27, 13:35] = 1  # 2 rows of 3 mm, 6 columns of 1 mm
    found = ShapeInterpolation({0: low, 2: high}, 1, (3.0, 1.0)).labels(1)
    assert np.flatnonzero(found[:, 24]).tolist() == list(range(14, 26))
    assert np.flatnonzero(found[20]).tolist() == list(range(16, 32))


def test_nothing_is_said_beyond_the_annotated_slices():
    shapes = ShapeInterpolation({4: disc(5), 8: disc(5)}, 1)
    assert [index for index in range(12) if index in shapes] == [4, 5, 6, 7, 8]
    for index in (3, 9):
        with pytest.raises(ValueError, match=f"Slice {index} does not lie between"):
            shapes.labels(index)
    assert 0 not in ShapeInterpolation({}, 1)


def test_a_structure_that_fills_a_whole_slice_is_no_trouble():
    shapes = ShapeInterpolation({0: np.ones((H, W), np.uint8), 6: disc(10)}, 1)
    assert shapes.labels(0).all()
    assert np.isfinite(shapes.distances(3)).all()
    assert int(shapes.labels(1).sum()) > int(shapes.labels(5).sum()) > int(disc(10).sum())


def test_gaps_are_counted_from_the_nearest_annotated_slice():
    shapes = ShapeInterpolation({2: disc(5), 10: disc(5)}, 1)
    assert [shapes.gap(index) for index in (0, 2, 5, 7, 10, 13)] == [2, 0, 3, 3, 0, 3]


def test_only_the_slices_between_are_filled_with_the_values_they_had():
    values = np.array([0, 7, 300], np.uint16)
    slices = {5: values[disc(6)], 2: values[disc(6)], 9: values[disc(6, value=2)]}
    filled = dict(labels_between(slices))
    assert list(filled) == [3, 4, 6, 7, 8]
    assert filled[3].dtype == np.uint16
    np.testing.assert_array_equal(filled[3], slices[2])
    assert set(np.unique([*filled.values()])) == {0, 7, 300}


def test_filling_is_what_the_whole_slices_say_wherever_the_structures_are():
    slices = {0: disc(9, 4, 4), 5: disc(5, 30, 40) + disc(3, 6, 6, value=2), 11: disc(7, 36, 6)}
    whole = ShapeInterpolation(slices, 2, (1.0, 2.5))
    for index, labels in labels_between(slices, (1.0, 2.5)):
        np.testing.assert_array_equal(labels, whole.labels(index))


@pytest.mark.parametrize(
    ("slices", "sentence"),
    [
        ({}, "needs two completely annotated slices"),
        ({4: disc(5)}, "needs two completely annotated slices"),
        ({4: disc(5), 5: disc(5), 6: disc(5)}, "nothing is between them"),
        ({4: disc(0), 9: disc(0)}, "No annotated slice shows a structure"),
    ],
)
def test_what_cannot_be_filled_is_told_at_once(slices, sentence):
    with pytest.raises(AnnotationError, match=sentence):
        labels_between(slices)


@pytest.mark.parametrize(("n", "gap"), [(2, 0), (3, 0), (3, 1), (4, 1)])
def test_the_cubic_is_that_of_scipy(n, gap):
    rng = np.random.default_rng(n + gap)
    at = np.cumsum(rng.integers(1, 9, n))
    values = rng.normal(size=(n, 40, 40)).astype(np.float32)
    expected = PchipInterpolator(at.astype(float), values).c[:, gap]
    for found, wanted in zip(monotone_cubic(at, values, gap), expected):
        np.testing.assert_allclose(found, wanted, atol=1e-5)


def test_distances_are_not_worked_out_again_for_slices_that_are_as_they_were(monkeypatch):
    disc = np.zeros((20, 20), np.uint8)
    disc[5:15, 5:15] = 1
    before = ShapeInterpolation({0: disc, 6: disc}, 1)
    before.distances(3)
    calls = []
    transform = interpolation.distance_transform_edt
    monkeypatch.setattr(
        interpolation,
        "distance_transform_edt",
        lambda *args, **kwargs: calls.append(1) or transform(*args, **kwargs),
    )
    after = ShapeInterpolation({0: disc, 6: disc, 9: disc.T.copy()}, 1, before=before)
    after.distances(3)
    assert len(calls) == 2  # inside and outside of the one new slice


def test_an_interpolation_that_is_let_go_of_is_gone():
    shapes = ShapeInterpolation({0: np.eye(9, dtype=np.uint8), 4: np.eye(9, dtype=np.uint8)}, 1)
    shapes.distances(2)
    gone = weakref.ref(shapes)
    gc.disable()
    try:
        del shapes
        assert gone() is None
    finally:
        gc.enable()
