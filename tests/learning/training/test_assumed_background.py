"""Far from all that is painted on a partial slice: background, unless the network is sure."""

import numpy as np
import pytest
import torch

from napari_unet.annotation.states import IGNORE_LABEL, LabelledSlice
from napari_unet.learning.config import Recipe, TrainConfig
from napari_unet.learning.events import RoundDone
from napari_unet.learning.prediction.scan_prediction import predict_volume
from napari_unet.learning.training.assumed_background import (
    ASSUMED_LABEL,
    CLOSE,
    FAR_MM,
    SHARE,
    SHARE_AT_FIRST,
    SURE,
    assumed_background,
    assumed_share,
)
from napari_unet.learning.training.loop import train
from napari_unet.learning.training.losses import without_assumed
from napari_unet.learning.training.training_set import TrainingSet


def _stroke(shape=(60, 60)):
    labels = np.full(shape, IGNORE_LABEL, np.uint8)
    labels[20, 20:25] = 1
    labels[50, 50] = 0
    return labels


def _distance(points, spacing):
    rows, columns = np.mgrid[:60, :60]
    return np.min(
        [np.hypot((rows - r) * spacing[0], (columns - c) * spacing[1]) for r, c in points], axis=0
    )


@pytest.mark.parametrize("spacing", [(1.0, 1.0), (0.5, 2.0)])
def test_background_is_assumed_far_from_structures_and_not_too_far_from_background(spacing):
    labels = _stroke()
    structure = _distance([(20, c) for c in range(20, 25)], spacing)
    expected = structure > FAR_MM
    labels[50, 50] = IGNORE_LABEL
    np.testing.assert_array_equal(assumed_background(labels, spacing), expected)
    labels[50, 50] = 0
    expected &= _distance([(50, 50)], spacing) < CLOSE * structure
    expected[50, 50] = False  # painted: nothing to assume
    np.testing.assert_array_equal(assumed_background(labels, spacing), expected)


def test_nothing_is_assumed_where_most_is_annotated():
    labels = _stroke((60, 60))
    labels[25:] = 0
    assert (labels == IGNORE_LABEL).any()
    assert not assumed_background(labels, (1.0, 1.0)).any()


def test_all_of_a_slice_on_which_only_background_is_painted_is_assumed_to_be():
    labels = np.full((60, 60), IGNORE_LABEL, np.uint8)
    labels[3, 3] = 0
    np.testing.assert_array_equal(assumed_background(labels, (1.0, 1.0)), labels != 0)


def test_a_few_far_pixels_of_partial_slices_are_drawn_anew_for_each_batch(scene):
    labels = np.full_like(scene.truth[6], IGNORE_LABEL)
    labels[scene.truth[6] > 0] = 1
    examples = TrainingSet(
        [scene.scan], [LabelledSlice(0, 6, labels)], ["ball"], scene.scan.spacing_mm
    )
    generator = torch.Generator().manual_seed(0)
    drawn = [examples.batch(4, generator, 0.0)[1] == ASSUMED_LABEL for _ in range(20)]
    far = assumed_background(scene.scan.crop(labels), scene.scan.spacing_mm)
    assert float(torch.stack(drawn).sum()) / (80 * far.sum()) == pytest.approx(
        SHARE_AT_FIRST, rel=0.1
    )
    assert not torch.equal(drawn[0], drawn[1])


def test_fewer_pixels_are_drawn_as_training_goes_on():
    assert assumed_share(0.0) == SHARE_AT_FIRST
    assert assumed_share(0.0) > assumed_share(0.5) > assumed_share(1.0) == SHARE


def test_complete_slices_hold_nothing_that_is_assumed(scene):
    examples = TrainingSet([scene.scan], scene.annotated(4, 6), ["ball"], scene.scan.spacing_mm)
    generator = torch.Generator().manual_seed(0)
    assert all(ASSUMED_LABEL not in examples.batch(4, generator)[1] for _ in range(10))


def test_tiles_of_partial_slices_show_something_that_is_painted(scene):
    labels = np.full_like(scene.truth[6], IGNORE_LABEL)
    labels[scene.truth[6] > 0] = 1
    examples = TrainingSet(
        [scene.scan],
        [LabelledSlice(0, 6, labels)],
        ["ball"],
        scene.scan.spacing_mm,
        recipe=Recipe(tile=32),
    )
    generator = torch.Generator().manual_seed(0)
    for _ in range(20):
        _, tiles, _ = examples.batch(4, generator, 0.0)
        assert tiles.shape[-2:] == (32, 32)
        assert (tiles <= 1).flatten(1).any(dim=1).all()


def test_background_that_is_assumed_takes_part_in_the_balance_of_classes(scene):
    labels = np.full_like(scene.truth[6], IGNORE_LABEL)
    labels[scene.truth[6] > 0] = 1
    labels[0, :20] = 0
    examples = TrainingSet(
        [scene.scan], [LabelledSlice(0, 6, labels)], ["ball"], scene.scan.spacing_mm
    )
    window = scene.scan.crop(labels)
    assumed = SHARE * assumed_background(window, scene.scan.spacing_mm).sum()
    assert assumed > 1
    background = assumed + (window == 0).sum()
    assert float(examples.balance[0]) == pytest.approx((window == 1).sum() / background)


def test_a_structure_that_the_network_is_sure_of_overrules_the_assumption():
    labels = torch.tensor([[[ASSUMED_LABEL, ASSUMED_LABEL, 1, 0, IGNORE_LABEL]]])
    structure = torch.tensor([SURE + 0.01, SURE - 0.01, 0.9, 0.9, 0.9])
    logits = torch.stack([1 - structure, structure]).log()[None, :, None]
    assert without_assumed(labels, logits).tolist() == [[[IGNORE_LABEL, 0, 1, 0, IGNORE_LABEL]]]


def test_two_structures_overrule_it_together():
    labels = torch.tensor([[[ASSUMED_LABEL]]])
    probabilities = torch.tensor([0.1, 0.45, 0.45])
    assert without_assumed(labels, probabilities.log()[None, :, None, None]).item() == IGNORE_LABEL


@pytest.mark.slow
def test_a_few_strokes_near_a_structure_do_not_paint_the_whole_head(make):
    scene = make((12, 61, 75))  # small, and so enlarged

    def strokes(index):
        labels = np.full_like(scene.truth[index], IGNORE_LABEL)
        row, column = np.argwhere(scene.truth[index]).mean(axis=0).astype(int)
        labels[row - 2 : row + 3, column - 2 : column + 3] = 1
        for beside in (column - 13, column + 12):
            labels[row - 1 : row + 2, beside - 1 : beside + 2] = 0
        return LabelledSlice(0, index, labels)

    config = TrainConfig(seconds=36_000, max_steps=60, threads=1, device="cpu")
    *_, done = train([scene.scan], [strokes(4), strokes(6)], config, class_names=["ball"])
    assert isinstance(done, RoundDone)
    found = predict_volume(scene.volume, done.checkpoint)
    # Without the assumption it is 17 times as large as the ball after so few steps.
    assert np.count_nonzero(found) < 2 * np.count_nonzero(scene.truth)
    assert found[5][scene.truth[5] > 0].mean() > 0.5
