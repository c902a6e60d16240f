"""What training minimises on annotated pixels: cross-entropy, with or without Dice."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor
from torch.nn import functional

from napari_unet.annotation.states import IGNORE_LABEL
from napari_unet.learning.training.assumed_background import ASSUMED_LABEL, SURE

MAX_WEIGHT_RATIO = 30.0
"""A rare class counts at most this much more than the most frequent one."""


def class_weights(
    labels: Iterable[Tensor], n_classes: int, power: float = 0.5, background: float = 0.0
) -> Tensor:
    """Weigh each class by one over a power of its frequency, the square root by default.

    Without it, a structure of a hundred pixels in a slice of thirty thousand
    is not found within the first hundreds of steps; with weights of one over
    the frequency itself it would be drawn far too large.

    Parameters
    ----------
    labels : iterable of Tensor
        Integer labels of any shape; `IGNORE_LABEL` is not counted.
    n_classes : int
        Classes including background.
    power : float
        0.5, or 1 for classes that all have the same weight in total.
    background : float
        Pixels of background besides.

    Returns
    -------
    Tensor of float, shape (k,)
        Weights; 1 for the most frequent class, at most `MAX_WEIGHT_RATIO`.
    """
    counts = torch.zeros(n_classes)
    counts[0] = background
    for each in labels:
        known = each[each != IGNORE_LABEL].long()
        counts += torch.bincount(known.flatten(), minlength=n_classes)
    weights = (counts.max() / counts.clamp(min=1)) ** power
    return weights.clamp(max=MAX_WEIGHT_RATIO)


def without_assumed(labels: Tensor, logits: Tensor) -> Tensor:
    """Settle what is assumed to be background: it is, unless the network is sure it is not.

    Parameters
    ----------
    labels : Tensor of int64, shape (n, h, w)
        Truth, `ASSUMED_LABEL` where background is assumed; on the CPU.
    logits : Tensor, shape (n, k, h, w)
        Scores.

    Returns
    -------
    Tensor of int64, shape (n, h, w)
        Background there, or `IGNORE_LABEL` where the scores say a structure; where the
        scores are.
    """
    assumed = labels == ASSUMED_LABEL
    labels = labels.to(logits.device)
    if not assumed.any():  # asked of the CPU: a graphics card need not be waited for
        return labels
    assumed = assumed.to(logits.device)
    structure = logits.detach().softmax(dim=1)[:, 0] < 1 - SURE
    return labels.masked_fill(assumed, 0).masked_fill(assumed & structure, IGNORE_LABEL)


def masked_cross_entropy(
    logits: Tensor, labels: Tensor, weights: Tensor, extra: Tensor | None = None
) -> Tensor:
    """Mean weighted cross-entropy over annotated pixels; 0 where there are none.

    Parameters
    ----------
    logits : Tensor, shape (n, k, h, w)
        Scores.
    labels : Tensor of int64, shape (n, h, w)
        Truth, `IGNORE_LABEL` where nobody annotated.
    weights : Tensor, shape (k,)
        Weight of each class.
    extra : Tensor, shape (n, h, w), optional
        Weight of each pixel on top of that of its class.
    """
    known = labels != IGNORE_LABEL
    if extra is None:
        total = functional.cross_entropy(
            logits, labels, weight=weights, ignore_index=IGNORE_LABEL, reduction="sum"
        )
        return total / weights[labels.masked_fill(~known, 0)].mul(known).sum().clamp(min=1e-6)
    each = functional.cross_entropy(logits, labels, ignore_index=IGNORE_LABEL, reduction="none")
    share = (weights[labels.masked_fill(~known, 0)] + extra) * known
    return (each * share).sum() / share.sum().clamp(min=1e-6)


def masked_dice_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """One minus the soft Dice of the structures in the batch, on annotated pixels.

    The mask is applied after the softmax. (Masking logits instead gives pixels
    outside a uniform probability, and a perfect prediction a large loss.)
    Classes that no pixel of the batch has do not take part.

    Parameters
    ----------
    logits : Tensor, shape (n, k, h, w)
        Scores.
    labels : Tensor of int64, shape (n, h, w)
        Truth, `IGNORE_LABEL` where nobody annotated.
    """
    known = labels != IGNORE_LABEL
    truth = functional.one_hot(labels.masked_fill(~known, 0), logits.shape[1])
    truth = truth.movedim(-1, 1)[:, 1:].to(logits.dtype) * known[:, None]
    predicted = logits.softmax(dim=1)[:, 1:] * known[:, None]
    dims = (0, 2, 3)
    size = truth.sum(dims)
    dice = 2 * (truth * predicted).sum(dims) / (size + predicted.sum(dims)).clamp(min=1e-6)
    present = (size > 0).to(logits.dtype)
    return (present * (1 - dice)).sum() / present.sum().clamp(min=1)


def segmentation_loss(logits: Tensor, labels: Tensor, weights: Tensor) -> Tensor:
    """Sum of `masked_cross_entropy` and `masked_dice_loss`."""
    return masked_cross_entropy(logits, labels, weights) + masked_dice_loss(logits, labels)
