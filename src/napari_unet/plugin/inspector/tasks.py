"""What a look inside does in the background: pictures of a slice, and explanations of a voxel.

torch is imported here, in the thread, the first time it is needed.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from napari_unet.learning.inspection.channel_grid import channel_grid, shown_range
from napari_unet.learning.inspection.levels import Place
from napari_unet.plugin.app.tasks import ScanPrepared, ScanSource

if TYPE_CHECKING:
    from napari_unet.learning.inspection.explanation import Explanation
    from napari_unet.learning.inspection.levels import Level
    from napari_unet.learning.inspection.probe import FeatureMaps, NetworkProbe, SliceActivations
    from napari_unet.learning.network.checkpoint import Checkpoint
    from napari_unet.learning.preparation import PreparedScan

Method: TypeAlias = Literal["gradient", "occlusion"]

UPDATE_SECONDS = 0.25
"""An explanation under way is shown this often."""

_REMEDY = "Close other programs, or look into a narrower network."


@dataclass(frozen=True, slots=True)
class InspectionRequest:
    """What to see of a slice.

    Parameters
    ----------
    given : bool
        The network's input.
    probabilities, uncertainty : bool
        Its opinion, and how unsure it is.
    level : str
        Name of the level whose features to see; empty: none.
    grid : bool
        All of its channels, the most telling first; else one of them.
    rank : int
        Which one: 0 for the most telling.
    variation : str
        How to vary the slice as training does, see `augmentation_preview`; empty: not.
    seed : int
        Which variation of that kind.
    """

    given: bool = False
    probabilities: bool = False
    uncertainty: bool = False
    level: str = ""
    grid: bool = False
    rank: int = 0
    variation: str = ""
    seed: int = 0

    @property
    def empty(self) -> bool:
        """Whether nothing is to be seen."""
        return not (
            self.given or self.probabilities or self.uncertainty or self.level or self.variation
        )


@dataclass(frozen=True, slots=True, eq=False)
class Picture:
    """Something to be laid over a slice of the scan.

    Parameters
    ----------
    key : str
        ``given``, ``features``, ``probability``, ``uncertainty`` or ``varied``.
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
        Whether it hides even the annotation, which lies elsewhere in it.
    """

    key: str
    number: int
    name: str
    index: int
    values: NDArray[np.float32]
    place: Place
    limits: tuple[float, float]
    covers: bool = False


@dataclass(frozen=True, slots=True)
class LevelsKnown:
    """The levels of the network, for slices of this scan."""

    levels: tuple[Level, ...]


@dataclass(frozen=True, slots=True, eq=False)
class InspectionDone:
    """All pictures of a slice have been given; a remark on them, perhaps."""

    remark: str


@dataclass(frozen=True, slots=True, eq=False)
class Inspector:
    """The work of looking into one model over one scan; keeps the network for the next look.

    Parameters
    ----------
    scan_source : ScanSource
        The scan.
    checkpoint : Checkpoint
        The model.
    class_names : sequence of str
        Names of structures 1..K.
    kept : list of NetworkProbe
        Where the network is kept, with its scan; share it between lookers of one model.
    """

    scan_source: ScanSource
    checkpoint: Checkpoint
    class_names: Sequence[str]
    kept: list[NetworkProbe]

    def inspect(
        self, index: int, request: InspectionRequest, should_stop: Callable[[], bool]
    ) -> Generator[ScanPrepared | LevelsKnown | Picture | InspectionDone, None, None]:
        """Show what is requested for of a slice."""
        from napari_unet.learning.inspection.levels import levels
        from napari_unet.learning.network.resampling import network_size
        from napari_unet.learning.runtime import memory_errors_explained, torch_threads

        scan = yield from self._scan()
        card = self.checkpoint.card
        known = levels(card.model, network_size(scan, card.spacing_mm))
        yield LevelsKnown(known)
        if request.level not in {level.name for level in known}:  # of a deeper model, before
            request = replace(request, level="")
        if request.empty or should_stop():
            return
        with memory_errors_explained(_REMEDY), torch_threads(None):
            activations = self._probe(scan).activations(index, request.level or None)
        if should_stop():
            return
        yield from self._pictures(index, request, activations)
        yield InspectionDone(
            _remark(request)
            if activations.features is None
            else _rank(activations.features, request)
        )

    def explain(
        self, index: int, pixel: tuple[int, int], method: Method, should_stop: Callable[[], bool]
    ) -> Generator[ScanPrepared | Explanation, None, None]:
        """Explain the decision about a pixel of the whole slice, better and better."""
        from napari_unet.learning.inspection.explanation import by_gradient, by_occlusion
        from napari_unet.learning.runtime import memory_errors_explained, torch_threads

        scan = yield from self._scan()
        with memory_errors_explained(_REMEDY), torch_threads(None):
            how = by_gradient if method == "gradient" else by_occlusion
            last, due = None, 0.0
            for last in how(self._probe(scan), index, pixel, should_stop=should_stop):
                if time.monotonic() >= due:
                    yield last
                    last, due = None, time.monotonic() + UPDATE_SECONDS
            if last is not None:
                yield last

    def _scan(self) -> Generator[ScanPrepared, None, PreparedScan]:
        """Prepare the scan, its sequences in the order of the model."""
        from napari_unet.learning.compatibility import as_learned

        scan = yield from self.scan_source.prepare(self.checkpoint)
        self.checkpoint.check_fits(scan.n_channels, axis=scan.axis)
        return as_learned(scan, self.checkpoint.card)[0]

    def _probe(self, scan: PreparedScan) -> NetworkProbe:
        from napari_unet.learning.inspection.probe import NetworkProbe

        if not self.kept or self.kept[0].scan is not scan:
            self.kept[:] = [NetworkProbe(self.checkpoint, scan)]
        return self.kept[0]

    def _pictures(
        self, index: int, request: InspectionRequest, activations: SliceActivations
    ) -> Iterator[Picture]:
        if request.given:
            for number, values in enumerate(activations.given):
                name = "As the model sees it"
                if len(activations.given) > 1:
                    name += f": {self.kept[0].scan.channel_names[number]}"
                yield Picture(
                    "given",
                    number,
                    name,
                    index,
                    values,
                    activations.given_place,
                    shown_range(values),
                )
        if request.probabilities:
            for value, values in enumerate(activations.probabilities[1:], start=1):
                name = f"Probability: {self._class_name(value)}"
                yield Picture(
                    "probability", value, name, index, values, activations.opinion_place, (0.0, 1.0)
                )
        if request.uncertainty:
            yield Picture(
                "uncertainty",
                0,
                "Uncertainty",
                index,
                activations.uncertainty,
                activations.opinion_place,
                (0.0, 1.0),
            )
        if request.variation:
            yield from self._varied(index, request, activations.opinion_place)
        if activations.features is not None:
            yield _features_picture(activations, activations.features, request, index)

    def _varied(self, index: int, request: InspectionRequest, place: Place) -> Iterator[Picture]:
        from napari_unet.learning.inspection.augmentation_preview import augmented
        from napari_unet.learning.presets import recipe_of
        from napari_unet.learning.training.augmentation import training_range

        (probe,) = self.kept
        scan, model = probe.scan, self.checkpoint.card.model
        image = scan.slices[index]
        ranges = training_range(model, recipe_of(model), scan.axis, self.class_names)
        varied, _ = augmented(
            image,
            np.zeros(image.shape[1:], np.uint8),
            request.seed,
            request.variation,
            limits=ranges,
            aspect=scan.spacing_mm[0] / scan.spacing_mm[1],
        )
        for number, values in enumerate(varied):
            name = f"Varied: {request.variation}"
            if len(varied) > 1:
                name += f", {scan.channel_names[number]}"
            limits = shown_range(image[number])
            yield Picture("varied", number, name, index, values, place, limits, covers=True)

    def _class_name(self, value: int) -> str:
        return self.class_names[value - 1] if value <= len(self.class_names) else f"label {value}"


def _features_picture(
    activations: SliceActivations, features: FeatureMaps, request: InspectionRequest, index: int
) -> Picture:
    name = features.level.title
    name = name[0].upper() + name[1:]
    if request.grid:
        # Over the slice: channels of valid convolutions reach far beyond it.
        over = (
            activations.opinion_place,
            (activations.uncertainty.shape[0], activations.uncertainty.shape[1]),
        )
        values, place = channel_grid(
            features.values, features.ranking, features.place.scale_mm, *over
        )
        return Picture("features", 0, name, index, values, place, (0.0, 1.0), covers=True)
    channel = features.ranking[min(request.rank, features.level.channels - 1)]
    values = features.values[channel]
    name += f" (channel {channel + 1})"
    return Picture("features", 0, name, index, values, features.place, shown_range(values))


def _remark(request: InspectionRequest) -> str:
    """Say how to read what is requested for, feature maps aside."""
    if request.variation:
        return "The slice as training may see it. Choose the same again for another draw."
    if request.uncertainty:
        return "Uncertainty: bright where the model cannot decide, black where it is sure."
    if request.probabilities:
        return "Probabilities: the stronger the colour, the surer the model of that structure."
    return "Exactly what the network is given: cropped, normalised, filled up at the borders."


def _rank(features: FeatureMaps, request: InspectionRequest) -> str:
    """Say which channels are shown, and why these."""
    if request.grid:
        return "All channels, the most telling first, each from its darkest to its brightest."
    rank = min(request.rank, features.level.channels - 1)
    share = features.telling[features.ranking[rank]]
    measure = (
        f"{share:.0%} of what it varies is between the structures that the model sees here"
        if features.classes > 1
        else "the model sees no structure here, so channels are ranked by how much they vary"
    )
    return f"Rank {rank + 1} of {features.level.channels} most telling channels: {measure}."
