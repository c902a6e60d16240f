"""Take the README's pictures from the running plugin.

Run it on a desktop, or under a virtual one::

    xvfb-run -s "-screen 0 1280x800x24" python scripts/take_pictures.py docs/images
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
from napari import Viewer
from numpy.typing import NDArray
from PIL import Image
from qtpy.QtTest import QTest

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from benchmarks.speed.window import paint_slice, wait_until
from napari_unet.learning.config import TrainConfig

SIZE = (1280, 720)


def correct(session: object, truth: NDArray[np.bool_]) -> None:
    """Make the slice on screen right, and accept it."""
    index = session.segmentation.visible_index  # type: ignore[attr-defined]
    wrong = np.nonzero((session.labels.data[index] == 1) != truth[index])  # type: ignore[attr-defined]
    at = (np.full(len(wrong[0]), index), *wrong)
    session.labels.data_setitem(at, truth[index][wrong].astype(int))  # type: ignore[attr-defined]
    session.record.accept(index)  # type: ignore[attr-defined]


def main() -> None:
    """Go through the loop once and take a picture of each step."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seconds", type=float, default=TrainConfig().seconds, help="of training")
    arguments = parser.parse_args()
    arguments.folder.mkdir(parents=True, exist_ok=True)
    viewer = Viewer()
    viewer.window._qt_window.resize(*SIZE)

    def take(name: str) -> None:
        QTest.qWait(500)
        pixels = viewer.window.screenshot(canvas_only=False, flash=False)
        Image.fromarray(pixels[..., :3]).save(arguments.folder / f"{name}.png", optimize=True)

    viewer.open_sample("napari-unet-mri", "brain_metastases")
    _, widget = viewer.window.add_plugin_dock_widget("napari-unet-mri", "U-Net annotator")
    annotator = widget.annotator
    annotator.config = replace(annotator.config, seconds=arguments.seconds)
    session = annotator.session
    truth = viewer.layers["Hidden answer"].data > 0
    area = truth.sum(axis=(1, 2))
    middle = int(np.argmax(area))
    session.segmentation.go_to(middle)
    viewer.scene.camera.zoom *= 1.35
    take("1-open")

    shown = np.flatnonzero(area)
    for index in (*(int(i) for i in np.quantile(shown, (0.15, 0.4, 0.85))), middle):
        session.segmentation.go_to(index)
        paint_slice(session.labels, truth, index)
    take("2-paint")
    empty = int(np.flatnonzero(area == 0)[np.argmin(np.abs(np.flatnonzero(area == 0) - middle))])
    session.segmentation.go_to(empty)
    annotator.accept_slice()

    session.segmentation.go_to(middle + 5)
    widget.train.start.click()
    wait_until(lambda: annotator.work.running)
    QTest.qWait(int(700 * annotator.config.seconds))
    take("3-train")
    wait_until(lambda: not annotator.work.running)

    annotator.next_slice()
    take("4-correct")
    for _ in range(3):
        correct(session, truth)
        annotator.next_slice()
    widget.train.start.click()
    wait_until(lambda: not annotator.work.running)

    session.segmentation.go_to(middle + 5)
    widget.result.segment.click()
    wait_until(lambda: not annotator.work.running)
    take("5-segment")
    found = session.labels.data == 1
    done = session.record.slices_in(type(session.record.state(0)).ANNOTATED)
    others = np.setdiff1d(np.arange(len(truth)), done)
    dice = 2 * (found & truth)[others].sum() / (found[others].sum() + truth[others].sum())
    print(f"Dice on the slices nobody annotated: {dice:.2f}")  # noqa: T201
    viewer.close()


if __name__ == "__main__":
    main()
