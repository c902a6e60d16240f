"""Training a U-Net on a few annotated slices, in the time that somebody is willing to wait."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import time
import traceback
from collections.abc import Callable, Generator, Iterator, Sequence

from napari_unet.annotation.states import LabelledSlice
from napari_unet.errors import AnnotationError
from napari_unet.learning.compatibility import as_learned
from napari_unet.learning.config import PRESETS, TrainConfig
from napari_unet.learning.events import StepDone, TrainEvent, UnlikeTraining
from napari_unet.learning.model_card import ModelCard, ScanSizes
from napari_unet.learning.network.checkpoint import Checkpoint
from napari_unet.learning.preparation import PreparedScan
from napari_unet.learning.presets import choose_model, working_spacing
from napari_unet.learning.runtime import choose_device, memory_errors_explained, torch_threads
from napari_unet.learning.training.preview import Preview
from napari_unet.learning.training.round import TrainingRound
from napari_unet.text import counted

AnnotationSource = Sequence[LabelledSlice] | Callable[[], Sequence[LabelledSlice] | None]

EXTENSION = 0.5
"""Share of the whole budget that is left, at least, after new slices have joined."""


class Budget:
    """How much of the training time is used; pauses do not count.

    Parameters
    ----------
    config : TrainConfig
        Seconds and, possibly, a limit of steps.
    """

    def __init__(self, config: TrainConfig) -> None:
        self._total = config.seconds
        self._granted = config.seconds
        self._max_steps = config.max_steps
        self._resumed = time.perf_counter()
        self._before = 0.0
        self.steps = 0

    @property
    def seconds(self) -> float:
        """Time worked so far."""
        return self._before + time.perf_counter() - self._resumed

    @property
    def progress(self) -> float:
        """Fraction used, 0 to 1; counted in steps where steps are limited."""
        used = self.seconds / self._granted
        if self._max_steps is not None:
            # The learning rate must not depend on the clock: reproducible.
            used = self.steps / self._max_steps if used < 1 else 1.0
        return min(1.0, used)

    def extend(self) -> None:
        """Make sure that a good part of the budget is left."""
        self._granted = max(self._granted, self.seconds + EXTENSION * self._total)

    def pause(self) -> None:
        """Stop the clock."""
        self._before = self.seconds

    def resume(self) -> None:
        """Start the clock again."""
        self._resumed = time.perf_counter()


def train(
    scans: Sequence[PreparedScan],
    annotations: AnnotationSource,
    config: TrainConfig,
    *,
    class_names: Sequence[str],
    class_colors: Sequence[str] = (),
    label_values: Sequence[int] = (),
    init: Checkpoint | None = None,
    should_stop: Callable[[], bool] = lambda: False,
    focus: Callable[[], tuple[int, int] | None] | None = None,
) -> Iterator[TrainEvent]:
    """Fit a U-Net to annotated slices.

    Only time spent in here counts: whoever iterates pauses training by not
    asking for the next event.

    Parameters
    ----------
    scans : sequence of PreparedScan
        Scans with the same channels; the first one sets the pixel size. Those of a model
        to start from are put in its order.
    annotations : sequence of LabelledSlice, or callable
        What to learn from. A callable is asked at every step: None means
        nothing new, anything else is the complete new list, which training
        goes on with (and its budget is extended). A later list that cannot be
        learned from is passed over.
    config : TrainConfig
        How to train.
    class_names, class_colors : sequence of str
        Names and hex colours of classes 1..K.
    label_values : sequence of int
        Values of classes 1..K in files, for the card; default: those of `init`, else 1..K.
    init : Checkpoint, optional
        Model to start from. A few of the slices that are new to it are held back
        (see `holdout`); its weights are kept where they are better on those than the
        new ones when training ends, or, with none held back, where they still fit the
        annotated slices better.
    should_stop : callable
        Asked at every step; what was learned so far is kept.
    focus : callable, optional
        Gives the (scan, slice) the user looks at: predicted early and often,
        and after training all slices of that scan, outwards.

    Yields
    ------
    StepDone, SlicePredicted
        As they happen.
    Notice
        Where the graphics card has run out of memory and the work goes on without it; a
        `UnlikeTraining` where a scan is unlike those that `init` learned from.
    RoundDone
        Last, also after a stop; but not if not a single step was made (of which
        there is at least one unless `should_stop` says so before).

    Raises
    ------
    AnnotationError
        If there is nothing to learn from.
    CheckpointError
        If `init` has other channels or classes, or learned from another plane.
    ResourceError
        If memory runs out. After the first step this and any other failure comes
        behind a RoundDone with what was learned until then.
    """
    budget = Budget(config)
    with memory_errors_explained(_remedy(config, init)), torch_threads(config.threads):
        first = annotations() if callable(annotations) else annotations
        updates = annotations if callable(annotations) else lambda: None
        scans, notices = _in_order(scans, init)
        card = new_card(scans, config, init, class_names, class_colors, label_values)
        this_round = TrainingRound(scans, first or (), config, card, init)
        yield from notices
        preview = Preview(this_round, focus) if focus is not None else None
        events = _learn(this_round, budget, updates, preview, should_stop)
        with contextlib.closing(events):
            for event in events:
                budget.pause()
                yield event
                budget.resume()


def _learn(
    this_round: TrainingRound,
    budget: Budget,
    updates: Callable[[], Sequence[LabelledSlice] | None],
    preview: Preview | None,
    should_stop: Callable[[], bool],
) -> Generator[TrainEvent, None, None]:
    """Step after step, then keep the better weights, predict the scan in view, and end.

    A failure does not cost what was learned before it: it is raised at the very end.
    """
    updater, stopped = this_round.updater, False
    failure: Exception | None = None
    try:
        while not (stopped := should_stop()) and (budget.progress < 1 or not budget.steps):
            if (new := updates()) is not None and this_round.replace(new):
                budget.extend()
            # The first step counts in full however small the budget is.
            loss = updater.step(this_round.examples, budget.progress if budget.steps else 0.0)
            budget.steps += 1
            yield from updater.take_notices()
            yield StepDone(
                step=budget.steps,
                loss=loss,
                seconds=budget.seconds,
                progress=budget.progress,
                n_slices=len(this_round.examples),
                n_held_back=this_round.n_held_back,
            )
            if preview is not None and not should_stop():
                yield from preview.after_step(budget.seconds)
    except Exception as error:
        if not budget.steps:
            raise
        failure = _without_memory(error)
    if not budget.steps:
        return
    seconds = budget.seconds
    try:
        this_round.keep_the_better()
        if preview is not None and not stopped and failure is None:
            for event in preview.whole_scan():
                yield event
                if stopped := should_stop():
                    break
    except Exception as error:
        failure = failure or _without_memory(error)
    try:
        done = this_round.done(budget.steps, seconds, stopped=stopped or failure is not None)
    except Exception as error:
        raise failure or error from None
    yield done
    if failure is not None:
        raise failure


def _without_memory(error: Exception) -> Exception:
    """Let go of the memory of the work that has failed."""
    traceback.clear_frames(error.__traceback__)
    return error


def _in_order(
    scans: Sequence[PreparedScan], init: Checkpoint | None
) -> tuple[list[PreparedScan], list[UnlikeTraining]]:
    """Check that scans can be learned from together, and put them in the order of a model.

    Returns
    -------
    scans : list of PreparedScan
        The scans, with the sequences in the order of the model to start from.
    notices : list of UnlikeTraining
        What is unlike the scans that it has learned from.
    """
    notices: list[UnlikeTraining] = []
    scans = list(scans)
    if init is not None:
        for number, scan in enumerate(scans):
            init.check_fits(scan.n_channels, axis=scan.axis)
            scans[number], found = as_learned(scan, init.card)
            notices += found
    if not scans:
        raise AnnotationError("There is no scan to learn from. Open a scan first.")
    n_channels = scans[0].n_channels
    for scan in scans:
        if scan.n_channels != n_channels:
            raise AnnotationError(
                f"{scan.name} has {counted(scan.n_channels, 'image channel')} but "
                f"{scans[0].name} has {n_channels}. Train on scans with the same "
                "image sequences."
            )
    return scans, notices


def new_card(
    scans: Sequence[PreparedScan],
    config: TrainConfig,
    init: Checkpoint | None,
    class_names: Sequence[str],
    class_colors: Sequence[str] = (),
    label_values: Sequence[int] = (),
) -> ModelCard:
    """Describe the model that a round begins with; parameters as of `train`."""
    if init is not None:
        init.check_fits(scans[0].n_channels, class_names)
        before = init.card
    else:
        shape = choose_model(config, choose_device(config.device).type)
        before = ModelCard(
            dataclasses.replace(shape, n_classes=len(class_names) + 1),
            tuple(class_names),
            spacing_mm=working_spacing(scans[0], shape),
        )
    sizes = [scan.sizes for scan in scans]
    if init is not None:
        sizes.append(before.scan_sizes)
    known = [each for each in sizes if each is not None]  # of earlier models, they are not
    return dataclasses.replace(
        before,
        model=dataclasses.replace(
            before.model, in_channels=scans[0].n_channels, n_classes=len(class_names) + 1
        ),
        class_names=tuple(class_names),
        class_colors=tuple(class_colors),
        label_values=tuple(label_values) or before.label_values,
        channel_names=scans[0].channel_names or before.channel_names,
        slice_axis=scans[0].axis,
        scan_sizes=functools.reduce(ScanSizes.joined, known) if len(known) == len(sizes) else None,
    )


def _remedy(config: TrainConfig, init: Checkpoint | None) -> str:
    """Say what helps when memory runs out."""
    device = choose_device(config.device).type
    model, fast = init.card.model if init else choose_model(config, device), PRESETS["fast"]
    if (model.width, model.stride) == (fast.width, fast.stride):
        return "Close other programs and train again."
    return "Close other programs, or train a new model with the fast network."
