"""Slices far from all annotated ones: background, if what is painted is one object."""

import numpy as np
import pytest
import torch

from napari_unet.imaging.volume import Grid, Volume
from napari_unet.learning.config import IGNORE_LABEL, Recipe, TrainConfig
from napari_unet.learning.events import LabelledSlice, RoundDone
from napari_unet.learning.inference import predict_volume
from napari_unet.learning.preparation import prepare
from napari_unet.learning.presumption import FAR_SLICES_MM, PRESUMED_LABEL, slices_far_away
from napari_unet.learning.training import train
from napari_unet.learning.training_set import TrainingSet

N_SLICES = 120


def _far(annotated, slice_mm=1.0, spacing_mm=(1.0, 1.0)):
    return slices_far_away(annotated, N_SLICES, slice_mm, spacing_mm)


def _squares(*corners, side=8, shape=(80, 80)):
    labels = np.zeros(shape, np.uint8)
    for row, column in corners:
        labels[row : row + side, column : column + side] = 1
    return labels


def test_one_object_ends_somewhere_beyond_the_slices_that_show_it():
    once = _squares((20, 20))
    assert _far({50: once, 60: once}) == [*range(20), *range(91, N_SLICES)]
    assert FAR_SLICES_MM == 30
    # Moved by less than twice the reach between one annotated slice and the next.
    assert _far({50: once, 60: _squares((20, 35))}) == _far({50: once, 60: once})
    # Its pieces on a slice belong together.
    pieces = _squares((20, 20), (20, 35))
    assert _far({50: pieces, 60: pieces}) == _far({50: once, 60: once})


def test_millimetres_count_not_voxels():
    once = _squares((20, 20))
    assert _far({50: once, 60: once}, slice_mm=3.0) == [*range(40), *range(71, N_SLICES)]
    pieces = _squares((20, 20), (20, 35))
    assert _far({50: pieces, 60: pieces}, spacing_mm=(1.0, 2.0)) == []


def test_an_empty_slice_is_known_and_so_is_what_is_near_it():
    once, empty = _squares((20, 20)), _squares()
    assert _far({50: once, 60: once, 100: empty}) == list(range(20))


@pytest.mark.parametrize(
    "annotated",
    [
        {50: _squares((20, 20))},  # one slice tells nothing about how many there are
        {50: _squares((20, 20)), 60: _squares()},
        {50: _squares((20, 20), (60, 60)), 60: _squares((20, 20))},  # a second one
        {50: _squares((20, 20)), 60: _squares((60, 60))},
    ],
)
def test_nothing_is_presumed_of_several_objects_or_of_a_single_slice(annotated):
    assert _far(annotated) == []


def test_nothing_is_presumed_between_painted_slices():
    once = _squares((20, 20))
    assert _far({5: once, 110: once}) == []


def test_a_large_object_may_go_on_for_as_long_as_it_is_wide():
    large = _squares((0, 0), side=40)  # as a disc 45 across
    assert _far({50: large, 60: large}) == [*range(5), *range(106, N_SLICES)]


def test_what_nobody_annotated_is_no_structure():
    stroke = np.full((80, 80), IGNORE_LABEL, np.uint8)
    stroke[20:24, 20:24] = 1
    assert _far({50: stroke, 60: stroke}) == [*range(20), *range(91, N_SLICES)]


def _tall_scan(*others):
    """A ball at slice 20 of 80, and other things that look much like it (z, y, x)."""
    shape = (80, 61, 75)
    z, y, x = np.mgrid[:80, :61, :75]
    data = 100.0 * (((y - 30) / 26) ** 2 + ((x - 37) / 30) ** 2 < 1)
    ball = (z - 20) ** 2 + (y - 34) ** 2 + (x - 29) ** 2 < 64
    data[ball] += 80
    for at in others:
        other = (z - at[0]) ** 2 + ((y - at[1]) / 2) ** 2 + (x - at[2]) ** 2 < 36
        data[other] += 45
    data += np.random.default_rng(0).normal(0, 5, shape)
    volume = Volume(
        data.astype(np.float32)[None], Grid.from_spacing(shape, (1.0, 1.0, 1.0)), "tall"
    )
    return volume, ball.astype(np.uint8)


def _annotated(truth, *indices):
    return [LabelledSlice(0, index, truth[index]) for index in indices]


def test_one_batch_in_eight_shows_a_slice_far_away_on_which_background_is_presumed():
    volume, truth = _tall_scan()
    scan = prepare(volume, 0)
    examples = TrainingSet([scan], _annotated(truth, 17, 23), ["ball"], scan.spacing_mm)
    generator = torch.Generator().manual_seed(0)
    drawn = [examples.batch(2, generator, 0.0)[1] for _ in range(160)]
    assert all(PRESUMED_LABEL not in labels[0] for labels in drawn)
    shown = [labels for labels in drawn if PRESUMED_LABEL in labels[1]]
    assert 10 <= len(shown) <= 30
    assert all(set(labels[1].unique().tolist()) <= {PRESUMED_LABEL, 0} for labels in shown)


def test_a_slice_held_back_from_training_is_known_all_the_same():
    volume, truth = _tall_scan()
    scan = prepare(volume, 0)
    second = np.zeros_like(truth[0])
    second[20:30, 50:60] = 1
    held_back = [LabelledSlice(0, 65, second)]
    for examples in (
        TrainingSet(
            [scan], _annotated(truth, 17, 23), ["ball"], scan.spacing_mm, held_back=held_back
        ),
        TrainingSet([scan], _annotated(truth, 17, 23), ["ball"], scan.spacing_mm),
    ):
        examples.replace(_annotated(truth, 17, 23), held_back)
        generator = torch.Generator().manual_seed(0)
        assert all(PRESUMED_LABEL not in examples.batch(2, generator)[1] for _ in range(40))


def test_tiles_of_slices_far_away_lie_anywhere():
    volume, truth = _tall_scan()
    scan = prepare(volume, 0)
    examples = TrainingSet(
        [scan], _annotated(truth, 17, 23), ["ball"], scan.spacing_mm, recipe=Recipe(tile=32)
    )
    generator = torch.Generator().manual_seed(0)
    drawn = [examples.batch(2, generator)[1] for _ in range(40)]
    assert any((labels[1] == PRESUMED_LABEL).all() for labels in drawn)
    assert all(labels.shape == (2, 32, 32) for labels in drawn)


def _found(volume, truth, others, *indices):
    """Whether each of two things far away is predicted, after learning from some slices."""
    config = TrainConfig(seconds=300, max_steps=100, threads=1, device="cpu")
    scan = prepare(volume, 0)
    *_, done = train([scan], _annotated(truth, *indices), config, class_names=["ball"])
    assert isinstance(done, RoundDone)
    predicted = predict_volume(volume, done.checkpoint)
    assert predicted[truth > 0].mean() > 0.8
    return [bool(predicted[z, y, x]) for z, y, x in others]


def test_of_one_object_no_second_one_is_seen_far_away_but_of_several_there_are_more():
    others = [(60, 25, 48), (72, 30, 30)]
    volume, ball = _tall_scan(*others)
    assert _found(volume, ball, others, 15, 18, 22, 25) == [False, False]
    z, y, x = np.mgrid[:80, :61, :75]
    both = ball.copy()
    both[(z - 60) ** 2 + ((y - 25) / 2) ** 2 + (x - 48) ** 2 < 36] = 1
    assert _found(volume, both, others, 15, 18, 22, 25, 60) == [True, True]
