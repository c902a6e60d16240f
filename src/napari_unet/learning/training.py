"""Training a U-Net on a few annotated slices, in the time that somebody is willing to wait."""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import datetime
import importlib.metadata
import math
import time
from collections.abc import Callable, Generator, Iterator, Sequence

from napari_unet.errors import AnnotationError
from napari_unet.learning.config import PRESETS, ModelCard, Provenance, TrainConfig
from napari_unet.learning.events import (
    LabelledSlice,
    RoundDone,
    SlicePredicted,
    StepDone,
    TrainEvent,
)
from napari_unet.learning.preparation import NORMALISATION, PreparedScan
from napari_unet.learning.runtime import (
    choose_device,
    load_torch,
    memory_errors_explained,
    torch_threads,
)

load_torch()

import torch  # noqa: E402

from napari_unet.learning.checkpoint import Checkpoint  # noqa: E402
from napari_unet.learning.inference import Predictor  # noqa: E402
from napari_unet.learning.live import LivePredictions, outwards  # noqa: E402
from napari_unet.learning.losses import segmentation_loss  # noqa: E402
from napari_unet.learning.network import UNet  # noqa: E402
from napari_unet.learning.optimiser import AdamW, AveragedWeights  # noqa: E402
from napari_unet.learning.training_set import TrainingSet  # noqa: E402

AnnotationSource = Sequence[LabelledSlice] | Callable[[], Sequence[LabelledSlice] | None]

WARM_UP_STEPS = 20
AVERAGE_DECAY = 0.98
AUGMENTATION_STEPS = 400
"""Steps until slices are varied in full: what is where is learned first, on what was painted."""

EXTENSION = 0.5
"""Share of the whole budget that is left, at least, after new slices have joined."""

_REMEDY = "Lower the batch size, close other programs, or use a smaller network."


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
        used = self.seconds / self._granted if self._granted > 0 else 1.0
        if self._max_steps is not None:
            # The learning rate must not depend on the clock: reproducible.
            used = self.steps / self._max_steps if used < 1 and self._max_steps else 1.0
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
    channel_names: Sequence[str] = (),
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
        Scans with the same channels; the first one sets the pixel size.
    annotations : sequence of LabelledSlice, or callable
        What to learn from. A callable is asked at every step: None means
        nothing new, anything else is the complete new list, which training
        goes on with (and its budget is extended).
    config : TrainConfig
        How to train.
    class_names, class_colors, channel_names : sequence of str
        Names and hex colours of classes 1..K, names of the channels.
    init : Checkpoint, optional
        Model to start from.
    should_stop : callable
        Asked at every step; the best weights so far are kept.
    focus : callable, optional
        Gives the (scan, slice) the user looks at: predicted early and often,
        and after training all slices of that scan, outwards.

    Yields
    ------
    StepDone, SlicePredicted
        As they happen.
    RoundDone
        Last, also after a stop.

    Raises
    ------
    AnnotationError
        If there is nothing to learn from.
    CheckpointError
        If `init` has other channels or classes.
    ResourceError
        If memory runs out.
    """
    budget = Budget(config)
    with memory_errors_explained(_REMEDY), torch_threads(config.threads):
        first = annotations() if callable(annotations) else annotations
        trainer = _Trainer(
            scans, first or (), config, class_names, class_colors, channel_names, init
        )
        updates = annotations if callable(annotations) else lambda: None
        live = None
        if focus is not None:
            live = LivePredictions(scans, focus, trainer.card.spacing_mm, trainer.device)
        events = _run(trainer, budget, updates, live, should_stop)
        with contextlib.closing(events):
            for event in events:
                budget.pause()
                yield event
                budget.resume()


def _run(
    trainer: _Trainer,
    budget: Budget,
    updates: Callable[[], Sequence[LabelledSlice] | None],
    live: LivePredictions | None,
    should_stop: Callable[[], bool],
) -> Generator[TrainEvent, None, None]:
    """Train until the budget is used or a stop, then predict what is in view."""
    stopped = should_stop()
    while not stopped and budget.progress < 1:
        if (new := updates()) is not None and trainer.take(new):
            budget.extend()
        loss = trainer.step(budget.progress)
        budget.steps += 1
        yield StepDone(
            step=budget.steps,
            loss=loss,
            seconds=budget.seconds,
            progress=budget.progress,
            n_slices=len(trainer.examples),
        )
        if live is not None and not should_stop():
            yield from live.after_step(
                trainer.network, budget.steps, budget.seconds, trainer.examples.learned_from
            )
        stopped = should_stop()
    seconds = budget.seconds
    if live is not None and not stopped:
        for event in trainer.final_predictions(live.focused()):
            yield event
            stopped = should_stop()
            if stopped:
                break
    yield RoundDone(
        checkpoint=trainer.checkpoint(budget.steps, seconds), stopped=stopped, seconds=seconds
    )


class _Trainer:
    """Network, weights' average, optimiser and examples of one round."""

    def __init__(
        self,
        scans: Sequence[PreparedScan],
        annotations: Sequence[LabelledSlice],
        config: TrainConfig,
        class_names: Sequence[str],
        class_colors: Sequence[str],
        channel_names: Sequence[str],
        init: Checkpoint | None,
    ) -> None:
        if not scans:
            raise AnnotationError("There is no scan to learn from. Open a scan first.")
        n_channels = scans[0].n_channels
        for scan in scans:
            if scan.n_channels != n_channels:
                raise AnnotationError(
                    f"{scan.name} has {scan.n_channels} channels but {scans[0].name} has "
                    f"{n_channels}. Train on scans with the same image sequences."
                )
        if init is not None:
            init.check_fits(n_channels, class_names)
        self.card = ModelCard(
            model=dataclasses.replace(
                init.card.model if init else PRESETS[config.preset],
                in_channels=n_channels,
                n_classes=len(class_names) + 1,
            ),
            class_names=tuple(class_names),
            class_colors=tuple(class_colors),
            channel_names=tuple(channel_names),
            spacing_mm=init.card.spacing_mm if init else scans[0].spacing_mm,
            slice_axis=scans[0].axis,
            normalisation=NORMALISATION,
            provenance=init.card.provenance if init else Provenance(),
        )
        self._scans = scans
        self._config = config
        self.examples = TrainingSet(scans, annotations, class_names, self.card.spacing_mm)
        self.device = choose_device(config.device)
        self._generator = torch.Generator().manual_seed(config.seed)
        net = UNet(self.card.model, self._generator)
        if init is not None:
            net.load_state_dict(init.state)
        self._net = net.to(self.device).train()
        self._optimiser = AdamW(self._net, config.weight_decay)
        self._average = AveragedWeights(
            self._net, copy.deepcopy(self._net).eval(), self._optimiser.weights, AVERAGE_DECAY
        )

    @property
    def network(self) -> UNet:
        """The averaged network: the one to show and to keep."""
        return self._average.net

    def take(self, annotations: Sequence[LabelledSlice]) -> bool:
        """Learn from a new list of slices; False if it has nothing to learn from."""
        if not any((each.labels != 0).any() for each in annotations):
            return False
        self.examples.replace(annotations)
        return True

    def step(self, progress: float) -> float:
        """Make one optimiser step; return its loss."""
        strength = min(1.0, self._optimiser.steps / AUGMENTATION_STEPS)
        images, labels = self.examples.batch(self._config.batch_size, self._generator, strength)
        logits = self._net(images.to(self.device))
        # Rare classes are found because they weigh more, but drawn too large as
        # long as they do: towards the end all pixels count the same.
        weights = self.examples.weights.to(self.device) ** (1 - progress)
        loss = segmentation_loss(logits, labels.to(self.device), weights)
        loss.backward()
        if self._optimiser.step(self._learning_rate(progress)):
            self._average.update()
        else:
            self._average.restore()
        return float(loss.detach())

    def _learning_rate(self, progress: float) -> float:
        """Cosine over the budget, after a few careful steps."""
        warm_up = min(1.0, (self._optimiser.steps + 1) / WARM_UP_STEPS)
        return (
            self._config.learning_rate
            * warm_up
            * (0.01 + 0.495 * (1 + math.cos(math.pi * progress)))
        )

    def final_predictions(self, focus: tuple[int, int] | None) -> Iterator[SlicePredicted]:
        """Predict every slice of the scan in view with the weights that are kept."""
        if focus is None:
            return
        number, index = focus
        scan = self._scans[number]
        predictor = Predictor(self.network, self.card.spacing_mm, self.device)
        order = outwards(scan.n_slices, index)
        while order:
            size = min(4, predictor.batch_size(scan))
            batch, order = order[:size], order[size:]
            yield from predictor.predict(
                scan,
                batch,
                scan_index=number,
                learned_from=self.examples.learned_from[number],
            )

    def checkpoint(self, steps: int, seconds: float) -> Checkpoint:
        """Take a copy of the averaged weights, with their history."""
        before = self.card.provenance
        learned_from = self.examples.learned_from
        names = [self._scans[number].name for number, known in learned_from.items() if known]
        provenance = Provenance(
            trained_on=tuple(dict.fromkeys([*before.trained_on, *names])),
            annotated_slices=len(self.examples),
            steps=before.steps + steps,
            seconds=before.seconds + seconds,
            created=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            software=_software(),
            parent=before.created,
        )
        state = {
            name: tensor.detach().to("cpu", copy=True)
            for name, tensor in self.network.state_dict().items()
        }
        return Checkpoint(state, dataclasses.replace(self.card, provenance=provenance))


def _software() -> str:
    try:
        return f"napari-unet {importlib.metadata.version('napari-unet')}"
    except importlib.metadata.PackageNotFoundError:
        return "napari-unet (not installed)"
