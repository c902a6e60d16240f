"""Rounds of correcting a slice and learning again, with a simulated annotator.

What `loop` and `honesty` share: each round, a strategy picks a slice, the annotator
corrects the prediction of it, and the model learns on from where it was.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from benchmarks.common import ours
from benchmarks.common.cases import Annotated, Case, Lesson
from benchmarks.common.methods import Budget
from benchmarks.common.peers import interpolate
from benchmarks.common.scores import mean_dice
from benchmarks.learning.simulated_annotator import SimulatedAnnotator
from napari_unet.annotation.progress import AnnotationProgress
from napari_unet.annotation.record import AnnotationRecord
from napari_unet.annotation.scoring import CorrectionScore
from napari_unet.learning.events import SlicePredicted
from napari_unet.learning.network.checkpoint import Checkpoint

FIRST_SLICES = 3
"""Slices that are painted before the first training."""

BEYOND = 1
"""Slices beyond the structures among which an interval or a random choice may fall."""


@dataclass(frozen=True, slots=True, eq=False)
class Round:
    """What there is after a round.

    Parameters
    ----------
    annotated : mapping
        Slices that the annotator has drawn.
    corrected : mapping
        What was predicted of those of them that had been predicted.
    predicted : ndarray of uint8, shape (n, h, w)
        What the model (or interpolation) says on all slices.
    result : ndarray of uint8, shape (n, h, w)
        The mask so far: the annotator's slices, and predictions elsewhere.
    painting_s : float
        Seconds that the annotator has spent.
    score : CorrectionScore or None
        The score on screen, see `annotation.scoring`.
    """

    annotated: Annotated
    corrected: Annotated
    predicted: NDArray[np.uint8]
    result: NDArray[np.uint8]
    painting_s: float
    score: CorrectionScore | None


class Model(Protocol):
    """What turns annotated slices into predictions of all slices."""

    def __call__(self, annotated: Annotated) -> list[SlicePredicted]:
        """Learn from what is annotated by now and predict every slice."""
        ...


Strategy = Callable[[Case, AnnotationRecord, AnnotationProgress, np.random.Generator], int | None]
"""Picks the next slice; None when there is nothing left."""


class Trainer:
    """Our learner, which goes on from its last model each round.

    Parameters
    ----------
    case : Case
        What is learned.
    first, later : Budget
        For the first training, and for each of the others.
    seed : int
        Seed of the learner.
    """

    def __init__(self, case: Case, first: Budget, later: Budget, seed: int) -> None:
        self._case, self._budget, self._later, self._seed = case, first, later, seed
        self._model: Checkpoint | None = None

    def __call__(self, annotated: Annotated) -> list[SlicePredicted]:
        """See `Model`."""
        config = ours.config_for(self._budget, self._seed)
        lessons = [Lesson(self._case, annotated)]
        self._model = ours.learn(lessons, config, init=self._model).checkpoint
        self._budget = self._later
        return ours.predictions(self._case, annotated, self._model)


class Interpolator:
    """Interpolation between what is annotated, without learning; a `Model`."""

    def __init__(self, case: Case) -> None:
        self._case = case

    def __call__(self, annotated: Annotated) -> list[SlicePredicted]:
        """See `Model`."""
        case = self._case
        labels = interpolate(annotated, case.truth.shape, case.n_classes, case.spacing_mm)
        known = frozenset(annotated)
        return [SlicePredicted(0, z, each, None, known) for z, each in enumerate(labels)]


def simulate(
    case: Case, annotator: SimulatedAnnotator, model: Model, strategy: Strategy, seed: int
) -> Iterator[Round]:
    """Annotate three slices, learn; then correct one slice and learn again, for ever.

    Parameters
    ----------
    case : Case
        The scan.
    annotator : SimulatedAnnotator
        Who draws.
    model : Model
        What predicts.
    strategy : Strategy
        Which slice is next.
    seed : int
        Seed of random choices.

    Yields
    ------
    Round
        After each training, the first one on three slices.
    """
    rng = np.random.default_rng([seed, 3])
    labels = np.zeros_like(case.truth)
    record = AnnotationRecord(labels, axis=0)
    notes = AnnotationProgress(record)
    annotated: dict[int, NDArray[np.uint8]] = {}
    corrected: dict[int, NDArray[np.uint8]] = {}
    predicted: NDArray[np.uint8] | None = None
    seconds = 0.0
    todo = evenly(case, FIRST_SLICES)
    while todo:
        for index in todo:
            drawn = annotator.draw(index)
            seconds += annotator.seconds(drawn, labels[index])
            labels[index] = drawn
            record.accept(index)
            annotated[index] = drawn
            if predicted is not None:
                corrected[index] = predicted[index]
        events = model(dict(annotated))
        for event in events:
            expected = notes.predicted(event.index, event.error_estimate, event.learned_from)
            record.write_prediction(event.index, event.labels, expected)
        predicted = np.stack([event.labels for event in sorted(events, key=lambda e: e.index)])
        yield Round(
            dict(annotated), dict(corrected), predicted, record.mask(), seconds, notes.score()
        )
        chosen = strategy(case, record, notes, rng)
        todo = [] if chosen is None else [chosen]


def evenly(case: Case, count: int) -> list[int]:
    """Slices evenly over the structures, not their very ends."""
    first, last = case.extent
    return sorted({round(float(z)) for z in np.linspace(first, last, count + 2)[1:-1]})


# -- strategies --------------------------------------------------------------------


def suggested(
    case: Case, record: AnnotationRecord, notes: AnnotationProgress, rng: np.random.Generator
) -> int | None:
    """The slice that the plugin suggests."""
    del case, record, rng
    found = notes.suggest()
    return found.index if found else None


def interval(
    case: Case, record: AnnotationRecord, notes: AnnotationProgress, rng: np.random.Generator
) -> int | None:
    """The middle of the widest gap; somebody knows where the structures begin and end."""
    del notes, rng
    free = _free(case, record)
    if not free:
        return None
    done = np.array(sorted(set(range(record.n_slices)) - set(_open(record))))
    ends = [case.extent[0] - BEYOND - 1, case.extent[1] + BEYOND + 1]
    walls = np.concatenate([done, ends])
    return max(free, key=lambda z: (np.abs(walls - z).min(), -z))


def at_random(
    case: Case, record: AnnotationRecord, notes: AnnotationProgress, rng: np.random.Generator
) -> int | None:
    """Any slice on which, or near which, there are structures."""
    del notes
    free = _free(case, record)
    return int(rng.choice(free)) if free else None


def oracle(
    case: Case, record: AnnotationRecord, notes: AnnotationProgress, rng: np.random.Generator
) -> int | None:
    """The slice with most wrong voxels: what nobody can know."""
    del notes, rng
    free = _open(record)
    wrong = np.count_nonzero(record.labels != case.truth, axis=(1, 2))
    return max(free, key=lambda z: int(wrong[z])) if free else None


def _open(record: AnnotationRecord) -> list[int]:
    """Slices that are not annotated."""
    states = record.states()
    return [z for z, state in enumerate(states) if state.value in ("empty", "predicted")]


def _free(case: Case, record: AnnotationRecord) -> list[int]:
    """Those of them on the structures or at most `BEYOND` slices away."""
    first, last = case.extent
    return [z for z in _open(record) if first - BEYOND <= z <= last + BEYOND]


def full_annotation_dice(case: Case, annotator: SimulatedAnnotator) -> float:
    """Dice of the mask that the annotator would have made by drawing every slice."""
    return mean_dice(case.truth, annotator.whole(), case.n_classes)
