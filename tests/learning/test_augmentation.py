from __future__ import annotations

import pytest
import torch

from napari_unet.learning.augmentation import (
    AugmentationRange,
    apply_augmentation,
    sample_augmentation,
)
from napari_unet.learning.config import IGNORE_LABEL
from napari_unet.learning.training_set import may_mirror

STILL = AugmentationRange(0, 0, 0, 0, 6, 0, 0, 0, 0, flip=False)


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
    limits = AugmentationRange(0, 0, 0, 0, 6, 0, 0, 0, 0, flip=True)
    _, new = apply_augmentation(images, labels, sample_augmentation(16, limits, generator))
    mirrored = [torch.equal(a, b.flip(1).long()) for a, b in zip(new, labels, strict=True)]
    same = [torch.equal(a, b.long()) for a, b in zip(new, labels, strict=True)]
    assert any(mirrored)
    assert any(same)
    assert all(a or b for a, b in zip(mirrored, same, strict=True))


def test_rotation_turns_anatomy_where_pixels_are_not_square():
    # Rows 3 mm, columns 1 mm: a disc in millimetres must stay that disc.
    y, x = torch.meshgrid(torch.arange(21.0) * 3 - 30, torch.arange(61.0) - 30, indexing="ij")
    disc = (x**2 + y**2 < 20**2).to(torch.uint8)[None].repeat(8, 1, 1)
    limits = AugmentationRange(90, 0, 0, 0, 6, 0, 0, 0, 0, flip=True)
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
