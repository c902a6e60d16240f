"""All that a model file says of its weights: network, structures, sequences, history."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from napari_unet.annotation.label_files import MOST_CLASSES
from napari_unet.annotation.states import IGNORE_LABEL, PALETTE
from napari_unet.errors import UsageError
from napari_unet.imaging.scan_file import LARGEST_LABEL
from napari_unet.imaging.volume import PLANES
from napari_unet.learning.calibration import Calibration
from napari_unet.learning.config import NORMALISATION, Millimetres, ModelConfig, SliceName

FINEST_MM, COARSEST_MM = 1e-7, 1e7
"""Sides of pixels between these are possible: also of lengths in metres or micrometres, which
are taken as millimetres."""


def _check(fine: object, complaint: str) -> None:
    if not fine:
        raise UsageError(f"There is no such model: {complaint}.")


@dataclass(frozen=True, slots=True)
class Provenance:
    """Where a model comes from; written into the model file.

    Parameters
    ----------
    trained_on : tuple of str
        Names of the scans.
    annotated_slices : int
        How many slices it learned from.
    steps : int
        Training steps in total, earlier rounds included.
    seconds : float
        Training time in total.
    created : str
        ISO 8601 time of the last training step.
    software : str
        Package name and version.
    parent : str
        Identifier of the model it was fine-tuned from, or empty.
    learned_slices : tuple of SliceName
        Every slice it has ever learned from; of models of earlier versions, none is
        known.
    held_back : tuple of SliceName
        Annotated slices that are kept from training, to test later models with.
    """

    trained_on: tuple[str, ...] = ()
    annotated_slices: int = 0
    steps: int = 0
    seconds: float = 0.0
    created: str = ""
    software: str = ""
    parent: str = ""
    learned_slices: tuple[SliceName, ...] = ()
    held_back: tuple[SliceName, ...] = ()

    def __post_init__(self) -> None:
        _check(
            all(0 <= each < math.inf for each in (self.annotated_slices, self.steps, self.seconds)),
            "slices, steps and seconds of its training are numbers from 0",
        )


@dataclass(frozen=True, slots=True)
class ScanSizes:
    """Sizes of the scans that a model learned from.

    Parameters
    ----------
    least_extent_mm, most_extent_mm : tuple of float
        How far what they show reaches, (z, y, x): of a head without the air around it. The
        smallest and the greatest of each.
    least_voxel_mm, most_voxel_mm : tuple of float
        Likewise of their voxels.
    """

    least_extent_mm: Millimetres
    most_extent_mm: Millimetres
    least_voxel_mm: Millimetres
    most_voxel_mm: Millimetres

    def __post_init__(self) -> None:
        for least, most in (
            (self.least_extent_mm, self.most_extent_mm),
            (self.least_voxel_mm, self.most_voxel_mm),
        ):
            ranges = zip(least, most, strict=True)
            _check(
                all(0 <= low <= high < math.inf for low, high in ranges),
                f"sizes of its scans are {least} to {most} mm",
            )

    def joined(self, other: ScanSizes) -> ScanSizes:
        """Give the sizes of these scans and of others."""
        return ScanSizes(
            _each(min, self.least_extent_mm, other.least_extent_mm),
            _each(max, self.most_extent_mm, other.most_extent_mm),
            _each(min, self.least_voxel_mm, other.least_voxel_mm),
            _each(max, self.most_voxel_mm, other.most_voxel_mm),
        )


def _each(
    choose: Callable[[float, float], float], one: Millimetres, other: Millimetres
) -> Millimetres:
    z, y, x = map(choose, one, other)
    return (z, y, x)


@dataclass(frozen=True, slots=True)
class ModelCard:
    """Everything about a model but its weights.

    Parameters
    ----------
    model : ModelConfig
        Network shape.
    class_names : tuple of str
        Names of labels 1..K (background not included).
    class_colors : tuple of str
        Hex colours of labels 1..K.
    channel_names : tuple of str
        Names of the image sequences, in order.
    spacing_mm : tuple of float
        In-plane pixel size (rows, columns) that the network was trained at.
    slice_axis : int
        Display axis (0 axial, 1 coronal, 2 sagittal) it was trained along.
    normalisation : str
        Name of the intensity normalisation, one of `preparation.NORMALISATIONS`.
    calibration : Calibration
        How much its answers count, and whether what it finds goes on from slice to slice.
    provenance : Provenance
        Training history.
    label_values : tuple of int
        Values of classes 1..K in files; default: 1..K.
    scan_sizes : ScanSizes, optional
        Of all scans it learned from; of models of earlier versions, they are not known.

    Raises
    ------
    UsageError
        If there cannot be such a model.
    """

    model: ModelConfig
    class_names: tuple[str, ...]
    class_colors: tuple[str, ...] = ()
    channel_names: tuple[str, ...] = ()
    spacing_mm: tuple[float, float] = (1.0, 1.0)
    slice_axis: int = 0
    normalisation: str = NORMALISATION
    calibration: Calibration = field(default_factory=Calibration)
    provenance: Provenance = field(default_factory=Provenance)
    label_values: tuple[int, ...] = ()
    scan_sizes: ScanSizes | None = None

    def __post_init__(self) -> None:
        known = len(self.class_names)
        values = self.label_values or tuple(range(1, known + 1))
        object.__setattr__(self, "label_values", values)
        _check(
            1 <= known <= MOST_CLASSES and self.model.n_classes == known + 1,
            f"a network for {self.model.n_classes} classes, background included, and {known} names",
        )
        counted = max(len(self.calibration.strengths), len(self.calibration.continuity.tallies))
        _check(counted <= known, f"{known} classes, but calibration of {counted}")
        _check(
            len(values) == known == len(set(values)),
            f"{known} classes need as many label values, not {values}",
        )
        for value in values:
            _check(
                isinstance(value, int) and 1 <= value <= LARGEST_LABEL,
                f"label values are whole numbers from 1 to {LARGEST_LABEL}, not {value!r}",
            )
        for color in self.class_colors:
            _check(re.fullmatch(r"#[0-9a-fA-F]{6}", color), f"{color!r} is no colour like #e6550d")
        _check(
            len(self.channel_names) in (0, self.model.in_channels),
            f"{self.model.in_channels} channels have {len(self.channel_names)} names",
        )
        _check(
            all(FINEST_MM <= side <= COARSEST_MM for side in self.spacing_mm),
            f"pixels of {self.spacing_mm} mm are no pixels of a scan",
        )
        _check(self.slice_axis in range(len(PLANES)), f"there is no slice axis {self.slice_axis}")

    @property
    def structures(self) -> dict[int, str]:
        """Value in files and name of classes 1..K, in this order."""
        return dict(zip(self.label_values, self.class_names, strict=True))

    def structure_rows(self) -> list[tuple[int, str, str]]:
        """Value in files, name and colour of classes 1..K, as `save_mask` takes them."""
        colors = itertools.cycle(self.class_colors or PALETTE)
        return list(zip(self.label_values, self.class_names, colors, strict=False))


def further_values(values: Sequence[int], count: int) -> tuple[int, ...]:
    """Give label values for `count` classes: the present ones first, then free numbers.

    An added class gets its own number where that is free, else the next free one.
    """
    given = list(values)
    while len(given) < count:
        free = (v for v in itertools.count(len(given) + 1) if v not in {*given, IGNORE_LABEL})
        given.append(next(free))
    return tuple(given)
