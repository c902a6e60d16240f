"""A real viewer, a tiny scan, real threads, real (short) training."""

import gc
import os
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeVar

import numpy as np
import pytest
from napari import Viewer
from napari.components import ViewerModel
from napari.layers import Image
from numpy.typing import NDArray
from pytestqt.qtbot import QtBot
from qtpy.QtCore import QSettings, QThreadPool
from qtpy.QtWidgets import QWidget

from napari_unet.imaging.volume import Grid
from napari_unet.learning.config import TrainConfig
from napari_unet.plugin.app.annotator import Annotator
from napari_unet.plugin.app.session import ScanSession
from napari_unet.plugin.layers.metadata import LayerInfo
from napari_unet.plugin.layers.scan_layers import spatial_arguments
from napari_unet.plugin.widgets.annotator_widget import AnnotatorWidget

PLUGIN = "napari-unet-mri"
Dock = TypeVar("Dock", bound=QWidget)
HANGS_MS = 600_000
"""Milliseconds after which something that is waited for is taken to hang: machines are busy."""
SHAPE = (16, 48, 40)


def bright_ball(shape: tuple[int, int, int] = SHAPE) -> tuple[NDArray, NDArray]:
    """A grey head of noise with a bright ball in it, and the ball."""
    rng = np.random.default_rng(0)
    z, y, x = np.indices(shape)
    middle = [n / 2 for n in shape]
    head = ((y - middle[1]) / 21) ** 2 + ((x - middle[2]) / 17) ** 2 < 1
    ball = (z - middle[0]) ** 2 * 4 + (y - middle[1]) ** 2 + (x - middle[2]) ** 2 < 10**2
    data = 100.0 * head + 120.0 * ball + rng.normal(0, 8, shape)
    return data.astype(np.float32), ball


def open_dock(viewer: ViewerModel, qtbot: QtBot, title: str, kind: type[Dock]) -> Dock:
    """Open a dock as napari's menu does; without a window, the widget alone."""
    if isinstance(viewer, Viewer):
        return viewer.window.add_plugin_dock_widget(PLUGIN, title)[1]
    widget = kind(viewer)
    qtbot.addWidget(widget)
    return widget


@dataclass
class Bench:
    """The plugin on a table: a viewer, and the widget for the tiny scan in it."""

    viewer: ViewerModel
    widget: AnnotatorWidget
    image: Image
    truth: NDArray
    qtbot: QtBot

    @property
    def annotator(self) -> Annotator:
        return self.widget.annotator

    @property
    def session(self) -> ScanSession:
        return self.widget.annotator.session

    def open(self, title: str, kind: type[Dock]) -> Dock:
        """Open one of our docks beside the annotator."""
        return open_dock(self.viewer, self.qtbot, title, kind)

    def paint(self, index: int, value: int = 1, mask: NDArray | None = None) -> None:
        """Paint the truth of a slice as one undoable stroke."""
        mask = self.truth[index] if mask is None else mask
        rows, columns = np.nonzero(mask)
        self.session.labels.data_setitem((np.full(len(rows), index), rows, columns), value)
        self.qtbot.wait(1)

    def train(self) -> None:
        """Press Train and wait for the end."""
        self.widget.train.start.click()
        assert self.annotator.work.running, self.widget.message.text
        self.wait_for_job()

    def wait_for_job(self) -> None:
        self.qtbot.waitUntil(lambda: not self.annotator.work.running)

    def wait_for_step(self) -> None:
        with self.qtbot.waitSignal(self.annotator.work.step):
            pass

    def dice(self, index: int) -> float:
        found, truth = self.session.labels.data[index] == 1, self.truth[index]
        return 2 * (found & truth).sum() / max(1, found.sum() + truth.sum())


@pytest.fixture(autouse=True)
def settings_of_nobody(tmp_path: Path, narrow_network: None) -> None:
    """What a test chooses must not be remembered on this computer; nothing learns for long."""
    QSettings.setPath(QSettings.Format.IniFormat, QSettings.Scope.UserScope, str(tmp_path))


@pytest.fixture(autouse=True)
def little_garbage() -> None:
    """Leave what other tests made out of the collections that napari starts at every layer."""
    gc.collect()
    gc.freeze()


@pytest.fixture
def qtbot(qtbot: QtBot, monkeypatch: pytest.MonkeyPatch) -> QtBot:
    """pytest-qt's, which waits as long as a busy machine may need."""
    for name in ("waitUntil", "waitSignal"):
        monkeypatch.setattr(qtbot, name, partial(getattr(qtbot, name), timeout=HANGS_MS))
    return qtbot


@pytest.fixture
def bench(request: pytest.FixtureRequest, qtbot: QtBot) -> Iterator[Bench]:
    """The widget, opened on a tiny scan, with quick training.

    Tests marked ``window`` have napari's window around it; the others only napari's model of
    it, which acts the same and is there in a tenth of the time.
    """
    windowed = request.node.get_closest_marker("window") or "NAPARI_UNET_WINDOWS" in os.environ
    viewer = request.getfixturevalue("make_napari_viewer")() if windowed else ViewerModel()
    data, ball = bright_ball()
    grid = Grid.from_spacing(SHAPE, (2.0, 1.0, 1.0), (-10.0, 5.0, 3.0))
    image = viewer.add_image(
        data, name="scan", metadata=LayerInfo(grid=grid).as_metadata(), **spatial_arguments(grid)
    )
    widget = open_dock(viewer, qtbot, "U-Net annotator", AnnotatorWidget)
    widget.annotator.config = TrainConfig(seconds=36_000, max_steps=20, threads=1)
    yield Bench(viewer, widget, image, ball, qtbot)
    widget.disconnect_viewer()
    assert QThreadPool.globalInstance().waitForDone(HANGS_MS), "a worker thread was left behind"
