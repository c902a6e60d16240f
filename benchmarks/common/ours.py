"""Our learner as the benchmarks see it: the only module here that knows the learning API."""

from __future__ import annotations

import contextlib
import dataclasses
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from unittest import mock

import numpy as np
from numpy.typing import NDArray

from benchmarks.common.cases import Annotated, Case, Lesson
from benchmarks.common.methods import Budget, Fit
from napari_unet.annotation.states import LabelledSlice
from napari_unet.learning.config import TrainConfig
from napari_unet.learning.events import RoundDone, SlicePredicted, StepDone
from napari_unet.learning.network.checkpoint import Checkpoint
from napari_unet.learning.prediction.scan_prediction import predict_volume, segment
from napari_unet.learning.preparation import prepare
from napari_unet.learning.training.loop import train


@dataclass(frozen=True, slots=True, eq=False)
class Learned:
    """A model, and what it took: optimiser steps and seconds of training."""

    checkpoint: Checkpoint
    steps: int
    seconds: float


def config_for(budget: Budget, seed: int, preset: str = "fast") -> TrainConfig:
    """Training settings within a budget."""
    return TrainConfig(
        seconds=1e6 if budget.steps is not None else budget.seconds,
        max_steps=budget.steps,
        seed=seed,
        threads=budget.threads,
        device=budget.device,
        preset=preset,
    )


def learn(
    lessons: Sequence[Lesson], config: TrainConfig, init: Checkpoint | None = None
) -> Learned:
    """Train on the annotated slices of one or several cases."""
    scans = [prepare(lesson.case.volume, lesson.case.axis) for lesson in lessons]
    steps = 0
    for event in train(
        scans,
        _annotations(lessons),
        config,
        class_names=lessons[0].case.class_names,
        init=init,
    ):
        if isinstance(event, StepDone):
            steps = event.step
        elif isinstance(event, RoundDone):
            return Learned(event.checkpoint, steps, event.seconds)
    raise RuntimeError("Training ended without a model.")


def segment_case(case: Case, annotated: Annotated, checkpoint: Checkpoint) -> NDArray[np.uint8]:
    """Segment a case (n, h, w), some slices of which are annotated (or none)."""
    annotations = _annotations([Lesson(case, annotated)])
    labels = predict_volume(case.volume, checkpoint, annotations=annotations)
    return np.moveaxis(labels, case.axis, 0)


def segment_by_slice(case: Case, checkpoint: Checkpoint) -> NDArray[np.uint8]:
    """Segment a case (n, h, w), each slice as if there were no others."""
    with mock.patch("napari_unet.learning.prediction.fusion.MOST_NEIGHBOURS", 0):
        return segment_case(case, {}, checkpoint)


def predictions(case: Case, annotated: Annotated, checkpoint: Checkpoint) -> list[SlicePredicted]:
    """Predict every slice as the plugin does, with what predictions say of themselves."""
    known = frozenset(annotated)
    scan = prepare(case.volume, case.axis)
    events = segment(scan, checkpoint, annotations=_annotations([Lesson(case, annotated)]))
    return [
        dataclasses.replace(event, learned_from=known)
        for event in events
        if isinstance(event, SlicePredicted)
    ]


def watch(
    case: Case, annotated: Annotated, config: TrainConfig, focus: int
) -> Iterator[tuple[float, SlicePredicted]]:
    """Train as the plugin does, somebody looking at slice `focus`; yield what appears, and when.

    Seconds count from pressing Train, preparing the scan included; what is done
    between two items is not counted.
    """
    clock = _Clock()
    scan = prepare(case.volume, case.axis)
    for event in train(
        [scan],
        _annotations([Lesson(case, annotated)]),
        config,
        class_names=case.class_names,
        focus=lambda: (0, focus),
    ):
        if isinstance(event, SlicePredicted):
            with clock.paused():
                yield clock.seconds, event


def fast(lessons: Sequence[Lesson], budget: Budget, seed: int) -> Fit:
    """Learn with the ``fast`` network; a `Method`."""
    return _fit(lessons, config_for(budget, seed, "fast"))


def fast_from_scratch(lessons: Sequence[Lesson], budget: Budget, seed: int) -> Fit:
    """Learn with the ``fast`` network, without the packaged weights; a `Method`."""
    with mock.patch(
        "napari_unet.learning.training.weight_updater.pretrained_state", return_value=None
    ):
        return fast(lessons, budget, seed)


def standard(lessons: Sequence[Lesson], budget: Budget, seed: int) -> Fit:
    """Learn with the ``standard`` network; a `Method`."""
    return _fit(lessons, config_for(budget, seed, "standard"))


@contextlib.contextmanager
def learning_otherwise(loss: Callable[..., object] | None, *, assume: bool) -> Iterator[None]:
    """Train with another loss (logits, labels, class weights; None: the own one) in this block.

    `assume`: whether what is far from all strokes may be assumed to be background.
    """
    with contextlib.ExitStack() as changes:
        if loss is not None:
            name = "napari_unet.learning.training.weight_updater.segmentation_loss"
            changes.enter_context(mock.patch(name, loss))
        if not assume:
            name = "napari_unet.learning.training.training_set.assumed_background"
            changes.enter_context(mock.patch(name, lambda labels, _: np.zeros(labels.shape, bool)))
        yield


def _fit(lessons: Sequence[Lesson], config: TrainConfig) -> Fit:
    learned = learn(lessons, config)
    return Fit(lambda case, known: segment_case(case, known, learned.checkpoint), learned.steps)


def _annotations(lessons: Sequence[Lesson]) -> list[LabelledSlice]:
    return [
        LabelledSlice(number, index, labels)
        for number, lesson in enumerate(lessons)
        for index, labels in sorted(lesson.annotated.items())
    ]


class _Clock:
    """Seconds since it was made, without pauses."""

    def __init__(self) -> None:
        self._started = time.perf_counter()

    @property
    def seconds(self) -> float:
        return time.perf_counter() - self._started

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        paused = time.perf_counter()
        yield
        self._started += time.perf_counter() - paused
