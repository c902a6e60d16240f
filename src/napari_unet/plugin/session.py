"""One scan being annotated: its layers, its record, its models and the latest evidence."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from napari.layers import Image, Labels
from napari.viewer import Viewer

from napari_unet.annotation.record import NOT_ANNOTATED, AnnotationRecord
from napari_unet.annotation.scoring import CorrectionScore, correction_score
from napari_unet.annotation.states import BACKGROUND_BRUSH, PALETTE, SliceState, Structure
from napari_unet.annotation.suggestion import Evidence, Suggestion, suggest
from napari_unet.errors import AnnotationError
from napari_unet.imaging.cleanup import CleanUp
from napari_unet.imaging.nifti import save_mask
from napari_unet.imaging.volume import PLANES
from napari_unet.learning.events import LabelledSlice, SlicePredicted
from napari_unet.plugin.layer_bridge import LayerBridge
from napari_unet.plugin.scan_layers import METADATA_KEY, grid_of, show_colors, volume_of
from napari_unet.plugin.work import Subject

if TYPE_CHECKING:
    from napari_unet.learning.checkpoint import Checkpoint
    from napari_unet.learning.preparation import PreparedScan

MAX_STRUCTURES = 30


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
    axis : int
        Slicing axis (display order).
    structures : sequence of Structure
        What labels 1..K mean.
    """

    def __init__(
        self,
        viewer: Viewer,
        images: Sequence[Image],
        labels: Labels,
        axis: int,
        structures: Sequence[Structure],
    ) -> None:
        self.images = tuple(images)
        self.labels = labels
        self.grid = grid_of(self.images[0])
        self.suggested: Suggestion | None = None
        self.structures = list(structures)
        self.clean: dict[int, CleanUp] = {}
        ours = labels.metadata.get(METADATA_KEY, {})
        self.checkpoint: Checkpoint | None = ours.get("checkpoint")
        self.prepared: PreparedScan | None = None
        record = ours.get("record")
        if record is None or record.axis != axis:
            annotated = ours.get("annotated", ()) if ours.get("axis") == axis else ()
            record = AnnotationRecord(np.asarray(labels.data), axis, annotated)
        elif record.labels is not labels.data:
            record.rebind(labels.data)
        self.bridge = LayerBridge(viewer, labels, record)
        self._forget_evidence()
        self.ensure_structures(int(np.max(self._painted_values(), initial=0)))
        self.show_structures()

    @property
    def record(self) -> AnnotationRecord:
        """Who labelled what."""
        return self.bridge.record

    @property
    def axis(self) -> int:
        """Slicing axis (display order)."""
        return self.record.axis

    @property
    def class_names(self) -> tuple[str, ...]:
        """Names of labels 1..K."""
        return tuple(s.name for s in self.structures)

    def subject(self) -> Subject:
        """What a job works on.

        Raises
        ------
        VolumeError, GridMismatchError
            If the image layers cannot be used.
        """
        return Subject(volume_of(self.images), self.axis, self.prepared)

    def use(self, images: Sequence[Image], axis: int) -> None:
        """Work on other sequences of the same scan, or along another axis.

        Raises
        ------
        AnnotationError
            If the axis is to change after slices were annotated along the present one.
        """
        if axis != self.axis:
            done = self.record.slices_in(SliceState.ANNOTATED, SliceState.PARTIAL)
            if done:
                raise AnnotationError(
                    f"{len(done)} slices are annotated in the {PLANES[self.axis]} plane. Save the "
                    "mask and choose a new label layer to annotate in another plane."
                )
            self.bridge.record = AnnotationRecord(np.asarray(self.labels.data), axis)
            self.prepared = None
            self._forget_evidence()
        if self.images != tuple(images):
            if len(images) != len(self.images):
                self.checkpoint = None
            self.images = tuple(images)
            self.prepared = None

    def _forget_evidence(self) -> None:
        n = self.record.n_slices
        self._edge = np.full(n, np.nan)
        self._area = np.zeros(n, np.int64)

    # -- structures ------------------------------------------------------------

    def _painted_values(self) -> list[int]:
        return [int(v) for v in np.unique(self.labels.data) if 0 < v < BACKGROUND_BRUSH]

    def ensure_structures(self, count: int) -> bool:
        """Add structures until there are `count`, at least one; True if any was added."""
        before = len(self.structures)
        for value in range(before + 1, min(max(count, 1), MAX_STRUCTURES) + 1):
            color = PALETTE[(value - 1) % len(PALETTE)]
            self.structures.append(Structure(f"Structure {value}", color))
        return len(self.structures) > before

    def remove_last_structure(self) -> None:
        """Drop the last structure.

        Raises
        ------
        AnnotationError
            If it is the only one, or was painted.
        """
        value = len(self.structures)
        if value == 1:
            raise AnnotationError("At least one structure is needed. Rename it instead.")
        if (self.labels.data == value).any():
            raise AnnotationError(
                f"“{self.structures[-1].name}” is used in the mask. Erase it first, then remove it."
            )
        self.structures.pop()

    def show_structures(self) -> None:
        """Colour the layer as the structures say."""
        show_colors(self.labels, self.structures)

    # -- annotation ------------------------------------------------------------

    def training_slices(self) -> list[LabelledSlice]:
        """Copy what a person has said so far, for the worker.

        Raises
        ------
        AnnotationError
            If nothing is annotated, or a label has no structure.
        """
        self.record.sync()
        indices = self.record.slices_in(SliceState.ANNOTATED, SliceState.PARTIAL)
        slices = [LabelledSlice(0, index, self.record.truth(index)) for index in indices]
        slices = [s for s in slices if (s.labels != NOT_ANNOTATED).any()]
        if not any(((s.labels > 0) & (s.labels != NOT_ANNOTATED)).any() for s in slices):
            raise AnnotationError(
                "No slice shows a structure yet. Paint it on one slice or more, then press Train."
            )
        known = (s.labels[s.labels != NOT_ANNOTATED] for s in slices)
        highest = max(int(labels.max()) for labels in known)
        if highest > len(self.structures):
            raise AnnotationError(
                f"Label {highest} was painted but there are {len(self.structures)} structures. "
                "Add structures, or repaint it with one of them."
            )
        return slices

    def score(self) -> CorrectionScore | None:
        """Predict-then-correct Dice so far."""
        return correction_score(self.record)

    # -- predictions -----------------------------------------------------------

    def show_prediction(self, event: SlicePredicted) -> None:
        """Put a prediction on screen and remember how sure it was."""
        self._edge[event.index] = event.edge_uncertainty
        self._area[event.index] = np.count_nonzero(event.labels)
        self.bridge.write_prediction(
            event.index, event.labels, held_out=event.index not in event.learned_from
        )

    def suggest(self) -> Suggestion | None:
        """Find the slice to look at next."""
        done = self.record.slices_in(SliceState.ANNOTATED)
        empty = any(not self.labels.data[self.record.plane(i)].any() for i in done)
        evidence = None if np.isnan(self._edge).all() else Evidence(self._edge, self._area)
        self.suggested = suggest(
            self.record.states(),
            evidence,
            spacing_mm=self.grid.spacing_mm[self.axis],
            annotated_empty=empty,
        )
        return self.suggested

    # -- files -----------------------------------------------------------------

    def save_mask(self, path: Path) -> str:
        """Write the mask on the grid of the scan's file; say in a sentence what was checked."""
        self.record.sync()
        receipt = save_mask(self.record.mask(), self.grid, path)
        share = self.record.human_fraction()
        return f"{receipt.summary()} {share:.0%} of the mask is painted or accepted by you."

    def require_model(self) -> Checkpoint:
        """Return the model.

        Raises
        ------
        AnnotationError
            If there is none yet.
        """
        if self.checkpoint is None:
            raise AnnotationError("Train a model first, or load one.")
        return self.checkpoint

    def load_model(self, path: Path) -> None:
        """Use a saved model; before anything is annotated its structures are taken over too.

        Raises
        ------
        CheckpointError
            If the file is damaged, or made for other channels or structures.
        """
        from napari_unet.learning.checkpoint import Checkpoint

        checkpoint = Checkpoint.load(path)
        names = checkpoint.card.class_names
        if self.record.slices_in(SliceState.ANNOTATED, SliceState.PARTIAL):
            names = self.class_names
        checkpoint.check_fits(len(self.images), names)
        if names != self.class_names:
            colors = checkpoint.card.class_colors or PALETTE
            self.structures = [
                Structure(name, colors[i % len(colors)]) for i, name in enumerate(names)
            ]
            self.show_structures()
        self.checkpoint = checkpoint

    def close(self) -> None:
        """Let go of the layer; it stays, and remembers what it needs to be taken up again."""
        self.bridge.disconnect_layer()
        self.labels.metadata[METADATA_KEY] = {
            "grid": self.grid,
            "segmentation": True,
            "axis": self.axis,
            "structures": tuple(self.structures),
            "record": self.record,
            "checkpoint": self.checkpoint,
        }
