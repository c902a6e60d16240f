"""What is measured on: scans with their truth, and the slices that are annotated of them.

Real scans are read in place from ``--data DIR``; without it the package's own phantom
takes their part, so that anybody can run the commands.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from napari_unet.imaging.loading import load_labels, load_volume
from napari_unet.imaging.volume import Grid, Volume
from napari_unet.phantom.metastases import make_phantom
from napari_unet.phantom.shapes import FIELD_OF_VIEW_MM
from napari_unet.phantom.tissues import Tissue

Annotated = Mapping[int, NDArray[np.uint8]]
"""Slice number -> labels (h, w) of the whole slice; 255 where nobody said anything."""

NUCLEI = ("caudate", "putamen", "thalamus", "hippocampus")
REGIONS = ("oedema", "enhancing", "other core")
HIPPOCAMPUS = ("anterior", "posterior")

FAMILIES = ("deepgrey", "core", "regions", "hippocampus")
"""Names for ``--cases``; without ``--data`` there are only the first two."""

EMPTY_DISTANCE = 8
"""Slices beyond the tumour at which an empty one is annotated."""

_PHANTOM_SHAPE = (96, 144, 120)
_QUICK_PHANTOM_SHAPE = (48, 104, 88)
_PHANTOMS = 8


@dataclass(frozen=True, slots=True, eq=False)
class Case:
    """One scan with its truth.

    Parameters
    ----------
    name, family : str
        Which scan, and which of `FAMILIES`.
    volume : Volume
        The scan.
    truth : ndarray of uint8, shape (n, h, w)
        Slices along `axis`; 0 is background, 1..K the structures.
    class_names : tuple of str
        Names of 1..K.
    n_empty : int
        How many of the slices annotated by `chosen` lie beyond the structures.
    axis : int
        Display axis of slicing: 0 axial, 1 coronal, 2 sagittal.
    """

    name: str
    family: str
    volume: Volume
    truth: NDArray[np.uint8]
    class_names: tuple[str, ...]
    n_empty: int = 0
    axis: int = 0

    @property
    def n_classes(self) -> int:
        """Structures, background not counted."""
        return len(self.class_names)

    @property
    def n_slices(self) -> int:
        """How many slices it has."""
        return len(self.truth)

    @property
    def spacing_mm(self) -> tuple[float, float, float]:
        """From slice to slice, row to row and column to column."""
        across = [mm for axis, mm in enumerate(self.volume.spacing_mm) if axis != self.axis]
        return self.volume.spacing_mm[self.axis], across[0], across[1]

    def sliced_along(self, axis: int) -> Case:
        """Make the same case of other slices."""
        zyx = np.moveaxis(self.truth, 0, self.axis)
        truth = np.ascontiguousarray(np.moveaxis(zyx, axis, 0))
        return dataclasses.replace(self, truth=truth, axis=axis)

    @property
    def extent(self) -> tuple[int, int]:
        """First and last slice that show a structure."""
        seen = np.flatnonzero(self.truth.any(axis=(1, 2)))
        return int(seen[0]), int(seen[-1])

    def chosen(self, k: int) -> list[int]:
        """`k` slices to annotate: evenly over the structures, not their very ends, and beyond."""
        first, last = self.extent
        spread = np.linspace(first, last, k - self.n_empty + 2)[1:-1]
        empty = [self._empty_slice()] if self.n_empty else []
        return sorted({round(float(z)) for z in spread} | set(empty))

    def annotate(self, indices: Sequence[int]) -> Annotated:
        """Annotate slices with the truth."""
        return {index: self.truth[index] for index in indices}

    def rest(self, annotated: Annotated) -> list[int]:
        """Slices that are not annotated: the test."""
        return [z for z in range(self.n_slices) if z not in annotated]

    def in_range(self, annotated: Annotated) -> list[int]:
        """The part of `rest` between the annotated slices that show a structure."""
        painted = [z for z, labels in annotated.items() if ((labels > 0) & (labels < 255)).any()]
        if not painted:
            return []
        return [z for z in self.rest(annotated) if min(painted) < z < max(painted)]

    def _empty_slice(self) -> int:
        """A slice of the head without structures, `EMPTY_DISTANCE` slices outside their range."""
        first, last = self.extent
        data = np.moveaxis(self.volume.data[0], self.axis, 0)
        head = np.flatnonzero((data > data.min()).any(axis=(1, 2)))
        candidates = [first - EMPTY_DISTANCE, last + EMPTY_DISTANCE]
        within = [z for z in candidates if head[0] <= z <= head[-1]]
        return int(within[0] if within else head[-1])


@dataclass(frozen=True, slots=True, eq=False)
class Lesson:
    """Something to learn from: a case and its annotated slices."""

    case: Case
    annotated: Annotated


def load(
    family: str, data: Path | None, *, limit: int | None = None, quick: bool = False, axis: int = 0
) -> Iterator[Case]:
    """Read the cases of a family.

    Parameters
    ----------
    family : str
        One of `FAMILIES`.
    data : Path or None
        Folder with ``brats``, ``deepgrey`` and ``hippocampus``; None: phantoms.
    limit : int, optional
        At most so many.
    quick : bool
        Small phantoms.
    axis : int
        As of `Case`.
    """
    if data is None:
        cases = _phantoms(family, _QUICK_PHANTOM_SHAPE if quick else _PHANTOM_SHAPE)
    elif family == "deepgrey":
        cases = _deepgrey(data / "deepgrey")
    elif family == "hippocampus":
        cases = _hippocampus(data / "hippocampus")
    else:
        cases = _brats(data / "brats", family)
    return (case.sliced_along(axis) for case in islice(cases, limit))


def available(families: Sequence[str], data: Path | None) -> list[str]:
    """Those of `families` that can be measured with this data."""
    return [f for f in families if data is not None or f in ("deepgrey", "core")]


def _names(folder: Path, ending: str) -> list[str]:
    """Beginnings of the names of all files with this ending."""
    found = sorted(path.name.removesuffix(ending) for path in folder.glob(f"*{ending}"))
    if not found:
        raise SystemExit(f"There are no files *{ending} in {folder}. Check --data.")
    return found


def _brats(folder: Path, family: str) -> Iterator[Case]:
    """Tumour core on T1c, or three regions on T1c and FLAIR (BraTS 2013 labels)."""
    for name in _names(folder, "_t1c.nii.gz"):
        sequences = ["t1c"] if family == "core" else ["t1c", "flair"]
        volume = load_volume([folder / f"{name}_{each}.nii.gz" for each in sequences], name=name)
        labels, _ = load_labels(folder / f"{name}_label.nii.gz", volume.grid)
        if family == "core":
            truth, names = np.isin(labels, (1, 3, 4)).astype(np.uint8), ("tumour core",)
        else:
            # necrosis 1, oedema 2, non-enhancing 3, enhancing 4
            truth, names = np.array([0, 3, 1, 3, 2], np.uint8)[labels], REGIONS
        yield Case(f"{name} {family}", family, volume, truth, names, n_empty=1)


def _deepgrey(folder: Path) -> Iterator[Case]:
    """Four structures on T1."""
    for name in _names(folder, "_t1.nii.gz"):
        volume = load_volume(folder / f"{name}_t1.nii.gz", name=name)
        labels, _ = load_labels(folder / f"{name}_label.nii.gz", volume.grid)
        truth = np.where(labels <= len(NUCLEI), labels, 0).astype(np.uint8)
        yield Case(f"{name} deepgrey", "deepgrey", volume, truth, NUCLEI)


def _hippocampus(folder: Path) -> Iterator[Case]:
    """Anterior and posterior hippocampus in small crops."""
    for name in _names(folder / "images", ".nii.gz"):
        volume = load_volume(folder / "images" / f"{name}.nii.gz", name=name)
        labels, _ = load_labels(folder / "labels" / f"{name}.nii.gz", volume.grid)
        truth = labels.astype(np.uint8)
        yield Case(name, "hippocampus", volume, truth, HIPPOCAMPUS)


def _phantoms(family: str, shape: tuple[int, int, int]) -> Iterator[Case]:
    """Phantoms in the place of ``deepgrey`` (nuclei) and ``core`` (three large metastases)."""
    spacing = tuple(length / n for length, n in zip(FIELD_OF_VIEW_MM, shape, strict=True))
    for seed in range(_PHANTOMS):
        if family == "core":
            phantom = make_phantom(seed, shape, spacing, 3, (14.0, 36.0))
            volume, truth, names = phantom.volume, phantom.truth, ("metastasis",)
        elif family == "deepgrey":
            phantom = make_phantom(seed, shape, spacing, 0)
            # Shifted, so that a place learned from one phantom is another one in the next.
            first = np.random.default_rng(seed).integers(0, 7, size=3)
            window = tuple(slice(int(f), n - 6 + int(f)) for f, n in zip(first, shape, strict=True))
            truth = np.zeros_like(phantom.truth)
            for label, name in enumerate(NUCLEI, 1):
                truth[phantom.tissue == Tissue[name.upper()]] = label
            truth = truth[window]
            grid = Grid.from_spacing(truth.shape, spacing)
            volume = Volume(np.ascontiguousarray(phantom.volume.data[(0, *window)])[None], grid)
            names = NUCLEI
        else:
            raise SystemExit(f"There is no phantom of {family}: give --data.")
        yield Case(f"phantom {seed} {family}", family, volume, truth, names, int(family == "core"))
