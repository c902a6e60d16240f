"""Which weights a round ends with: the new ones, or those that it started from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from napari_unet.annotation.states import LabelledSlice
from napari_unet.learning.comparison import Comparison, compare
from napari_unet.learning.network.unet import UNet
from napari_unet.learning.prediction.predictor import Predictor
from napari_unet.learning.preparation import PreparedScan
from napari_unet.learning.training.losses import segmentation_loss
from napari_unet.learning.training.training_set import TrainingSet

COMPARED_PIXELS = 300_000
"""Pixels of annotated slices that decide between the new weights and those started from."""


@dataclass(frozen=True, slots=True)
class WeightChoice:
    """What a round ends with, and why.

    Parameters
    ----------
    kept : str
        ``new`` or ``old``.
    comparison : Comparison, optional
        How both did on the slices held back; None where those did not decide.
    """

    kept: Literal["new", "old"] = "new"
    comparison: Comparison | None = None


@dataclass(frozen=True, slots=True)
class WeightTest:
    """What new weights are tested on.

    Parameters
    ----------
    scans : sequence of PreparedScan
        The scans that annotations refer to.
    held_back : sequence of LabelledSlice
        Annotated slices that neither network has learned from.
    examples : TrainingSet
        What the new one has learned from.
    spacing_mm : tuple of float
        Pixel size (rows, columns) of the networks.
    """

    scans: Sequence[PreparedScan]
    held_back: Sequence[LabelledSlice]
    examples: TrainingSet
    spacing_mm: tuple[float, float]

    def choose(self, new: UNet, old: UNet, device: torch.device) -> WeightChoice:
        """Choose between two networks on `device`.

        Slices that were held back decide; without any, the annotated slices do: the
        first steps of fine-tuning make a model worse before they make it better, and
        whoever stops then is not to lose it.
        """
        comparison = compare(
            self._held_back_predictions(new, device),
            self._held_back_predictions(old, device),
            [self.scans[each.scan].crop(each.labels) for each in self.held_back],
        )
        if comparison is not None:
            return WeightChoice("old" if comparison.worse else "new", comparison)
        # A network at full resolution takes several times as long.
        images, labels = self.examples.unchanged(COMPARED_PIXELS * new.config.stride**2 // 4)
        better = _loss_on(new, images, labels, device) <= _loss_on(old, images, labels, device)
        return WeightChoice("new" if better else "old")

    def _held_back_predictions(self, net: UNet, device: torch.device) -> list[NDArray[np.uint8]]:
        """Classes (h, w) that a network alone gives the held-back slices, on the scan's pixels."""
        predictor = Predictor(net, self.spacing_mm, device)
        return [
            predictor.probabilities(self.scans[each.scan], [each.index])[0]
            .argmax(dim=0)
            .to(torch.uint8)
            .cpu()
            .numpy()
            for each in self.held_back
        ]


def _loss_on(net: UNet, images: Tensor, labels: Tensor, device: torch.device) -> float:
    """Loss on slices (n, c, h, w) as they are; no class counts more than another."""
    with torch.inference_mode():
        logits = torch.cat([net(image[None].to(device)).cpu() for image in images])
        return float(segmentation_loss(logits, labels, torch.ones(logits.shape[1])))
