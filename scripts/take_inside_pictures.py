"""Take the pictures of "Look inside" from the running plugin.

Run it on a desktop, or under a virtual one::

    xvfb-run -s "-screen 0 1280x800x24" python scripts/take_inside_pictures.py docs/images
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
from napari import Viewer
from PIL import Image
from qtpy.QtCore import QPoint, Qt
from qtpy.QtTest import QTest
from scipy.ndimage import distance_transform_edt

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from benchmarks.speed.window import wait_until
from napari_unet.learning.config import TrainConfig
from scripts.take_pictures import SIZE


def main() -> None:
    """Train on the annotated sample, look inside, and take a picture of each kind."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seconds", type=float, default=TrainConfig().seconds, help="of training")
    arguments = parser.parse_args()
    arguments.folder.mkdir(parents=True, exist_ok=True)
    viewer = Viewer()
    viewer.window._qt_window.resize(*SIZE)

    def take(name: str) -> None:
        QTest.qWait(600)
        wait_until(lambda: not panel.controller.busy)
        QTest.qWait(600)
        pixels = viewer.window.screenshot(canvas_only=False, flash=False)
        Image.fromarray(pixels[..., :3]).save(arguments.folder / f"{name}.png", optimize=True)

    viewer.open_sample("napari-unet-mri", "brain_metastases_annotated")
    _, widget = viewer.window.add_plugin_dock_widget("napari-unet-mri", "U-Net annotator")
    annotator = widget.annotator
    QTest.qWait(200)
    annotator.config = type(annotator.config)(seconds=arguments.seconds)
    session = annotator.session
    annotator.train()
    wait_until(lambda: not annotator.work.running)
    _, panel = viewer.window.add_plugin_dock_widget("napari-unet-mri", "Look inside")
    wait_until(lambda: bool(panel.controller.levels))

    area = (viewer.layers["Hidden answer"].data > 0).sum(axis=(1, 2))
    index = int(np.argmax(area))
    session.segmentation.go_to(index)
    session.labels.opacity = 0.35

    panel.controller.see(network_input=True)
    take("6-inside-input")
    panel.controller.see(network_input=False, level="encoder 2", channel_grid=True)
    take("7-inside-channels")
    panel.controller.see(level="decoder 1", channel_grid=False)
    take("8-inside-level")
    panel.controller.see(level="", uncertainty=True)
    take("9-inside-uncertainty")
    panel.controller.see(uncertainty=False, probabilities=True)
    take("11-inside-probabilities")
    panel.controller.see(probabilities=False, variation="elastic (paper)")
    take("12-inside-varied")
    panel.controller.see(variation="")
    panel.method.setCurrentIndex(1)
    panel.controller.method = "occlusion"
    panel.why.click()
    _click_structure(viewer, session, index)
    take("10-inside-why")
    panel.remove.click()
    viewer.close()


def _click_structure(viewer: Viewer, session: object, index: int) -> None:
    """Click into the middle of the largest structure of a slice."""
    answer = viewer.layers["Hidden answer"]
    depth = distance_transform_edt(answer.data[index] > 0)
    world = answer.data_to_world((index, *np.unravel_index(np.argmax(depth), depth.shape)))
    canvas = viewer.window._qt_viewer.canvas.native
    center, zoom = viewer.scene.camera.center, viewer.scene.camera.zoom
    at = QPoint(
        round(canvas.width() / 2 + (world[2] - center[2]) * zoom),
        round(canvas.height() / 2 + (world[1] - center[1]) * zoom),
    )
    QTest.mouseMove(canvas, at)
    QTest.mousePress(canvas, Qt.MouseButton.LeftButton, pos=at)
    QTest.mouseRelease(canvas, Qt.MouseButton.LeftButton, pos=at)


if __name__ == "__main__":
    main()
