"""One network that learns: its weights, their average, and what moves them."""

from __future__ import annotations

import copy
import math

import torch
from torch import Tensor

from napari_unet.learning.config import Recipe
from napari_unet.learning.network.unet import UNet
from napari_unet.learning.presets import slices_a_step
from napari_unet.learning.training.losses import (
    masked_cross_entropy,
    segmentation_loss,
    without_assumed,
)
from napari_unet.learning.training.optimiser import OPTIMISERS, AveragedWeights
from napari_unet.learning.training.training_set import TrainingSet

WARM_UP_STEPS = 20
"""Steps until the learning rate is at its peak."""

AVERAGE_DECAY = 0.98
"""The weights that are kept are an average over about the last fifty steps."""


class Trainer:
    """A network with its optimiser, on one device.

    Parameters
    ----------
    net : UNet
        The network, with the weights to start from.
    recipe : Recipe
        How it is trained.
    device : torch.device
        Where; it can be moved.
    generator : torch.Generator
        Draws the examples, and the features that are dropped.
    """

    def __init__(
        self, net: UNet, recipe: Recipe, device: torch.device, generator: torch.Generator
    ) -> None:
        self.device = device
        self._recipe = recipe
        self._generator = generator
        self._net = net.to(device).train()
        self._optimiser = OPTIMISERS[recipe.optimiser](self._net, recipe.weight_decay)
        self._average = AveragedWeights(
            self._net, copy.deepcopy(self._net).eval(), self._optimiser.weights, AVERAGE_DECAY
        )

    @property
    def network(self) -> UNet:
        """The averaged network: the one to show and to keep."""
        return self._average.net

    @property
    def steps(self) -> int:
        """Training steps made."""
        return self._optimiser.steps

    def step(self, examples: TrainingSet, progress: float) -> float:
        """Make one optimiser step; return its loss.

        A loss that is not finite moves nothing: the network goes back to its average.

        Parameters
        ----------
        examples : TrainingSet
            What to learn from.
        progress : float
            Fraction of the training that is over, 0 to 1.
        """
        ramp = self._recipe.ramp
        strength = min(1.0, self.steps / ramp) if ramp else 1.0
        size = slices_a_step(self._recipe, len(examples), examples.pixels)
        images, labels, borders = examples.batch(size, self._generator, strength)
        logits = self._scores(images.to(self.device), labels)
        loss = self._loss(examples, logits, labels, borders, progress)
        loss.backward()
        if self._optimiser.step(self._learning_rate(progress)):
            self._average.update()
        else:
            self._average.restore()
            self._optimiser.forget()
        return float(loss.detach())

    def move_to(self, device: torch.device) -> None:
        """Go on with the same weights, average and optimiser on another device."""
        self.device = device
        optimiser, average = self._optimiser, self._average
        self._net.to(device)
        self._optimiser = type(optimiser)(self._net, optimiser.weight_decay)
        self._optimiser.resume(optimiser)
        self._average = AveragedWeights(
            self._net, average.net.to(device), self._optimiser.weights, average.decay
        )
        self._average.steps = average.steps

    def weights(self) -> dict[str, Tensor]:
        """Copy the averaged weights to the CPU."""
        return {
            name: tensor.detach().to("cpu", copy=True)
            for name, tensor in self.network.state_dict().items()
        }

    def _scores(self, images: Tensor, labels: Tensor) -> Tensor:
        """Score images, or tiles (n, c, h', w') with what is around the labels (n, h, w)."""
        with self._net.dropping(self._generator):
            if images.shape[-2:] == labels.shape[-2:]:
                return self._net(images)  # type: ignore[no-any-return]
            rows, columns = labels.shape[-2:]
            return self._net.scores(images)[..., :rows, :columns]

    def _loss(
        self,
        examples: TrainingSet,
        logits: Tensor,
        labels: Tensor,
        borders: Tensor | None,
        progress: float,
    ) -> Tensor:
        """Loss of a batch, see `Recipe.loss`."""
        labels = without_assumed(labels, logits)
        if self._recipe.loss == "dice+ce":
            # Rare classes are found because they weigh more, but drawn too large as
            # long as they do: towards the end all pixels count the same.
            weights = examples.weights.to(self.device) ** (1 - progress)
            return segmentation_loss(logits, labels, weights)
        balance = examples.balance.to(self.device)
        if self._recipe.loss == "ce":
            balance = torch.ones_like(balance)
        if borders is not None:
            borders = borders.to(self.device)
        return masked_cross_entropy(logits, labels, balance, borders)

    def _learning_rate(self, progress: float) -> float:
        """Cosine over the budget, after a few careful steps."""
        warm_up = min(1.0, (self.steps + 1) / WARM_UP_STEPS)
        return (
            self._recipe.learning_rate
            * warm_up
            * (0.01 + 0.495 * (1 + math.cos(math.pi * progress)))
        )
