"""Which examples the network is shown."""

import dataclasses

import torch

from napari_unet.learning.config import IGNORE_LABEL
from napari_unet.learning.presets import choose_preset, working_spacing
from napari_unet.learning.training_set import TrainingSet


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


def test_small_crops_are_enlarged_for_a_network_at_half_resolution(make):
    fast, standard = choose_preset("fast", "cpu"), choose_preset("standard", "cpu")
    small, large = make((6, 40, 50)).scan, make((6, 150, 150)).scan
    assert working_spacing(small, fast) == (0.5, 0.5)
    assert working_spacing(small, standard) == small.spacing_mm
    assert working_spacing(large, fast) == large.spacing_mm


def test_the_network_suits_the_device():
    assert choose_preset("auto", "cpu").stride == 2
    assert choose_preset("auto", "cuda").stride == 1
