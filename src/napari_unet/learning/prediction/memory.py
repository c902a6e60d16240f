"""How much memory is free, and how many pixels a network may therefore predict at once."""

from __future__ import annotations

import psutil
import torch

from napari_unet.errors import ResourceError
from napari_unet.learning.config import ModelConfig

SHARE = 0.25
"""Part of the free memory that a prediction may use; the rest is for everybody else."""

MOST_BYTES = {"cpu": 512 * 2**20, "cuda": 4 * 2**30, "mps": 2 * 2**30}
"""A prediction uses no more than this however much is free: by then more is no faster."""

CACHED_BYTES = 4 * 2**20
"""Features of the first level beyond which a larger batch is slower on a CPU.

Measured on one core with 1 MiB of second-level cache, slices of 256 x 256 pixels: `fast`
(1 MiB a slice) takes 17.8, 16.4 and 18.9 ms a slice in batches of 1, 4 and 16, `standard`
(8 MiB a slice) 214, 236 and 296 ms.
"""


def available_bytes(device: torch.device) -> int:
    """Memory that is free on a device."""
    if device.type == "cuda":
        cached = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return int(torch.cuda.mem_get_info(device)[0]) + cached
    if device.type == "mps":
        return torch.mps.recommended_max_memory() - torch.mps.driver_allocated_memory()
    return int(psutil.virtual_memory().available)


def bytes_per_pixel(config: ModelConfig) -> int:
    """Memory that a prediction needs at its peak, per pixel that the network sees, in float32.

    The peak is at the top of the decoder: skip connection, upsampled features,
    both side by side and the next features (five widths together), the skip
    connections below (about another), and one for scratch; then the
    probabilities, what they are made of and what is made of them, at the pixels of
    the slice. Measured peaks are some four fifths of this. Mirrored borders and enlarged
    features, where the network makes them, are copies of two widths more.
    """
    copies = config.padding == "mirror" or config.upsampling == "nearest"
    features = (9 if copies else 7) * config.width / config.stride**2
    return int(4 * (features + 6 * config.n_classes + 2 * config.in_channels))


def pixels_that_fit(config: ModelConfig, device: torch.device) -> int:
    """How many pixels fit into memory at once: larger slices are tiled, batches end there.

    On a CPU with 2 GiB free or more and with two classes: 3.5 million pixels
    (1879 x 1879) for `fast`, 570,000 (757 x 757) for `standard`.
    """
    budget = min(SHARE * available_bytes(device), MOST_BYTES.get(device.type, MOST_BYTES["cpu"]))
    return int(budget / bytes_per_pixel(config))


def check_fits_at_once(config: ModelConfig, size: tuple[int, int], device: torch.device) -> None:
    """Make sure that what cannot be done in tiles may be done.

    Parameters
    ----------
    config : ModelConfig
        The network.
    size : tuple of int
        Rows and columns that it is to see at once.
    device : torch.device
        Where.

    Raises
    ------
    ResourceError
        If that takes more than `SHARE` of the memory that is free.
    """
    needed, free = size[0] * size[1] * bytes_per_pixel(config), available_bytes(device)
    if needed > SHARE * free:
        raise ResourceError(
            f"To look into this network takes some {needed / 2**30:.1f} GB for a slice of "
            f"{size[0]} x {size[1]} pixels, and {free / 2**30:.1f} GB are free, of which it may "
            f"use {SHARE:.0%}. Close other programs, or look into a narrower network."
        )


def pixels_for_speed(config: ModelConfig, device: torch.device) -> int:
    """How many pixels of several slices to predict at once, fitting provided."""
    if device.type != "cpu":
        return pixels_that_fit(config, device)
    return int(CACHED_BYTES * config.stride**2 / (4 * config.width))
