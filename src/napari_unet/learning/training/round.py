"""One round of learning: what is learned from, what was learned, and which weights are kept."""

from __future__ import annotations

import dataclasses
import datetime
import itertools
from collections.abc import Sequence

import torch
from torch import Tensor

from napari_unet import __version__
from napari_unet.annotation.states import LabelledSlice
from napari_unet.errors import AnnotationError
from napari_unet.learning.calibration import Calibration, Continuity
from napari_unet.learning.config import SliceName, TrainConfig
from napari_unet.learning.events import Comparison, RoundDone
from napari_unet.learning.model_card import ModelCard, Provenance
from napari_unet.learning.network.checkpoint import Checkpoint
from napari_unet.learning.network.unet import UNet
from napari_unet.learning.prediction.annotation_prior import (
    AnnotationPrior,
    continuity_with,
    share_of_learned,
)
from napari_unet.learning.prediction.fusion import compare_with_painted
from napari_unet.learning.prediction.predictor import Predictor
from napari_unet.learning.preparation import PreparedScan
from napari_unet.learning.presets import recipe_of
from napari_unet.learning.training.holdout import HoldoutSplit
from napari_unet.learning.training.model_selection import (
    COMPARED_PIXELS,
    compare_on_held_back,
    fits_worse,
)
from napari_unet.learning.training.training_set import TrainingSet
from napari_unet.learning.training.weight_updater import WeightUpdater

COMPARED_EVERY = 40
"""Steps after which the network is compared with annotated slices again, if it is asked: that
takes about as long as one step."""


class TrainingRound:
    """A network that learns, what it learns from, and the model it started from.

    Parameters
    ----------
    scans : sequence of PreparedScan
        The scans that annotations refer to.
    annotations : sequence of LabelledSlice
        What is annotated.
    config : TrainConfig
        How to train.
    card : ModelCard
        Of the new model, before its first step.
    init : Checkpoint, optional
        The model to start from.

    Attributes
    ----------
    examples : TrainingSet
        What is learned from: annotated slices that are not held back.
    priors : list of AnnotationPrior
        What is annotated on each scan, slices that are held back included.
    updater : WeightUpdater
        The network that learns.
    """

    def __init__(
        self,
        scans: Sequence[PreparedScan],
        annotations: Sequence[LabelledSlice],
        config: TrainConfig,
        card: ModelCard,
        init: Checkpoint | None = None,
    ) -> None:
        for scan in scans:
            scan.check_serves(card.normalisation)
        self.scans = scans
        self.card = card
        self._init = init
        start = init if config.restart != "scratch" else None
        before = start.card.provenance if start else Provenance()
        recipe = config.recipe or recipe_of(card.model)
        self._split = HoldoutSplit.begin(scans, init.card if init else None).given(annotations)
        self.examples = TrainingSet(
            scans,
            self._split.training,
            card.class_names,
            card.spacing_mm,
            model=card.model,
            recipe=recipe,
            held_back=self._split.test,
            learned=before.learned_slices,
        )
        self._annotated: list[SliceName] = []
        self.priors = self._make_priors(annotations, [None] * len(scans))
        self.updater = WeightUpdater(card.model, recipe, config, start)
        self._steps_before = before.steps
        self._strengths: tuple[float, ...] = ()
        self._compared_at = 0
        self._final_calibration: Calibration | None = None
        self._comparison: Comparison | None = None
        self._rejected: dict[str, Tensor] | None = None
        self._old_is_kept = False

    @property
    def network(self) -> UNet:
        """The averaged network: the one to show and to keep."""
        return self.updater.network

    @property
    def steps(self) -> int:
        """Training steps of the network so far, earlier rounds included."""
        return self._steps_before + self.updater.steps

    @property
    def n_held_back(self) -> int:
        """How many annotated slices are kept from training."""
        return len(self._split.test)

    def predictor(self, device: torch.device | None = None) -> Predictor:
        """Make the network as it is now ready to predict; default: where it learns."""
        return Predictor(self.network, self.card.spacing_mm, device or self.updater.device)

    def replace(self, annotations: Sequence[LabelledSlice]) -> bool:
        """Learn from a new list of slices; False if it cannot be learned from.

        Somebody is painting meanwhile: everything erased, or a label too many, is
        a moment of their work and no reason to end training.
        """
        split = self._split.given(annotations)
        try:
            self.examples.replace(split.training, split.test)
        except AnnotationError:
            return False
        self._split = split
        self.priors = self._make_priors(annotations, self.priors)
        return True

    def _make_priors(
        self, annotations: Sequence[LabelledSlice], before: Sequence[AnnotationPrior | None]
    ) -> list[AnnotationPrior]:
        """Gather what is annotated on each scan, slices held back from training included."""
        given = [[a for a in annotations if a.scan == i] for i in range(len(self.scans))]
        names = [
            [(scan.name, each.index) for each in here]
            for scan, here in zip(self.scans, given, strict=True)
        ]
        self._annotated = every = list(itertools.chain.from_iterable(names))
        shares = [share_of_learned(own, every, self.card.provenance) for own in names]
        return [
            AnnotationPrior(scan, here, len(self.card.class_names), earlier, share=share)
            for scan, here, earlier, share in zip(self.scans, given, before, shares, strict=True)
        ]

    # -- how much the network can be relied on ----------------------------------

    def calibrate(self, predictor: Predictor) -> Calibration:
        """Find how much the network counts by now, and what goes on from slice to slice.

        It is compared with painted slices every `COMPARED_EVERY` steps.

        Parameters
        ----------
        predictor : Predictor
            The network as it is now.
        """
        if self.steps >= self._compared_at + COMPARED_EVERY:
            self._strengths = self._compare_with_painted(predictor)
            self._compared_at = self.steps
        return Calibration(self._strengths, self._continuity())

    def calibrate_finally(self) -> Calibration:
        """Calibrate the weights that are kept, once."""
        if self._final_calibration is None:
            strengths = self._compare_with_painted(self.predictor())
            self._final_calibration = Calibration(strengths, self._continuity())
        return self._final_calibration

    def _compare_with_painted(self, predictor: Predictor) -> tuple[float, ...]:
        known = list(zip(self.scans, self.priors, strict=True))
        return compare_with_painted(predictor, known, len(self.card.class_names), self.steps)

    def _continuity(self) -> Continuity:
        """Tell what goes on from slice to slice, as far as it is known."""
        here = sum((prior.continuity for prior in self.priors), Continuity())
        return continuity_with(here, self._annotated, self.card)

    # -- the end ------------------------------------------------------------------

    def keep_the_better(self) -> None:
        """Go back to the weights started from where the new ones are worse.

        Slices that were held back decide; without any, or where they show too little, the
        annotated slices do. The card
        still counts the steps.
        """
        if self._init is None:
            return
        old = self._init.network().to(self.updater.device)
        self._comparison = compare_on_held_back(
            self.predictor(),
            Predictor(old, self.card.spacing_mm, self.updater.device),
            self.scans,
            self._split.test,
        )
        decides = self._comparison is not None and self._comparison.tells
        if self._comparison is not None and decides:
            self._old_is_kept = self._comparison.worse
        else:
            # A network at full resolution takes several times as long.
            pixels = COMPARED_PIXELS * old.config.stride**2 // 4
            self._old_is_kept = fits_worse(self.network, old, *self.examples.unchanged(pixels))
        if self._old_is_kept:
            if decides:
                self._rejected = self.updater.weights()
            self.network.load_state_dict(self._init.state)

    def done(self, steps: int, seconds: float, *, stopped: bool) -> RoundDone:
        """Take a copy of the weights to keep, with their history.

        Parameters
        ----------
        steps : int
            Steps of this round.
        seconds : float
            Its training time.
        stopped : bool
            Whether it ended before its time.
        """
        try:
            calibration = self.calibrate_finally()
        except (MemoryError, RuntimeError):  # by the steps: the model matters more
            calibration = Calibration(continuity=self._continuity())
        history = self._history(steps, seconds)
        card = dataclasses.replace(self.card, provenance=history, calibration=calibration)
        kept, rejected = Checkpoint(self.updater.weights(), card), None
        if self._init is not None and self._rejected is not None:
            # What was compared with painted slices are the weights that are kept.
            unknown = Calibration(continuity=calibration.continuity)
            rejected = Checkpoint(self._rejected, dataclasses.replace(card, calibration=unknown))
            # The model itself is what it was; it only knows of the slices held back.
            history = self._split.remember(self.card.provenance, learned=False)
            kept = Checkpoint(
                self._init.state, dataclasses.replace(self._init.card, provenance=history)
            )
        return RoundDone(
            checkpoint=kept,
            stopped=stopped,
            seconds=seconds,
            kept="old" if self._old_is_kept else "new",
            comparison=self._comparison,
            rejected=rejected,
        )

    def _history(self, steps: int, seconds: float) -> Provenance:
        """History of the new weights, or of the old ones where they fit as well."""
        before = self.card.provenance
        learned_from = self.examples.learned_from
        names = [self.scans[number].name for number, known in learned_from.items() if known]
        history = Provenance(
            trained_on=tuple(dict.fromkeys([*before.trained_on, *names])),
            annotated_slices=len(self.examples),
            steps=self._steps_before + steps,
            seconds=before.seconds + seconds,
            created=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            software=f"napari-unet-mri {__version__}",
            parent=before.created,
        )
        learned = not self._old_is_kept or self._rejected is not None
        return self._split.remember(history, learned=learned)
