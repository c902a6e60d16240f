"""One scan being annotated: its layers, its record and its models."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from napari.layers import Image, Labels
from napari.viewer import Viewer
from numpy.typing import NDArray

from napari_unet.annotation.filling import Filling
from napari_unet.annotation.progress import AnnotationProgress
from napari_unet.annotation.record import AnnotationRecord
from napari_unet.annotation.saved_annotation import SavedAnnotation
from napari_unet.annotation.states import BACKGROUND_BRUSH, TOUCHED, Structure
from napari_unet.annotation.structures import FIRST, check_name, is_named, named_apart, unnamed
from napari_unet.annotation.suggestion import Suggestion
from napari_unet.errors import AnnotationError
from napari_unet.imaging.cleanup import CleanUp
from napari_unet.imaging.measurement import StructureMeasure
from napari_unet.imaging.volume import PLANES
from napari_unet.learning.events import SlicePredicted, StepDone
from napari_unet.learning.model_card import further_values
from napari_unet.learning.model_history import ModelHistory, structures_of
from napari_unet.plugin.app.tasks import ScanPrepared, ScanSource, VolumeSegmented
from napari_unet.plugin.layers.label_layers import check_place, highest_label, show_colors
from napari_unet.plugin.layers.metadata import (
    AnnotationState,
    LayerInfo,
    LayerRole,
    Owner,
    update_info,
)
from napari_unet.plugin.layers.scan_layers import (
    check_scan,
    grid_info,
    grid_of,
    identity_of,
    reader_of,
)
from napari_unet.plugin.layers.segmentation_layer import SegmentationLayer

MAX_STRUCTURES = 30
"""Structures that painting adds at most; masks and models may bring more."""


@dataclasses.dataclass(frozen=True, slots=True)
class Measured:
    """Volumes of the structures, and `AnnotationRecord.changes` of the mask they are those of."""

    structures: tuple[StructureMeasure, ...]
    changes: int | None


class ScanSession:
    """Everything about one Segmentation layer.

    Parameters
    ----------
    viewer : Viewer
        The viewer that shows the layers.
    images : sequence of Image
        The sequences of the scan, on one grid.
    labels : Labels
        Its Segmentation layer, already made to fit.
    record : AnnotationRecord
        Who labelled what so far.
    owner : Owner
        Who annotates.
    """

    def __init__(
        self,
        viewer: Viewer,
        images: Sequence[Image],
        labels: Labels,
        record: AnnotationRecord,
        owner: Owner,
    ) -> None:
        info = LayerInfo.of(labels)
        before = info.annotation
        self.images: tuple[Image, ...] = ()
        self._viewer = viewer
        self._owner: Owner | None = owner
        self.labels = labels
        self.grid = grid_of(images[0])
        self.structures = list(info.structures or (FIRST,))
        self._n_painted = 0  # of the last structures, how many painting has added
        self.clean: dict[int, CleanUp] = {}
        self.suggested: Suggestion | None = None
        self.step: StepDone | None = None  # latest of the round that made the present model
        self.measured: Measured | None = None
        self._scan_source: ScanSource | None = None
        self.models = ModelHistory() if before is None else before.models
        self.segmentation = SegmentationLayer(viewer, labels, record)
        self.progress = AnnotationProgress(record)
        self.saved = SavedAnnotation(record, None if before is None else before.saved)
        self.filling = Filling(record)
        self.use(images, record.axis)
        self.ensure_structures(highest_label(np.asarray(labels.data)))
        self.show_structures()
        self.remember()

    @property
    def record(self) -> AnnotationRecord:
        """Who labelled what."""
        return self.segmentation.record

    @property
    def axis(self) -> int:
        """Slicing axis (display order)."""
        return self.record.axis

    @property
    def class_names(self) -> tuple[str, ...]:
        """Names of labels 1..K."""
        return tuple(s.name for s in self.structures)

    @property
    def present(self) -> bool:
        """Whether the Segmentation layer and the scan are still in the viewer."""
        return all(layer in self._viewer.layers for layer in (self.labels, *self.images))

    def scan_source(self) -> ScanSource:
        """Return what a job works on.

        Raises
        ------
        VolumeError, GridMismatchError
            If the image layers cannot be used (any more).
        """
        check_scan(self.images)
        check_place(self.labels, self.images[0])
        if self._scan_source is None:
            self._scan_source = ScanSource(reader_of(self.images), self.axis, self.grid.spacing_mm)
        return self._scan_source

    def keep_prepared(self, event: ScanPrepared) -> None:
        """Keep a prepared scan for the next job; not if images or axis have changed meanwhile."""
        if event.scan_source is self._scan_source:
            self._scan_source = dataclasses.replace(event.scan_source, prepared=event.scan)

    def use(self, images: Sequence[Image], axis: int) -> None:
        """Work on other sequences of the same scan, or along another axis.

        Raises
        ------
        AnnotationError
            If the axis is to change after slices were annotated along the present one.
        """
        if axis != self.axis:
            self.segmentation.record = along(self.record, axis)
            self.segmentation.forget_steps()
            self._scan_source = None
            self.progress = AnnotationProgress(self.record)
            self.filling = Filling(self.record)
            self.saved = SavedAnnotation(self.record)
            update_info(self.labels, axis=axis, annotation=self._state())
        if self.images != tuple(images):
            self._watch_images(False)
            self.images = tuple(images)
            self.grid = grid_of(images[0])
            self.models.n_channels = len(images)
            self._watch_images(True)
            self._scan_source = None

    def _watch_images(self, watch: bool) -> None:
        for image in self.images:
            for event in _changes(image):
                if watch:
                    event.connect(self._on_image)
                else:
                    event.disconnect(self._on_image)

    def _on_image(self, _event: Any = None) -> None:
        self._scan_source = None

    # -- structures ------------------------------------------------------------

    def ensure_structures(self, count: int) -> bool:
        """Add structures until there are `count`, at least one; True if any was added."""
        before = len(self.structures)
        wanted = min(max(count, 1), MAX_STRUCTURES)
        values = further_values([each.value for each in self.structures], wanted)
        for number in range(before + 1, len(values) + 1):
            self.structures.append(unnamed(values[number - 1], number))
        self.structures = named_apart(self.structures)
        return len(self.structures) > before

    def usable_label(self, label: int) -> int:
        """Give a label, or where that would be neither learned nor saved the one to paint instead.

        That is the one behind the last structure, unless the mask shows it (its edit may not have
        been noticed yet): napari's *new label* asks for 255 once the
        background brush was used.
        """
        if label in (0, BACKGROUND_BRUSH) or label <= highest_label(self.labels.data):
            return label
        return min(label, len(self.structures) + (len(self.structures) < MAX_STRUCTURES))

    @property
    def new_label(self) -> int | None:
        """The label that is painted, where it is no structure yet."""
        label = self.segmentation.label
        return label if len(self.structures) < label < BACKGROUND_BRUSH else None

    def set_structures(self, structures: Sequence[Structure]) -> None:
        """Let classes 1..K be other structures; clean-up stays with those that keep their place."""
        pairs = enumerate(zip(self.structures, structures, strict=False), start=1)
        same = {n for n, (old, new) in pairs if old.value == new.value or old.name == new.name}
        self.clean = {number: clean for number, clean in self.clean.items() if number in same}
        self.structures = list(structures)
        self._n_painted = 0
        self.ensure_structures(1)
        self.show_structures()

    def add_painted(self, highest: int) -> list[Structure]:
        """Add structures for labels that were painted, and return them; see `drop_painted`."""
        before = len(self.structures)
        self.ensure_structures(highest)
        self._n_painted += len(self.structures) - before
        return self.structures[before:]

    def drop_painted(self) -> list[Structure]:
        """Remove structures that painting has added, once they are not painted any more.

        Not those that somebody has named, or that a model knows; return the others.
        """
        model = self.models.present
        known = 0 if model is None else len(model.card.class_names)
        dropped: list[Structure] = []
        while (
            self._n_painted
            and len(self.structures) > known
            and not is_named(self.structures[-1])
            and highest_label(self.labels.data) < len(self.structures)
        ):
            self._n_painted -= 1
            self.clean.pop(len(self.structures), None)
            dropped.append(self.structures.pop())
        return dropped

    def change_structure(self, number: int, structure: Structure) -> None:
        """Give class `number` another name or colour.

        Raises
        ------
        AnnotationError
            If another one has the name.
        """
        others = [each for n, each in enumerate(self.structures, start=1) if n != number]
        check_name(structure.name, others)
        self.models.rename(number, self.structures[number - 1].name, structure.name)
        self.structures[number - 1] = structure
        self.show_structures()

    def add_structure(self) -> bool:
        """Add a structure, and paint with it; False if there are enough."""
        added = self.ensure_structures(len(self.structures) + 1)
        if added:
            self._n_painted = 0  # somebody wants the last one
            self.show_structures()
            self.labels.selected_label = len(self.structures)
        return added

    def remove_last_structure(self) -> None:
        """Drop the last structure, and paint with the one before.

        Raises
        ------
        AnnotationError
            If it is the only one, or was painted.
        """
        value = len(self.structures)
        model = self.models.present
        if model is not None and len(model.card.class_names) >= value > 1:
            raise AnnotationError(
                f"The model knows “{self.structures[-1].name}”. Forget the model (Advanced) first, "
                "then remove it."
            )
        if value == 1:
            raise AnnotationError("At least one structure is needed. Rename it instead.")
        if (self.labels.data == value).any():
            raise AnnotationError(
                f"“{self.structures[-1].name}” is used in the mask. Erase it first, then remove it."
            )
        self.structures.pop()
        self._n_painted = max(0, self._n_painted - 1)
        self.clean.pop(value, None)
        self.show_structures()
        self.labels.selected_label = len(self.structures)

    def show_structures(self) -> None:
        """Colour the layer as the structures say, and tell napari's own saving their names."""
        show_colors(self.labels, self.structures)
        update_info(self.labels, structures=tuple(self.structures))

    # -- models ----------------------------------------------------------------

    def restore_model(self, position: int) -> str:
        """Go back to one of the earlier models; say so.

        Parameters
        ----------
        position : int
            Its place in `ModelHistory.kept`.

        Raises
        ------
        CheckpointError
            If it knows more structures than there are, or others.
        """
        model = self.models.restore(position, self._shown_structures, self._fixed_axis)
        self.step = None
        if self._shown_structures is None:
            self.set_structures(structures_of(model.checkpoint))
        plane = self._follow_model()
        learned = model.checkpoint.card.provenance.learned_slices
        self.progress.learned(index for _, index in learned)  # of whatever scan: rather too many
        return f"{model.origin} is in use. Segment the volume, or train on from there.{plane}"

    def load_model(self, path: Path) -> str:
        """Use a saved model; say so.

        Where the mask is empty its structures are taken over too, else their values; and
        where nothing is annotated, its plane.

        Raises
        ------
        CheckpointError
            If the file is damaged, or made for other channels, structures or slices.
        """
        before, shown = self.structures, self._shown_structures
        found = self.models.load(path, shown, self._fixed_axis)
        pairs = zip(found, before, strict=False)
        changed = [f"{new.name} = {new.value}" for new, old in pairs if new.value != old.value]
        self.set_structures(found)
        self.step = None
        said = f"Model {path.name} loaded. Segment the volume, or correct slices and train on."
        said += self._follow_model()
        if changed and shown:
            said += f" Saved masks have its label values: {', '.join(changed)}."
        return said

    @property
    def _shown_structures(self) -> list[Structure] | None:
        """Structures whose labels mean something: None where the mask is empty and untouched."""
        bound = self.record.slices_in(*TOUCHED) or np.any(self.labels.data)
        return self.structures if bound else None

    @property
    def _fixed_axis(self) -> int | None:
        """Slicing axis, once slices are annotated along it; None as long as it can change."""
        return self.axis if self.record.slices_in(*TOUCHED) else None

    def _follow_model(self) -> str:
        """Slice along the plane of the present model; say so, if it was another one."""
        model = self.models.present
        if model is None or model.card.slice_axis == self.axis:
            return ""
        self.use(self.images, model.card.slice_axis)
        self.segmentation.face_axis()
        return f" It works on {PLANES[self.axis]} slices, which are shown now."

    # -- annotation ------------------------------------------------------------

    def edited(self, indices: Sequence[int]) -> None:
        """Note that a person has changed slices."""
        if self.suggested is not None and self.suggested.index in indices:
            self.suggested = None

    def reset(self, index: int) -> None:
        """Give a slice back to the model, as one undoable step.

        Labels and record agree afterwards, whatever napari raises while it draws.
        """
        beneath = self.record.without_strokes(index)
        before = self.record.snapshot(index)
        live = self.labels.data[self.record.plane(index)]
        differs = np.nonzero(live != beneath)
        with self.segmentation.step([index], reset=before):
            try:
                if len(differs[0]):
                    at: list[Any] = list(differs)
                    at.insert(self.axis, np.full(len(differs[0]), index))
                    if not self.labels.visible:
                        # napari cuts no slice of a hidden layer; `data_setitem` draws into it.
                        self.labels.set_view_slice()
                    self.labels.data_setitem(tuple(at), beneath[differs])
            finally:
                if np.array_equal(live, beneath):
                    self.record.reset(index, before)

    # -- predictions -----------------------------------------------------------

    def show_prediction(self, event: SlicePredicted) -> None:
        """Put a prediction on screen and remember how sure it was."""
        self.segmentation.write_prediction(
            event.index,
            event.labels,
            self.progress.predicted(event.index, event.error_estimate, event.learned_from),
        )

    def show_volume(self, done: VolumeSegmented) -> None:
        """Put the segmented volume on screen, wherever no person has decided, and its volumes."""
        record = self.record
        record.write_volume(done.labels)
        same = np.array_equal(record.mask(), done.labels)  # nobody has painted meanwhile
        self.measured = Measured(done.measures, record.changes if same else None)
        self.segmentation.refresh()

    def named_measures(self) -> list[StructureMeasure]:
        """Volumes of the structures, by their present names; none if they were not measured."""
        measures = () if self.measured is None else self.measured.structures
        names = [*self.class_names, *(each.name for each in measures[len(self.structures) :])]
        pairs = zip(measures, names, strict=False)
        return [dataclasses.replace(each, name=name) for each, name in pairs]

    def show_filling(self, slices: Mapping[int, NDArray[np.uint8]]) -> int:
        """Put interpolated slices on screen, wherever no person has decided; return how many."""
        count = self.filling.show(slices)
        self.segmentation.refresh()
        return count

    def remove_filling(self) -> None:
        """Show again what lay beneath the interpolated labels."""
        self.record.remove_interpolation()
        self.segmentation.refresh()
        self.progress.forget_passed()

    def suggest(self, left: int | None) -> Suggestion | None:
        """Find the slice to look at next: another one than that on screen, which is left."""
        self.suggested = self.progress.suggest(left)
        return self.suggested

    # -- the end ---------------------------------------------------------------

    def close(self) -> None:
        """Let go of the layers; the labels remember what it takes to go on with them."""
        self._watch_images(False)
        self.segmentation.disconnect_layer()
        self._owner = None
        self.remember()

    def remember(self) -> None:
        """Keep record, structures and models in the layer's metadata, for the next session."""
        info = dataclasses.replace(
            grid_info(self.images[0]),
            role=LayerRole.SEGMENTATION,
            axis=self.axis,
            structures=tuple(self.structures),
            annotation=self._state(),
        )
        info.put(self.labels)

    def _state(self) -> AnnotationState:
        scan_id = identity_of(self.images[0])
        known = (self.record, self.models, self.saved, self._owner)
        return AnnotationState(self.labels.unique_id, scan_id, *known)


def along(record: AnnotationRecord, axis: int) -> AnnotationRecord:
    """Give a record of the same labels along another axis, all of them predictions.

    Raises
    ------
    AnnotationError
        If slices are annotated along the present one.
    """
    done = record.slices_in(*TOUCHED)
    if done:
        raise AnnotationError(
            f"{len(done)} slices are annotated in the {PLANES[record.axis]} plane. Choose a new "
            "mask to annotate in another plane."
        )
    return AnnotationRecord(record.labels, axis)


def _changes(image: Image) -> tuple[Any, ...]:
    """Events after which a scan is another one; its name says which sequence it is."""
    events = image.events
    return (events.data, events.scale, events.translate, events.name)
