"""``napari-unet demo``: the annotated sample in napari, or a report where there is no display."""

from __future__ import annotations

import importlib.util
import os
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from napari_unet import api, overview, report, synthetic
from napari_unet.console import Progress, say
from napari_unet.errors import SaveError
from napari_unet.imaging.atomic import atomic_path
from napari_unet.imaging.measurement import dice, measure
from napari_unet.imaging.saving import save_image
from napari_unet.imaging.scan_file import Voxels
from napari_unet.imaging.volume import Volume, shape_text
from napari_unet.learning.config import ModelCard, TrainConfig
from napari_unet.learning.events import Notice, StepDone, TrainEvent

SECONDS = 60.0
"""Training time: with everything else under two minutes on two cores."""

N_PICTURED = 5
"""Slices in the overview."""


def run(out: Path, *, headless: bool = False, seconds: float = SECONDS) -> None:
    """Show the plugin on a synthetic brain with metastases.

    Parameters
    ----------
    out : Path
        Folder for the report.
    headless : bool
        Write the report although there is a display.
    seconds : float
        Training time of the report.
    """
    if headless or not has_display():
        _make_folder(out)  # before the work, in case it cannot be made
        write_report(out, synthetic.make_phantom(), TrainConfig(seconds=seconds))
        return
    from napari_unet.plugin.demo import open_demo

    say("Opening napari; `napari-unet demo --headless` writes a report instead.")
    open_demo()


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


def _make_folder(out: Path) -> None:
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SaveError(f"Cannot make the folder {out}: {error.strerror}.") from error


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


def write_report(out: Path, phantom: synthetic.Phantom, config: TrainConfig) -> None:
    """Train on a few slices of a phantom, segment it, and tell how well that went.

    Writes image, labels, truth, mask, model, overview and report into `out`.
    """
    _make_folder(out)
    labels, annotated = synthetic.annotated_example(phantom)
    grid = phantom.volume.grid
    # Whole numbers, as scanners store them; then everything starts from the file.
    image = np.rint(phantom.volume.data[0]).clip(0).astype(np.uint16)
    save_image(Voxels(grid.to_source(image)), grid, out / "image.nii.gz", overwrite=True)
    for name, array in (("labels", labels), ("truth", phantom.truth)):
        api.save_mask(array, grid, out / f"{name}.nii.gz", overwrite=True)
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
    checkpoint.save(out / "model.safetensors")
    prediction = api.segment(volume, checkpoint, labels=labels, slices=slices)
    api.save_mask(prediction, grid, out / "mask.nii.gz", overwrite=True)
    result = _Result(volume, phantom.truth, annotated, prediction, checkpoint.card, config)
    _draw_overview(result, out / "overview.png")
    page = report.render(_tell(result, out))
    with atomic_path(out / "report.html") as temporary:
        temporary.write_text(page, encoding="utf-8")
    score = dice(prediction[result.unseen], phantom.truth[result.unseen], 1)
    say(f"Dice on the {len(result.unseen)} slices that were not annotated: {score:.2f}")
    say(f"Open {out / 'report.html'}")


def _draw_overview(result: _Result, path: Path) -> None:
    slices = overview.interesting_slices(result.truth, N_PICTURED, without=result.annotated)
    picture = overview.draw(
        result.volume.data[0],
        result.truth,
        result.prediction,
        slices or [len(result.truth) // 2],
        result.volume.spacing_mm,
        f"{synthetic.CLASS_NAME.capitalize()}: slices that were not annotated",
    )
    with atomic_path(path) as temporary:
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
        ],
        picture=out / "overview.png",
        commands=[
            f"napari-unet train --image {out / 'image.nii.gz'} --labels {out / 'labels.nii.gz'} \\",
            f"    --axis axial --slices {numbers} --out model.safetensors",
            "napari-unet segment --model model.safetensors --out mask.nii.gz "
            f"{out / 'image.nii.gz'}",
        ],
    )
