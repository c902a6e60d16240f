"""The plugin in a real napari window: seconds, smoothness and Dice on a real scan.

Run it on a desktop, or under a virtual one::

    xvfb-run -s "-screen 0 1280x800x24" python -m benchmarks.speed.window --data DIR

``DIR/brats`` holds ``pat0001_t1c.nii.gz`` and ``pat0001_label.nii.gz``. A script
paints the tumour core (labels 1, 3 and 4) on four slices through the layer's polygon
tool, accepts one empty slice, and presses Train. It reports:

* seconds to open the widget, and whether that imported torch;
* Dice on all other slices after a round of training;
* gaps of a 10 ms Qt timer while strokes are drawn with the mouse, idle against training;
* seconds to segment the whole volume, and seconds that Stop takes.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
from napari import Viewer
from numpy.typing import NDArray
from qtpy.QtCore import QPoint, Qt, QTimer
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QApplication
from skimage.measure import find_contours

from napari_unet.imaging.loading import load_labels


def wait_until(done: Callable[[], bool], seconds: float = 300.0) -> float:
    """Run the event loop until `done`; return how long it took."""
    start = time.perf_counter()
    while not done():
        if time.perf_counter() - start > seconds:
            raise TimeoutError(f"Not done after {seconds} s.")
        QApplication.processEvents()
        time.sleep(0.002)
    return time.perf_counter() - start


def paint_slice(layer: object, truth: NDArray[np.bool_], index: int) -> None:
    """Outline the truth of one axial slice with the polygon tool; holes are erased after."""
    plane = np.pad(truth[index], 1)
    contours = find_contours(plane.astype(float), 0.5)
    outlines = sorted(contours, key=lambda c: -_area(c))
    for outline in outlines:
        # find_contours turns one way around structures and the other around holes.
        value = 1 if _signed_area(outline) < 0 else 0
        points = np.c_[np.full(len(outline), index), outline - 1]
        layer.paint_polygon(points, value)  # type: ignore[attr-defined]


def _signed_area(c: NDArray[np.float64]) -> float:
    return float((c[:-1, 0] * c[1:, 1] - c[1:, 0] * c[:-1, 1]).sum() / 2)


def _area(c: NDArray[np.float64]) -> float:
    return abs(_signed_area(c))


def dice(a: NDArray[np.bool_], b: NDArray[np.bool_]) -> float:
    """Overlap of two masks."""
    return float(2 * (a & b).sum() / max(1, a.sum() + b.sum()))


class Ticker:
    """Gaps between the ticks of a 10 ms timer on the GUI thread."""

    def __init__(self) -> None:
        self.gaps: list[float] = []
        self._timer = QTimer()
        self._timer.setTimerType(Qt.TimerType.PreciseTimer)
        self._timer.setInterval(10)
        self._timer.timeout.connect(self._tick)

    def __enter__(self) -> Ticker:
        self._last = time.perf_counter()
        self._timer.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._timer.stop()

    def _tick(self) -> None:
        now = time.perf_counter()
        self.gaps.append(1000 * (now - self._last))
        self._last = now

    def line(self, name: str) -> str:
        """Percentiles in words."""
        p50, p95 = np.percentile(self.gaps, [50, 95])
        return f"{name}: gaps p50 {p50:.0f} ms, p95 {p95:.0f} ms, max {max(self.gaps):.0f} ms"


def strokes(viewer: Viewer, go_to: Callable[[int], None], slices: list[int]) -> None:
    """Draw a stroke with the mouse on each slice, at a human pace."""
    native = viewer.window._qt_viewer.canvas.native
    w, h = native.width(), native.height()
    for number, index in enumerate(slices):
        go_to(index)
        QTest.qWait(150)
        start = QPoint(w // 3 + 7 * number, h // 3)
        QTest.mousePress(native, Qt.MouseButton.LeftButton, Qt.KeyboardModifier.NoModifier, start)
        for step in range(40):
            QTest.mouseMove(native, start + QPoint(2 * step, int(30 * np.sin(step / 6))))
            QTest.qWait(16)
        QTest.mouseRelease(
            native, Qt.MouseButton.LeftButton, Qt.KeyboardModifier.NoModifier, start + QPoint(80, 0)
        )
        QTest.qWait(700)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder with brats/")
    parser.add_argument("--seconds", type=float, help="training time; default: the plugin's")
    parser.add_argument("--screenshot", type=Path, help="save the window here after training")
    parser.add_argument("--theme", default="dark")
    arguments = parser.parse_args()
    scan = arguments.data / "brats" / "pat0001_t1c.nii.gz"
    viewer = Viewer()
    viewer.theme = arguments.theme
    viewer.window._qt_window.resize(1280, 720)
    viewer.open(scan, plugin="napari-unet-mri")
    wait_until(lambda: True)
    start = time.perf_counter()
    _, widget = viewer.window.add_plugin_dock_widget("napari-unet-mri", "U-Net annotator")
    QApplication.processEvents()
    print(
        f"widget open: {time.perf_counter() - start:.2f} s, "
        f"torch imported: {'torch' in sys.modules}"
    )
    annotator = widget.annotator
    if arguments.seconds:
        annotator.config = replace(annotator.config, seconds=arguments.seconds)
    session = annotator.session
    labels, _ = load_labels(scan.with_name("pat0001_label.nii.gz"), session.grid)
    truth = np.isin(labels, (1, 3, 4))
    extent = np.flatnonzero(truth.any(axis=(1, 2)))
    chosen = [int(i) for i in np.linspace(extent[0], extent[-1], 6)[1:-1].round()]
    empty = int((extent[-1] + len(truth)) // 2)
    for index in chosen:
        session.segmentation.go_to(index)
        paint_slice(session.labels, truth, index)
    wait_until(lambda: True)
    painted = session.labels.data[chosen] == 1
    print(f"painted slices {chosen} (Dice to truth {dice(painted, truth[chosen]):.3f})")
    session.segmentation.go_to(empty)
    annotator.accept_slice()
    session.segmentation.go_to(chosen[1] + 4)

    begun = time.perf_counter()
    others = np.setdiff1d(np.arange(len(truth)), [*chosen, empty])
    widget.train.start.click()
    with Ticker() as ticker:
        marks = [5.0, 10.0, 15.0, 30.0, 60.0]
        while annotator.work.running:
            wait_until(
                lambda: (
                    not annotator.work.running
                    or bool(marks and time.perf_counter() - begun > marks[0])
                )
            )
            if annotator.work.running:
                seen = dice(session.labels.data[others] == 1, truth[others])
                print(f"  on screen after {marks.pop(0):.0f} s: Dice {seen:.3f}")
    took = time.perf_counter() - begun
    print(ticker.line("training, hands off"))
    found = dice(session.labels.data[others] == 1, truth[others])
    print(f"after {took:.0f} s from Train: Dice on the other slices {found:.3f}")
    wait_until(lambda: not widget._render_timer.isActive())
    if arguments.screenshot:
        viewer.window.screenshot(str(arguments.screenshot), canvas_only=False, flash=False)

    widget.result.segment.click()
    took = wait_until(lambda: not annotator.work.running)
    found = dice(session.labels.data[others] == 1, truth[others])
    print(f"segment volume: {took:.1f} s, Dice {found:.3f}")
    if arguments.screenshot:
        done = arguments.screenshot.with_stem(arguments.screenshot.stem + "_segmented")
        wait_until(lambda: not widget._render_timer.isActive())
        viewer.window.screenshot(str(done), canvas_only=False, flash=False)

    session.labels.mode = "paint"
    session.labels.brush_size = 8
    idle_on, busy_on = [20, 22, 24, 26, 28], [30, 32, 34, 36, 38]
    with Ticker() as idle:
        strokes(viewer, session.segmentation.go_to, idle_on)
    widget.train.start.click()
    wait_until(lambda: annotator.work.running)
    with Ticker() as busy:
        QTest.qWait(1500)
        strokes(viewer, session.segmentation.go_to, busy_on)
    print(idle.line("strokes, idle"))
    print(busy.line("strokes, training"))
    human = [session.record.state(i).value for i in busy_on]
    print(f"slices stroked while training: {human}")
    widget.train.start.click()
    print(f"stop: {wait_until(lambda: not annotator.work.running):.2f} s")
    viewer.close()


if __name__ == "__main__":
    main()
