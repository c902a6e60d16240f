"""The annotated slices a network learns from, and the batches drawn from them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from types import EllipsisType

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from napari_unet.annotation.states import IGNORE_LABEL, LabelledSlice
from napari_unet.errors import AnnotationError
from napari_unet.learning.config import BorderWeighting, ModelConfig, Recipe, SliceName
from napari_unet.learning.network import layer_sizes
from napari_unet.learning.network.resampling import network_size, resample_images, resample_labels
from napari_unet.learning.network.unet import mirrored
from napari_unet.learning.preparation import PreparedScan
from napari_unet.learning.training.assumed_background import (
    ASSUMED_LABEL,
    SHARE,
    assumed_background,
    assumed_empty,
    assumed_share,
)
from napari_unet.learning.training.augmentation import (
    apply_augmentation,
    move_along,
    sample_augmentation,
    training_range,
)
from napari_unet.learning.training.border_weights import BorderCache
from napari_unet.learning.training.losses import class_weights
from napari_unet.text import counted

AIR_SPREAD = 0.05
"""A slice is air if its intensities vary less than this share of those of the liveliest slice."""

EMPTY_EVERY = 8
"""One in so many batches shows air, and one a slice far from the structure, as empty."""


def _shows_structure(labels: NDArray[np.uint8]) -> bool:
    """Whether any pixel (h, w) has a class other than background."""
    return bool(((labels > 0) & (labels != IGNORE_LABEL)).any())


def _slice_of_air(scan: PreparedScan) -> int | None:
    """Find a slice of air, if the scan has one.

    Nobody annotates such slices, and nothing a network learns elsewhere tells it what to
    make of a slice without any head: it may well see a structure all over.
    """
    # Slice by slice: of the whole array it would take a copy.
    spread = np.array([each.std() for each in scan.slices])
    blank = np.flatnonzero(spread < AIR_SPREAD * spread.max())
    return int(blank[len(blank) // 2]) if len(blank) else None


class TrainingSet:
    """Annotated slices of one or several scans on the network's pixel grid.

    Parameters
    ----------
    scans : sequence of PreparedScan
        The scans that annotations refer to.
    annotations : sequence of LabelledSlice
        What to learn from.
    class_names : sequence of str
        Names of classes 1..K.
    spacing_mm : tuple of float
        Pixel size (rows, columns) of the network.
    model : ModelConfig, optional
        The network: one with valid convolutions is shown what is around a tile.
    recipe : Recipe, optional
        How it is trained: tiles, variations of slices, and whether and how gaps between
        objects are weighed.
    held_back : sequence of LabelledSlice
        Annotated slices that are not learned from; they tell where structures are all the
        same (see `assumed_empty`).
    learned : collection of SliceName
        What the network has learned from before. If some of it is not among the annotations,
        it may know of several objects, and is not told otherwise.

    Raises
    ------
    AnnotationError
        If there is nothing to learn from, or an annotation does not fit.
    """

    def __init__(
        self,
        scans: Sequence[PreparedScan],
        annotations: Sequence[LabelledSlice],
        class_names: Sequence[str],
        spacing_mm: tuple[float, float],
        *,
        model: ModelConfig | None = None,
        recipe: Recipe | None = None,
        held_back: Sequence[LabelledSlice] = (),
        learned: Collection[SliceName] = (),
    ) -> None:
        self._scans = scans
        self._learned = learned
        self._model = model or ModelConfig()
        recipe = recipe or Recipe()
        self._tile = recipe.tile
        self._n_classes = len(class_names) + 1
        self._spacing_mm = spacing_mm
        self._limits = training_range(self._model, recipe, scans[0].axis, class_names)
        border = recipe.border or BorderWeighting()
        weighs = recipe.loss == "border-ce"
        self._weigh_borders = BorderCache(spacing_mm, border) if weighs else None
        self._aspect = spacing_mm[0] / spacing_mm[1]
        # Looked for once: annotations change with every stroke, scans do not.
        air = [_slice_of_air(scan) for scan in scans]
        self._air = [(scan, index) for scan, index in enumerate(air) if index is not None]
        self.replace(annotations, held_back)

    def replace(
        self, annotations: Sequence[LabelledSlice], held_back: Sequence[LabelledSlice] = ()
    ) -> None:
        """Learn from these slices from now on (nothing changes if they are refused)."""
        kept = [each for each in annotations if self._is_annotated(each)]
        if not kept:
            raise AnnotationError(
                "No structure has been annotated yet. Paint at least one slice and train again."
            )
        if not any(_shows_structure(each.labels) for each in kept):
            raise AnnotationError(
                f"There is only background on {counted(len(kept), 'annotated slice')} so far. "
                "Paint a structure on at least one slice and train again."
            )
        if not any(_shows_structure(self._scans[e.scan].crop(e.labels)) for e in kept):
            raise AnnotationError(
                "What is painted lies in the air around the head, which training leaves out. "
                "Paint a structure inside the head."
            )
        scans = [self._scans[each.scan] for each in kept]
        self._canvas = canvas = SliceCanvas.for_scans(scans, self._spacing_mm, self._model)
        at = list(zip(scans, kept, strict=True))
        self._images = torch.stack([canvas.image(scan, each.index) for scan, each in at])
        self._labels = torch.stack([canvas.labels(scan, scan.crop(e.labels)) for scan, e in at])
        self._members = [
            torch.tensor([i for i, each in enumerate(self._labels) if bool((each == value).any())])
            for value in range(self._n_classes)
        ]
        self._members = [members for members in self._members if len(members)]
        own = [each[canvas.own(scan)] for each, scan in zip(self._labels, scans, strict=True)]
        self._assumed = torch.zeros_like(self._labels, dtype=torch.bool)
        for each, found, scan in zip(own, self._assumed, scans, strict=True):
            assumed = assumed_background(each.numpy(), self._spacing_mm)
            found[canvas.own(scan)] = torch.from_numpy(assumed)
        also = SHARE * float(self._assumed.sum())
        self.weights = class_weights(own, self._n_classes, background=also)
        self.balance = class_weights(own, self._n_classes, power=1.0, background=also)
        self._borders = None
        if self._weigh_borders is not None:
            self._borders = torch.from_numpy(self._weigh_borders(self._labels.numpy()))
        self.learned_from = {
            scan: frozenset(each.index for each in kept if each.scan == scan)
            for scan in range(len(self._scans))
        }
        known = [*kept, *held_back]
        names = {(self._scans[each.scan].name, each.index) for each in known}
        far = assumed_empty(self._scans, known) if names.issuperset(self._learned) else []
        self._empty = [
            [(scan, index) for scan, index in places if self.learned_from[scan]]
            for places in (self._air, far)
        ]

    def _is_annotated(self, each: LabelledSlice) -> bool:
        """Check one annotation; False if all of it is ignored."""
        if not 0 <= each.scan < len(self._scans):
            raise AnnotationError(
                f"An annotation refers to scan {each.scan + 1}, "
                f"but there are {len(self._scans)}. Give the scan that it was painted on."
            )
        scan = self._scans[each.scan]
        if not 0 <= each.index < scan.n_slices:
            raise AnnotationError(
                f"Slice {each.index} is annotated, but {scan.name} has slices 0 to "
                f"{scan.n_slices - 1}. Check the slicing axis and the slice numbers."
            )
        window = scan.crop(each.labels)  # also checks the shape
        known = window[window != IGNORE_LABEL]
        if known.size and int(known.max()) >= self._n_classes:
            raise AnnotationError(
                f"Slice {each.index} of {scan.name} has label {int(known.max())}, but there "
                f"{'is' if self._n_classes == 2 else 'are'} only "
                f"{counted(self._n_classes - 1, 'structure')}. Add a structure for it, or erase it."
            )
        return bool(known.size)

    def __len__(self) -> int:
        """Count the annotated slices."""
        return len(self._images)

    @property
    def pixels(self) -> int:
        """Pixels of what a step shows of a slice: all of it, or a tile."""
        rows, columns = (min(side, self._tile) for side in self._images.shape[-2:])
        return int(rows * columns)

    def batch(
        self, size: int, generator: torch.Generator, strength: float = 1.0
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        """Draw an augmented batch.

        Half of the slices are drawn by class, so that a rare structure is seen
        often however many slices show none.

        Parameters
        ----------
        size : int
            Slices in the batch.
        generator : torch.Generator
            Source of randomness.
        strength : float
            Strength of the augmentation, 0 to 1.

        Returns
        -------
        tuple
            Images (n, c, h, w); labels (n, h, w) of int64, on partial slices a few of them
            `ASSUMED_LABEL`; `border_weights` (n, h, w) or None. For valid convolutions,
            images of tiles show as much around the labels as `UNet.scores` needs.
        """

        def draw(count: int) -> int:
            return int(torch.randint(count, (1,), generator=generator))

        chosen = self._choose(size, draw)
        images, labels = self._images[chosen], self._labels[chosen]
        if (assumed := self._assumed[chosen]).any():
            used = torch.rand(labels.shape, generator=generator) < assumed_share(strength)
            assumed &= used
            labels = labels.short().masked_fill_(assumed, ASSUMED_LABEL)
        borders = None if self._borders is None else self._borders[chosen]
        kind = draw(EMPTY_EVERY)
        if kind < len(self._empty) and (places := self._empty[kind]):
            number, index = places[draw(len(places))]
            scan = self._scans[number]
            images[-1] = self._canvas.image(scan, index)
            labels[-1] = self._canvas.labels(scan, np.zeros(scan.shape, np.uint8))
            if borders is not None:
                borders[-1] = 0
        tiles = self._tiles(labels, draw)
        drawn = sample_augmentation(
            size, self._limits.scaled(strength), generator, aspect=self._aspect
        )
        images, labels = apply_augmentation(
            images, labels, drawn, centres=tiles.centres, size=tiles.shown
        )
        if borders is not None:
            borders = move_along(borders, drawn, centres=tiles.centres, size=tiles.shown)
            borders = borders[tiles.scored]
        return images, labels[tiles.scored], borders

    def _choose(self, size: int, draw: Callable[[int], int]) -> list[int]:
        """Choose slices: half of them by class, the others evenly."""
        chosen = []
        for position in range(size):
            if position % 2:
                chosen.append(draw(len(self)))
            else:
                members = self._members[draw(len(self._members))]
                chosen.append(int(members[draw(len(members))]))
        return chosen

    def _tiles(self, labels: Tensor, draw: Callable[[int], int]) -> _Tiles:
        """Choose a tile of each slice with labels (n, h, w), or all of it where it is no larger."""
        sides = labels.shape[-2:]
        rows, columns = (min(side, self._tile) for side in sides)
        if (rows, columns) == sides:
            return _Tiles((rows, columns), None, (..., slice(rows), slice(columns)))
        centres = torch.stack([self._tile_centre(each, draw) for each in labels])
        # The middle of an even side lies between two pixels.
        centres += torch.tensor([0.5 * (rows % 2 == 0), 0.5 * (columns % 2 == 0)])
        half = torch.tensor([(rows - 1) / 2, (columns - 1) / 2])
        last = torch.tensor(sides) - 1 - half
        centres = torch.minimum(torch.maximum(centres, half), last)
        shown, start = (rows, columns), 0
        if self._model.padding == "valid":
            start = layer_sizes.input_margin(self._model)
            down, across = (layer_sizes.input_size(self._model, n) for n in (rows, columns))
            shown = down, across
            centres += (torch.tensor(shown) - 1) / 2 - start - half
        scored = (..., slice(start, start + rows), slice(start, start + columns))
        return _Tiles(shown, centres, scored)

    def unchanged(self, pixels: int) -> tuple[Tensor, Tensor]:
        """Return slices as they were annotated, whole and not augmented.

        Parameters
        ----------
        pixels : int
            At most so many pixels, but at least one slice of each class; slices
            that are left out are so at even distances.

        Returns
        -------
        tuple
            Images (n, c, h, w) and labels (n, h, w) of int64.
        """
        rows, columns = self._images.shape[-2:]
        count = min(len(self), max(1, pixels // (rows * columns)))
        chosen = {position * len(self) // count for position in range(count)}
        for members in self._members:
            if not chosen.intersection(members.tolist()):
                chosen.add(int(members[0]))
        kept = sorted(chosen)
        return self._images[kept], self._labels[kept].long()

    @staticmethod
    def _tile_centre(labels: Tensor, draw: Callable[[int], int]) -> Tensor:
        """Choose an annotated pixel (row, column), of each class equally often.

        Any pixel, where none is left on the network's grid.
        """
        values = labels.unique()
        if (values < IGNORE_LABEL).any():
            values = values[values < IGNORE_LABEL]
        places = (labels == values[draw(len(values))]).nonzero()
        centre: Tensor = places[draw(len(places))].float()
        return centre


@dataclass(frozen=True, slots=True, eq=False)
class _Tiles:
    """What a batch shows of its slices.

    Parameters
    ----------
    shown : tuple of int
        Rows and columns of each image.
    centres : Tensor, shape (n, 2), or None
        Where their middle (row, column) lies in each slice; None: in its middle.
    scored : tuple
        Index of the rows and columns that have labels.
    """

    shown: tuple[int, int]
    centres: Tensor | None
    scored: tuple[EllipsisType, slice, slice]


@dataclass(frozen=True, slots=True)
class SliceCanvas:
    """Grid that has room for a slice of each scan, which lies in its upper left corner.

    Parameters
    ----------
    shape : tuple of int
        Rows and columns.
    spacing_mm : tuple of float
        Pixel size (rows, columns).
    valid : bool
        For a network with valid convolutions: around a slice, nothing is known.
    """

    shape: tuple[int, int]
    spacing_mm: tuple[float, float]
    valid: bool

    @classmethod
    def for_scans(
        cls, scans: Sequence[PreparedScan], spacing_mm: tuple[float, float], model: ModelConfig
    ) -> SliceCanvas:
        """Make the smallest one."""
        sizes = [network_size(scan, spacing_mm) for scan in scans]
        rows, columns = (max(sides) for sides in zip(*sizes, strict=True))
        valid = model.padding == "valid"
        if not valid:  # as the network itself fills slices up
            whole = layer_sizes.size_divisor(model)
            rows, columns = rows + -rows % whole, columns + -columns % whole
        return cls((rows, columns), spacing_mm, valid)

    def image(self, scan: PreparedScan, index: int) -> Tensor:
        """Place a slice: image (c, *shape)."""
        rows, columns = size = network_size(scan, self.spacing_mm)
        image = resample_images(torch.from_numpy(scan.slices[index][None]), size)
        below, right = self.shape[0] - rows, self.shape[1] - columns
        if self.valid:  # around it: what the network sees there when it predicts
            return mirrored(image, 0, below, 0, right)[0]
        # Around it: its darkest value, as air, and background. Whatever the network is
        # not taught about its right and lower edge it fills with structures in scans of
        # another size (four heads, tested on others: Dice .19 instead of .85).
        result = image.amin(dim=(2, 3), keepdim=True)[0].expand(-1, *self.shape).clone()
        result[:, :rows, :columns] = image[0]
        return result

    def labels(self, scan: PreparedScan, labels: NDArray[np.uint8]) -> Tensor:
        """Place the labels (h, w) of a scan's window: uint8 of `shape`."""
        rows, columns = size = network_size(scan, self.spacing_mm)
        around = IGNORE_LABEL if self.valid else 0
        result = torch.full(self.shape, around, dtype=torch.uint8)
        result[:rows, :columns] = resample_labels(torch.from_numpy(labels.copy())[None], size)[0]
        return result

    def own(self, scan: PreparedScan) -> tuple[slice, slice]:
        """Rows and columns that show the scan itself."""
        rows, columns = network_size(scan, self.spacing_mm)
        return slice(rows), slice(columns)
