"""Who is compared: one interface for our learner and its peers, by name."""

from __future__ import annotations

import importlib
import importlib.util
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from benchmarks.common.cases import Annotated, Case, Lesson
from napari_unet.learning.runtime import load_torch

Predict = Callable[[Case, Annotated], NDArray[np.uint8]]
"""Segments a case (n, h, w), knowing some of its slices (or none)."""


@dataclass(frozen=True, slots=True)
class Budget:
    """What a method may use.

    Parameters
    ----------
    seconds : float
        Wall clock for learning.
    steps : int, optional
        Optimiser steps instead (networks only): for comparisons on a busy machine.
    threads : int, optional
        Threads; default: all cores.
    device : str
        As of `TrainConfig`.
    """

    seconds: float
    steps: int | None = None
    threads: int | None = None
    device: str = "cpu"


@dataclass(frozen=True, slots=True)
class Fit:
    """A method that has learned.

    Parameters
    ----------
    predict : callable
        See `Predict`.
    steps : int
        Optimiser steps made, or trees grown.
    """

    predict: Predict
    steps: int


Method = Callable[[Sequence[Lesson], Budget, int], Fit]
"""Learns from lessons within a budget, from a seed."""


@dataclass(frozen=True, slots=True)
class Result:
    """What a method made of a case; `labels` (n, h, w) and the seconds used."""

    labels: NDArray[np.uint8]
    steps: int
    learn_s: float
    predict_s: float


_WHERE = {
    "ours": ("benchmarks.common.ours", "fast"),
    "ours-scratch": ("benchmarks.common.ours", "fast_from_scratch"),
    "ours-standard": ("benchmarks.common.ours", "standard"),
    "interpolation": ("benchmarks.common.peers", "interpolation"),
    "forest": ("benchmarks.common.peers", "forest"),
    "monai": ("benchmarks.common.peers", "monai_unet"),
}
_NEEDS = {
    "forest": ("sklearn.ensemble", "skimage.feature"),
    "monai": ("monai.losses", "monai.networks.nets", "monai.transforms"),
}
"""Modules that a method uses: imported before the clock runs."""

METHODS = tuple(_WHERE)
DEFAULT_METHODS = ("ours", "interpolation", "forest", "monai")


def usable(names: Sequence[str]) -> dict[str, Method]:
    """Look up methods; those whose package is not installed are named and left out."""
    found = {}
    for name in names:
        needed = _NEEDS.get(name, ())
        package = needed[0].partition(".")[0] if needed else ""
        if package and importlib.util.find_spec(package) is None:
            print(f"left out: {name} needs {package} (pip install 'napari-unet-mri[benchmark]')")
            continue
        load_torch()  # before anybody else does: it sets how threads wait
        for each in needed:
            importlib.import_module(each)
        module, attribute = _WHERE[name]
        found[name] = getattr(importlib.import_module(module), attribute)
    return found


def solve(method: Method, case: Case, annotated: Annotated, budget: Budget, seed: int) -> Result:
    """Learn from some slices of a case and segment it."""
    started = time.perf_counter()
    fit = method([Lesson(case, annotated)], budget, seed)
    learned = time.perf_counter()
    labels = fit.predict(case, annotated)
    return Result(labels, fit.steps, learned - started, time.perf_counter() - learned)
