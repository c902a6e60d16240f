"""AdamW, momentum, and an averaged copy of the weights, on one flat vector.

Why not `torch.optim`: creating the first optimiser of a process imports
torch's compiler, a second of Python that competes with the window the
training runs behind. And with all weights in one vector a step is ten
operations rather than hundreds.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Generic, TypeVar

import torch
from torch import Tensor, nn

from napari_unet.learning.config import OptimiserName

MAX_GRADIENT_NORM = 5.0
"""Longer gradients are shortened to this: one odd batch must not undo a hundred good ones."""


Net = TypeVar("Net", bound=nn.Module)


def flatten(tensors: Sequence[Tensor]) -> Tensor:
    """Move tensors into one vector; they become views of it."""
    if not tensors:
        return torch.zeros(0)
    flat = torch.cat([tensor.detach().reshape(-1) for tensor in tensors])
    start = 0
    for tensor in tensors:
        stop = start + tensor.numel()
        tensor.data = flat[start:stop].view(tensor.shape)
        start = stop
    return flat


def float_buffers(net: nn.Module) -> list[Tensor]:
    """Running statistics of a network's normalisation layers."""
    return [buffer for buffer in net.buffers() if buffer.is_floating_point()]


class Optimiser(ABC):
    """What moves the weights of a whole network, by their gradient.

    Parameters
    ----------
    net : nn.Module
        Network to train; its parameters become views of one vector.
    weight_decay : float
        Decoupled weight decay (Loshchilov & Hutter, 2019).
    """

    def __init__(self, net: nn.Module, weight_decay: float) -> None:
        parameters = list(net.parameters())
        self.weights = flatten(parameters)
        self.gradient = torch.zeros_like(self.weights)
        start = 0
        for parameter in parameters:
            # Backward adds into these views.
            stop = start + parameter.numel()
            parameter.grad = self.gradient[start:stop].view(parameter.shape)
            start = stop
        self.weight_decay = weight_decay
        self.steps = 0
        self.memory: list[Tensor] = []

    def resume(self, before: Optimiser) -> None:
        """Go on where the same optimiser of a copy of the network has come to."""
        for own, other in zip(self.memory, before.memory, strict=True):
            own.copy_(other)
        self.steps = before.steps

    def forget(self) -> None:
        """Begin anew from other weights: what was learned of the way to the last ones is gone."""
        for each in self.memory:
            each.zero_()

    def step(self, learning_rate: float) -> bool:
        """Apply and clear the gradient; False (and no change) if it is not finite."""
        norm = float(self.gradient.norm())
        if not norm < float("inf"):
            self.gradient.zero_()
            return False
        if norm > MAX_GRADIENT_NORM:
            self.gradient.mul_(MAX_GRADIENT_NORM / norm)
        self.steps += 1
        self.weights.mul_(1 - learning_rate * self.weight_decay)
        self._move(learning_rate)
        self.gradient.zero_()
        return True

    @abstractmethod
    def _move(self, learning_rate: float) -> None:
        """Move the weights, given their gradient."""


class AdamW(Optimiser):
    """Adam with decoupled weight decay."""

    betas = (0.9, 0.99)
    """Shares of the running means of the gradient and of its square that survive a step."""

    def __init__(self, net: nn.Module, weight_decay: float) -> None:
        super().__init__(net, weight_decay)
        self.mean = torch.zeros_like(self.weights)
        self.square = torch.zeros_like(self.weights)
        self.memory = [self.mean, self.square]

    def _move(self, learning_rate: float) -> None:
        first, second = self.betas
        self.mean.lerp_(self.gradient, 1 - first)
        self.square.mul_(second).addcmul_(self.gradient, self.gradient, value=1 - second)
        scale = self.square.sqrt().div_((1 - second**self.steps) ** 0.5).add_(1e-8)
        self.weights.addcdiv_(self.mean, scale, value=-learning_rate / (1 - first**self.steps))


class Momentum(Optimiser):
    """Stochastic gradient descent with momentum: the paper's way to train with one tile a step.

    With so much momentum a step is a sum over about the last hundred tiles, as if they had
    been one batch.
    """

    momentum = 0.99
    """Share of the last step that is made again (Ronneberger et al., 2015)."""

    def __init__(self, net: nn.Module, weight_decay: float) -> None:
        super().__init__(net, weight_decay)
        self.velocity = torch.zeros_like(self.weights)
        self.memory = [self.velocity]

    def _move(self, learning_rate: float) -> None:
        self.velocity.mul_(self.momentum).add_(self.gradient)
        self.weights.add_(self.velocity, alpha=-learning_rate)


OPTIMISERS: dict[OptimiserName, type[Optimiser]] = {"adamw": AdamW, "sgd": Momentum}
"""The optimisers that a `Recipe` can name."""


class AveragedWeights(Generic[Net]):
    """A copy of a network whose weights follow the trained ones slowly.

    The average of the last steps predicts better than any of them and does
    not jump: it is what is shown, kept at a stop, and saved.

    Parameters
    ----------
    net, average : nn.Module
        The trained network (its parameters already one vector) and a copy.
    weights : Tensor
        The vector of `net`'s parameters.
    decay : float
        Share of the old average that survives a step, once warmed up.
    """

    def __init__(self, net: Net, average: Net, weights: Tensor, decay: float) -> None:
        self.net = average
        self.decay = decay
        self.steps = 0
        self._source = weights
        self._source_statistics = flatten(float_buffers(net))
        self._weights = flatten(list(average.parameters()))
        self._statistics = flatten(float_buffers(average))

    def update(self) -> None:
        """Take one more step of the trained network into the average."""
        self.steps += 1
        # Early on the average must not remember the random start.
        amount = 1 - min(self.decay, self.steps / (self.steps + 10))
        self._weights.lerp_(self._source, amount)
        self._statistics.lerp_(self._source_statistics, amount)

    def restore(self) -> None:
        """Set the trained network back to the average."""
        self._source.copy_(self._weights)
        self._source_statistics.copy_(self._statistics)
