"""What a network is made of: the lines of ``napari-unet info --preset``. No torch here."""

from __future__ import annotations

from napari_unet.imaging.volume import shape_text
from napari_unet.learning import layer_sizes
from napari_unet.learning.config import ModelConfig
from napari_unet.learning.layer_table import layer_table
from napari_unet.learning.presets import FEW_AT_A_TIME, recipe_of
from napari_unet.learning.wording import counted


def layers(net: ModelConfig, size: int | None = None) -> list[str]:
    """Describe a network that is not trained yet: lines of text, its layers as a table.

    Parameters
    ----------
    net : ModelConfig
        The network.
    size : int, optional
        Side of its (square) input, in pixels; default: that for a tile of training.
    """
    recipe = recipe_of(net)
    size = layer_sizes.input_size(net, recipe.tile) if size is None else size
    side = layer_sizes.fitting_size(net, size)
    table = layer_table(net, (side, side))
    cells = [("layer", "what it does", "channels", "size", "parameters")]
    for row in table:
        channels = f"{row.in_channels} -> {row.out_channels}"
        number = str(row.parameters) if row.parameters else ""
        cells.append((row.name, row.kind, channels, shape_text(row.size), number))
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = [
        "  ".join(f"{cell:<{width}}" for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in cells
    ]
    filled = "" if side == size else f" ({size} is not a valid size: filled up to {side})"
    return [
        f"{summary(net)}; {counted(net.in_channels, 'channel')}, {net.n_classes} classes",
        "",
        *lines,
        "",
        f"{sum(row.parameters for row in table)} parameters",
        f"{sum(row.is_convolution for row in table)} convolutional layers",
        f"{side} -> {layer_sizes.output_size(net, side)}{filled}",
        layer_sizes.explain_sizes(net),
        f"Trained with {recipe.optimiser}, learning rate {recipe.learning_rate:g}, "
        f"{counted(recipe.batch_size or FEW_AT_A_TIME, 'slice')} a step, in tiles of at most "
        f"{recipe.tile} x {recipe.tile} pixels.",
    ]


def summary(net: ModelConfig) -> str:
    """Name the options of a network in one line."""
    normalisation = "no" if net.normalisation == "none" else net.normalisation
    return (
        f"U-Net of width {net.width} (at most {net.max_width}), {net.levels} levels, "
        f"stride {net.stride}; kernels of {net.kernel} x {net.kernel}, {net.padding} padding, "
        f"{normalisation} normalisation, {net.upsampling} upsampling, "
        f"dropout {net.dropout:g}"
    )
