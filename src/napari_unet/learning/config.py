"""Settings of a network and of its training; every default is written here and nowhere else."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal, TypeAlias, get_args

from napari_unet.learning.calibration import Calibration

IGNORE_LABEL = 255
"""Label value that means "not annotated": such voxels do not count in the loss (but see
`learning.presumption`)."""

SliceName: TypeAlias = tuple[str, int]
"""Name of a scan and number of one of its slices, along the model's slicing axis."""

Millimetres: TypeAlias = tuple[float, float, float]
"""Lengths along the display axes (z, y, x)."""

Restart: TypeAlias = Literal["warm", "shrink", "scratch"]
"""How a round uses the weights it starts from; see `learning.restart`."""

LossName: TypeAlias = Literal["dice+ce", "ce", "weighted-ce", "border-ce"]
"""What training minimises; see `Recipe.loss`."""

LengthUnit: TypeAlias = Literal["pixels", "mm"]
"""Pixels of the network's grid (of their shorter side), or millimetres of the patient."""

NORMALISATION = "robust-foreground-zscore"
"""Name of the intensity normalisation, see `learning.preparation`; models remember it."""

AUTO = "auto"
"""The preset that is chosen for the computer, see `presets.choose_preset`."""


Padding: TypeAlias = Literal["zero", "mirror", "valid"]
"""What a convolution sees beyond the border: zeros, the mirror image, or nothing, so that
its result is smaller (valid)."""

Normalisation: TypeAlias = Literal["batch", "none"]
"""Whether features are normalised over the batch after each convolution."""

Upsampling: TypeAlias = Literal["transposed", "nearest"]
"""How the decoder doubles the size: by a learned 2x2 transposed convolution, or by repeating
each pixel before a 2x2 convolution."""

Initialisation: TypeAlias = Literal["uniform", "he"]
"""Small uniform weights, or Gaussian ones of variance 2 / inputs of a neuron (He et al., 2015)."""

OptimiserName: TypeAlias = Literal["adamw", "sgd"]
"""AdamW, or stochastic gradient descent with momentum."""


@dataclass(frozen=True, slots=True)
class ModelConfig:
    """Shape of the U-Net; `fast`, `standard` and `paper` are three of them, see `PRESETS`.

    Parameters
    ----------
    in_channels : int
        Image sequences (T1c, FLAIR, ...) per slice.
    n_classes : int
        Classes including background.
    width : int
        Feature channels of the first level; doubled at each level down.
    levels : int
        Resolution levels, bridge included.
    stride : int
        Pixels folded into channels at the input (space to depth): 2 works at
        half resolution, 1 at full resolution.
    max_width : int
        Feature channels are not doubled beyond this.
    kernel : int
        Side of the convolution kernels, in pixels; odd.
    padding, normalisation, upsampling, initialisation : str
        See the types of these names.
    dropout : float
        Share of the features that each training step leaves out at the end of the
        contracting path (last level of the encoder, and bridge).

    Raises
    ------
    ValueError
        If there is no such network.
    """

    in_channels: int = 1
    n_classes: int = 2
    width: int = 16
    levels: int = 5
    stride: int = 2
    max_width: int = 256
    kernel: int = 3
    padding: Padding = "zero"
    normalisation: Normalisation = "batch"
    upsampling: Upsampling = "transposed"
    dropout: float = 0.0
    initialisation: Initialisation = "uniform"

    def __post_init__(self) -> None:
        for name in ("in_channels", "n_classes", "width", "levels", "stride", "max_width"):
            value, most = getattr(self, name), _FEWER.get(name, LARGEST)
            if not isinstance(value, int) or not 1 <= value <= most:
                raise ValueError(f"{name} of a network is from 1 to {most}, not {value!r}")
        kernel = self.kernel
        if not isinstance(kernel, int) or not 1 <= kernel <= LARGEST or kernel % 2 == 0:
            raise ValueError(
                f"kernel of a network is odd (1, 3, 5, ..., {LARGEST - 1}), not {kernel!r}"
            )
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout of a network is from 0 to below 1, not {self.dropout!r}")
        for name, choices in NETWORK_CHOICES.items():
            if (value := getattr(self, name)) not in choices:
                raise ValueError(
                    f"{name} of a network is one of {', '.join(choices)}, not {value!r}"
                )

    @property
    def widths(self) -> tuple[int, ...]:
        """Feature channels of each level, from the first to the bridge."""
        return tuple(min(self.max_width, self.width * 2**level) for level in range(self.levels))


LARGEST = 4096
"""No count in a `ModelConfig` exceeds this; a damaged model file's might."""

_FEWER = {"levels": 10, "stride": 16}
"""Nor these: each doubles, or multiplies, the least size of a slice."""

NETWORK_CHOICES: dict[str, tuple[str, ...]] = {
    "padding": get_args(Padding),
    "normalisation": get_args(Normalisation),
    "upsampling": get_args(Upsampling),
    "initialisation": get_args(Initialisation),
}
"""What the options of a `ModelConfig` that are words may be."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """How a kind of network is trained, unless `TrainConfig` says otherwise.

    Parameters
    ----------
    optimiser : str
        See `OptimiserName`.
    learning_rate : float
        Its peak.
    weight_decay : float
        Decoupled weight decay.
    batch_size : int or None
        Slices per step. None: few, and more where there are many small ones
        (`presets.slices_a_step`).
    tile : int
        Slices with longer sides, in pixels, are learned in tiles of this side, of
        which every pixel is scored.
    loss : str
        ``dice+ce``: Dice and cross-entropy, rare classes weighing more at first;
        ``ce``: plain cross-entropy; ``weighted-ce``: classes balanced by frequency;
        ``border-ce``: the same, and gaps between objects weigh more (the paper's).
    border_weight, border_sigma : float
        Of ``border-ce``: how much a gap between two objects that all but touch weighs
        on top of its class, and how fast that falls off with the width of the gap.
    border_unit : str
        What `border_sigma` counts, see `LengthUnit`; the paper's 5 are pixels.
    flip_rows : bool
        Whether slices are also turned upside down half of the time: right for cells
        under a microscope, not for heads.
    elastic : float
        Pixels. Above 0, slices are deformed as in the paper: by displacements of this
        standard deviation on a coarse 3x3 grid (10 in the paper), with mirrored
        borders; they take the place of the finer and smaller ones that are the default.
    ramp : int
        Steps until slices are varied in full: what is where is learned first, on what
        was painted. 0: in full from the start.
    """

    optimiser: OptimiserName = "adamw"
    learning_rate: float = 2e-3
    weight_decay: float = 1e-4
    batch_size: int | None = None
    tile: int = 256
    loss: LossName = "dice+ce"
    border_weight: float = 10.0
    border_sigma: float = 5.0
    border_unit: LengthUnit = "pixels"
    flip_rows: bool = False
    elastic: float = 0.0
    ramp: int = 400

    def __post_init__(self) -> None:
        if not 0 <= self.border_weight < math.inf:
            raise ValueError(f"border_weight is a number from 0, not {self.border_weight!r}")
        if not 0 < self.border_sigma < math.inf:
            raise ValueError(f"border_sigma is a number above 0, not {self.border_sigma!r}")
        if self.border_unit not in get_args(LengthUnit):
            raise ValueError(f"border_unit is pixels or mm, not {self.border_unit!r}")


@dataclass(frozen=True, slots=True)
class TrainConfig:
    """How to train.

    Parameters
    ----------
    seconds : float
        Wall-clock budget.
    max_steps : int or None
        Stop after this many steps even if time is left (tests, reproducibility).
    optimiser, learning_rate, weight_decay, batch_size, tile, loss, elastic, ramp : optional
        See `Recipe`; None: as the recipe of the network says.
    border_weight, border_sigma, border_unit, flip_rows : optional
        Likewise.
    seed : int
        Seed of initialisation, sampling and augmentation.
    threads : int or None
        torch threads; None: as many as are fastest, up to all cores this process
        may use (with `max_steps`: all of them, for reproducible models).
    preset : str
        Name of the `ModelConfig` in `PRESETS`, or ``auto`` (see `presets`).
    model : ModelConfig or None
        A network of one's own instead of a preset, such as
        ``replace(PRESETS["paper"], width=16)``; channels and classes are filled in.
    device : str
        ``auto`` (CUDA, then Apple MPS, then CPU), ``cpu``, ``cuda`` or ``mps``.
    restart : str
        What becomes of the weights that a round starts from: ``warm`` goes on from
        them, ``shrink`` shrinks and perturbs them first, ``scratch`` only compares
        with them at the end.
    """

    seconds: float = 60.0
    max_steps: int | None = None
    optimiser: OptimiserName | None = None
    learning_rate: float | None = None
    weight_decay: float | None = None
    batch_size: int | None = None
    tile: int | None = None
    loss: LossName | None = None
    border_weight: float | None = None
    border_sigma: float | None = None
    border_unit: LengthUnit | None = None
    flip_rows: bool | None = None
    elastic: float | None = None
    ramp: int | None = None
    seed: int = 0
    threads: int | None = None
    preset: str = AUTO
    model: ModelConfig | None = None
    device: str = "auto"
    restart: Restart = "warm"


PRESETS: dict[str, ModelConfig] = {
    "fast": ModelConfig(width=16, stride=2),
    "standard": ModelConfig(width=32, stride=1),
    # Ronneberger, Fischer & Brox, 2015, arXiv:1505.04597: 31,030,658 parameters.
    "paper": ModelConfig(
        width=64,
        stride=1,
        max_width=1024,
        padding="valid",
        normalisation="none",
        dropout=0.5,
        initialisation="he",
    ),
}
"""Named networks; channels and classes are filled in from the data."""

RECIPES: dict[str, Recipe] = {
    "fast": Recipe(),
    "standard": Recipe(),
    # One tile of 572 x 572 pixels a step, of which 388 x 388 are scored.
    "paper": Recipe(
        "sgd",
        learning_rate=1e-2,
        weight_decay=0.0,
        batch_size=1,
        tile=388,
        loss="border-ce",
        flip_rows=True,
        elastic=10.0,
        ramp=0,
    ),
}
"""How the networks of `PRESETS` are trained."""


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
    ValueError
        If there is not one label value for each class, or one cannot be used.
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
        if len(values) != known or len(set(values)) != known:
            raise ValueError(f"{known} classes need as many label values, not {values}")
        if wrong := [value for value in values if not isinstance(value, int) or value < 1]:
            raise ValueError(f"label values are whole numbers from 1, not {wrong[0]!r}")


def further_values(values: Sequence[int], count: int) -> tuple[int, ...]:
    """Give label values for `count` classes: the present ones first, then free numbers.

    An added class gets its own number where that is free, else the next free one.
    """
    given = list(values)
    while len(given) < count:
        free = (v for v in itertools.count(len(given) + 1) if v not in {*given, IGNORE_LABEL})
        given.append(next(free))
    return tuple(given)
