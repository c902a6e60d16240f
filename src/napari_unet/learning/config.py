"""Settings of a network and of its training; every default is written here and nowhere else."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Literal, TypeAlias, get_args, get_origin, get_type_hints

from napari_unet.errors import UsageError

SliceName: TypeAlias = tuple[str, int]
"""Name of a scan and number of one of its slices, along the model's slicing axis."""

Millimetres: TypeAlias = tuple[float, float, float]
"""Lengths along the display axes (z, y, x)."""

Restart: TypeAlias = Literal["warm", "shrink", "scratch"]
"""How a round uses the weights it starts from; see `training.weight_updater.restart`."""

LossName: TypeAlias = Literal["dice+ce", "ce", "weighted-ce", "border-ce"]
"""What training minimises; see `Recipe.loss`."""

LengthUnit: TypeAlias = Literal["pixels", "mm"]
"""Pixels of the network's grid (of their shorter side), or millimetres of the patient."""

NORMALISATION = "robust-foreground-zscore"
"""Name of the intensity normalisation, see `learning.preparation`; models remember it."""

AUTO = "auto"
"""The preset that is chosen for the computer, see `presets.choose_preset`."""


Padding: TypeAlias = Literal["zero", "mirror", "valid"]
Normalisation: TypeAlias = Literal["batch", "none"]
Upsampling: TypeAlias = Literal["transposed", "nearest"]
Initialisation: TypeAlias = Literal["uniform", "he"]
"""See the options of a `ModelConfig` of these names."""

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
        Feature channels of the first level; each level has twice those above it.
    levels : int
        Depth: resolution levels, the bottom of the U included.
    stride : int
        Pixels folded into channels at the input (space to depth): 1 works at full
        resolution, 2 at half.
    max_width : int
        Feature channels that no level exceeds.
    kernel : int
        Side of the convolution kernels in pixels; odd.
    padding : str
        What a convolution sees beyond the border: zeros, the mirror image, or nothing, so
        that its result is smaller (valid).
    normalisation : str
        Whether features are normalised over the batch after each convolution; a network
        without is trained by the recipe of ``paper``.
    upsampling : str
        How the decoder doubles the size: by a learned 2x2 transposed convolution, or by
        repeating each pixel before a 2x2 convolution.
    dropout : float
        Share of the features that each training step leaves out at the end of the
        contracting path (last level of the encoder, and bridge).
    initialisation : str
        How weights are drawn: small uniform ones, or Gaussian ones of variance 2 / inputs
        of a neuron (He et al., 2015).

    Raises
    ------
    UsageError
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
                raise UsageError(f"{name} of a network is from 1 to {most}, not {value!r}.")
        kernel = self.kernel
        if not isinstance(kernel, int) or not 1 <= kernel <= LARGEST or kernel % 2 == 0:
            raise UsageError(
                f"kernel of a network is odd (1, 3, 5, ..., {LARGEST - 1}), not {kernel!r}."
            )
        border = max(1, kernel - 1) if self.padding == "valid" else 1
        if self.stride * 2 ** (self.levels - 1) * border > FURTHEST:
            raise UsageError(
                f"A network of {self.levels} levels, stride {self.stride} and kernels of {kernel} "
                "pixels would fill any slice up to a size that no memory holds. Choose fewer "
                "levels, a smaller stride or smaller kernels."
            )
        if not 0 <= self.dropout < 1:
            raise UsageError(f"dropout of a network is from 0 to below 1, not {self.dropout!r}.")
        _check_words(self, "a network")

    @property
    def widths(self) -> tuple[int, ...]:
        """Feature channels of each level, from the first to the bridge."""
        return tuple(min(self.max_width, self.width * 2**level) for level in range(self.levels))


LARGEST = 4096
"""No count in a `ModelConfig` exceeds this; a damaged model file's might."""

FURTHEST = 1024
"""Pixels of a slice that a kernel at the bridge may reach over. At this, a slice is filled up to
some 3,000 x 3,000 pixels by valid convolutions; each doubling takes four times the memory."""

_FEWER = {"levels": 10, "stride": 16}
"""Nor these: each doubles, or multiplies, the least size of a slice."""


@dataclass(frozen=True, slots=True)
class BorderWeighting:
    """How much more the gaps between objects weigh with the loss ``border-ce``.

    Parameters
    ----------
    weight : float
        What a gap between two objects that all but touch weighs on top of its class.
    sigma : float
        How fast that falls off with the width of the gap, in pixels of the network or
        millimetres.
    unit : str
        What `sigma` counts, see `LengthUnit`; the paper's 5 are pixels.

    Raises
    ------
    UsageError
        If gaps cannot be weighed so.
    """

    weight: float = 10.0
    sigma: float = 5.0
    unit: LengthUnit = "pixels"

    def __post_init__(self) -> None:
        _check_numbers(self, "the border weighting", ["weight"], least=0)
        _check_numbers(self, "the border weighting", ["sigma"], above=0)
        _check_words(self, "the border weighting")


@dataclass(frozen=True, slots=True)
class Recipe:
    """How a kind of network is trained; see `RECIPES`.

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
    border : BorderWeighting or None
        How gaps weigh with ``border-ce``; None: as in the paper. No other loss has any.
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

    Raises
    ------
    UsageError
        If nothing can be trained so.
    """

    optimiser: OptimiserName = "adamw"
    learning_rate: float = 2e-3
    weight_decay: float = 1e-4
    batch_size: int | None = None
    tile: int = 256
    loss: LossName = "dice+ce"
    border: BorderWeighting | None = None
    flip_rows: bool = False
    elastic: float = 0.0
    ramp: int = 400

    def __post_init__(self) -> None:
        _check_words(self, "a recipe")
        _check_numbers(self, "a recipe", ["learning_rate"], above=0)
        _check_numbers(self, "a recipe", ["weight_decay", "elastic"], least=0)
        _check_whole_numbers(self, "a recipe", ["batch_size", "tile"], least=1)
        _check_whole_numbers(self, "a recipe", ["ramp"], least=0)
        if self.border is not None and self.loss != "border-ce":
            raise UsageError(
                "The weight and sigma of a border count with one loss only, border-ce: choose that "
                f"instead of {self.loss}, or leave them out."
            )


@dataclass(frozen=True, slots=True)
class TrainConfig:
    """How to train.

    Parameters
    ----------
    seconds : float
        Training time.
    max_steps : int or None
        Stop after this many steps even if time is left (tests, reproducibility). With
        ``inf`` seconds they are all made, however long that takes.
    recipe : Recipe or None
        How the network learns, such as ``replace(RECIPES["paper"], loss="ce")``;
        None: by the recipe of its kind (`presets.recipe_of`).
    seed : int
        Seed of initialisation, sampling and augmentation.
    threads : int or None
        torch threads; None: as many as are fastest, up to all cores this process
        may use (with `max_steps`: all of them, for reproducible models).
    preset : str
        The network. ``fast``: half resolution, for CPUs; ``standard``: full resolution;
        ``paper``: that of Ronneberger et al. (2015), slow without a graphics card; ``auto``:
        ``fast`` on a CPU, ``standard`` on a graphics card.
    model : ModelConfig or None
        A network of one's own instead of a preset, such as
        ``replace(PRESETS["paper"], width=16)``; channels and classes are filled in.
    device : str
        ``auto`` (CUDA, then Apple MPS, then CPU), ``cpu``, ``cuda`` or ``mps``.
    restart : str
        What becomes of the weights that a round starts from: ``warm`` goes on from
        them, ``shrink`` shrinks and perturbs them first, ``scratch`` only compares
        with them at the end.

    Raises
    ------
    UsageError
        If there is no such training.
    """

    seconds: float = 60.0
    max_steps: int | None = None
    recipe: Recipe | None = None
    seed: int = 0
    threads: int | None = None
    preset: str = AUTO
    model: ModelConfig | None = None
    device: str = "auto"
    restart: Restart = "warm"

    def __post_init__(self) -> None:
        if self.seconds != math.inf:
            _check_numbers(self, "training", ["seconds"], above=0)
        elif self.max_steps is None:
            raise UsageError("seconds of training is not inf, unless max_steps is given to end it.")
        _check_whole_numbers(self, "training", ["max_steps", "threads"], least=1)
        _check_whole_numbers(self, "training", ["seed"], least=0, most=2**32 - 1)
        _check_words(self, "training")
        if self.model is None and self.preset not in (known := (AUTO, *PRESETS)):
            raise UsageError(f"Unknown preset {self.preset!r}: use one of {', '.join(known)}.")

    def check_fits_init(self) -> None:
        """Refuse a network where a model to start from brings its own."""
        asked = {"preset": self.preset != AUTO, "model": self.model is not None}
        refuse_network([name for name, is_asked in asked.items() if is_asked])


def refuse_network(names: Sequence[str]) -> None:
    """Refuse settings of the network, named as the user gave them, beside a model to start from."""
    if names:
        raise UsageError(
            f"init, a model to start from, keeps its network: leave {', '.join(names)} out."
        )


Settings: TypeAlias = ModelConfig | BorderWeighting | Recipe | TrainConfig


def _check_words(settings: Settings, of: str) -> None:
    """Refuse a word that is none of those of its type."""
    for name, words in words_of(type(settings)).items():
        if (value := getattr(settings, name)) not in words:
            raise UsageError(f"{name} of {of} is one of {', '.join(words)}, not {value!r}.")


def words_of(settings: type[Settings]) -> dict[str, tuple[str, ...]]:
    """Find the words that each field may be, where its type lists them."""
    types = get_type_hints(settings)
    return {name: get_args(each) for name, each in types.items() if get_origin(each) is Literal}


def _check_numbers(
    settings: Settings,
    of: str,
    names: Iterable[str],
    *,
    least: float = -math.inf,
    above: float = -math.inf,
) -> None:
    """Refuse what is not a finite number of at least so much, or above that."""
    for name in names:
        value = getattr(settings, name)
        is_number = isinstance(value, Real)
        if not is_number or not least <= value < math.inf or value <= above:
            where = f"from {least:g}" if above == -math.inf else f"above {above:g}"
            raise UsageError(f"{name} of {of} is a number {where}, not {value!r}.")


def _check_whole_numbers(
    settings: Settings, of: str, names: Iterable[str], *, least: int, most: float = math.inf
) -> None:
    """Refuse what is given (not None) and no whole number in a range."""
    for name in names:
        value = getattr(settings, name)
        is_whole = isinstance(value, Integral)
        if value is not None and not (is_whole and least <= value <= most):
            where = f"from {least}" + (f" to {most}" if most < math.inf else "")
            raise UsageError(f"{name} of {of} is a whole number {where}, not {value!r}.")


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
