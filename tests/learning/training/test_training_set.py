"""Which examples the network is shown."""

import dataclasses

import numpy as np
import pytest
import torch

from napari_unet.annotation.states import IGNORE_LABEL, LabelledSlice
from napari_unet.learning.config import PRESETS, RECIPES
from napari_unet.learning.network import layer_sizes
from napari_unet.learning.network.unet import UNet
from napari_unet.learning.presets import choose_preset, slices_a_step, working_spacing
from napari_unet.learning.training import training_set
from napari_unet.learning.training.training_set import TrainingSet


def test_slices_of_air_are_background_although_nobody_annotates_them(scene):
    slices = scene.scan.slices.copy()
    slices[0] = slices.min()
    scan = dataclasses.replace(scene.scan, slices=slices)
    examples = TrainingSet([scan], scene.annotated(4, 6), ["ball"], scan.spacing_mm)
    generator = torch.Generator().manual_seed(0)
    drawn = [examples.batch(2, generator, 0.0) for _ in range(40)]
    air = [
        (image, truth)
        for images, labels, _ in drawn
        for image, truth in zip(images, labels)
        if image.std() < 0.2
    ]
    assert air
    assert all((truth[truth != IGNORE_LABEL] == 0).all() for _, truth in air)
    assert len(examples) == 2


def test_a_smaller_scan_is_surrounded_by_air_that_is_known_to_be_background(make):
    small, large = make((12, 61, 61)), make((12, 90, 75))
    annotated = [*small.annotated(6), dataclasses.replace(large.annotated(6)[0], scan=1)]
    examples = TrainingSet([small.scan, large.scan], annotated, ["ball"], small.scan.spacing_mm)
    images, labels = examples.unchanged(10**6)
    rows, columns = small.scan.shape
    assert images.shape[-2] % 32 == images.shape[-1] % 32 == 0
    assert (labels[0, rows:] == 0).all()
    assert (labels[0, :, columns:] == 0).all()
    assert (images[0, :, rows:] == images[0].min()).all()
    assert (labels != IGNORE_LABEL).all()


def test_valid_convolutions_see_a_smaller_scan_as_they_do_when_they_predict(make):
    small, large = make((12, 61, 61)), make((12, 90, 75))
    annotated = [*small.annotated(6), dataclasses.replace(large.annotated(6)[0], scan=1)]
    model = dataclasses.replace(PRESETS["paper"], width=4, levels=3)
    examples = TrainingSet(
        [small.scan, large.scan], annotated, ["ball"], small.scan.spacing_mm, model=model
    )
    images, labels = examples.unchanged(10**6)
    rows, columns = small.scan.shape
    assert images.shape[-2] > rows
    start = layer_sizes.input_margin(model)
    slices = torch.from_numpy(small.scan.slices[6][None])
    around = UNet(model).surround(slices, images.shape[-2:])[0]
    seen = around[:, start : start + images.shape[-2], start : start + images.shape[-1]]
    assert torch.equal(images[0], seen)
    assert (labels[0, rows:] == IGNORE_LABEL).all()
    assert (labels[0, :, columns:] == IGNORE_LABEL).all()


def test_how_much_a_class_weighs_does_not_depend_on_the_size_of_other_scans(make, monkeypatch):
    monkeypatch.setattr(training_set, "assumed_background", lambda labels, _: labels < 0)
    small, large = make((12, 61, 61)), make((12, 150, 150))
    alone = TrainingSet([small.scan], small.annotated(6), ["ball"], small.scan.spacing_mm)
    unlabelled = np.full_like(large.truth[6], IGNORE_LABEL)
    unlabelled[70, 70] = 0
    beside = TrainingSet(
        [small.scan, large.scan],
        [*small.annotated(6), LabelledSlice(1, 6, unlabelled)],
        ["ball"],
        small.scan.spacing_mm,
    )
    torch.testing.assert_close(beside.balance, alone.balance, rtol=0.01, atol=0)


def test_small_crops_are_enlarged_for_a_network_at_half_resolution(make):
    fast, standard = choose_preset("fast", "cpu"), choose_preset("standard", "cpu")
    small, large = make((6, 40, 50)).scan, make((6, 150, 150)).scan
    assert working_spacing(small, fast) == (0.5, 0.5)
    assert working_spacing(small, standard) == small.spacing_mm
    assert working_spacing(large, fast) == large.spacing_mm


def test_the_network_suits_the_device():
    assert choose_preset("auto", "cpu").stride == 2
    assert choose_preset("auto", "cuda").stride == 1


@pytest.mark.parametrize(
    ("preset", "slices", "side", "expected"),
    [
        ("standard", 700, 96, 10),  # many crops
        ("standard", 700, 32, 16),  # no more than that
        ("standard", 700, 192, 4),  # many slices of heads
        ("standard", 5, 96, 4),  # a few crops: steps count
        ("paper", 700, 96, 1),  # as published
    ],
)
def test_a_step_shows_more_slices_where_there_are_many_small_ones(preset, slices, side, expected):
    assert slices_a_step(RECIPES[preset], slices, side * side) == expected


def test_a_step_counts_the_pixels_that_the_network_sees(make):
    scene = make((12, 61, 61))
    finer = (scene.scan.spacing_mm[0] / 2, scene.scan.spacing_mm[1] / 2)
    whole = TrainingSet([scene.scan], scene.annotated(6), ["ball"], finer)
    tiles = dataclasses.replace(RECIPES["standard"], tile=64)
    assert whole.pixels == 128 * 128
    assert (
        TrainingSet([scene.scan], scene.annotated(6), ["ball"], finer, recipe=tiles).pixels
        == 64 * 64
    )
