"""What is done in the background: generators of events over the core, run in a thread.

They get copies, immutable values and what reads a scan, never a layer or a widget. torch is
imported here, in the thread, the first time it is needed.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from napari_unet.annotation.states import LabelledSlice
from napari_unet.imaging.cleanup import CleanUp, clean_up
from napari_unet.imaging.measurement import StructureMeasure, measure
from napari_unet.learning.config import TrainConfig
from napari_unet.learning.events import SegmentEvent, SlicePredicted, TrainEvent

if TYPE_CHECKING:
    from napari_unet.annotation.states import Structure
    from napari_unet.imaging.volume import Volume
    from napari_unet.learning.network.checkpoint import Checkpoint
    from napari_unet.learning.preparation import PreparedScan


class Activity(Enum):
    """What is done to a scan in the background; in sentences, after "The plugin is"."""

    TRAINING = "training"
    SEGMENTING = "segmenting"
    FILLING = "filling"


class AnnotationFeed:
    """The latest annotations, handed from the GUI thread to the worker."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._slices: list[LabelledSlice] | None = None

    def put(self, slices: list[LabelledSlice]) -> None:
        """Replace what the worker will get next."""
        with self._lock:
            self._slices = slices

    def take(self) -> list[LabelledSlice] | None:
        """Return what is new, once; None when nothing is."""
        with self._lock:
            slices, self._slices = self._slices, None
        return slices


@dataclass(frozen=True, slots=True, eq=False)
class ScanPrepared:
    """The scan is normalised and cropped; keep it for the next round.

    Parameters
    ----------
    scan : PreparedScan
        The scan.
    scan_source : ScanSource
        What it was made of.
    """

    scan: PreparedScan
    scan_source: ScanSource


@dataclass(frozen=True, slots=True, eq=False)
class VolumeSegmented:
    """The whole volume is labelled, cleaned and measured.

    Parameters
    ----------
    labels : ndarray of uint8, shape (z, y, x)
        The mask, human voxels as they were when the work began.
    measures : tuple of StructureMeasure
        A row per structure.
    """

    labels: NDArray[np.uint8]
    measures: tuple[StructureMeasure, ...]


@dataclass(frozen=True, slots=True, eq=False)
class SlicesFilled:
    """The slices between annotated ones are interpolated: labels (h, w) by slice number."""

    labels: dict[int, NDArray[np.uint8]]


@dataclass(frozen=True, slots=True, eq=False)
class ScanSource:
    """The scan to work on: prepared already, or to be read and prepared in the thread."""

    read: Callable[[], Volume]
    axis: int
    spacing_mm: tuple[float, float, float]
    prepared: PreparedScan | None = None

    def prepare(self, model: Checkpoint | None) -> Generator[ScanPrepared, None, PreparedScan]:
        """Yield a `ScanPrepared` if there was work to do; return the scan for a model, or a new."""
        from napari_unet.learning.config import NORMALISATION
        from napari_unet.learning.preparation import prepare

        normalisation = model.card.normalisation if model else NORMALISATION
        if self.prepared is not None and self.prepared.serves(normalisation):
            return self.prepared
        scan = prepare(self.read(), self.axis, normalisation)
        yield ScanPrepared(scan, self)
        return scan


@dataclass(frozen=True, slots=True, eq=False)
class TrainingTask:
    """Train on the annotated slices of one scan and predict the others.

    Parameters
    ----------
    scan_source : ScanSource
        The scan.
    feed : AnnotationFeed
        Gives the latest annotation.
    config : TrainConfig
        How to train.
    structures : tuple of Structure
        What classes 1..K mean.
    init : Checkpoint, optional
        The model to train on.
    focus : callable
        Gives scan 0 and the slice on screen, which is predicted first.
    """

    scan_source: ScanSource
    feed: AnnotationFeed
    config: TrainConfig
    structures: tuple[Structure, ...]
    init: Checkpoint | None
    focus: Callable[[], tuple[int, int] | None]

    def run(
        self, should_stop: Callable[[], bool]
    ) -> Generator[TrainEvent | ScanPrepared, None, None]:
        """Yield what training says; see `train`."""
        from napari_unet.learning.training.loop import train

        scan = yield from self.scan_source.prepare(self.init)
        yield from train(
            [scan],
            self.feed.take,
            self.config,
            class_names=tuple(s.name for s in self.structures),
            class_colors=tuple(s.color for s in self.structures),
            label_values=tuple(s.value for s in self.structures),
            init=self.init,
            should_stop=should_stop,
            focus=self.focus,
        )


@dataclass(frozen=True, slots=True, eq=False)
class SegmentationTask:
    """Predict every slice from `start` outwards, clean up in 3D and measure.

    Parameters
    ----------
    scan_source : ScanSource
        The scan.
    checkpoint : Checkpoint
        The model.
    annotations : sequence of LabelledSlice
        What a person has said so far.
    mask, human : ndarray, shape (z, y, x)
        Present labels and the voxels a person decided; those are kept.
    clean : mapping of int to CleanUp
        What to clean up, by class.
    class_names : sequence of str
        Names of classes 1..K.
    start : int
        The slice that is predicted first.
    """

    scan_source: ScanSource
    checkpoint: Checkpoint
    annotations: Sequence[LabelledSlice]
    mask: NDArray[np.uint8]
    human: NDArray[np.bool_]
    clean: Mapping[int, CleanUp]
    class_names: Sequence[str]
    start: int

    def run(
        self, should_stop: Callable[[], bool]
    ) -> Generator[SegmentEvent | ScanPrepared | VolumeSegmented, None, None]:
        """Yield each predicted slice and, unless stopped, the whole volume."""
        from napari_unet.learning.prediction.scan_prediction import outwards, segment

        scan = yield from self.scan_source.prepare(self.checkpoint)
        axis, mask = self.scan_source.axis, self.mask
        predicted = np.zeros_like(mask)
        for event in segment(
            scan,
            self.checkpoint,
            annotations=self.annotations,
            order=outwards(mask.shape[axis], self.start),
            should_stop=should_stop,
        ):
            if isinstance(event, SlicePredicted):
                predicted[(slice(None),) * axis + (event.index,)] = event.labels
            yield event
        if should_stop():
            return
        labels = np.where(self.human, mask, predicted)
        spacing = self.scan_source.spacing_mm
        if self.clean:
            labels = np.where(self.human, mask, clean_up(labels, spacing, self.clean))
        yield VolumeSegmented(labels, tuple(measure(labels, spacing, self.class_names)))


def fill(
    slices: Iterable[tuple[int, NDArray[np.uint8]]], should_stop: Callable[[], bool]
) -> Generator[SlicesFilled, None, None]:
    """Work out interpolated slices; all of them or, when stopped, none."""
    labels: dict[int, NDArray[np.uint8]] = {}
    for index, plane in slices:
        if should_stop():
            return
        labels[index] = plane
    yield SlicesFilled(labels)
