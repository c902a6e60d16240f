"""``napari-unet info``: what is in a file, or in a network."""

from __future__ import annotations

import math
import os
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import numpy as np

from napari_unet.annotation.label_files import axis_title
from napari_unet.cli.console import say
from napari_unet.cli.options import (
    FLAT,
    MODEL_SUFFIX,
    NamedPreset,
    NetworkOptions,
    Series,
    VoxelsAnywhere,
    flag_of,
    given,
    network_of,
    whole_number,
)
from napari_unet.errors import UsageError
from napari_unet.imaging.dicom.series import series_in
from napari_unet.imaging.formats.registry import open_scan
from napari_unet.imaging.loading import ROUNDING
from napari_unet.imaging.scan_file import ScanFile, Voxels
from napari_unet.imaging.volume import FILE_AXES, PLANES, Grid, shape_text
from napari_unet.learning.config import LARGEST, PRESETS, ModelConfig
from napari_unet.learning.model_card import ModelCard
from napari_unet.learning.network import layer_sizes
from napari_unet.learning.network.layer_table import layer_table
from napari_unet.learning.presets import FEW_AT_A_TIME, recipe_of
from napari_unet.text import counted

FEW_LABELS = 64
"""A volume with at most as many distinct whole values is described as a mask."""

_CODES = {0: "unknown", 1: "scanner", 2: "aligned", 3: "Talairach", 4: "MNI152", 5: "template"}

_UNITS = {1: "metre", 2: "millimetre", 3: "micrometre"}


@dataclass(frozen=True, slots=True, kw_only=True)
class InfoOptions:
    """What ``napari-unet info`` is told.

    Parameters
    ----------
    preset : str, optional
        Instead of a file: network to list layer by layer.
    size : int, optional
        Side of its input in pixels (default: that for a tile of training).
    """

    preset: NamedPreset | None = None
    size: Annotated[int | None, whole_number(1, LARGEST)] = None
    series: Series = None
    voxels_anywhere: VoxelsAnywhere = False
    network: Annotated[NetworkOptions, FLAT] = field(default_factory=NetworkOptions)


def info(
    file: Path | None = None, /, *, options: Annotated[InfoOptions | None, FLAT] = None
) -> None:
    """Describe a scan, a mask, a model, or the layers of a network.

    Parameters
    ----------
    file : Path, optional
        Image, DICOM folder or .safetensors file.
    options : InfoOptions
        The rest.
    """
    options = options or InfoOptions()
    if file is None:
        if options.preset is None:
            raise UsageError(f"Name a file, or a network: --preset {' or '.join(PRESETS)}.")
        network = network_of(options.preset, options.network) or PRESETS[options.preset]
        for line in layers(network, options.size):
            say(line)
        return
    kept = {"preset": options.preset, **given(options.network), "size": options.size}
    if wrong := [flag_of(name) for name, value in kept.items() if value is not None]:
        raise UsageError(f"A file says itself what is in it: leave {', '.join(wrong)} out.")
    if file.suffix == MODEL_SUFFIX:
        lines = model(file)
    elif os.path.isdir(file) and options.series is None:
        lines = folder(file)
    else:
        lines = volume(file, series=options.series, voxels_anywhere=options.voxels_anywhere)
    width = max(len(key) for key, _ in lines)
    for key, value in lines:
        say(f"{key:<{width}}  {value}")


def volume(
    path: Path, *, series: str | None = None, voxels_anywhere: bool = False
) -> list[tuple[str, str]]:
    """Describe an image or mask of any format: pairs of what and value.

    Only the values need the voxels, and of a file with several volumes the first; they
    are looked at plane by plane.

    Raises
    ------
    VolumeError
        If it is not a scan or mask this package can read.
    """
    scan = open_scan(path, series=series, voxels_anywhere=voxels_anywhere)
    grid = scan.grid
    zooms = np.sqrt((grid.affine[:3, :3] ** 2).sum(axis=0))
    several = len(scan.volumes) > 1
    lines = [
        ("file", str(path)),
        ("format", scan.format + (f", {len(scan.files)} files" if len(scan.files) > 1 else "")),
        ("shape", f"{shape_text(grid.shape)} voxels (x, y, z as stored)"),
        ("spacing", f"{' x '.join(f'{zoom:.4g}' for zoom in zooms)} mm"),
        ("orientation", f"{grid.orientation} ({_certainty(grid)})"),
        ("sform, qform", _codes(scan)),
        ("unit", _UNITS.get(grid.units_code & 7, "unknown")),
        ("slices", _slices(grid)),
    ]
    if several:
        lines.append(("volumes", _volumes(scan)))
    voxels = scan.read(0)
    found = _values(voxels)
    lines.append(("stored type", _stored_type(scan.dtype, voxels)))
    if found.labels:
        ml = float(np.prod(zooms)) / 1000
        lines += [(f"label {v}", f"{n:,} voxels, {n * ml:.2f} mL") for v, n in found.labels.items()]
    else:
        what = f"{found.lowest:g} to {found.highest:g}" if found.lowest <= found.highest else "none"
        bad = f"; {found.bad:,} voxels are NaN or infinite" if found.bad else ""
        lines.append(("values of volume 0" if several else "values", what + bad))
    return [*lines, *(("note", note) for note in scan.notes)]


def folder(path: Path) -> list[tuple[str, str]]:
    """Describe a folder of DICOM files: its one series, or which there are to choose from.

    Raises
    ------
    VolumeError
        If it holds no scan.
    """
    found = series_in(path)
    if len(found) == 1:
        return volume(path)
    return [
        ("folder", f"{path}, {len(found)} series; describe one with --series NAME"),
        *((each.name, f"{shape_text(each.shape)} voxels, UID {each.uid}") for each in found),
        *(("note", note) for note in dict.fromkeys(each.note for each in found) if note),
    ]


def model(path: Path) -> list[tuple[str, str]]:
    """Describe a model file: pairs of what and value.

    Raises
    ------
    CheckpointError
        If it is damaged or not a model of this package.
    """
    from napari_unet.learning.network.checkpoint import Checkpoint

    checkpoint = Checkpoint.load(path)
    card, made = checkpoint.card, checkpoint.card.provenance
    net = card.model
    weights = sum(tensor.numel() for tensor in checkpoint.state.values())
    classes = zip(card.label_values, card.class_names, strict=True)
    return [
        ("file", str(path)),
        ("structures", ", ".join(f"{value} = {name}" for value, name in classes)),
        ("sequences", f"{net.in_channels} {_in_brackets(', '.join(card.channel_names))}".strip()),
        ("slices", PLANES[card.slice_axis]),
        ("pixel size", f"{' x '.join(f'{size:.4g}' for size in card.spacing_mm)} mm"),
        *_scan_sizes(card),
        (
            "network",
            f"{summary(net)}; {weights:,} weights",
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


def _scan_sizes(card: ModelCard) -> list[tuple[str, str]]:
    """Say what the scans that a model learned from show, in the order x, y, z."""
    sizes = card.scan_sizes
    if sizes is None:
        return []
    least = [round(mm) for mm in sizes.least_extent_mm]
    most = [round(mm) for mm in sizes.most_extent_mm]
    pairs = zip(least, most, strict=True)
    shown = [str(low) if low == high else f"{low}-{high}" for low, high in pairs]
    return [("scans show", f"{' x '.join(reversed(shown))} mm (x, y, z)")]


@dataclass
class _Values:
    """What the voxels of one volume hold.

    Parameters
    ----------
    lowest, highest : float
        Range of the finite ones.
    bad : int
        How many are NaN or infinite.
    labels : dict of int to int
        Distinct values above 0 and their number of voxels, if this is a mask; else empty.
    """

    lowest: float = math.inf
    highest: float = -math.inf
    bad: int = 0
    labels: dict[int, int] = field(default_factory=dict)


def _values(voxels: Voxels) -> _Values:
    """Look at a volume plane by plane, in the order it is stored."""
    found = _Values()
    counts: Counter[float] | None = Counter()  # None: too many values for a mask, or others
    scaled = (voxels.slope, voxels.intercept) != (1.0, 0.0)
    for k in range(voxels.stored.shape[2]):
        plane = np.asarray(voxels.stored[..., k])
        if scaled:
            with np.errstate(over="ignore", invalid="ignore"):
                plane = plane.astype(np.float64) * voxels.slope + voxels.intercept
        if plane.dtype.kind == "f":
            finite = plane[np.isfinite(plane)]
            found.bad += plane.size - finite.size
            plane = finite
        if not plane.size:
            continue
        found.lowest = min(found.lowest, float(plane.min()))
        found.highest = max(found.highest, float(plane.max()))
        if counts is not None:
            distinct, numbers = np.unique(plane, return_counts=True)
            rounded = np.rint(distinct)
            for value, number in zip(rounded.tolist(), numbers.tolist(), strict=True):
                counts[value] += number
            whole = bool((np.abs(distinct - rounded) <= ROUNDING).all())
            if found.bad or found.lowest < 0 or not whole or len(counts) > FEW_LABELS:
                counts = None
    if counts:
        found.labels = {int(value): n for value, n in sorted(counts.items()) if value}
    return found


def _stored_type(dtype: np.dtype[Any], voxels: Voxels) -> str:
    """Name the number type, its byte order where unusual, and the scaling."""
    big = ", big-endian" if dtype.str.startswith(">") else ""
    scaled = (voxels.slope, voxels.intercept) != (1.0, 0.0)
    scaling = f", times {voxels.slope:g} plus {voxels.intercept:g}" if scaled else ""
    return f"{dtype.name}{big}{scaling}"


def _volumes(scan: ScanFile) -> str:
    """Count volumes, and name the first few where they have names of their own."""
    count = len(scan.volumes)
    if not scan.has_volume_names:
        return f"{count}, numbered from 0"
    numbered = [f"{index}: {name}" for index, name in enumerate(scan.volumes)]
    return f"{count} ({'; '.join(numbered[:12])}{'; ...' if count > 12 else ''})"


def _slices(grid: Grid) -> str:
    counts = [
        f"{length} {PLANES[grid.axis_named(name)]} ({name})"
        for name, length in zip(FILE_AXES, grid.shape, strict=True)
    ]
    return f"{', '.join(counts)}; sliced {axis_title(grid, grid.default_axis())} by default"


def _certainty(grid: Grid) -> str:
    return (
        "the file's axes run towards these"
        if grid.has_orientation
        else "a guess: the file does not say"
    )


def _codes(scan: ScanFile) -> str:
    """Name the transform codes; only NIfTI has any."""
    if not scan.format.startswith("NIfTI"):
        return "none"
    return f"{_code(scan.grid.sform_code)}, {_code(scan.grid.qform_code)}"


def _code(code: int) -> str:
    return f"{code} ({_CODES.get(code, 'other')})"


def _in_brackets(text: str) -> str:
    return f"({text})" if text else ""


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
