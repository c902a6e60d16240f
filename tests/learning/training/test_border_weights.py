"""Gaps between objects weigh more, as worked out by hand."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
import torch

from napari_unet.annotation.states import IGNORE_LABEL
from napari_unet.learning.config import BorderWeighting, Recipe
from napari_unet.learning.training import border_weights as module
from napari_unet.learning.training.border_weights import BorderCache, border_weights
from napari_unet.learning.training.loop import new_card, train
from napari_unet.learning.training.losses import masked_cross_entropy
from napari_unet.learning.training.round import TrainingRound
from napari_unet.learning.training.training_set import TrainingSet


def two_squares(second_class: int = 1) -> np.ndarray:
    """Squares of 4 x 4 pixels with three columns between them."""
    labels = np.zeros((10, 16), np.uint8)
    labels[3:7, 2:6] = 1
    labels[3:7, 9:13] = second_class
    return labels


@pytest.mark.parametrize("second_class", [1, 2])
def test_the_gap_between_two_squares_weighs_as_worked_out_by_hand(second_class):
    weights = border_weights(two_squares(second_class))
    # Between them: 1 + 3, 2 + 2 and 3 + 1 pixels to the two squares.
    np.testing.assert_allclose(weights[4, 6:9], 10 * math.exp(-16 / 50), rtol=1e-6)
    # A row above, in the middle: the corners are 1 up and 2 across.
    assert weights[2, 7] == pytest.approx(10 * math.exp(-((2 * math.sqrt(5)) ** 2) / 50))
    # At the left edge: 2 pixels to one, 9 to the other.
    assert weights[4, 0] == pytest.approx(10 * math.exp(-(11**2) / 50))
    assert not weights[two_squares() > 0].any()


def test_distances_count_millimetres_where_pixels_have_a_size():
    labels = np.repeat(two_squares(), 2, axis=1)  # columns half as wide
    weights = border_weights(labels, sigma=2.5, spacing=(1.0, 0.5))
    # Six columns of half a millimetre: 0.5 + 3 mm from the first, 1 + 2.5 mm, ...
    np.testing.assert_allclose(weights[4, 12:18], 10 * math.exp(-(3.5**2) / 12.5), rtol=1e-6)


def test_a_single_object_has_no_gap():
    labels = two_squares()
    labels[:, 8:] = 0
    assert not border_weights(labels).any()
    assert not border_weights(np.zeros_like(labels)).any()


def test_what_nobody_annotated_is_neither_a_gap_nor_an_object():
    labels = two_squares()
    labels[4, 7] = IGNORE_LABEL
    weights = border_weights(labels)
    assert weights[4, 7] == 0
    assert weights[4, 6] == pytest.approx(10 * math.exp(-16 / 50))  # to the square, not to 255
    labels[:, 8:] = IGNORE_LABEL
    assert not border_weights(labels).any()


def test_windows_around_objects_change_nothing_that_matters():
    rng = np.random.default_rng(0)
    labels = np.zeros((120, 150), np.uint8)
    boxes = []
    for top in range(2, 110, 27):
        for left in range(2, 140, 31):
            box = (slice(top, top + rng.integers(4, 20)), slice(left, left + rng.integers(4, 20)))
            labels[box] = 1
            boxes.append(box)
    y, x = np.indices(labels.shape)
    distances = []
    for rows, columns in boxes:
        down = np.maximum(np.maximum(rows.start - y, y - rows.stop + 1), 0)
        across = np.maximum(np.maximum(columns.start - x, x - columns.stop + 1), 0)
        distances.append(np.hypot(down, across))
    nearest = np.sort(distances, axis=0)[:2].sum(axis=0)
    expected = np.where(labels == 0, 10 * np.exp(-(nearest**2) / 50), 0)
    np.testing.assert_allclose(border_weights(labels), expected, atol=1.01e-3)


def test_extra_weights_count_in_the_mean_and_ignored_pixels_do_not():
    logits = torch.tensor([[[[0.0, 0.0, 0.0]], [[math.log(3), 0.0, 50.0]]]])
    labels = torch.tensor([[[0, 1, IGNORE_LABEL]]])
    extra = torch.tensor([[[4.0, 0.0, 9.0]]])
    loss = masked_cross_entropy(logits, labels, torch.tensor([1.0, 3.0]), extra)
    # Pixel 1: background at probability 1/4, weight 1 + 4; pixel 2: 1/2, weight 3.
    assert loss == pytest.approx((5 * math.log(4) + 3 * math.log(2)) / 8)


def squares_scene(scene):
    """The ball's scan, but annotated with two squares."""
    annotations = []
    for index in (1, 4):
        labels = np.zeros(scene.truth.shape[1:], np.uint8)
        labels[20:30, 20:30] = labels[20:30, 33:43] = 1
        annotations.append(dataclasses.replace(scene.annotated(index)[0], labels=labels))
    return annotations


def test_border_weights_move_with_the_labels_and_are_computed_once(scene, monkeypatch):
    calls = []

    def counted(*args, **kwargs):
        calls.append(1)
        return border_weights(*args, **kwargs)

    monkeypatch.setattr(module, "border_weights", counted)
    annotations = squares_scene(scene)
    spacing = scene.scan.spacing_mm
    examples = TrainingSet(
        [scene.scan],
        annotations,
        ["square"],
        spacing,
        recipe=Recipe(loss="border-ce", elastic=10.0),
    )
    generator = torch.Generator().manual_seed(0)
    for _ in range(3):
        _, labels, borders = examples.batch(4, generator)
        assert borders.shape == labels.shape
        assert borders.max() > 7  # the gap is still in view
        assert not borders[labels != 0].any()
    examples.replace(annotations)
    assert len(calls) == 1  # both slices show the same


@pytest.mark.parametrize("pixel_mm", [(0.5, 0.5), (1.0, 0.5)])
def test_sigma_counts_pixels_or_millimetres(pixel_mm):
    labels = two_squares()
    [in_mm] = BorderCache(pixel_mm, BorderWeighting(4.0, 2.5, "mm"))(labels[None])
    expected = border_weights(labels, weight=4.0, sigma=2.5, spacing=pixel_mm)
    np.testing.assert_allclose(in_mm, expected, atol=1e-6)
    [in_pixels] = BorderCache(pixel_mm, BorderWeighting(4.0, 5.0))(labels[None])
    np.testing.assert_allclose(in_pixels, in_mm, atol=1e-3)  # 5 pixels of half a millimetre
    assert 2 < in_mm.max() <= 4


def test_the_recipe_of_training_shapes_the_weights(scene, quick):
    recipe = Recipe(loss="border-ce", border=BorderWeighting(3.0, 1.5, "mm"))
    config = dataclasses.replace(quick, recipe=recipe)
    card = new_card([scene.scan], config, None, ["square"])
    this_round = TrainingRound([scene.scan], squares_scene(scene), config, card)
    _, _, borders = this_round.examples.batch(4, torch.Generator().manual_seed(0), 0.0)
    # A gap of 3 mm, from the middle of a pixel to that of the next: d1 + d2 = 4 mm.
    assert borders.max() == pytest.approx(3.0 * math.exp(-(4.0**2) / (2 * 1.5**2)), abs=1e-4)


def test_without_border_weights_none_are_made(scene):
    examples = TrainingSet([scene.scan], squares_scene(scene), ["square"], scene.scan.spacing_mm)
    assert examples.batch(2, torch.Generator().manual_seed(0))[2] is None


@pytest.mark.slow
@pytest.mark.parametrize("loss", ["ce", "weighted-ce", "border-ce"])
def test_every_loss_teaches(scene, quick, loss):
    config = dataclasses.replace(quick, recipe=Recipe(loss=loss, elastic=4.0), max_steps=25)
    steps = train([scene.scan], scene.annotated(4, 6), config, class_names=["ball"])
    losses = [event.loss for event in steps if hasattr(event, "loss")]
    assert np.mean(losses[-5:]) < 0.8 * np.mean(losses[:5])
