"""``napari-unet demo``: the annotated sample in napari, or a report where there is no display."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray

from napari_unet import api
from napari_unet.cli import report
from napari_unet.cli.console import Progress, ended_by_signals, say
from napari_unet.cli.options import FLAT
from napari_unet.errors import AlreadyExistsError, SaveError, UsageError
from napari_unet.imaging.atomic import atomic_path, check_may_write, make_folder
from napari_unet.imaging.measurement import dice, measure
from napari_unet.imaging.saving import save_image
from napari_unet.imaging.scan_file import Voxels
from napari_unet.imaging.volume import Volume, shape_text
from napari_unet.learning.config import TrainConfig
from napari_unet.learning.events import Notice, StepDone, TrainEvent
from napari_unet.learning.model_card import ModelCard
from napari_unet.phantom import metastases as synthetic

N_PICTURED = 5
"""Slices in the overview picture."""

FILES = (
    "image.nii.gz",
    *("labels.nii.gz", "labels.json"),
    *("truth.nii.gz", "truth.json"),
    *("mask.nii.gz", "mask.json"),
    "model.safetensors",
    "overview.png",
    "report.html",
)
"""What the report consists of."""

NOTE = "demo.json"
"""The file beside them that says what each of them was like."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DemoOptions:
    """What ``napari-unet demo`` is told.

    Parameters
    ----------
    out : Path, optional
        Folder for the report (default: demo).
    headless : bool
        Write the report although there is a display.
    overwrite : bool
        Replace files of others in that folder too.
    seconds : float
        Training time.
    """

    out: Path | None = None
    headless: bool = False
    overwrite: bool = False
    seconds: float = TrainConfig().seconds


def demo(options: Annotated[DemoOptions | None, FLAT] = None) -> None:
    """Show it on a synthetic brain: in napari, or as a report."""
    options = options or DemoOptions()
    config = TrainConfig(seconds=options.seconds)
    if options.headless or not has_display():
        with ended_by_signals():
            try:
                write_report(
                    options.out or Path("demo"),
                    synthetic.make_phantom(),
                    config,
                    overwrite=options.overwrite,
                )
            except AlreadyExistsError as error:
                raise SaveError(
                    f"{error.path} is not of an earlier demo, or was changed since. Choose another "
                    "--out, or replace it: --overwrite."
                ) from error
        return
    if options.out is not None or options.overwrite:
        raise UsageError(
            "--out and --overwrite say where the report goes, but here a window opens: add "
            "--headless for the report, or leave them out."
        )
    from napari_unet.plugin.demo import open_demo

    say("Opening napari; `napari-unet demo --headless` writes a report instead.")
    open_demo(config)


def has_display() -> bool:
    """Whether a window can be opened here, and would be seen."""
    if os.environ.get("CI"):
        return False
    bindings = ("PyQt6", "PySide6", "PyQt5", "PySide2")
    if not any(importlib.util.find_spec(name) for name in bindings):
        return False
    if sys.platform.startswith("linux"):
        return bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))
    return True


class _Folder:
    """The folder of a report, in which an earlier report is replaced, and nothing else.

    A note of every file's checksum is kept there, by which they are known again: what is
    not in it, or was changed since, belongs to somebody.

    Parameters
    ----------
    path : Path
        The folder; it is made where there is none.
    overwrite : bool
        Whether the files of others may be replaced too.

    Raises
    ------
    SaveError
        If there is one of them that may not, or the folder cannot be written to.
    """

    def __init__(self, path: Path, *, overwrite: bool) -> None:
        make_folder(path)
        self.path = path
        self._sums = self._noted()
        self._replaceable = {name for name in FILES if overwrite or self._is_known(name)}
        for name in FILES:
            check_may_write(path / name, overwrite=name in self._replaceable)
        check_may_write(path / NOTE, overwrite=overwrite or bool(self._sums))

    def save(self, name: str, save: Callable[[Path, bool], object]) -> Path:
        """Write one of `FILES`, and note it.

        Parameters
        ----------
        name : str
            Which one.
        save : callable
            Writes it; given its path and whether it may replace a file.
        """
        save(self.path / name, name in self._replaceable)
        beside = name.removesuffix(".nii.gz") + ".json"
        for written in {name, beside} & set(FILES):
            self._sums[written] = _checksum(self.path / written)
        with atomic_path(self.path / NOTE) as temporary:
            temporary.write_text(json.dumps({"Files": self._sums}, indent=2), encoding="utf-8")
        return self.path / name

    def _is_known(self, name: str) -> bool:
        try:
            return self._sums.get(name) == _checksum(self.path / name)
        except OSError:  # there is none, or it cannot be read
            return False

    def _noted(self) -> dict[str, str]:
        try:
            noted = json.loads((self.path / NOTE).read_text(encoding="utf-8"))["Files"]
            return {str(name): str(found) for name, found in noted.items()}
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return {}


def _checksum(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


@dataclass(frozen=True, slots=True, eq=False)
class _Result:
    """All that the report tells; arrays (z, y, x) in display order."""

    volume: Volume
    truth: NDArray[np.uint8]
    annotated: tuple[int, ...]
    prediction: NDArray[np.unsignedinteger]
    card: ModelCard
    config: TrainConfig

    @property
    def unseen(self) -> list[int]:
        """Slices that the model did not learn from."""
        return [z for z in range(len(self.truth)) if z not in self.annotated]


def write_report(
    out: Path, phantom: synthetic.Phantom, config: TrainConfig, *, overwrite: bool = False
) -> None:
    """Train on a few slices of a phantom, segment it, and tell how well that went.

    Writes `FILES` into `out`. Those of an earlier report are replaced, unless somebody has
    changed them; other files only with `overwrite`.
    """
    folder = _Folder(out, overwrite=overwrite)
    labels, annotated = synthetic.annotated_example(phantom)
    grid = phantom.volume.grid
    # Whole numbers, as scanners store them; then everything starts from the file.
    image = np.rint(phantom.volume.data[0]).clip(0).astype(np.uint16)
    stored = Voxels(grid.to_source(image))

    def save_mask(name: str, mask: NDArray[Any]) -> None:
        folder.save(name, lambda path, over: api.save_mask(mask, grid, path, overwrite=over))

    folder.save("image.nii.gz", lambda path, over: save_image(stored, grid, path, overwrite=over))
    save_mask("labels.nii.gz", labels)
    save_mask("truth.nii.gz", phantom.truth)
    volume = api.load_volume(out / "image.nii.gz")

    slices = [grid.flip_index(0, z) for z in annotated]
    say(f"Training on {len(annotated)} of {len(labels)} slices for {config.seconds:.0f} s ...")
    with Progress("Training") as progress:

        def show(event: TrainEvent) -> None:
            if isinstance(event, StepDone):
                progress.update(event.progress, f"step {event.step}, loss {event.loss:.3f}")
            elif isinstance(event, Notice):
                progress.note(event.text)

        checkpoint = api.train(
            volume,
            labels,
            slices=slices,
            axis="axial",
            class_names=[synthetic.CLASS_NAME],
            config=config,
            progress=show,
        )
    folder.save("model.safetensors", lambda path, over: checkpoint.save(path, overwrite=over))
    prediction = api.segment(volume, checkpoint, labels=labels, slices=slices)
    save_mask("mask.nii.gz", prediction)
    result = _Result(volume, phantom.truth, annotated, prediction, checkpoint.card, config)
    folder.save("overview.png", partial(_draw_overview, result))
    folder.save("report.html", partial(_write_page, result))
    score = dice(prediction[result.unseen], phantom.truth[result.unseen], 1)
    say(f"Dice on the {len(result.unseen)} slices that were not annotated: {score:.2f}")
    say(f"Open {out / 'report.html'}")


def _write_page(result: _Result, path: Path, overwrite: bool) -> None:
    page = report.render(_tell(result, path.parent))
    with atomic_path(path, overwrite=overwrite) as temporary:
        temporary.write_text(page, encoding="utf-8", errors="backslashreplace")


def _draw_overview(result: _Result, path: Path, overwrite: bool) -> None:
    slices = report.interesting_slices(result.truth, N_PICTURED, without=result.annotated)
    picture = report.draw(
        result.volume.data[0],
        result.truth,
        result.prediction,
        slices or [len(result.truth) // 2],
        result.volume.spacing_mm,
        f"{synthetic.CLASS_NAME.capitalize()}: slices that were not annotated",
    )
    with atomic_path(path, overwrite=overwrite) as temporary:
        picture.save(temporary, format="PNG")


def _tell(result: _Result, out: Path) -> report.Report:
    """Gather what the report says."""
    spacing, card, made = result.volume.spacing_mm, result.card, result.card.provenance
    names = card.class_names
    structures = [
        report.StructureResult(
            truth=truth,
            prediction=found,
            dice_unseen=dice(
                result.prediction[result.unseen], result.truth[result.unseen], truth.value
            ),
        )
        for truth, found in zip(
            measure(result.truth, spacing, names),
            measure(result.prediction, spacing, names),
            strict=True,
        )
    ]
    pixel_cm2 = spacing[1] * spacing[2] / 100
    areas = [
        (np.count_nonzero(labels, axis=(1, 2)) * pixel_cm2).tolist()
        for labels in (result.truth, result.prediction)
    ]
    shape = shape_text(result.volume.grid.shape)
    numbers = ",".join(
        str(z) for z in sorted(result.volume.grid.flip_index(0, z) for z in result.annotated)
    )
    return report.Report(
        title="Segmenting a brain from a few annotated slices",
        summary=(
            f"A U-Net learned from {len(result.annotated)} of {len(result.truth)} slices of a "
            f"synthetic contrast-enhanced MRI in {made.seconds:.0f} seconds, then segmented all of "
            "it. Its truth is known, so the result can be scored."
        ),
        structures=structures,
        profile=(areas[0], areas[1]),
        annotated=result.annotated,
        settings=[
            ("scan", f"{shape} voxels of {' x '.join(f'{s:g}' for s in spacing[::-1])} mm"),
            ("annotated slices", ", ".join(map(str, result.annotated))),
            ("training", f"{made.seconds:.0f} s, {made.steps} steps, seed {result.config.seed}"),
            (
                "network",
                f"{result.config.preset}: U-Net of width {card.model.width}, "
                f"{card.model.levels} levels, stride {card.model.stride}",
            ),
            ("processor", f"{os.cpu_count()} cores"),
            ("made", f"{made.created[:16].replace('T', ' ')} UTC with {made.software}"),
        ],
        files=[
            ("mask.nii.gz", "the prediction, on the grid of the image"),
            ("model.safetensors", "the trained model"),
            ("overview.png", "the picture above"),
            ("image.nii.gz", "the scan"),
            ("labels.nii.gz", "the annotated slices"),
            ("truth.nii.gz", "what the prediction is compared with"),
            (NOTE, "what these files were like: the next demo replaces no others"),
        ],
        picture=out / "overview.png",
        commands=[
            f"napari-unet train --image {out / 'image.nii.gz'} --labels {out / 'labels.nii.gz'} \\",
            f"    --axis axial --slices {numbers} --out model.safetensors",
            "napari-unet segment --model model.safetensors --out mask.nii.gz "
            f"{out / 'image.nii.gz'}",
        ],
    )
