"""What settings refuse, and in which words: the same for Python, command line and window."""

import re

import pytest

from napari_unet.errors import NapariUnetError, UsageError
from napari_unet.learning.config import (
    BorderWeighting,
    ModelConfig,
    Recipe,
    TrainConfig,
)


@pytest.mark.parametrize(
    ("settings", "given", "complaint"),
    [
        (TrainConfig, {"seconds": -1.0}, "seconds of training is a number above 0, not -1.0."),
        (TrainConfig, {"seconds": float("nan")}, "seconds of training is a number above 0"),
        (
            TrainConfig,
            {"seconds": float("inf")},
            "is not inf, unless max_steps is given to end it.",
        ),
        (TrainConfig, {"max_steps": 0}, "max_steps of training is a whole number from 1, not 0."),
        (TrainConfig, {"threads": 0}, "threads of training is a whole number from 1, not 0."),
        (TrainConfig, {"seed": -1}, "is a whole number from 0 to 4294967295, not -1."),
        (TrainConfig, {"seed": 2**32}, "is a whole number from 0 to 4294967295"),
        (TrainConfig, {"preset": "huge"}, "Unknown preset 'huge': use one of auto, fast,"),
        (TrainConfig, {"restart": "hot"}, "is one of warm, shrink, scratch, not 'hot'."),
        (Recipe, {"loss": "hinge"}, "is one of dice+ce, ce, weighted-ce, border-ce, not 'hinge'."),
        (Recipe, {"optimiser": "lion"}, "is one of adamw, sgd, not 'lion'."),
        (Recipe, {"learning_rate": 0}, "learning_rate of a recipe is a number above 0, not 0."),
        (Recipe, {"learning_rate": "1e-3"}, "learning_rate of a recipe is a number above 0"),
        (Recipe, {"elastic": -1.0}, "elastic of a recipe is a number from 0, not -1.0."),
        (Recipe, {"batch_size": 0}, "batch_size of a recipe is a whole number from 1, not 0."),
        (Recipe, {"tile": 2.5}, "tile of a recipe is a whole number from 1, not 2.5."),
        (Recipe, {"ramp": -1}, "ramp of a recipe is a whole number from 0, not -1."),
        (
            Recipe,
            {"border": BorderWeighting()},
            "border-ce: choose that instead of dice+ce",
        ),
        (BorderWeighting, {"sigma": 0.0}, "sigma of the border weighting is a number above 0"),
        (BorderWeighting, {"weight": -1.0}, "weight of the border weighting is a number from 0"),
        (BorderWeighting, {"unit": "cm"}, "is one of pixels, mm, not 'cm'."),
        (ModelConfig, {"padding": "wrap"}, "is one of zero, mirror, valid, not 'wrap'."),
    ],
)
def test_impossible_settings_are_refused_with_what_is_allowed(settings, given, complaint):
    with pytest.raises(NapariUnetError, match=re.escape(complaint)):
        settings(**given)


@pytest.mark.parametrize("shape", [(10, 2, 3), (9, 4, 3), (8, 4, 5)])
def test_deep_networks_that_were_trained_before_are_networks(shape):
    levels, stride, kernel = shape
    assert ModelConfig(levels=levels, stride=stride, kernel=kernel).padding == "zero"
    with pytest.raises(UsageError, match="no memory holds"):
        ModelConfig(levels=levels, stride=stride, kernel=kernel, padding="valid")
