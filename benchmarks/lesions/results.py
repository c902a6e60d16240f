"""What `time_points` makes of its measurements: tables, the figure, pictures of lesions."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from skimage.measure import label

from benchmarks.common.cases import Case
from benchmarks.common.report import Row
from benchmarks.lesions.metrics import SIZES_MM, size_bin

LARGE_FROM_MM = 10.0
"""Diameter from which the volume of a lesion is asked for."""

WINDOW_MM = 80.0
"""Side of the pictures, around a lesion."""

PICTURED = 6
"""At most so many scans get pictures."""

_COLOURS = {"agreed": (0.2, 0.8, 0.3), "missed": (0.2, 0.5, 1.0), "too much": (1.0, 0.3, 0.2)}

Draw = Callable[[Any], None]


def tables(lesions: Sequence[Row], outlines: Sequence[Row]) -> dict[str, str]:
    """Make the tables: title -> Markdown.

    Parameters
    ----------
    lesions, outlines : sequence of dict
        Rows with the fields of `LesionScore` and `Outline`, and loss and size.
    """
    losses = list(dict.fromkeys(row["loss"] for row in lesions))
    by_size, large, shape = [], [], []
    for size in (size_bin(mm) for mm in SIZES_MM):
        for loss in losses:
            some = [row for row in lesions if (row["loss"], row["size"]) == (loss, size)]
            if some:
                numbers = [quartiles(some, key) for key in ("dice", "assd_mm", "hd95_mm")]
                surface = quartiles(some, "surface_dice")
                by_size.append([size, loss, len(some), _percent(some, "found"), *numbers, surface])
    for loss in losses:
        some = [
            row
            for row in lesions
            if row["loss"] == loss and float(row["diameter_mm"]) >= LARGE_FROM_MM
        ]
        large.append([loss, len(some), quartiles(some, "volume_ratio"), _pooled(some)])
        pairs = [
            {**row, "rounder": float(row["predicted"]) - float(row["true"])}
            for row in outlines
            if row["loss"] == loss
        ]
        numbers = [quartiles(pairs, key) for key in ("true", "predicted", "rounder")]
        share = _percent([{"up": row["rounder"] > 0} for row in pairs], "up")
        shape.append([loss, len(pairs), *numbers, share])
    return {
        "Lesions by diameter: median (quartiles); boundary errors of those found": _markdown(
            ["diameter", "loss", "lesions", "found", "Dice", "ASSD mm", "HD95 mm", "surface Dice"],
            by_size,
        ),
        f"Volume of lesions of {LARGE_FROM_MM:g} mm or more: predicted / true": _markdown(
            ["loss", "lesions", "median (quartiles)", "all together"], large
        ),
        "Circularity of outlines, paired slice by slice: median (quartiles)": _markdown(
            ["loss", "slices", "true", "predicted", "predicted - true", "rounder than true"], shape
        ),
    }


def quartiles(rows: Sequence[Row], key: str) -> str:
    """``median (first to third quartile)`` of the numbers in a column; a dash if there are none."""
    known = [float(row[key]) for row in rows if not math.isnan(float(row[key]))]
    if not known:
        return "–"
    low, middle, high = np.quantile(known, (0.25, 0.5, 0.75))
    return f"{middle:.2f} ({low:.2f} to {high:.2f})"


def failures_plot(lesions: Sequence[Row], outlines: Sequence[Row]) -> Draw:
    """Three panels: found by diameter, volume ratio by diameter, predicted against true circles."""

    def draw(figure: Any) -> None:
        found, volume, shape = figure.subplots(1, 3)
        sizes = [size_bin(mm) for mm in SIZES_MM]
        for number, loss in enumerate(dict.fromkeys(row["loss"] for row in lesions)):
            colour = f"C{number}"
            own = [row for row in lesions if row["loss"] == loss]
            bins = [[row["found"] for row in own if row["size"] == size] for size in sizes]
            share = [np.mean(each) if each else math.nan for each in bins]
            found.plot(sizes, share, "o-", color=colour, label=loss)
            ratios = [(row["diameter_mm"], row["volume_ratio"]) for row in own]
            volume.plot(*zip(*ratios, strict=True), ".", color=colour, alpha=0.6)
            pairs = [(row["true"], row["predicted"]) for row in outlines if row["loss"] == loss]
            if pairs:
                shape.plot(*zip(*pairs, strict=True), ".", color=colour, alpha=0.3)
        found.set(title="found, by diameter", ylim=(-0.03, 1.03))
        found.tick_params(axis="x", rotation=30)
        found.legend()
        volume.axhline(1, color="grey", lw=1)
        volume.set(
            title="predicted / true volume, up to 2.5", xlabel="diameter in mm", ylim=(-0.05, 2.5)
        )
        shape.axline((1, 1), slope=1, color="grey", lw=1)
        shape.set(
            title="circularity of outlines", xlabel="true", ylabel="predicted",
            xlim=(0.2, 1.15), ylim=(0.2, 1.15), aspect="equal",
        )  # fmt: skip
        for axis in (found, volume, shape):
            axis.grid(alpha=0.3)

    return draw


class Pictures:
    """The first predictions of each loss on a few scans, for pictures."""

    def __init__(self) -> None:
        self._kept: dict[str, tuple[Case, dict[str, NDArray[np.uint8]]]] = {}

    def keep(self, case: Case, loss: str, labels: NDArray[np.uint8]) -> None:
        """Keep a prediction (z, y, x), if it is the first of its kind."""
        if case.name in self._kept or len(self._kept) < PICTURED:
            self._kept.setdefault(case.name, (case, {}))[1].setdefault(loss, labels)

    def figures(self) -> Iterator[tuple[str, tuple[float, float], Draw]]:
        """Give a name for the file, the size in inches and what draws it, for each scan."""
        for case, predictions in self._kept.values():
            if chosen := _examples(case):
                size = (2.4 * (2 + len(predictions)), 2.6 * len(chosen) + 0.4)
                name = re.sub(r"[^\w.-]+", "-", case.name)
                yield name, size, _triplets(case, predictions, chosen)


def _triplets(
    case: Case, predictions: dict[str, NDArray[np.uint8]], chosen: Sequence[tuple[int, int, int]]
) -> Draw:
    """Draw a row a lesion: image, truth, the prediction of each loss."""

    def draw(figure: Any) -> None:
        columns = 2 + len(predictions)
        axes = figure.subplots(len(chosen), columns, squeeze=False)
        data, spacing = case.volume.data[0], case.volume.spacing_mm
        brightest = np.percentile(data, 99.7)
        for row, (z, y, x) in zip(axes, chosen, strict=True):
            half = [round(WINDOW_MM / 2 / mm) for mm in spacing[1:]]
            window = tuple(
                slice(max(0, at - reach), at + reach)
                for at, reach in zip((y, x), half, strict=True)
            )
            truth = case.truth[z][window] > 0
            shown = [
                None,
                (truth, truth),
                *((truth, each[z][window] > 0) for each in predictions.values()),
            ]
            for axis, masks in zip(row, shown, strict=True):
                axis.imshow(
                    data[z][window],
                    cmap="gray",
                    vmin=0,
                    vmax=brightest,
                    aspect=spacing[1] / spacing[2],
                )
                if masks:
                    axis.imshow(_overlay(*masks), aspect=spacing[1] / spacing[2])
                axis.set_axis_off()
        titles = ["image", "truth", *predictions]
        for axis, title in zip(axes[0], titles, strict=True):
            axis.set_title(title)
        figure.suptitle(f"{case.name}: green agreed, blue missed, red too much", fontsize=9)

    return draw


def _overlay(truth: NDArray[np.bool_], predicted: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Colours and opacity (h, w, 4) of a prediction against the truth."""
    layer = np.zeros((*truth.shape, 4))
    layer[truth & predicted, :3] = _COLOURS["agreed"]
    layer[truth & ~predicted, :3] = _COLOURS["missed"]
    layer[predicted & ~truth, :3] = _COLOURS["too much"]
    layer[truth | predicted, 3] = 0.5
    return layer


def _examples(case: Case) -> list[tuple[int, int, int]]:
    """Find the middles (z, y, x) of the largest, the median and the smallest lesion."""
    pieces, n = label(case.truth > 0, return_num=True)
    order = np.argsort(np.bincount(pieces.ravel(), minlength=n + 1)[1:])[::-1] + 1
    chosen = dict.fromkeys(int(order[at]) for at in (0, n // 2, n - 1)) if n else {}
    middles = []
    for number in chosen:
        places = np.argwhere(pieces == number)
        # A voxel of the lesion, in the slice that shows most of it.
        z = int(np.argmax(np.bincount(places[:, 0])))
        y, x = np.median(places[places[:, 0] == z], axis=0)[1:]
        middles.append((z, int(y), int(x)))
    return middles


def _percent(rows: Sequence[Row], key: str) -> str:
    return f"{np.mean([bool(row[key]) for row in rows]):.0%}" if rows else "–"


def _pooled(rows: Sequence[Row]) -> str:
    """Predicted over true volume of all lesions together."""
    true = [float(row["diameter_mm"]) ** 3 for row in rows]
    predicted = [mm3 * float(row["volume_ratio"]) for mm3, row in zip(true, rows, strict=True)]
    return f"{sum(predicted) / sum(true):.2f}" if rows else "–"


def _markdown(header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines)
