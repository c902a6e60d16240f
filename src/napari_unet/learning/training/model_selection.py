"""Which weights a round ends with: the new ones, or those that it started from.

Annotated slices that neither has learned from decide (see `holdout`). The labels of such slices
are not neutral: they began as a prediction of the old model, and nobody corrects an edge that is
a pixel off. Simulated with an annotator who leaves just those (three deep grey scans and a
tumour, eight rounds of six corrected slices), the old model had a Dice of .70 where .55 was its
due; in four rounds it came out first by up to .006, while the new one was better on the rest of
the volume by .004 to .11. At the edge of a small structure a pixel weighs much more than there,
so a loss counts only if it remains with edges a pixel off forgiven.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor

from napari_unet.annotation.states import IGNORE_LABEL, LabelledSlice
from napari_unet.learning.events import Comparison
from napari_unet.learning.network.unet import UNet
from napari_unet.learning.prediction.predictor import Predictor
from napari_unet.learning.preparation import PreparedScan
from napari_unet.learning.training.losses import segmentation_loss

TOLERANCE = 0.1
"""Dice that new weights may lose on a single held-back slice: they have learned from more, and a
slice differs so much by chance. On several it is that over the root of their number. (With a
fiftieth, a model of Dice .85 on all other slices lost its place to one of .77.)"""

COMPARED_PIXELS = 300_000
"""Pixels of annotated slices that decide where no slice is held back (see `fits_worse`)."""


def compare_on_held_back(
    new: Predictor,
    old: Predictor,
    scans: Sequence[PreparedScan],
    held_back: Sequence[LabelledSlice],
) -> Comparison | None:
    """Compare what two networks alone predict for annotated slices that neither learned from.

    Parameters
    ----------
    new, old : Predictor
        The networks.
    scans : sequence of PreparedScan
        The scans that annotations refer to.
    held_back : sequence of LabelledSlice
        The slices.

    Returns
    -------
    Comparison or None
        None where they show no structure, or there are none.
    """

    def classes(predictor: Predictor, each: LabelledSlice) -> NDArray[np.uint8]:
        probabilities = predictor.probabilities(scans[each.scan], [each.index])[0]
        found: NDArray[np.uint8] = probabilities.argmax(dim=0).to(torch.uint8).cpu().numpy()
        return found

    return compare(
        [classes(new, each) for each in held_back],
        [classes(old, each) for each in held_back],
        [scans[each.scan].crop(each.labels) for each in held_back],
    )


def compare(
    new: Sequence[NDArray[np.uint8]],
    old: Sequence[NDArray[np.uint8]],
    truth: Sequence[NDArray[np.uint8]],
) -> Comparison | None:
    """Compare two predictions of the same slices.

    Parameters
    ----------
    new, old, truth : sequence of ndarray of uint8, each (h, w)
        Predictions of both and the annotation, slice by slice.

    Returns
    -------
    Comparison or None
        None where the annotation shows no structure.
    """
    exact = [pooled_dice(each, truth) for each in (new, old)]
    loose = [pooled_dice(each, truth, forgiving=True) for each in (new, old)]
    if exact[0] is None or exact[1] is None or loose[0] is None or loose[1] is None:
        return None
    allowed = TOLERANCE / math.sqrt(len(truth))
    by_the_pixel = exact[0] < exact[1] - allowed
    worse = by_the_pixel and loose[0] < loose[1] - allowed
    return Comparison(
        exact[0],
        exact[1],
        len(truth),
        worse,
        edges_only=by_the_pixel and not worse,
        n_pixels=sum(int(((each > 0) & (each != IGNORE_LABEL)).sum()) for each in truth),
    )


def pooled_dice(
    predicted: Sequence[NDArray[np.uint8]],
    truth: Sequence[NDArray[np.uint8]],
    *,
    forgiving: bool = False,
) -> float | None:
    """Score predictions of several slices together.

    Parameters
    ----------
    predicted, truth : sequence of ndarray of uint8, each (h, w)
        Labels, slice by slice.
    forgiving : bool
        Whether an edge may be a pixel off without being wrong.

    Returns
    -------
    float or None
        Dice of each structure over the pixels of all slices, averaged over the
        structures that the truth shows; None if it shows none.
    """
    values = sorted({int(value) for each in truth for value in np.unique(each[each > 0])})
    if not values:
        return None
    scores = []
    for value in values:
        right = size = 0
        for ours, theirs in zip(predicted, truth, strict=True):
            found, wanted = ours == value, theirs == value
            near_found, near_wanted = (
                ndimage.binary_dilation(each, np.ones((3, 3))) if forgiving else each
                for each in (found, wanted)
            )
            right += int((found & near_wanted).sum() + (wanted & near_found).sum())
            size += int(found.sum() + wanted.sum())
        scores.append(right / size)
    return float(np.mean(scores))


def fits_worse(new: UNet, old: UNet, images: Tensor, labels: Tensor) -> bool:
    """Whether a network has a larger loss than another on slices that it has learned from.

    The first steps of fine-tuning make a model worse before they make it better, and whoever
    stops then is not to lose it.

    Parameters
    ----------
    new, old : UNet
        The networks, on one device.
    images, labels : Tensor, shapes (n, c, h, w) and (n, h, w)
        The slices, as they are; no class counts more than another.
    """
    return not _loss_on(new, images, labels) <= _loss_on(old, images, labels)


def _loss_on(net: UNet, images: Tensor, labels: Tensor) -> float:
    device = net.head.weight.device
    with torch.inference_mode():
        logits = torch.cat([net(image[None].to(device)).cpu() for image in images])
        return float(segmentation_loss(logits, labels, torch.ones(logits.shape[1])))
