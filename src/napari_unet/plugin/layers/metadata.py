"""What is known of a napari layer: one typed entry in its metadata.

napari copies metadata with a layer (*Duplicate layer*, *Convert to image*), entry by entry and
not deeply: what is true of one layer only carries the id of that layer.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass, replace
from enum import Enum
from pathlib import Path
from typing import Any, Protocol

from napari.layers import Layer

from napari_unet.annotation.record import AnnotationRecord
from napari_unet.annotation.saved_annotation import SavedAnnotation
from napari_unet.annotation.states import Structure
from napari_unet.imaging.volume import Grid
from napari_unet.learning.model_history import ModelHistory

_KEY = "napari_unet"
"""Our entry in ``layer.metadata``."""


class LayerRole(Enum):
    """What a layer is for."""

    SCAN_OR_MASK = "scan or mask"
    SEGMENTATION = "segmentation"
    HIDDEN_ANSWER = "hidden answer"  # of a sample
    INSPECTION = "inspection"  # a picture of what the model sees


class Owner(Protocol):
    """Who annotates a layer: an `Annotator`, until it is closed."""

    open: bool


@dataclass(frozen=True, slots=True, eq=False)
class AnnotationState:
    """What a session knows of its Segmentation layer, for the next session.

    Parameters
    ----------
    layer_id : hashable
        ``unique_id`` of the only layer of which all of this is true.
    scan_id : str
        The scan; see `scan_layers.identity_of`.
    record : AnnotationRecord
        Who labelled what.
    models : ModelHistory
        Models trained on the scan.
    saved : SavedAnnotation
        Which annotated slices are on disk.
    owner : Owner, optional
        Who annotates now.
    """

    layer_id: Hashable
    scan_id: str
    record: AnnotationRecord
    models: ModelHistory
    saved: SavedAnnotation
    owner: Owner | None = None


@dataclass(frozen=True, slots=True, eq=False)
class LayerInfo:
    """What is known of a layer; nothing of a layer of another program.

    Parameters
    ----------
    role : LayerRole
        What the layer is for.
    grid : Grid, optional
        Where its voxels lie: in the patient, or only `in_viewer`.
    in_viewer : bool
        Whether `grid` is only a place in the viewer, not that of a file.
    file_grid : Grid, optional
        Grid in the patient of the same voxels, where `grid` is `in_viewer` and that is known.
    files : tuple of Path
        All files that the layer was read from, where there are several.
    series : str, optional
        Which DICOM series of its folder.
    volume : int
        Which volume of its file.
    source : Path, optional
        The file or folder of the layer that this one was reoriented from.
    reoriented_from : hashable, optional
        ``unique_id`` of that layer.
    structures : tuple of Structure
        What its labels mean, as far as that is known.
    axis : int, optional
        Slicing axis (display order) of the annotation.
    annotated : tuple of int, optional
        Annotated slices of a sample along `axis`.
    annotation : AnnotationState, optional
        What the latest session knows of it.
    mirrored : tuple of int
        Display axes along which a picture of a slice shows it mirrored.
    """

    role: LayerRole = LayerRole.SCAN_OR_MASK
    grid: Grid | None = None
    in_viewer: bool = False
    file_grid: Grid | None = None
    files: tuple[Path, ...] = ()
    series: str | None = None
    volume: int = 0
    source: Path | None = None
    reoriented_from: Hashable | None = None
    structures: tuple[Structure, ...] = ()
    axis: int | None = None
    annotated: tuple[int, ...] | None = None
    annotation: AnnotationState | None = None
    mirrored: tuple[int, ...] = ()

    @property
    def is_segmentation(self) -> bool:
        """Whether the layer is a Segmentation layer of ours."""
        return self.role is LayerRole.SEGMENTATION

    def as_metadata(self) -> dict[str, Any]:
        """Give the ``metadata`` argument of a layer."""
        return {_KEY: self}

    @classmethod
    def of(cls, layer: Layer) -> LayerInfo:
        """Get what is known of a layer."""
        return cls.in_metadata(layer.metadata)

    @classmethod
    def in_metadata(cls, metadata: Mapping[str, Any]) -> LayerInfo:
        """Get what the metadata of a layer say."""
        known = metadata.get(_KEY)
        return known if isinstance(known, cls) else cls()

    def put(self, layer: Layer) -> None:
        """Let this be what is known of a layer."""
        layer.metadata[_KEY] = self


def update_info(layer: Layer, **changes: Any) -> None:
    """Replace fields of what is known of a layer."""
    replace(LayerInfo.of(layer), **changes).put(layer)
