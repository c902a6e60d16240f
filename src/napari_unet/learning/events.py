"""What long work says while it runs: the only things that leave a worker thread."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from napari_unet.annotation.error_estimate import ErrorEstimate
from napari_unet.text import counted

if TYPE_CHECKING:
    from napari_unet.learning.network.checkpoint import Checkpoint


@dataclass(frozen=True, slots=True)
class StepDone:
    """One optimiser step.

    Parameters
    ----------
    step : int
        Steps so far in this run.
    loss : float
        Training loss of this step.
    seconds : float
        Time since training started, pauses not counted.
    progress : float
        Fraction of the budget used, 0 to 1; goes back when new slices extend it.
    n_slices : int
        Annotated slices currently being learned from.
    n_held_back : int
        Annotated slices currently kept from training, as a test.
    """

    step: int
    loss: float
    seconds: float
    progress: float
    n_slices: int
    n_held_back: int = 0


@dataclass(frozen=True, slots=True, eq=False)
class SlicePredicted:
    """What the model predicts for one slice.

    Parameters
    ----------
    scan, index : int
        Which slice.
    labels : ndarray of uint8, shape (h, w)
        Most likely class of each voxel of the whole slice.
    error_estimate : ErrorEstimate or None
        What the probabilities say of their own errors; None: the network is too young to know.
    learned_from : frozenset of int
        Slice numbers of this scan that the model had been trained on.
    """

    scan: int
    index: int
    labels: NDArray[np.uint8]
    error_estimate: ErrorEstimate | None
    learned_from: frozenset[int]


TELLING_PIXELS = 25
"""Painted pixels of structures on held-back slices from which a Dice tells something: of a dozen
stray ones a single pixel moves it by a tenth."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """The new weights of a round against those that it started from, on held-back slices.

    Parameters
    ----------
    new, old : float
        Dice over the held-back slices, 0 to 1, averaged over the structures.
    n_slices : int
        How many slices there are.
    worse : bool
        Whether the new weights are worse by more than chance, also if edges may be a pixel off.
    edges_only : bool
        Whether they are worse by more than chance, but not if edges may be a pixel off.
    n_pixels : int
        Pixels of structures that are painted there.
    """

    new: float
    old: float
    n_slices: int
    worse: bool = False
    edges_only: bool = False
    n_pixels: int = TELLING_PIXELS

    @property
    def tells(self) -> bool:
        """Whether enough is painted on the held-back slices to decide by."""
        return self.n_pixels >= TELLING_PIXELS

    @property
    def verdict(self) -> str:
        """Say it in a sentence."""
        if not self.tells:
            return (
                f"Which model is better cannot be told: on {counted(self.n_slices, 'slice')} held "
                f"back as a test only {counted(self.n_pixels, 'pixel')} of structures are painted."
            )
        slices = f"on {counted(self.n_slices, 'held-back slice')}"
        scores = f"(Dice {self.new:.2f} against {self.old:.2f})"
        if self.worse:
            return f"The new model is worse {slices} {scores}: the earlier one is kept."
        if self.new > self.old:
            return f"The new model is better {slices} {scores}."
        but = ", edges within a pixel aside" if self.edges_only else ""
        return f"The new model is about as good {slices}{but} {scores}: it is kept."


@dataclass(frozen=True, slots=True, eq=False)
class RoundDone:
    """Training ended (budget used, stopped or failed); the last event of `train`.

    Parameters
    ----------
    checkpoint : Checkpoint
        The weights that were kept (averaged over the last steps, or those that the
        round started from) and their card.
    stopped : bool
        Whether `should_stop`, or a failure that is raised next, ended it.
    seconds : float
        Training time of this round.
    kept : str
        ``old`` if the weights that the round started from have been kept because the
        new ones were worse.
    comparison : Comparison, optional
        On held-back slices, if there are any.
    rejected : Checkpoint, optional
        The new weights, if they were worse on held-back slices.
    """

    checkpoint: Checkpoint
    stopped: bool
    seconds: float
    kept: Literal["new", "old"] = "new"
    comparison: Comparison | None = None
    rejected: Checkpoint | None = None

    @property
    def verdict(self) -> str:
        """A sentence on new against old; empty where there is nothing to say."""
        if self.comparison is not None and self.comparison.tells:
            return self.comparison.verdict
        said = [] if self.comparison is None else [self.comparison.verdict]
        if self.kept == "old":
            said.append(
                "The new model fits the annotated slices worse than the earlier one, which is kept."
            )
        elif said:
            said.append("The new one is kept.")
        return " ".join(said)


@dataclass(frozen=True, slots=True)
class Notice:
    """Something the user should know about how the work goes on, or about the scan.

    Parameters
    ----------
    text : str
        One or two sentences.
    about : str
        ``work`` that has become slower, the ``scan``, or its ``labels``.
    """

    text: str
    about: Literal["work", "scan", "labels"] = "work"


@dataclass(frozen=True, slots=True)
class UnlikeTraining(Notice):
    """Something about a scan that makes doubtful what a model says of it."""


TrainEvent = StepDone | SlicePredicted | RoundDone | Notice
SegmentEvent = SlicePredicted | Notice
