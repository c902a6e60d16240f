"""Settings of a network and of its training; every default is written here and nowhere else."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, TypeAlias

IGNORE_LABEL = 255
"""Label value that means "not annotated": such voxels do not count in the loss."""

SliceName: TypeAlias = tuple[str, int]
"""Name of a scan and number of one of its slices, along the model's slicing axis."""

Restart: TypeAlias = Literal["warm", "shrink", "scratch"]
"""How a round uses the weights it starts from; see `learning.restart`."""

LossName: TypeAlias = Literal["dice+ce", "ce", "weighted-ce", "border-ce"]
"""What training minimises; see `TrainConfig.loss`."""


AUTO = "auto"
"""The preset that is chosen for the computer, see `presets.choose_preset`."""


@dataclass(frozen=True, slots=True)
class ModelConfig:
    """Shape of the U-Net.

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
    """

    in_channels: int = 1
    n_classes: int = 2
    width: int = 16
    levels: int = 5
    stride: int = 2


@dataclass(frozen=True, slots=True)
class TrainConfig:
    """How to train.

    Parameters
    ----------
    seconds : float
        Wall-clock budget.
    max_steps : int or None
        Stop after this many steps even if time is left (tests, reproducibility).
    batch_size : int
        Slices per step.
    learning_rate : float
        Peak learning rate of AdamW.
    weight_decay : float
        Decoupled weight decay.
    seed : int
        Seed of initialisation, sampling and augmentation.
    threads : int or None
        torch threads; None: as many as are fastest, up to all cores this process
        may use (with `max_steps`: all of them, for reproducible models).
    preset : str
        Name of the `ModelConfig` in `PRESETS`, or ``auto`` (see `presets`).
    device : str
        ``auto`` (CUDA, then Apple MPS, then CPU), ``cpu``, ``cuda`` or ``mps``.
    restart : str
        What becomes of the weights that a round starts from: ``warm`` goes on from
        them, ``shrink`` shrinks and perturbs them first, ``scratch`` only compares
        with them at the end.
    loss : str
        ``dice+ce``: Dice and cross-entropy, rare classes weighing more at first;
        ``ce``: plain cross-entropy; ``weighted-ce``: classes balanced by frequency;
        ``border-ce``: the same, and gaps between objects weigh more (the paper's).
    elastic : float
        Pixels. Above 0, slices are deformed as in the paper: by displacements of this
        standard deviation on a coarse 3x3 grid (10 in the paper), with mirrored
        borders; they take the place of the finer and smaller ones that are the default.
    """

    seconds: float = 60.0
    max_steps: int | None = None
    batch_size: int = 4
    learning_rate: float = 2e-3
    weight_decay: float = 1e-4
    seed: int = 0
    threads: int | None = None
    preset: str = AUTO
    device: str = "auto"
    restart: Restart = "warm"
    loss: LossName = "dice+ce"
    elastic: float = 0.0


PRESETS: dict[str, ModelConfig] = {
    "fast": ModelConfig(width=16, stride=2),
    "standard": ModelConfig(width=32, stride=1),
}
"""Named networks; channels and classes are filled in from the data."""


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
        Name of the intensity normalisation, see `learning.preparation`.
    provenance : Provenance
        Training history.
    """

    model: ModelConfig
    class_names: tuple[str, ...]
    class_colors: tuple[str, ...] = ()
    channel_names: tuple[str, ...] = ()
    spacing_mm: tuple[float, float] = (1.0, 1.0)
    slice_axis: int = 0
    normalisation: str = "foreground-zscore"
    provenance: Provenance = field(default_factory=Provenance)
