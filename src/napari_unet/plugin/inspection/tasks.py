"""What inspecting a model does in the background: pictures of a slice, and why at a voxel.

torch is imported here, in the thread, the first time it is needed.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, TypeAlias

import numpy as np
from numpy.typing import NDArray

from napari_unet.learning.inspection.levels import Level, Place, levels
from napari_unet.plugin.app.tasks import ScanPrepared, ScanSource

if TYPE_CHECKING:
    from napari_unet.learning.inspection.augmentation_preview import VariedSlice
    from napari_unet.learning.inspection.explanation import Explanation, Method
    from napari_unet.learning.inspection.probe import FeatureMaps, NetworkProbe
    from napari_unet.learning.network.checkpoint import Checkpoint
    from napari_unet.learning.preparation import PreparedScan

UPDATE_SECONDS = 0.25
"""An explanation under way is shown this often."""

STRONG = 0.999
"""Share of the pixels of an explanation that have a colour of their own; others are stronger."""

REMARKS = {
    "variation": "The slice as training may see it. Choose the same again for another draw.",
    "uncertainty": (
        "Uncertainty: bright where the model cannot decide; the scan shows where it is sure."
    ),
    "probabilities": (
        "Probabilities: the brighter, the surer the model of that structure. The mask is outlined."
    ),
    "network_input": (
        "Exactly what the network is given: cropped, normalised, filled up at the borders."
    ),
}
"""How to read each kind of picture, feature maps aside; of several the first one counts."""

UNITS = {
    "network_input": "Input: standard deviations from the mean of the tissue",
    "probabilities": "Probability: 0 to 1",
    "uncertainty": "Uncertainty: 0 (sure) to 1 (all structures equally likely)",
    "variation": "Varied slice: standard deviations from the mean of the tissue",
    "level": "Feature map: activation, no unit",
    "explanation": "Why here: log-odds, above 0 for the decision, below 0 against it",
}
"""What the colour bar of each kind of picture measures."""

GRID_UNIT = "Feature maps: each channel from its lowest (0) to its highest (1) activation"

READY = "Click a level of the U, or choose what to see of the slice on screen."

_REMEDY = "Close other programs, or look into a narrower network."

OF_THE_SLICE = ("network_input", "probabilities", "uncertainty", "variation", "level")
KINDS = (*OF_THE_SLICE, "explanation")
"""Kinds of pictures, each asked for by the field of an `InspectionRequest` that is called so."""


@dataclass(frozen=True, slots=True)
class ExplanationRequest:
    """Which decision to explain: slice number, row and column of the whole slice, and how."""

    index: int
    pixel: tuple[int, int]
    method: Method


@dataclass(frozen=True, slots=True)
class InspectionRequest:
    """What to see of a slice.

    Parameters
    ----------
    network_input : bool
        What the network is given.
    probabilities, uncertainty : bool
        What it finds, and how unsure it is.
    variation : str
        How to vary the slice as training does, see `augmentation_preview`; empty: not.
    level : str
        Name of the level whose features to see; empty: none.
    explanation : ExplanationRequest or None
        Why it decided so at a voxel.
    seed : int
        Which variation of its kind.
    channel_grid : bool
        All channels of the level, best ranked first; else one of them.
    rank : int
        Which one: 0 for the best.
    """

    network_input: bool = False
    probabilities: bool = False
    uncertainty: bool = False
    variation: str = ""
    level: str = ""
    explanation: ExplanationRequest | None = None
    seed: int = 0
    channel_grid: bool = False
    rank: int = 0

    @property
    def wanted(self) -> set[str]:
        """Kinds of pictures that are to be seen."""
        return {kind for kind in KINDS if getattr(self, kind)}

    @property
    def units(self) -> list[str]:
        """What each colour bar measures."""
        units = UNITS | {"level": GRID_UNIT} if self.channel_grid else UNITS
        return [units[kind] for kind in KINDS if kind in self.wanted]


@dataclass(frozen=True, slots=True, eq=False)
class Picture:
    """Something to be laid over a slice of the scan.

    Parameters
    ----------
    kind : str
        One of `KINDS`.
    number : int
        Which of several of its kind: image channel, or label value of the structure.
    name : str
        Title of its layer.
    index : int
        Slice number.
    values : ndarray of float32, shape (h, w)
        Its pixels.
    place : Place
        Where it lies.
    limits : tuple of float
        Values from dark to bright.
    covers : bool
        Whether it lies over the annotation, not beneath.
    mirrored : tuple of int
        Axes along which it shows the slice mirrored: 0 rows, 1 columns.
    """

    kind: str
    number: int
    name: str
    index: int
    values: NDArray[np.float32]
    place: Place
    limits: tuple[float, float] = (0.0, 1.0)
    covers: bool = False
    mirrored: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class Outline:
    """Boxes (rows, columns of the whole slice) around what is explained and what counts there."""

    kind: ClassVar[str] = "explanation"
    number: ClassVar[int] = 1
    index: int
    boxes: tuple[tuple[slice, slice], ...]


@dataclass(frozen=True, slots=True)
class LevelsKnown:
    """The levels of the network, for slices of this scan."""

    levels: tuple[Level, ...]


@dataclass(frozen=True, slots=True)
class Remark:
    """A sentence on what is shown."""

    text: str


@dataclass(frozen=True, slots=True)
class InspectionDone:
    """All that was asked for is shown, as far as it can be."""


Event: TypeAlias = ScanPrepared | LevelsKnown | Picture | Outline | Remark | InspectionDone


@dataclass(frozen=True, slots=True, eq=False)
class Inspection:
    """Makes pictures of what a model does on a scan.

    Parameters
    ----------
    scan_source : ScanSource
        The scan.
    checkpoint : Checkpoint
        The model.
    class_names : sequence of str
        Names of structures 1..K.
    kept : list of NetworkProbe
        Where the network is kept for the next inspection of the same model.
    request : InspectionRequest
        What to see.
    kinds : frozenset of str
        Which of it; the other pictures are there already.
    index : int
        Slice number.
    """

    scan_source: ScanSource
    checkpoint: Checkpoint
    class_names: Sequence[str]
    kept: list[NetworkProbe]
    request: InspectionRequest
    kinds: frozenset[str]
    index: int

    def run(self, should_stop: Callable[[], bool]) -> Generator[Event, None, None]:
        """Do it; unless it was stopped, the last event is `InspectionDone`."""
        from napari_unet.learning.compatibility import as_learned
        from napari_unet.learning.network.resampling import network_size
        from napari_unet.learning.runtime import memory_errors_explained, torch_threads

        scan = yield from self.scan_source.prepare(self.checkpoint)
        card = self.checkpoint.card
        self.checkpoint.check_fits(scan.n_channels, axis=scan.axis)
        scan, _ = as_learned(scan, card)
        yield LevelsKnown(levels(card.model, network_size(scan, card.spacing_mm)))
        with memory_errors_explained(_REMEDY), torch_threads(None):
            for event in self._pictures(scan, should_stop):
                if should_stop():
                    return
                yield event
        if not should_stop():
            yield InspectionDone()

    def _pictures(
        self, scan: PreparedScan, should_stop: Callable[[], bool]
    ) -> Iterator[Picture | Outline | Remark]:
        from napari_unet.learning.inspection.probe import NetworkProbe

        if not self.kinds:
            yield Remark(READY)
            return
        if not self.kept or self.kept[0].scan is not scan:
            self.kept[:] = [NetworkProbe(self.checkpoint, scan)]
        [probe] = self.kept
        if self.kinds.intersection(OF_THE_SLICE):
            yield from self._of_the_slice(probe)
        if self.request.explanation is not None and "explanation" in self.kinds:
            yield from self._explanation(probe, self.request.explanation, should_stop)

    def _of_the_slice(self, probe: NetworkProbe) -> Iterator[Picture | Remark]:
        from napari_unet.learning.inspection.channel_grid import contrast_range

        kinds, index, request = self.kinds, self.index, self.request
        found = probe.activations(index, request.level if "level" in kinds else None)
        place, names = found.window_place, probe.scan.channel_names
        several = len(names) > 1
        if "network_input" in kinds:
            for n, values in enumerate(found.network_input):
                name = "As the model sees it" + (f": {names[n]}" if several else "")
                where, limits = found.input_place, contrast_range(values)
                yield Picture("network_input", n, name, index, values, where, limits)
        if "probabilities" in kinds:
            for value, values in enumerate(found.probabilities[1:], start=1):
                name = f"Probability: {self._class_name(value)}"
                yield Picture("probabilities", value, name, index, values, place)
        if "uncertainty" in kinds:
            yield Picture("uncertainty", 0, "Uncertainty", index, found.uncertainty, place)
        if "variation" in kinds:
            varied = self._varied(probe)
            for n, values in enumerate(varied.values):
                name = f"Varied: {request.variation}" + (f", {names[n]}" if several else "")
                limits = contrast_range(probe.scan.slices[index, n])
                yield Picture(
                    "variation",
                    n,
                    name,
                    index,
                    values,
                    place,
                    limits,
                    covers=True,
                    mirrored=varied.mirrored,
                )
        if found.features is not None:
            yield from self._of_the_level(found.features, place, probe.scan.shape)
        else:
            yield Remark(next(text for kind, text in REMARKS.items() if kind in kinds))

    def _varied(self, probe: NetworkProbe) -> VariedSlice:
        """The slice as training varies it."""
        from napari_unet.learning.inspection.augmentation_preview import augmented
        from napari_unet.learning.presets import recipe_of
        from napari_unet.learning.training.augmentation import training_range

        scan, model = probe.scan, probe.config
        return augmented(
            scan.slices[self.index],
            self.request.seed,
            self.request.variation,
            limits=training_range(model, recipe_of(model), scan.axis, self.class_names),
            aspect=scan.spacing_mm[0] / scan.spacing_mm[1],
        )

    def _of_the_level(
        self, features: FeatureMaps, place: Place, size: tuple[int, int]
    ) -> Iterator[Picture | Remark]:
        """Features, and why these; `place` and `size` are those of the slice."""
        from napari_unet.learning.inspection.channel_grid import channel_grid, contrast_range

        level = features.level
        if self.request.channel_grid:
            # Over the slice: channels of valid convolutions reach far beyond it.
            values, where = channel_grid(features, place, size)
            yield Picture("level", 0, level.title, self.index, values, where, covers=True)
            yield Remark(
                "All channels, the most telling first, each from its darkest to its brightest."
            )
            return
        rank = min(self.request.rank, level.channels - 1)
        channel = features.ranking[rank]
        name, values = f"{level.title} (channel {channel + 1})", features.values[channel]
        limits = contrast_range(values)
        yield Picture("level", 0, name, self.index, values, features.place, limits)
        measure = (
            f"{features.separability[channel]:.0%} of what it varies is between the structures "
            "that the model sees here"
            if features.n_classes > 1
            else "the model sees no structure here, so channels are ranked by how much they vary"
        )
        yield Remark(f"Rank {rank + 1} of {level.channels} most telling channels: {measure}.")

    def _explanation(
        self, probe: NetworkProbe, asked: ExplanationRequest, should_stop: Callable[[], bool]
    ) -> Iterator[Picture | Outline | Remark]:
        """Explain a decision, better and better."""
        from napari_unet.learning.inspection.explanation import explain

        found, due = None, 0.0
        for found in explain(probe, asked.index, asked.pixel, asked.method, should_stop):
            if time.monotonic() >= due:
                yield from self._explained(asked, found, f" {found.progress:.0%} done.")
                due = time.monotonic() + UPDATE_SECONDS
        if found is not None:
            missing = "what is farthest away" if asked.method == "occlusion" else "some detail"
            early = f" It ended early: {missing} is missing."
            yield from self._explained(asked, found, early if found.progress < 1 else "")

    def _explained(
        self, asked: ExplanationRequest, found: Explanation, progress: str
    ) -> Iterator[Picture | Outline | Remark]:
        name, index, values = f"Why here: {asked.method}", asked.index, found.values
        most = _rounded_up(float(np.quantile(np.abs(values), STRONG)) or 1.0)
        limits = (-most, most)
        yield Picture("explanation", 0, name, index, values, found.place, limits, covers=True)
        row, column = asked.pixel
        voxel = slice(row, row + 1), slice(column, column + 1)
        yield Outline(asked.index, (found.field, voxel))
        yield Remark(
            f"{self._class_name(found.winner)}, with probability {found.probability:.2f}. Orange "
            "speaks for it, blue against it; the box is what the model can see from there."
            + progress
        )

    def _class_name(self, value: int) -> str:
        names = ("Background", *self.class_names)
        return names[value] if value < len(names) else f"label {value}"


def _rounded_up(value: float) -> float:
    """To one significant digit, where the colour bar has a tick: .0048 becomes .005."""
    step = 10.0 ** math.floor(math.log10(value))
    return math.ceil(value / step) * step
