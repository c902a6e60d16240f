"""Predicting the slices of a scan, or all of it, with a trained network."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from napari_unet.annotation.states import IGNORE_LABEL, LabelledSlice
from napari_unet.imaging.volume import Volume
from napari_unet.learning.calibration import Calibration
from napari_unet.learning.compatibility import as_learned
from napari_unet.learning.events import Notice, SegmentEvent, SlicePredicted
from napari_unet.learning.network.checkpoint import Checkpoint
from napari_unet.learning.prediction.annotation_prior import (
    AnnotationPrior,
    continuity_with,
    share_of_learned,
)
from napari_unet.learning.prediction.fusion import SliceFusion, compare_with_painted
from napari_unet.learning.prediction.predictor import Predictor
from napari_unet.learning.preparation import PreparedScan, prepare
from napari_unet.learning.runtime import (
    ThreadChooser,
    available_cores,
    choose_device,
    memory_errors_explained,
    torch_threads,
)

WORTH_TIMING = 24
"""Slices still to be predicted that pay for finding the faster arithmetic (some five slices)."""

_REMEDY = "Close other programs, or use a scan with fewer pixels per slice."


def segment(
    scan: PreparedScan,
    checkpoint: Checkpoint,
    *,
    annotations: Sequence[LabelledSlice] = (),
    scan_index: int = 0,
    order: Iterable[int] | None = None,
    should_stop: Callable[[], bool] = lambda: False,
    device: str = "auto",
    threads: int | None = None,
) -> Iterator[SegmentEvent]:
    """Predict the slices of a scan.

    Parameters
    ----------
    scan : PreparedScan
        The scan.
    checkpoint : Checkpoint
        The model.
    annotations : sequence of LabelledSlice
        Annotated slices of this scan: they tell about the slices between them.
    scan_index : int
        Number of the scan, passed on to the events.
    order : iterable of int, optional
        Slice numbers in the order wanted; default: all, first to last.
    should_stop : callable
        Asked before each batch of slices.
    device : str
        See `TrainConfig.device`.
    threads : int, optional
        torch threads; default: as many as are fastest, up to all available cores.

    Yields
    ------
    SlicePredicted
        One per slice.
    Notice
        Where memory has run out and the work goes on more slowly; a `UnlikeTraining` where the scan
        is unlike those that the model learned from.

    Raises
    ------
    CheckpointError
        If the model needs another number of channels, or another plane.
    VolumeError
        If it needs another normalisation.
    ResourceError
        If memory runs out.
    """
    checkpoint.check_fits(scan.n_channels, axis=scan.axis)
    scan.check_serves(checkpoint.card.normalisation)
    scan, notices = as_learned(scan, checkpoint.card)
    yield from notices
    wanted = list(range(scan.n_slices)) if order is None else [int(index) for index in order]
    with memory_errors_explained(_REMEDY), torch_threads(threads):
        predictor = Predictor(
            checkpoint.network(), checkpoint.card.spacing_mm, choose_device(device)
        )
        here = [(scan.name, each.index) for each in annotations]
        share = share_of_learned(here, here, checkpoint.card.provenance)
        prior = AnnotationPrior(scan, annotations, len(checkpoint.card.class_names), share=share)
        calibration = _calibrate(checkpoint, predictor, scan, prior)
        steps = checkpoint.card.provenance.steps
        fusion = SliceFusion(predictor, scan, prior, calibration=calibration, steps=steps)
        chooser = None
        if threads is None and predictor.device.type == "cpu":
            chooser = ThreadChooser(available_cores())
        size = 1  # the first slice is the one somebody waits for
        tried = False
        while wanted and not should_stop():
            batch, wanted = wanted[:size], wanted[size:]
            with nullcontext() if chooser is None else chooser.trial(len(batch)):
                slices = fusion.predict(batch, scan_index=scan_index)
            yield from predictor.take_notices()
            yield from slices
            if not tried and len(wanted) >= WORTH_TIMING:
                tried = True
                predictor.speed_up(scan, batch[0])
            size = predictor.batch_size(scan)


def _calibrate(
    checkpoint: Checkpoint, predictor: Predictor, scan: PreparedScan, prior: AnnotationPrior
) -> Calibration:
    """Find how much the network counts: on the scan's own slices, if any are complete."""
    card = checkpoint.card
    known = prior.complete
    names = [(scan.name, index) for index in known]
    continuity = continuity_with(prior.continuity, names, card)
    if not known:
        return replace(card.calibration, continuity=continuity)
    found = compare_with_painted(
        predictor, [(scan, prior)], len(card.class_names), card.provenance.steps
    )
    return Calibration(found, continuity)


def outwards(n_slices: int, start: int) -> list[int]:
    """Slice numbers ordered by their distance from `start`."""
    return sorted(range(n_slices), key=lambda index: (abs(index - start), index))


def predict_volume(
    volume: Volume,
    checkpoint: Checkpoint,
    *,
    annotations: Sequence[LabelledSlice] = (),
    progress: Callable[[SegmentEvent], None] = lambda _: None,
    should_stop: Callable[[], bool] = lambda: False,
) -> NDArray[np.uint8]:
    """Segment a whole volume.

    Parameters
    ----------
    volume : Volume
        The scan.
    checkpoint : Checkpoint
        The model.
    annotations : sequence of LabelledSlice
        Annotated slices of this scan: what they say is kept, and they tell about the
        slices between them.
    progress : callable
        Given every event, first of all a `Notice` for each note of the prepared scan.
    should_stop : callable
        Asked before each batch of slices; slices not reached stay background.

    Returns
    -------
    ndarray of uint8, shape (z, y, x)
        Class of each voxel.
    """
    axis = checkpoint.card.slice_axis
    checkpoint.check_fits(volume.data.shape[0])
    result = np.zeros(volume.shape_zyx, dtype=np.uint8)
    stack = np.moveaxis(result, axis, 0)
    scan = prepare(volume, axis, checkpoint.card.normalisation)
    for note in scan.notes:
        progress(Notice(note, about="scan"))
    for event in segment(scan, checkpoint, annotations=annotations, should_stop=should_stop):
        if isinstance(event, SlicePredicted):
            stack[event.index] = event.labels
        progress(event)
    for each in annotations:
        np.copyto(stack[each.index], each.labels, where=each.labels != IGNORE_LABEL)
    return result
