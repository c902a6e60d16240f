"""What a cross-validated stack of electron micrographs comes to: rows, errors, pictures."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from benchmarks.common.report import Row
from benchmarks.paper import metrics
from benchmarks.paper.micrographs import Stack

PUBLISHED = {"pixel": 0.0611, "rand": 0.0382, "warping": 0.000353}
"""Errors of the paper on the test slices of the challenge."""

ERRORS = list(PUBLISHED)


class Gatherer:
    """Collects the predictions of a stack, fold by fold.

    Parameters
    ----------
    stack : Stack
        Slices and truth.
    """

    def __init__(self, stack: Stack) -> None:
        self._stack = stack
        self._counts: dict[int, dict[float, metrics.SliceCounts]] = {}
        self._probability: dict[int, NDArray[np.float32]] = {}

    def add(self, indices: Sequence[int], probability: NDArray[np.float32]) -> Iterator[Row]:
        """Compare the slices (n, h, w) of a fold with the truth; yield a row for each."""
        counts = {
            int(z): metrics.count(self._stack.cells[z], each)
            for z, each in zip(indices, probability, strict=True)
        }
        chosen = metrics.best(metrics.pooled(list(counts.values())))
        for z, each in zip(counts, probability, strict=True):
            self._probability[z] = each
            row: Row = {"slice": z}
            for name, (_, threshold) in chosen.items():
                row[name] = counts[z][threshold].errors[name]
            for name in chosen:
                row[f"{name}_at"] = chosen[name][1]
            for name in chosen:
                row[f"{name}_half"] = counts[z][0.5].errors[name]
            yield row
        self._counts |= counts

    def errors(self) -> Row:
        """Errors of all slices together: at the best thresholds, these, and at 0.5."""
        total = metrics.pooled(list(self._counts.values()))
        row: Row = {}
        for name, (error, threshold) in metrics.best(total).items():
            row[name], row[f"{name}_at"] = error, threshold
            row[f"{name}_half"] = total[0.5].errors[name]
        return row

    def pictures(self, title: str) -> Callable[[object], None]:
        """Draw the slices with the smallest and the largest Rand error, at its best threshold."""
        total = metrics.pooled(list(self._counts.values()))
        threshold = metrics.best(total)["rand"][1]
        error = {z: each[threshold].errors["rand"] for z, each in self._counts.items()}
        shown = {
            "best": min(error, key=error.__getitem__),
            "worst": max(error, key=error.__getitem__),
        }

        def draw(figure: object) -> None:
            figure.set_size_inches(13, 7)  # type: ignore[attr-defined]
            axes = figure.subplots(2, 4)  # type: ignore[attr-defined]
            for row, (word, z) in zip(axes, shown.items(), strict=True):
                truth, probability = self._stack.cells[z], self._probability[z]
                predicted = probability > threshold
                difference = np.stack(
                    [truth & predicted, truth & predicted, truth & predicted], axis=-1
                ).astype(np.float32)
                difference[truth & ~predicted] = (0.9, 0.3, 0.1)  # membrane too many
                difference[~truth & predicted] = (0.1, 0.4, 0.9)  # membrane missed
                pictures = {
                    f"{word}: slice {z}": self._stack.image[z],
                    "truth": truth,
                    "probability of cell": probability,
                    f"Rand error {error[z]:.4f} at {threshold:g}": difference,
                }
                for axis, (name, picture) in zip(row, pictures.items(), strict=True):
                    axis.imshow(picture, cmap="gray", interpolation="nearest")
                    axis.set_title(name, fontsize=10)
                    axis.axis("off")
            figure.suptitle(f"{title} (red: membrane too many, blue: membrane missed)")  # type: ignore[attr-defined]

        return draw


def table(results: Sequence[Row]) -> str:
    """Errors of each stack beside the published ones."""
    keys = ["method", "variant", "way", "seconds", "seed"]
    errors = ERRORS
    heads = [*keys, *(f"{name} (at)" for name in errors), *(f"{name} at 0.5" for name in errors)]
    lines = ["| " + " | ".join(heads) + " |", "|---" * len(heads) + "|"]
    published = [f"{value:g}" for value in PUBLISHED.values()]
    lines.append(
        "| " + " | ".join(["paper, published", *"–" * 4, *published, *"–" * len(errors)]) + " |"
    )
    for row in results:
        cells = [f"{row[key]:g}" if isinstance(row[key], float) else str(row[key]) for key in keys]
        cells += [f"{_short(name, row[name])} ({row[f'{name}_at']:g})" for name in errors]
        cells += [_short(name, row[f"{name}_half"]) for name in errors]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _short(name: str, error: str | int | float) -> str:
    return f"{error:.{6 if name == 'warping' else 4}f}"
