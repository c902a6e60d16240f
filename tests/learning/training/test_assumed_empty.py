"""Slices far beyond the one object that is painted are learned as empty."""

import dataclasses

import numpy as np
import pytest
import torch

from napari_unet.annotation.states import IGNORE_LABEL, LabelledSlice
from napari_unet.imaging.volume import Grid, Volume
from napari_unet.learning.config import ModelConfig, TrainConfig
from napari_unet.learning.events import RoundDone
from napari_unet.learning.prediction.scan_prediction import predict_volume
from napari_unet.learning.preparation import PreparedScan, prepare
from napari_unet.learning.training import training_set
from napari_unet.learning.training.assumed_background import FAR_SLICE_MM, assumed_empty
from napari_unet.learning.training.loop import new_card, train
from napari_unet.learning.training.round import TrainingRound
from napari_unet.learning.training.training_set import TrainingSet

N_SLICES = 120
BEFORE, AFTER = list(range(20)), list(range(91, N_SLICES))
"""What is far from an object that slices 50 and 60 of a millimetre show."""


def _scan(slice_mm=1.0, spacing_mm=(1.0, 1.0), axis=0, n_slices=N_SLICES):
    slices = np.zeros((n_slices, 1, 80, 80), np.float32)
    return PreparedScan(slices, (slice(80), slice(80)), (80, 80), spacing_mm, slice_mm, axis)


def _squares(*corners, side=8):
    labels = np.zeros((80, 80), np.uint8)
    for row, column in corners:
        labels[row : row + side, column : column + side] = 1
    return labels


LARGE, SMALL, EMPTY = _squares((20, 20), side=12), _squares((20, 20)), _squares()


def _far(annotated, **options):
    slices = [LabelledSlice(0, index, labels) for index, labels in annotated.items()]
    return [index for _, index in assumed_empty([_scan(**options)], slices)]


def test_an_object_that_is_not_alike_on_all_slices_ends_on_both_sides():
    assert FAR_SLICE_MM == 30
    assert _far({50: LARGE, 60: SMALL}) == BEFORE + AFTER
    assert _far({50: SMALL, 60: LARGE}) == BEFORE + AFTER
    assert _far({50: LARGE, 55: SMALL, 60: LARGE}) == BEFORE + AFTER


def test_a_long_one_ends_where_an_empty_slice_says_so():
    assert _far({50: LARGE, 60: LARGE}) == []
    assert _far({40: EMPTY, 50: LARGE, 60: LARGE}) == list(range(10))
    assert _far({50: LARGE, 60: LARGE, 65: EMPTY}) == list(range(96, N_SLICES))


def test_what_is_near_any_annotated_slice_is_not_far():
    assert _far({50: LARGE, 60: SMALL, 100: EMPTY}) == BEFORE
    assert _far({10: EMPTY, 50: LARGE, 60: SMALL}) == AFTER


def test_pieces_that_are_close_together_are_one_object():
    pieces = _squares((20, 20), (20, 32))
    assert _far({50: LARGE, 55: pieces, 60: _squares((20, 34))}) == BEFORE + AFTER


def test_millimetres_count_not_voxels():
    assert _far({50: LARGE, 60: SMALL}, slice_mm=2.0) == [*range(35), *range(76, N_SLICES)]
    pieces = _squares((20, 20), (20, 32))
    assert _far({50: pieces, 60: SMALL}) == BEFORE + AFTER
    assert _far({50: pieces, 60: SMALL}, spacing_mm=(1.0, 4.0)) == []


@pytest.mark.parametrize(
    "annotated",
    [
        {50: SMALL},  # of how many there are, one slice says nothing
        {50: SMALL, 60: EMPTY},
        {50: LARGE, 60: _squares((20, 20), (60, 60))},
        {50: LARGE, 60: _squares((60, 60))},
        {50: LARGE, 55: EMPTY, 60: SMALL},  # two, as the empty slice between them says
        {30: LARGE, 62: SMALL},  # too far apart to tell
    ],
)
def test_beyond_several_objects_or_a_single_slice_anything_may_be(annotated):
    assert _far(annotated) == []


def test_a_large_object_may_go_on_for_as_long_as_it_is_wide():
    large, smaller = _squares((0, 0), side=40), _squares((0, 0), side=30)
    assert _far({50: large, 60: smaller}) == [*range(5), *range(106, N_SLICES)]  # 45 across


def test_a_partial_slice_does_not_tell_how_large_a_structure_is():
    stroke = np.where(SMALL > 0, SMALL, np.uint8(IGNORE_LABEL))
    assert _far({50: LARGE, 60: stroke}) == []
    background = np.where(np.arange(80) < 9, np.zeros((80, 80), np.uint8), np.uint8(IGNORE_LABEL))
    assert _far({50: LARGE, 60: SMALL, 61: background}) == [*BEFORE, *AFTER[1:]]
    assert _far({50: LARGE, 60: LARGE, 61: background}) == []  # it may go on beside the stroke


def test_of_a_pair_the_other_one_is_on_sagittal_slices_far_away():
    assert _far({50: LARGE, 60: SMALL}, axis=2) == []


def test_several_objects_in_one_scan_may_be_in_the_others_too():
    scans = [_scan(), _scan()]
    one = [LabelledSlice(0, 50, LARGE), LabelledSlice(0, 60, SMALL)]
    other = LabelledSlice(1, 50, LARGE)
    assert assumed_empty(scans, [*one, other]) == [(0, index) for index in BEFORE + AFTER]
    other = LabelledSlice(1, 50, _squares((20, 20), (60, 60)))
    assert assumed_empty(scans, [*one, other]) == []


def _tall_scan():
    """A ball about slice 20 of 80, and at 60 an oval that looks much like it."""
    shape = (80, 61, 107)
    z, y, x = np.mgrid[:80, :61, :107]
    data = 100.0 * (((y - 30) / 26) ** 2 + ((x - 53) / 49) ** 2 < 1)
    ball = (z - 20) ** 2 + (y - 34) ** 2 + (x - 29) ** 2 < 64
    oval = (z - 60) ** 2 + ((y - 25) / 2) ** 2 + (x - 48) ** 2 < 36
    data += 80 * ball + 45 * oval + np.random.default_rng(0).normal(0, 5, shape)
    grid = Grid.from_spacing(shape, (1.0, 1.0, 1.0))
    return Volume(data.astype(np.float32)[None], grid, "tall"), ball.astype(np.uint8), oval


def _annotated(truth, *indices):
    return [LabelledSlice(0, index, truth[index]) for index in indices]


def _second_object(truth):
    labels = np.zeros_like(truth[0])
    labels[5:15, 60:70] = 1
    return LabelledSlice(0, 65, labels)


def _empty_batches(examples):
    """Images (h, w) of empty slices in 80 batches of two, whose other slices show the ball."""
    generator = torch.Generator().manual_seed(0)
    drawn = [examples.batch(2, generator, 0.0) for _ in range(80)]
    assert all((labels[0] == 1).any() for _, labels, _ in drawn)
    return [images[1, 0] for images, labels, _ in drawn if not labels[1].any()]


@pytest.mark.parametrize("padding", ["zero", "valid"])
def test_one_batch_in_eight_shows_a_slice_far_away(padding):
    volume, truth, _ = _tall_scan()
    scan = prepare(volume, 0)
    for index in range(scan.n_slices):  # so that a slice is known by its brightness
        scan.slices[index] = index
    examples = TrainingSet(
        [scan],
        _annotated(truth, 15, 20, 25),
        ["ball"],
        scan.spacing_mm,
        model=ModelConfig(padding=padding, levels=2),
    )
    shown = [float(image.mean()) for image in _empty_batches(examples)]
    assert 4 <= len(shown) <= 18
    assert min(shown) > 25 + FAR_SLICE_MM - 8  # brightness varies a little
    examples.replace([*_annotated(truth, 15, 20, 25), _second_object(truth)])
    assert not _empty_batches(examples)


def test_far_slices_are_those_of_scans_that_are_learned_from():
    volume, truth, _ = _tall_scan()
    small, large = prepare(volume, 0), _scan()
    held_back = [LabelledSlice(1, 50, LARGE), LabelledSlice(1, 60, SMALL)]
    examples = TrainingSet(
        [small, large], _annotated(truth, 17, 20), ["ball"], (1.0, 1.0), held_back=held_back
    )
    assert not _empty_batches(examples)


def test_what_is_held_back_from_training_is_known_all_the_same():
    volume, truth, _ = _tall_scan()
    scan = prepare(volume, 0)
    annotated, held_back = _annotated(truth, 15, 20, 25), [_second_object(truth)]
    told = TrainingSet([scan], annotated, ["ball"], scan.spacing_mm, held_back=held_back)
    assert not _empty_batches(told)
    examples = TrainingSet([scan], annotated, ["ball"], scan.spacing_mm)
    assert _empty_batches(examples)
    examples.replace(annotated, held_back)
    assert not _empty_batches(examples)


def test_a_model_that_knows_other_slices_is_not_told_that_there_is_one_object():
    volume, truth, _ = _tall_scan()
    scan = prepare(volume, 0)
    config = TrainConfig(seconds=36_000, max_steps=1, threads=1, device="cpu")
    *_, done = train([scan], _annotated(truth, 15, 20, 25), config, class_names=["ball"])

    def batches(scan, *indices, restart="warm"):
        again = dataclasses.replace(config, restart=restart)
        given = _annotated(truth, *indices)
        card = new_card([scan], again, done.checkpoint, ["ball"])
        this_round = TrainingRound([scan], given, again, card, done.checkpoint)
        return _empty_batches(this_round.examples)

    assert batches(scan, 15, 20, 22, 25)
    assert not batches(scan, 20, 25)
    assert batches(scan, 20, 25, restart="scratch")
    assert not batches(dataclasses.replace(scan, name="another"), 15, 20, 25)


@pytest.mark.slow
def test_a_single_tumour_is_not_seen_again_far_away(monkeypatch):
    volume, truth, oval = _tall_scan()
    config = TrainConfig(seconds=36_000, max_steps=150, threads=1, device="cpu")

    def seen():
        annotated = _annotated(truth, 15, 18, 22, 25)
        *_, done = train([prepare(volume, 0)], annotated, config, class_names=["ball"])
        assert isinstance(done, RoundDone)
        predicted = predict_volume(volume, done.checkpoint)
        assert predicted[truth > 0].mean() > 0.8
        return predicted[oval].mean()

    learned = seen()
    monkeypatch.setattr(training_set, "assumed_empty", lambda *_: [])
    assert learned < 0.1 < seen()
