"""The Python door: read a scan, train on a few slices, segment, fill between slices, save.

Blocking functions over the generators of `learning`; those are what to use
when work has to be watched, steered or run beside a window.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from napari_unet.annotation.label_files import (
    FOUND_OUT,
    IgnoreLabel,
    choose_slices,
    ignored_value,
    structures,
    to_classes,
)
from napari_unet.annotation.states import LabelledSlice
from napari_unet.errors import GridMismatchError, NapariUnetError, UsageError, VolumeError
from napari_unet.imaging.interpolation import labels_between
from napari_unet.imaging.loading import load_labels, load_labels_onto, load_volume
from napari_unet.imaging.saving import GeometryReceipt, save_mask
from napari_unet.imaging.sidecar import values_beside
from napari_unet.imaging.volume import Grid, Volume
from napari_unet.learning.config import NORMALISATION, TrainConfig
from napari_unet.learning.events import Notice, RoundDone, SegmentEvent, TrainEvent, UnlikeTraining

if TYPE_CHECKING:
    from napari_unet.learning.network.checkpoint import Checkpoint

__all__ = [
    "GeometryReceipt",
    "LabelsMoved",
    "fill_between",
    "load_volume",
    "save_mask",
    "segment",
    "train",
]


FilePath: TypeAlias = str | Path
Image: TypeAlias = Volume | FilePath | Sequence[FilePath]
"""A scan: a `Volume`, its file, or its files (one per sequence)."""


class LabelsMoved(UserWarning):
    """The labels lay on another grid, and were brought onto that of the scan."""


class TrainingCutShort(UserWarning):
    """Training failed midway; the model has what was learned until then."""


class SlowerThanExpected(UserWarning):
    """The work goes on without the graphics card, whose memory ran out."""


class ScanUnlikeTraining(UserWarning):
    """A scan is unlike those that the model learned from: what comes out is to be checked."""


class OddVoxelsFound(UserWarning):
    """The scan has voxels far outside the range of all others: padding or damage."""


def _tell(
    event: TrainEvent | SegmentEvent, progress: Callable[[Any], None] | None, stacklevel: int = 3
) -> None:
    """Pass an event on; without anybody who listens, a notice becomes a warning."""
    if progress is not None:
        progress(event)
    elif isinstance(event, Notice):
        kinds = {"scan": OddVoxelsFound, "labels": LabelsMoved, "work": SlowerThanExpected}
        kind = ScanUnlikeTraining if isinstance(event, UnlikeTraining) else kinds[event.about]
        warnings.warn(event.text, kind, stacklevel=stacklevel)


def train(
    image: Image,
    labels: NDArray[Any] | FilePath,
    *,
    slices: Sequence[int] | None = None,
    axis: str | None = None,
    class_names: Sequence[str] | None = None,
    init: Checkpoint | FilePath | None = None,
    ignore_label: IgnoreLabel = FOUND_OUT,
    config: TrainConfig | None = None,
    progress: Callable[[TrainEvent], None] | None = None,
    should_stop: Callable[[], bool] = lambda: False,
) -> Checkpoint:
    """Train a U-Net on the annotated slices of one scan.

    Parameters
    ----------
    image : Volume, path or sequence of paths
        The scan; several paths are its sequences (T1c, FLAIR, ...); those on another grid
        than the first are resampled onto it.
    labels : path or ndarray of integer, shape (z, y, x)
        The annotation: a file, which is brought onto the scan's grid where it is on
        another one (a `Notice` says so), or an array on that grid in display
        order, like ``volume.data[0]``. 0 is background, 255 a voxel that nobody annotated
        (see `learning.training.assumed_background`), any other value a structure.
    slices : sequence of int, optional
        The annotated slices, counted along `axis` as stored in the file.
        Default: every slice that shows a structure. An annotated slice without
        any structure is worth a lot: name it here.
    axis : str, optional
        ``axial``, ``coronal`` or ``sagittal``, or ``x``, ``y``, ``z`` for the file's
        first, second and third voxel axis. Default: that of `init`, which knows no other,
        else the thickest spacing, else axial.
    class_names : sequence of str, optional
        Names of the structures in ascending order of their label values; with `init`
        new names for its structures, in its order. Default: those of `init`, else
        ``label 2`` for the value 2, and so on. Names are only names: the label values stay
        those of the first training, for `segment` and for training on.
    init : Checkpoint or path, optional
        Model to start from; it must have the same sequences (they are put in its order where
        their names tell which they are) and as many structures. Where three slices or more are
        new to it, one in five of them is held back, to test whether the new weights are better
        than its own. It keeps its network: `config` must name none.
    ignore_label : int or None, optional
        The value of voxels that nobody annotated; None where every value above 0 is a
        structure. Default: 255, but where that may be a structure (it stands alone, or
        beside 127 or 251 to 254) you are asked to say so.
    config : TrainConfig, optional
        Budget, seed and network.
    progress : callable, optional
        Given every event while training runs; without it a `Notice` becomes a
        `SlowerThanExpected`, `OddVoxelsFound`, `LabelsMoved` or `ScanUnlikeTraining` warning.
    should_stop : callable, optional
        Asked at every step; True ends training with what was learned so far.

    Returns
    -------
    Checkpoint
        The trained model, or `init` where that is clearly better on the slices held
        back (without any, where it fits the annotated slices better); the `RoundDone`
        given to `progress` says so. ``checkpoint.save("model.safetensors")`` writes it. When
        training fails after it began, this is what was learned until then, and the
        failure comes as a `TrainingCutShort` warning.

    Raises
    ------
    NapariUnetError
        If the scan, the annotation or `init` cannot be used, or training was stopped
        before it began; the message says why.
    """
    config = config or TrainConfig()
    if init is not None:
        config.check_fits_init()
    volume = as_volume(image)
    start = as_checkpoint(init) if init is not None else None
    truth = read_labels_on_grid(labels, volume.grid, volume.name, progress)
    known = start.card.label_values if start else None
    ignore = _ignored_in(truth, labels, ignore_label, known)
    along = _choose_axis(volume.grid, axis, start)
    if start is not None:
        start.check_fits(volume.data.shape[0], axis=along)
    chosen = choose_slices(truth, volume.grid, along, slices, ignore=ignore)
    stack = np.moveaxis(truth, along, 0)[chosen]
    values, names = structures(
        stack, names=class_names, known=start.card.structures if start else None, ignore=ignore
    )
    if start is not None:
        start = start.with_classes(names)
    annotations = _annotations(chosen, stack, values, ignore)

    # Imported here: they load torch, and bad input should be told at once.
    from napari_unet.learning.preparation import prepare
    from napari_unet.learning.training.loop import train as events

    scan = prepare(volume, along, start.card.normalisation if start else NORMALISATION)
    for note in scan.notes:
        _tell(Notice(note, about="scan"), progress)
    trained: Checkpoint | None = None
    try:
        for event in events(
            [scan],
            annotations,
            config,
            class_names=names,
            label_values=values,
            init=start,
            should_stop=should_stop,
        ):
            _tell(event, progress)
            if isinstance(event, RoundDone):
                trained = event.checkpoint
    except Exception as error:
        if trained is None:
            raise
        warnings.warn(f"Training was cut short: {error}", TrainingCutShort, stacklevel=2)
    if trained is None:
        raise NapariUnetError("Stopped before training began.")
    return trained


def segment(
    image: Image,
    model: Checkpoint | FilePath,
    *,
    labels: NDArray[Any] | FilePath | None = None,
    slices: Sequence[int] | None = None,
    ignore_label: IgnoreLabel = FOUND_OUT,
    progress: Callable[[SegmentEvent], None] | None = None,
) -> NDArray[np.unsignedinteger[Any]]:
    """Segment a whole scan.

    Parameters
    ----------
    image : Volume, path or sequence of paths
        The scan, with the sequences that the model was trained on, in the same order (they
        are put in it where their names tell which they are).
    model : Checkpoint or path
        What `train` returned, or a saved model.
    labels, slices, ignore_label : optional
        Annotated slices of this very scan, as for `train`: what they say is kept, and the
        slices between them are answered with their help, better than by the network alone.
        The labels hold the values that this function gives, see below.
    progress : callable, optional
        Given the event of every slice, and a `Notice` where the scan has odd voxels, is unlike
        those that the model learned from, or memory runs out and the work goes on more slowly;
        without it that becomes an `OddVoxelsFound`, `ScanUnlikeTraining` or
        `SlowerThanExpected` warning.

    Returns
    -------
    ndarray of unsigned integer, shape (z, y, x)
        Label of each voxel in display order, ready for
        ``save_mask(labels, volume.grid, path)``. The values are those that the model
        was trained with (``model.card.label_values``).

    Raises
    ------
    NapariUnetError
        If the scan or the model cannot be used, or they do not fit.
    """
    checkpoint = as_checkpoint(model)
    volume = as_volume(image)
    card = checkpoint.card
    checkpoint.check_fits(volume.data.shape[0], card.class_names)

    annotations: list[LabelledSlice] = []
    if slices is not None and labels is None:
        raise UsageError("`slices` says which slices of `labels` count: give both.")
    if labels is not None:
        truth = read_labels_on_grid(labels, volume.grid, volume.name, progress)
        ignore = _ignored_in(truth, labels, ignore_label, card.label_values)
        chosen = choose_slices(truth, volume.grid, card.slice_axis, slices, ignore=ignore)
        stack = np.moveaxis(truth, card.slice_axis, 0)[chosen]
        known = structures(stack, known=card.structures, ignore=ignore)[0]
        annotations = _annotations(chosen, stack, known, ignore)

    from napari_unet.learning.prediction.scan_prediction import predict_volume

    classes = predict_volume(
        volume,
        checkpoint,
        annotations=annotations,
        progress=lambda event: _tell(event, progress),
    )
    values = np.array([0, *card.label_values])
    return values.astype(np.min_scalar_type(int(values.max())))[classes]


def fill_between(
    labels: NDArray[Any] | FilePath,
    *,
    grid: Grid | None = None,
    slices: Sequence[int] | None = None,
    axis: str | None = None,
    ignore_label: IgnoreLabel = FOUND_OUT,
) -> NDArray[Any]:
    """Interpolate the outlines between annotated slices: no scan, no training.

    Parameters
    ----------
    labels : path or ndarray of integer, shape (z, y, x)
        The annotation; see `train`.
    grid : Grid, optional
        Grid of the scan (``volume.grid``); needed with an array, which says nothing
        about the size and order of its voxels. A file on another grid is brought onto it.
    slices : sequence of int, optional
        The annotated slices; see `train`. What other slices show between them is
        replaced.
    axis : str, optional
        See `train`. Default: the thickest spacing, else axial.
    ignore_label : int or None, optional
        See `train`.

    Returns
    -------
    ndarray of integer, shape (z, y, x)
        A copy with the slices between the annotated ones filled, ready for
        ``save_mask(filled, grid, path)``. Slices with voxels that nobody annotated
        (255) are no source; those voxels are filled too.

    Raises
    ------
    NapariUnetError
        If the annotation cannot be used, or there is nothing to fill.
    """
    if isinstance(labels, str | Path):
        if grid is None:
            truth, grid = load_labels(labels)
        else:
            truth = read_labels_on_grid(labels, grid)
    elif grid is None:
        raise VolumeError("An array of labels needs the grid of its scan: pass grid=volume.grid.")
    else:
        truth = read_labels_on_grid(labels, grid)
    along = _choose_axis(grid, axis)
    ignore = _ignored_in(truth, labels, ignore_label)
    chosen = choose_slices(truth, grid, along, slices, ignore=ignore)
    filled = truth.copy()
    stack = np.moveaxis(filled, along, 0)
    open_ = {
        index: np.zeros(stack[index].shape, bool) if ignore is None else stack[index] == ignore
        for index in chosen
    }
    complete = {index: stack[index].copy() for index in chosen if not open_[index].any()}
    rows, columns = (mm for number, mm in enumerate(grid.spacing_mm) if number != along)
    for index, plane in labels_between(complete, (rows, columns)):
        np.copyto(stack[index], plane, where=open_.get(index, True))
    return filled


def _annotations(
    chosen: Sequence[int], stack: NDArray[Any], values: Sequence[int], ignore: int | None
) -> list[LabelledSlice]:
    """Annotated slices (n, h, w) in the words of the network."""
    return [
        LabelledSlice(scan=0, index=index, labels=to_classes(plane, values, ignore))
        for index, plane in zip(chosen, stack, strict=True)
    ]


def _ignored_in(
    labels: NDArray[Any],
    given: object,
    wanted: IgnoreLabel,
    known: Collection[int] | None = None,
) -> int | None:
    """Which value of labels marks voxels that nobody annotated; see `ignored_value`.

    Parameters
    ----------
    labels : ndarray of integer
        The labels.
    given : path or anything else
        What they came from; beside a file may lie what its values mean.
    wanted : int, None or 'auto'
        What the user says.
    known : collection of int, optional
        Label values of a model.
    """
    beside = values_beside(Path(given)) if isinstance(given, str | Path) else None
    if known is not None:  # labels hold nothing but what the model knows, or are refused
        beside = frozenset(known) | (beside or frozenset())
    return ignored_value(labels, wanted, beside)


def _choose_axis(grid: Grid, name: str | None, init: Checkpoint | None = None) -> int:
    """Display axis to slice along: as named, else that of `init`, else the grid's own."""
    if name is not None:
        return grid.axis_named(name)
    return grid.default_axis() if init is None else init.card.slice_axis


def as_volume(image: Image) -> Volume:
    """Read a scan unless it is one already."""
    return image if isinstance(image, Volume) else load_volume(image)


def as_checkpoint(model: Checkpoint | FilePath) -> Checkpoint:
    """Read a model unless it is one already."""
    if isinstance(model, str | Path):
        from napari_unet.learning.network.checkpoint import Checkpoint

        return Checkpoint.load(model)
    return model


def read_labels_on_grid(
    labels: NDArray[Any] | FilePath,
    grid: Grid,
    reference: str = "the scan",
    progress: Callable[[Any], None] | None = None,
) -> NDArray[Any]:
    """Annotation (z, y, x) on `grid`; a file on another one is brought there, with a notice."""
    if isinstance(labels, str | Path):
        found, note = load_labels_onto(labels, grid, reference)
        if note:
            _tell(Notice(note, about="labels"), progress, stacklevel=4)
        return found
    if not isinstance(labels, np.ndarray):
        raise VolumeError(
            f"The labels are a {type(labels).__name__}, not a mask file or an array (z, y, x). "
            "Convert them with numpy.asarray first."
        )
    if labels.dtype.kind not in "bui":
        raise VolumeError(
            f"The labels are {labels.dtype}, not whole numbers. Convert them to integers first."
        )
    if labels.shape != grid.shape_zyx:
        raise GridMismatchError(
            f"The labels have shape {labels.shape} but the scan has {grid.shape_zyx} (z, y, x). "
            "Use labels that were painted on this scan."
        )
    return labels
