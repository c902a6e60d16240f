"""What is in a file, or in a network: the lines of ``napari-unet info``."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from napari_unet.imaging.files import open_scan
from napari_unet.imaging.loading import load_volume
from napari_unet.imaging.volume import FILE_AXES, PLANES, Grid
from napari_unet.learning import layer_sizes
from napari_unet.learning.config import ModelConfig
from napari_unet.learning.layer_table import layer_table
from napari_unet.learning.presets import recipe_of
from napari_unet.learning.wording import counted
from napari_unet.sparse_labels import axis_title, label_values

FEW_LABELS = 64
"""A volume with at most as many distinct whole values is described as a mask."""

_CODES = {0: "unknown", 1: "scanner", 2: "aligned", 3: "Talairach", 4: "MNI152", 5: "template"}


def volume(path: Path) -> list[tuple[str, str]]:
    """Describe a NIfTI file: pairs of what and value.

    Raises
    ------
    VolumeError
        If it is not a scan or mask this package can read.
    """
    scan = load_volume(path)
    grid = scan.grid
    zooms = np.sqrt((grid.affine[:3, :3] ** 2).sum(axis=0))
    lines = [
        ("file", str(path)),
        ("shape", f"{_by(grid.shape)} voxels (x, y, z as stored)"),
        ("spacing", f"{' x '.join(f'{zoom:.4g}' for zoom in zooms)} mm"),
        ("orientation", f"{grid.orientation} (the file's axes run towards these)"),
        ("sform, qform", f"{_code(grid.sform_code)}, {_code(grid.qform_code)}"),
        ("stored type", str(open_scan(path).dtype)),
        ("slices", _slices(grid)),
    ]
    bad = scan.data.size - int(np.count_nonzero(np.isfinite(scan.data)))
    if bad:
        return [*lines, ("values", f"{bad:,} voxels are NaN or infinite")]
    labels = _label_counts(scan.data)
    if labels:
        ml = float(np.prod(zooms)) / 1000
        lines += [(f"label {v}", f"{n:,} voxels, {n * ml:.2f} mL") for v, n in labels]
    else:
        lines.append(("values", f"{scan.data.min():g} to {scan.data.max():g}"))
    return lines


def model(path: Path) -> list[tuple[str, str]]:
    """Describe a model file: pairs of what and value.

    Raises
    ------
    CheckpointError
        If it is damaged or not a model of this package.
    """
    from napari_unet.learning.checkpoint import Checkpoint

    checkpoint = Checkpoint.load(path)
    card, made = checkpoint.card, checkpoint.card.provenance
    net = card.model
    weights = sum(tensor.numel() for tensor in checkpoint.state.values())
    classes = zip(label_values(card.class_names), card.class_names, strict=True)
    return [
        ("file", str(path)),
        ("structures", ", ".join(f"{value} = {name}" for value, name in classes)),
        ("sequences", f"{net.in_channels} {_in_brackets(', '.join(card.channel_names))}".strip()),
        ("slices", PLANES[card.slice_axis]),
        ("pixel size", f"{' x '.join(f'{size:.4g}' for size in card.spacing_mm)} mm"),
        (
            "network",
            f"{_shape(net)}; {weights:,} weights",
        ),
        ("normalisation", card.normalisation),
        (
            "trained on",
            f"{', '.join(made.trained_on)}; {counted(made.annotated_slices, 'annotated slice')}",
        ),
        ("held back", f"{counted(len(made.held_back), 'annotated slice')}, as a test"),
        ("training", f"{counted(made.steps, 'step')}, {made.seconds:.0f} s"),
        ("created", f"{made.created} {_in_brackets(made.software)}".strip()),
        ("started from", made.parent or "nothing"),
    ]


def network(net: ModelConfig, size: int | None = None) -> list[str]:
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
        cells.append((row.name, row.kind, channels, _by(row.size), number))
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = [
        "  ".join(f"{cell:<{width}}" for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in cells
    ]
    filled = "" if side == size else f" ({size} is not a valid size: filled up to {side})"
    return [
        f"{_shape(net)}; {counted(net.in_channels, 'channel')}, {net.n_classes} classes",
        "",
        *lines,
        "",
        f"{sum(row.parameters for row in table)} parameters",
        f"{sum(row.is_convolution for row in table)} convolutional layers",
        f"{side} -> {layer_sizes.output_size(net, side)}{filled}",
        layer_sizes.explain_sizes(net),
        f"Trained with {recipe.optimiser}, learning rate {recipe.learning_rate:g}, "
        f"{counted(recipe.batch_size, 'slice')} a step, in tiles of at most "
        f"{recipe.tile} x {recipe.tile} pixels.",
    ]


def _shape(net: ModelConfig) -> str:
    """Name the options of a network."""
    normalisation = "no" if net.normalisation == "none" else net.normalisation
    return (
        f"U-Net of width {net.width} (at most {net.max_width}), {net.levels} levels, "
        f"stride {net.stride}; kernels of {net.kernel} x {net.kernel}, {net.padding} padding, "
        f"{normalisation} normalisation, {net.upsampling} upsampling, "
        f"dropout {net.dropout:g}"
    )


def _label_counts(data: np.ndarray) -> list[tuple[int, int]] | None:
    """Distinct values above 0 and their number of voxels, if this is a mask."""
    if data.min() < 0 or not np.array_equal(data, np.rint(data)):
        return None
    values, counts = np.unique(data, return_counts=True)
    if len(values) > FEW_LABELS:
        return None
    return [(int(v), int(n)) for v, n in zip(values, counts, strict=True) if v]


def _slices(grid: Grid) -> str:
    counts = [
        f"{length} {PLANES[grid.axis_named(name)]} ({name})"
        for name, length in zip(FILE_AXES, grid.shape, strict=True)
    ]
    return f"{', '.join(counts)}; sliced {axis_title(grid, grid.default_axis())} by default"


def _code(code: int) -> str:
    return f"{code} ({_CODES.get(code, 'other')})"


def _by(lengths: tuple[int, ...]) -> str:
    return " x ".join(map(str, lengths))


def _in_brackets(text: str) -> str:
    return f"({text})" if text else ""
