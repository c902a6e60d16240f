"""Weights that come with the package: a network that has seen synthetic heads.

They know edges, tissues and places, not the user's structures: the last layer is
always learned anew. See `weights/README.md` for where they come from.
"""

from __future__ import annotations

import dataclasses
from importlib import resources

from napari_unet.learning.config import PRESETS, ModelConfig
from napari_unet.learning.runtime import load_torch

load_torch()

import safetensors.torch  # noqa: E402
from torch import Tensor  # noqa: E402

PRETRAINED_PRESET = "fast"
"""The network that there are weights for, and the name of their file."""

_FIRST_CONVOLUTION = "encoder.0.conv1.weight"


def pretrained_state(model: ModelConfig) -> dict[str, Tensor] | None:
    """Load the packaged weights for a network, whatever its channels and classes.

    Parameters
    ----------
    model : ModelConfig
        Network to start.

    Returns
    -------
    dict of str to Tensor, or None
        Weights and running statistics of all layers but the head, as of
        `UNet.state_dict`, on the CPU; None if there are none for this shape.
    """
    known = PRESETS[PRETRAINED_PRESET]
    if (
        dataclasses.replace(known, in_channels=model.in_channels, n_classes=model.n_classes)
        != model
    ):
        return None
    file = resources.files("napari_unet") / "weights" / f"{PRETRAINED_PRESET}.safetensors"
    state = {
        name: tensor.float() if tensor.is_floating_point() else tensor
        for name, tensor in safetensors.torch.load(file.read_bytes()).items()
    }
    state[_FIRST_CONVOLUTION] = _for_channels(state[_FIRST_CONVOLUTION], model.in_channels)
    return state


def _for_channels(weight: Tensor, in_channels: int) -> Tensor:
    """Spread a kernel for one channel (out, stride**2, 3, 3) evenly over several.

    Space to depth puts the stride**2 pixels of one channel next to each other. Channels
    that show the same image then give what one of them gave.
    """
    return weight.repeat(1, in_channels, 1, 1) / in_channels
