"""One round of learning: what is learned from, what was learned, and which weights are kept."""

from __future__ import annotations

import dataclasses
import datetime
import functools
import itertools
import traceback
from collections.abc import Iterator, Sequence

from napari_unet import __version__
from napari_unet.annotation.states import LabelledSlice
from napari_unet.errors import AnnotationError
from napari_unet.learning.calibration import Calibration, Continuity
from napari_unet.learning.config import NORMALISATION, TrainConfig
from napari_unet.learning.events import Notice, RoundDone, SegmentEvent
from napari_unet.learning.model_card import ModelCard, Provenance, ScanSizes
from napari_unet.learning.prediction.annotation_prior import (
    AnnotationPrior,
    continuity_with,
    share_of_learned,
)
from napari_unet.learning.preparation import PreparedScan
from napari_unet.learning.presets import choose_model, recipe_of, working_spacing
from napari_unet.learning.runtime import (
    ThreadChooser,
    available_cores,
    choose_device,
    is_out_of_memory,
    load_torch,
)
from napari_unet.learning.training.holdout import HoldoutSplit
from napari_unet.text import counted

load_torch()

import torch  # noqa: E402
from torch import Tensor  # noqa: E402

from napari_unet.learning.network.checkpoint import Checkpoint  # noqa: E402
from napari_unet.learning.network.pretrained import pretrained_state  # noqa: E402
from napari_unet.learning.network.unet import UNet  # noqa: E402
from napari_unet.learning.prediction.fusion import SliceFusion, compare_with_painted  # noqa: E402
from napari_unet.learning.prediction.predictor import Predictor  # noqa: E402
from napari_unet.learning.prediction.preview import SLICES_AT_ONCE, outwards  # noqa: E402
from napari_unet.learning.prediction.segmentation import WORTH_TIMING  # noqa: E402
from napari_unet.learning.training.model_selection import WeightChoice, WeightTest  # noqa: E402
from napari_unet.learning.training.restart import restart  # noqa: E402
from napari_unet.learning.training.trainer import Trainer  # noqa: E402
from napari_unet.learning.training.training_set import TrainingSet  # noqa: E402

COMPARED_EVERY = 40
"""Steps after which the network is compared with annotated slices again, if it is asked: that
takes about as long as one step."""

OUT_OF_GRAPHICS_MEMORY = (
    "The graphics card ran out of memory. Training goes on without it, which takes longer."
)
"""What the user is told when training moves to the CPU."""


class TrainingRound:
    """A network that learns, and its examples; parameters as of `training.train`."""

    def __init__(
        self,
        scans: Sequence[PreparedScan],
        annotations: Sequence[LabelledSlice],
        config: TrainConfig,
        class_names: Sequence[str],
        class_colors: Sequence[str],
        label_values: Sequence[int],
        init: Checkpoint | None,
    ) -> None:
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
        if init is not None:
            init.check_fits(n_channels, class_names)
        device = choose_device(config.device)
        shape = init.card.model if init else choose_model(config, device.type)
        self.card = ModelCard(
            model=dataclasses.replace(
                shape, in_channels=n_channels, n_classes=len(class_names) + 1
            ),
            class_names=tuple(class_names),
            class_colors=tuple(class_colors),
            label_values=tuple(label_values) or (init.card.label_values if init else ()),
            channel_names=scans[0].channel_names or (init.card.channel_names if init else ()),
            spacing_mm=init.card.spacing_mm if init else working_spacing(scans[0], shape),
            slice_axis=scans[0].axis,
            normalisation=init.card.normalisation if init else NORMALISATION,
            provenance=init.card.provenance if init else Provenance(),
            calibration=init.card.calibration if init else Calibration(),
            scan_sizes=_sizes(scans, init),
        )
        for scan in scans:
            scan.check_serves(self.card.normalisation)
        self._scans = scans
        recipe = config.recipe or recipe_of(self.card.model)
        self._init = init
        start = init if config.restart != "scratch" else None
        self._choice = WeightChoice()
        self._rejected: dict[str, Tensor] | None = None
        self._split = HoldoutSplit.begin(scans, init.card if init else None).given(annotations)
        self.examples = TrainingSet(
            scans,
            self._split.training,
            class_names,
            self.card.spacing_mm,
            model=self.card.model,
            recipe=recipe,
            held_back=self._split.test,
            learned=start.card.provenance.learned_slices if start else (),
        )
        self.prior = self._known(annotations, [None] * len(scans))
        # The number of threads changes the last digits: a given number of
        # steps is to give the same model again.
        self._threads: ThreadChooser | None = None
        if config.threads is None and config.max_steps is None and device.type == "cpu":
            self._threads = ThreadChooser(available_cores())
        generator = torch.Generator().manual_seed(config.seed)
        net = UNet(self.card.model, generator)
        self._steps_before = 0
        if start is not None:
            restart(net, start.state, config.restart)
            self._steps_before = start.card.provenance.steps
        elif (state := pretrained_state(self.card.model)) is not None:
            net.load_state_dict(state, strict=False)  # all but the last layer
        self._learner = Trainer(net, recipe, device, generator)
        self._strengths: tuple[float, ...] = ()
        self._compared_at = 0
        self._notices: list[Notice] = []

    @property
    def network(self) -> UNet:
        """The averaged network: the one to show and to keep."""
        return self._learner.network

    @property
    def steps(self) -> int:
        """Training steps of the network so far, earlier rounds included."""
        return self._steps_before + self._learner.steps

    @property
    def device(self) -> torch.device:
        """Where the network is."""
        return self._learner.device

    def take(self, annotations: Sequence[LabelledSlice]) -> bool:
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
        self.prior = self._known(annotations, self.prior)
        return True

    def _known(
        self, annotations: Sequence[LabelledSlice], before: Sequence[AnnotationPrior | None]
    ) -> list[AnnotationPrior]:
        """Gather what is annotated on each scan, slices held back from training included."""
        given = [[a for a in annotations if a.scan == i] for i in range(len(self._scans))]
        names = [
            [(scan.name, each.index) for each in here]
            for scan, here in zip(self._scans, given, strict=True)
        ]
        self._annotated = every = list(itertools.chain.from_iterable(names))
        shares = [share_of_learned(own, every, self.card.provenance) for own in names]
        return [
            AnnotationPrior(scan, here, len(self.card.class_names), earlier, share=share)
            for scan, here, earlier, share in zip(self._scans, given, before, shares, strict=True)
        ]

    @property
    def n_held_back(self) -> int:
        """How many annotated slices are kept from training."""
        return len(self._split.test)

    def step(self, progress: float) -> float:
        """Make one optimiser step; return its loss.

        With a suitable number of threads on the CPU, which training moves to where the
        graphics card runs out of memory.
        """
        if self._threads is not None:
            with self._threads.trial():
                return self._learner.step(self.examples, progress)
        try:
            return self._learner.step(self.examples, progress)
        except RuntimeError as error:
            if self.device.type == "cpu" or not is_out_of_memory(error):
                raise
            traceback.clear_frames(error.__traceback__)  # they hold what is to be freed
        self._learner.move_to(torch.device("cpu"))
        self._notices.append(Notice(OUT_OF_GRAPHICS_MEMORY))
        return self._learner.step(self.examples, progress)

    def take_notices(self) -> list[Notice]:
        """Give what the user should be told since this was last asked for."""
        taken, self._notices = self._notices, []
        return taken

    def keep_the_better(self) -> None:
        """Go back to the weights started from where the new ones are worse (see `WeightTest`).

        The card still counts the steps.
        """
        if self._init is None:
            return
        test = WeightTest(self._scans, self._split.test, self.examples, self.card.spacing_mm)
        before = self._init.network().to(self.device)
        self._choice = test.choose(self.network, before, self.device)
        if self._choice.kept == "old":
            if self._choice.comparison is not None:
                self._rejected = self._learner.weights()
            self.network.load_state_dict(self._init.state)

    def calibrate(self, predictor: Predictor, *, afresh: bool = False) -> Calibration:
        """Find how much the network's opinion counts by now, and what goes on from slice to slice.

        It is compared with painted slices every `COMPARED_EVERY` steps, or `afresh`.

        Parameters
        ----------
        predictor : Predictor
            The network as it is now.
        """
        if afresh or self.steps >= self._compared_at + COMPARED_EVERY:
            known = list(zip(self._scans, self.prior, strict=True))
            n_structures = len(self.card.class_names)
            self._strengths = compare_with_painted(predictor, known, n_structures, self.steps)
            self._compared_at = self.steps
        return Calibration(self._strengths, self._continuity())

    def _continuity(self) -> Continuity:
        """Tell what goes on from slice to slice, as far as it is known."""
        here = sum((known.continuity for known in self.prior), Continuity())
        return continuity_with(here, self._annotated, self.card)

    def _calibrated(self) -> Calibration:
        """Calibrate once more; where that fails, by the steps: the model matters more."""
        try:
            predictor = Predictor(self.network, self.card.spacing_mm, self.device)
            return self.calibrate(predictor, afresh=True)
        except (MemoryError, RuntimeError):
            return Calibration(continuity=self._continuity())

    def final_predictions(self, focus: tuple[int, int] | None) -> Iterator[SegmentEvent]:
        """Predict every slice of the scan in view with the weights that are kept."""
        if focus is None:
            return
        number, index = focus
        scan = self._scans[number]
        predictor = Predictor(self.network, self.card.spacing_mm, self.device)
        if scan.n_slices >= WORTH_TIMING:
            predictor.speed_up(scan, index)
        fusion = SliceFusion(
            predictor,
            scan,
            self.prior[number],
            calibration=self.calibrate(predictor, afresh=True),
            steps=self.steps,
        )
        known = self.examples.learned_from[number]
        order = outwards(scan.n_slices, index)
        while order:
            size = min(SLICES_AT_ONCE, predictor.batch_size(scan))
            batch, order = order[:size], order[size:]
            slices = fusion.answer(batch, scan_index=number, learned_from=known)
            yield from predictor.take_notices()
            yield from slices

    def done(self, steps: int, seconds: float, *, stopped: bool) -> RoundDone:
        """Take a copy of the weights to keep, with their history."""
        before = self.card.provenance
        learned_from = self.examples.learned_from
        names = [self._scans[number].name for number, known in learned_from.items() if known]
        provenance = Provenance(
            trained_on=tuple(dict.fromkeys([*before.trained_on, *names])),
            annotated_slices=len(self.examples),
            steps=self._steps_before + steps,
            seconds=before.seconds + seconds,
            created=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            software=f"napari-unet-mri {__version__}",
            parent=before.created,
        )
        learned = self._choice.kept == "new" or self._rejected is not None
        provenance = self._split.remember(provenance, learned=learned)
        card = dataclasses.replace(self.card, provenance=provenance, calibration=self._calibrated())
        kept, rejected = Checkpoint(self._learner.weights(), card), None
        if self._init is not None and self._rejected is not None:
            # What was compared with painted slices are the weights that are kept.
            unknown = Calibration(continuity=card.calibration.continuity)
            rejected = Checkpoint(self._rejected, dataclasses.replace(card, calibration=unknown))
            # The model itself is what it was; it only knows of the slices held back.
            provenance = self._split.remember(before, learned=False)
            card = dataclasses.replace(self._init.card, provenance=provenance)
            kept = Checkpoint(self._init.state, card)
        return RoundDone(
            checkpoint=kept,
            stopped=stopped,
            seconds=seconds,
            kept=self._choice.kept,
            comparison=self._choice.comparison,
            rejected=rejected,
        )


def _sizes(scans: Sequence[PreparedScan], init: Checkpoint | None) -> ScanSizes | None:
    """Sizes of all scans learned from; None if those of some are not known."""
    sizes = [scan.sizes for scan in scans]
    if init is not None:
        sizes.append(init.card.scan_sizes)
    known = [each for each in sizes if each is not None]
    return functools.reduce(ScanSizes.joined, known) if len(known) == len(sizes) else None
