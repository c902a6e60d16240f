from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from napari_unet.annotation.states import IGNORE_LABEL
from napari_unet.learning.config import PRESETS, RECIPES
from napari_unet.learning.inspection.augmentation_preview import KINDS, augmented
from napari_unet.learning.training.augmentation import (
    AugmentationRange,
    apply_augmentation,
    may_mirror,
    move_along,
    sample_augmentation,
    training_range,
)

STILL = dataclasses.replace(AugmentationRange().scaled(0), flip=False)


def _batch(n=3, size=(40, 50)):
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(n, 2, *size, generator=generator)
    labels = torch.randint(0, 3, (n, *size), generator=generator, dtype=torch.uint8)
    return images, labels, generator


def test_nothing_changes_when_all_ranges_are_zero():
    images, labels, generator = _batch()
    drawn = sample_augmentation(3, STILL, generator)
    new_images, new_labels = apply_augmentation(images, labels, drawn)
    torch.testing.assert_close(new_images, images, atol=1e-4, rtol=1e-4)
    assert torch.equal(new_labels, labels.long())


def test_image_and_labels_move_together():
    _, _, generator = _batch()
    labels = torch.zeros(8, 64, 64, dtype=torch.uint8)
    labels[:, 20:44, 10:30] = 1
    images = labels[:, None].float()
    limits = AugmentationRange(gain=0, offset=0, noise=0, shading=0)
    new_images, new_labels = apply_augmentation(
        images, labels, sample_augmentation(8, limits, generator)
    )
    known = new_labels != IGNORE_LABEL
    agree = (new_images[:, 0] > 0.5) == (new_labels == 1)
    assert agree[known].float().mean() > 0.99
    assert not torch.equal(new_labels[0], new_labels[1])


def test_pixels_from_outside_the_slice_are_ignored_and_labels_never_mixed():
    images, labels, generator = _batch(6)
    labels[labels == 1] = IGNORE_LABEL
    limits = AugmentationRange(rotation_degrees=45, shift=0.3)
    _, new_labels = apply_augmentation(images, labels, sample_augmentation(6, limits, generator))
    assert set(new_labels.unique().tolist()) == {0, 2, IGNORE_LABEL}
    assert (new_labels == IGNORE_LABEL).sum() > (labels == IGNORE_LABEL).sum()


def test_flip_mirrors_columns():
    images, labels, generator = _batch(16)
    limits = dataclasses.replace(STILL, flip=True)
    _, new = apply_augmentation(images, labels, sample_augmentation(16, limits, generator))
    mirrored = [torch.equal(a, b.flip(1).long()) for a, b in zip(new, labels, strict=True)]
    same = [torch.equal(a, b.long()) for a, b in zip(new, labels, strict=True)]
    assert any(mirrored)
    assert any(same)
    assert all(a or b for a, b in zip(mirrored, same, strict=True))


@pytest.mark.parametrize(("preset", "turned"), [("paper", True), ("fast", False)])
def test_the_paper_turns_slices_upside_down_too_and_others_do_not(preset, turned):
    images, labels, generator = _batch(64)
    limits = training_range(PRESETS[preset], RECIPES[preset], 0, ["cell"])
    still = dataclasses.replace(STILL, flip=limits.flip, flip_rows=limits.flip_rows)
    _, new = apply_augmentation(images, labels, sample_augmentation(64, still, generator))
    ways = {(): 0, (1,): 0, (0,): 0, (0, 1): 0}  # axes that are mirrored: rows 0, columns 1
    for was, now in zip(labels, new, strict=True):
        [way] = [way for way in ways if torch.equal(was.flip(way).long(), now)]
        ways[way] += 1
    assert ways[()] > 8
    assert ways[1,] > 8
    assert (ways[0,] > 8) == (ways[0, 1] > 8) == turned
    assert sum(ways.values()) == 64
    image = images[0].numpy()
    preview = [augmented(image, seed, "flip", limits=limits).values for seed in range(12)]
    upside_down = [np.allclose(each, image[:, ::-1], atol=1e-3) for each in preview]
    assert any(upside_down) == turned


def test_rotation_turns_anatomy_where_pixels_are_not_square():
    # Rows 3 mm, columns 1 mm: a disc in millimetres must stay that disc.
    y, x = torch.meshgrid(torch.arange(21.0) * 3 - 30, torch.arange(61.0) - 30, indexing="ij")
    disc = (x**2 + y**2 < 20**2).to(torch.uint8)[None].repeat(8, 1, 1)
    limits = dataclasses.replace(STILL, rotation_degrees=90, flip=True)
    drawn = sample_augmentation(8, limits, torch.Generator().manual_seed(1), aspect=3.0)
    _, turned = apply_augmentation(disc[:, None].float(), disc, drawn)
    known = turned != IGNORE_LABEL
    assert (turned == disc)[known].float().mean() > 0.96


def test_patches_show_the_slice_around_their_centre():
    images, labels, generator = _batch(2)
    drawn = sample_augmentation(2, STILL, generator)
    centres = torch.tensor([[9.5, 12.5], [30.5, 40.5]])
    patch, truth = apply_augmentation(images, labels, drawn, centres=centres, size=(8, 6))
    torch.testing.assert_close(patch[0], images[0, :, 6:14, 10:16], atol=1e-4, rtol=1e-4)
    assert torch.equal(truth[1], labels[1, 27:35, 38:44].long())


def test_the_same_parameters_give_the_same_batch():
    images, labels, generator = _batch()
    drawn = sample_augmentation(3, AugmentationRange(), generator)
    first, second = (apply_augmentation(images, labels, drawn) for _ in range(2))
    assert torch.equal(first[0], second[0])


@pytest.mark.parametrize(
    ("axis", "names", "expected"),
    [
        (0, ["tumour"], True),
        (1, ["caudate", "putamen"], True),
        (2, ["tumour"], False),
        (0, ["left hippocampus", "right hippocampus"], False),
        (0, ["Hippocampus_L"], False),
        (0, ["cleft", "bright spot"], True),
    ],
)
def test_sides_are_mirrored_only_where_anatomy_allows(axis, names, expected):
    assert may_mirror(axis, names) is expected


# -- the paper's elastic deformation -----------------------------------------------


def _cubic(t: np.ndarray) -> np.ndarray:
    """Kernel of cubic convolution with a = -0.75 (Keys, 1981)."""
    a, t = -0.75, np.abs(t)
    near = (a + 2) * t**3 - (a + 3) * t**2 + 1
    far = a * t**3 - 5 * a * t**2 + 8 * a * t - 4 * a
    return np.where(t <= 1, near, np.where(t < 2, far, 0))


def _bicubic(knots: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Spread knots (k, k) over `size`: corners on corners, outer knots repeated."""
    weights = []
    for pixels, n in zip(size, knots.shape):
        at = np.linspace(0, n - 1, pixels)
        share = np.zeros((pixels, n))
        for knot in range(-2, n + 2):
            share[:, min(max(knot, 0), n - 1)] += _cubic(at - knot)
        weights.append(share)
    return weights[0] @ knots @ weights[1].T


PAPER = dataclasses.replace(STILL, bend=10.0, mirrored=True)


def test_the_elastic_deformation_is_the_bicubic_field_of_a_coarse_grid_in_pixels():
    size = (61, 83)
    drawn = sample_augmentation(1, PAPER, torch.Generator().manual_seed(3))
    assert drawn.bend.shape == (1, 2, 3, 3)
    # An image whose grey value says where each pixel was, in a larger slice around it.
    y, x = torch.meshgrid(torch.arange(300.0), torch.arange(300.0), indexing="ij")
    moved, _ = apply_augmentation(
        torch.stack([x, y])[None],
        torch.zeros(1, 300, 300, dtype=torch.uint8),
        drawn,
        centres=torch.tensor([[150.0, 150.0]]),
        size=size,
    )
    rows, columns = np.indices(size)
    for channel, still, knots in zip(
        moved[0].numpy(), (columns - 41 + 150, rows - 30 + 150), drawn.bend[0].double().numpy()
    ):
        np.testing.assert_allclose(channel - still, _bicubic(knots, size), atol=2e-3)


def test_displacements_have_the_standard_deviation_asked_for():
    drawn = sample_augmentation(500, PAPER, torch.Generator().manual_seed(0))
    assert drawn.bend.std() == pytest.approx(10, rel=0.03)
    assert drawn.bend.mean() == pytest.approx(0, abs=0.3)
    assert drawn.displacement.abs().max() == 0


def test_mirrored_borders_continue_the_slice_and_its_labels():
    _, _, generator = _batch()
    images = torch.rand(1, 1, 20, 30, generator=generator)
    labels = torch.randint(0, 3, (1, 20, 30), generator=generator, dtype=torch.uint8)
    drawn = sample_augmentation(1, dataclasses.replace(STILL, mirrored=True), generator)
    shown, truth = apply_augmentation(images, labels, drawn, size=(30, 44))
    padding = ((5, 5), (7, 7))
    expected = np.pad(images[0, 0].numpy(), padding, mode="reflect")
    np.testing.assert_allclose(shown[0, 0].numpy(), expected, atol=1e-4)
    np.testing.assert_array_equal(
        truth[0].numpy(), np.pad(labels[0].numpy(), padding, mode="reflect")
    )


def test_bent_labels_are_never_mixed_and_move_with_the_image_and_its_weights():
    labels = torch.zeros(6, 64, 64, dtype=torch.uint8)
    labels[:, 20:44, 10:30] = 2
    labels[:, 10:20, 40:60] = IGNORE_LABEL
    drawn = sample_augmentation(6, PAPER, torch.Generator().manual_seed(0))
    images, truth = apply_augmentation((labels == 2)[:, None].float(), labels, drawn)
    assert set(truth.unique().tolist()) == {0, 2, IGNORE_LABEL}
    assert ((images[:, 0] > 0.5) == (truth == 2)).float().mean() > 0.99
    assert torch.equal(move_along(labels.float(), drawn), truth.float())
    assert not torch.equal(truth[0], labels[0].long())


# -- preview -----------------------------------------------------------------------


def _slice():
    y, x = np.mgrid[:60, :70].astype(np.float32)
    ball = np.hypot(y - 30, x - 25) < 14
    return np.stack([ball * 2 + np.sin(x / 9) * 0.3, y / 60]).astype(np.float32)


@pytest.mark.parametrize("kind", KINDS)
def test_every_variation_can_be_looked_at_and_looked_at_again(kind):
    image = _slice()
    seen = [augmented(image, seed, kind).values for seed in range(6)]
    assert all(each.shape == image.shape and each.dtype == np.float32 for each in seen)
    assert any(not np.allclose(each, image, atol=1e-3) for each in seen)
    np.testing.assert_array_equal(augmented(image, 5, kind).values, seen[5])


def test_grey_value_changes_leave_the_labels_where_they_are():
    images, labels, generator = _batch()
    limits = dataclasses.replace(STILL, gain=0.1, offset=0.1, noise=0.1, shading=0.1)
    new_images, truth = apply_augmentation(
        images, labels, sample_augmentation(3, limits, generator)
    )
    assert not torch.allclose(new_images, images, atol=1e-2)
    assert torch.equal(truth, labels.long())


def test_what_a_crop_leaves_out_is_dark():
    image = _slice()
    shown = augmented(image, 0, "crop").values
    inside = (np.abs(shown - image) < 1e-4).all(axis=0)
    dark = (shown == shown.min(axis=(1, 2), keepdims=True)).all(axis=0)
    assert (inside & ~dark).sum() == 30 * 35
    assert (inside | dark).all()


def test_the_preview_varies_as_training_does_for_this_network():
    image = _slice()
    paper = training_range(PRESETS["paper"], RECIPES["paper"], 2, ["tumour"])
    assert (paper.bend, paper.elastic, paper.mirrored, paper.flip) == (10.0, 0.0, True, False)
    for seed in range(4):  # a sagittal slice: never mirrored front to back
        shown = augmented(image, seed, "flip", limits=paper)
        expected = np.flip(image, [1 + axis for axis in shown.mirrored])
        np.testing.assert_allclose(shown.values, expected, atol=1e-3)
        assert 1 not in shown.mirrored
    flat = [augmented(image, 0, "rotation", aspect=aspect).values for aspect in (1.0, 3.0)]
    assert not np.allclose(*flat)
