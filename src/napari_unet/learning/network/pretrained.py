"""Weights that come with the package: a network that has seen synthetic heads.

They know edges, tissues and places, not the user's structures: the last layer is
always learned anew. See `weights/README.md` for where they come from.
"""

from __future__ import annotations

import dataclasses
import hashlib
from importlib import resources

from napari_unet.errors import CheckpointError
from napari_unet.learning.config import PRESETS, ModelConfig
from napari_unet.learning.runtime import load_torch

load_torch()

import safetensors.torch  # noqa: E402
from torch import Tensor  # noqa: E402

PRETRAINED_PRESET = "fast"
"""The network that there are weights for, and the name of their file."""

PRETRAINED_SHA256 = "613527cd6f9598142832b35ad7a60e673904dd8098dd64c718717560354c6b92"
"""Checksum of that file; it comes with new weights (`sha256sum`)."""

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

    Raises
    ------
    CheckpointError
        If the file is missing, or not as it was packaged.
    """
    known = PRESETS[PRETRAINED_PRESET]
    if (
        dataclasses.replace(known, in_channels=model.in_channels, n_classes=model.n_classes)
        != model
    ):
        return None
    file = (
        resources.files("napari_unet.learning.network")
        / "weights"
        / f"{PRETRAINED_PRESET}.safetensors"
    )
    try:
        content = file.read_bytes()
    except OSError as error:
        raise CheckpointError(_not_packaged("cannot be read")) from error
    # A flipped bit would start every model from other weights, silently.
    if hashlib.sha256(content).hexdigest() != PRETRAINED_SHA256:
        raise CheckpointError(_not_packaged("are not as they were packaged"))
    state = {
        name: tensor.float() if tensor.is_floating_point() else tensor
        for name, tensor in safetensors.torch.load(content).items()
    }
    state[_FIRST_CONVOLUTION] = _for_channels(state[_FIRST_CONVOLUTION], model.in_channels)
    return state


def _not_packaged(finding: str) -> str:
    return (
        f"The weights that come with napari-unet {finding}: the installation is damaged. "
        "Install napari-unet-mri again, or choose another network than "
        f"“{PRETRAINED_PRESET}”."
    )


def _for_channels(weight: Tensor, in_channels: int) -> Tensor:
    """Spread a kernel for one channel (out, stride**2, 3, 3) evenly over several.

    Space to depth puts the stride**2 pixels of one channel next to each other. Channels
    that show the same image then give what one of them gave.
    """
    return weight.repeat(1, in_channels, 1, 1) / in_channels
