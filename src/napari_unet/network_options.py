"""The options of a network on the command line: one for each field of `ModelConfig`."""

from __future__ import annotations

import argparse
from dataclasses import replace

from napari_unet.errors import UsageError
from napari_unet.learning.config import AUTO, LARGEST, NETWORK_CHOICES, PRESETS, ModelConfig

_HELP = {
    "width": "feature channels of the first level; each level has twice those above it",
    "max_width": "feature channels that no level exceeds",
    "levels": "depth: resolution levels, the bottom of the U included",
    "stride": "pixels folded into channels at the input: 1 works at full resolution, 2 at half",
    "kernel": "side of the convolution kernels in pixels, odd",
    "padding": "what a convolution sees beyond the border",
    "normalisation": "of the features after each convolution; none: trained with the recipe of "
    "paper, batch: with that of fast and standard",
    "upsampling": "how the way up doubles the size",
    "dropout": "share of the deepest features that each training step leaves out",
    "initialisation": "how the weights are drawn",
}
"""What each does; channels and classes are those of the data."""


def add_network_options(parser: argparse.ArgumentParser) -> None:
    """Add a group of options that change the network of ``--preset``."""
    group = parser.add_argument_group(
        "network options", "change the network of --preset, whose own values are the default"
    )
    for name, text in _HELP.items():
        default = getattr(ModelConfig(), name)
        if choices := NETWORK_CHOICES.get(name):
            group.add_argument(_flag(name), choices=choices, help=text)
        else:
            kind = count if isinstance(default, int) else float
            group.add_argument(_flag(name), type=kind, metavar="N", help=text)


def count(text: str) -> int:
    """Read a number of pixels, channels and so on."""
    # int() refuses thousands of digits with a ValueError too.
    try:
        value = int(text)
    except ValueError:
        value = 0
    if not 1 <= value <= LARGEST:
        raise argparse.ArgumentTypeError(f"{text[:40]!r} is not a whole number from 1 to {LARGEST}")
    return value


def given_options(arguments: argparse.Namespace) -> list[str]:
    """Name the options that were given, ``--preset`` among them."""
    return [_flag(name) for name in ("preset", *_HELP) if getattr(arguments, name) is not None]


def network_of(arguments: argparse.Namespace) -> ModelConfig | None:
    """Find the network that the options ask for; None if they change no preset.

    Raises
    ------
    UsageError
        If it is not said which network to change, or there is no such network.
    """
    changes = {name: value for name in _HELP if (value := getattr(arguments, name)) is not None}
    if not changes:
        return None
    if arguments.preset in (None, AUTO):
        raise UsageError(
            f"{_flag(next(iter(changes)))} changes a network: add --preset {' or '.join(PRESETS)}."
        )
    preset = PRESETS[arguments.preset]
    if "width" in changes:
        changes.setdefault("max_width", max(changes["width"], preset.max_width))
    try:
        return replace(preset, **changes)
    except ValueError as error:
        raise UsageError(f"{error}.") from error


def _flag(name: str) -> str:
    return f"--{name.replace('_', '-')}"
