"""Which network, trained how, at which pixel size, for which scan and device. No torch here."""

from __future__ import annotations

from napari_unet.learning.config import AUTO, PRESETS, RECIPES, ModelConfig, Recipe, TrainConfig
from napari_unet.learning.preparation import PreparedScan

FEWEST_PIXELS = 96
"""Slices whose longer side is shorter than this are enlarged twofold for a network that works
at half resolution: small crops (hippocampus: 35 x 50 pixels) have no detail to spare."""

FEW_AT_A_TIME = 4
"""Slices a step."""

MANY_SLICES = 100
"""From so many annotated slices on, a step shows `PIXELS_A_STEP`, if their slices are small.

Steps of few slices are right for few of them, whose steps count; with hundreds of slices, four
small ones (hippocampus) are too few to tell where to go."""

PIXELS_A_STEP = 100_000
"""About four slices of a head, which small slices are as cheap as together."""

MOST_AT_A_TIME = 16
"""Slices a step."""


def choose_preset(name: str, device_type: str) -> ModelConfig:
    """Find the network that a training setting means.

    Parameters
    ----------
    name : str
        A name in `PRESETS`, or ``auto``: ``fast`` on a CPU, where a network at full
        resolution makes too few steps to learn, ``standard`` on a graphics card.
    device_type : str
        ``cpu``, ``cuda`` or ``mps``.
    """
    if name == AUTO:
        name = "fast" if device_type == "cpu" else "standard"
    return PRESETS[name]


def choose_model(config: TrainConfig, device_type: str) -> ModelConfig:
    """Find the network for a new model: one's own, or a preset."""
    return config.model or choose_preset(config.preset, device_type)


def recipe_of(model: ModelConfig) -> Recipe:
    """Find how a network is trained, whatever its size.

    Without normalisation the step that suits a weight depends on all others: such a
    network is trained as the paper's is, any other as `standard`.
    """
    return RECIPES["paper" if model.normalisation == "none" else "standard"]


def slices_a_step(recipe: Recipe, n_slices: int, pixels: int) -> int:
    """Choose how many slices an optimiser step shows.

    Parameters
    ----------
    recipe : Recipe
        May say so itself.
    n_slices : int
        Annotated slices.
    pixels : int
        Pixels of a slice, as the network sees it.
    """
    if recipe.batch_size is not None:
        return recipe.batch_size
    if n_slices < MANY_SLICES:
        return FEW_AT_A_TIME
    return min(max(FEW_AT_A_TIME, PIXELS_A_STEP // pixels), MOST_AT_A_TIME)


def working_spacing(scan: PreparedScan, model: ModelConfig) -> tuple[float, float]:
    """Choose the pixel size (rows, columns), in millimetres, that a new network works at."""
    finer = model.stride if model.stride > 1 and max(scan.shape) < FEWEST_PIXELS else 1
    return scan.spacing_mm[0] / finer, scan.spacing_mm[1] / finer
