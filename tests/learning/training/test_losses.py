from __future__ import annotations

import torch

from napari_unet.annotation.states import IGNORE_LABEL
from napari_unet.learning.training.losses import (
    MAX_WEIGHT_RATIO,
    class_weights,
    masked_dice_loss,
    segmentation_loss,
)


def _partly_painted():
    """Ten percent painted; the rest says nothing."""
    labels = torch.full((1, 20, 20), IGNORE_LABEL)
    labels[:, :2, :10] = 1
    labels[:, :2, 10:] = 0
    return labels


def _confident(labels, elsewhere):
    truth = torch.where(labels == IGNORE_LABEL, elsewhere, labels)
    return torch.nn.functional.one_hot(truth, 2).movedim(-1, 1) * 20.0


def test_dice_loss_of_a_perfect_partly_painted_prediction_is_zero():
    labels = _partly_painted()
    assert masked_dice_loss(_confident(labels, elsewhere=1), labels) < 1e-3


def test_ignored_pixels_change_neither_loss_nor_gradient():
    labels = _partly_painted()
    weights = torch.tensor([1.0, 3.0])
    logits = torch.randn(1, 2, 20, 20, generator=torch.Generator().manual_seed(0))
    changed = torch.where((labels == IGNORE_LABEL)[:, None], logits * -5 + 2, logits)
    first, second = logits.requires_grad_(), changed.clone().requires_grad_()
    losses = [segmentation_loss(each, labels, weights) for each in (first, second)]
    torch.testing.assert_close(*losses)
    for loss in losses:
        loss.backward()
    torch.testing.assert_close(first.grad, second.grad)
    assert not first.grad[:, :, 2:].any()


def test_a_batch_without_annotation_has_no_loss():
    labels = torch.full((2, 8, 8), IGNORE_LABEL)
    logits = torch.randn(2, 3, 8, 8, requires_grad=True)
    loss = segmentation_loss(logits, labels, torch.ones(3))
    loss.backward()
    assert loss == 0
    assert torch.isfinite(logits.grad).all()


def test_an_empty_slice_punishes_false_positives():
    labels = torch.zeros(1, 8, 8, dtype=torch.long)
    empty, full = _confident(labels, 0), _confident(1 - labels, 0)
    weights = torch.tensor([1.0, 5.0])
    assert segmentation_loss(empty, labels, weights) < 0.01
    assert segmentation_loss(full, labels, weights) > 5


def test_rare_classes_weigh_more_within_a_limit():
    labels = torch.zeros(100, 100, dtype=torch.uint8)
    labels[:2, :50] = 1  # one percent
    labels[5, 5] = 2
    labels[50:] = IGNORE_LABEL
    weights = class_weights([labels], 4)
    assert weights[0] == 1
    assert 6.9 < weights[1] < 7.1  # square root of 49
    assert weights[2] == weights[3] == MAX_WEIGHT_RATIO
