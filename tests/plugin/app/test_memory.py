"""What is over is let go of: work, its events, and the arrays of both."""

import gc
import threading
import weakref
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from napari_unet.learning.config import PRESETS, TrainConfig
from napari_unet.learning.events import RoundDone, SlicePredicted
from napari_unet.plugin.app.tasks import (
    ScanPrepared,
    SegmentationTask,
    SlicesFilled,
    TrainingTask,
    VolumeSegmented,
)
from napari_unet.plugin.app.worker import Job


class Event:
    """Something large that work says."""

    def __init__(self) -> None:
        self.voxels = np.zeros(10)


class Work:
    """Yields events until it is stopped, comes to its end, or fails."""

    def __init__(self, *, fails: bool = False, endless: bool = False) -> None:
        self.fails, self.endless = fails, endless
        self.input = np.zeros(10)
        self.events: list[weakref.ref] = []

    def run(self, should_stop: Callable[[], bool]):
        more = True
        while more and not should_stop():
            event = Event()
            self.events.append(weakref.ref(event.voxels))
            yield event
            more = self.endless
        if self.fails:
            raise RuntimeError(str(event))


def left(*kinds: type) -> list[str]:
    gc.collect()
    return [type(each).__name__ for each in gc.get_objects() if isinstance(each, kinds)]


@pytest.fixture
def job(make_napari_viewer, qtbot) -> Job:
    make_napari_viewer()  # which keeps every worker
    return Job()


def test_work_that_is_over_leaves_neither_its_events_nor_its_input(job, qtbot):
    for ending in ("end", "failure", "stop", "closing"):
        work = Work(fails=ending == "failure", endless=ending in ("stop", "closing"))
        arrays = work.events
        arrays.append(weakref.ref(work.input))
        with qtbot.waitSignal(job.happened):
            job.start(work.run)
        if ending == "closing":
            job.abandon()
            qtbot.wait(5)  # what is on its way already
        else:
            job.stop()
            qtbot.waitUntil(lambda: not job.running)
        del work
        gc.collect()
        assert not any(array() is not None for array in arrays), ending


def test_work_that_ends_after_the_window_has_closed_leaves_nothing(job, qtbot, monkeypatch):
    monkeypatch.setattr("napari_unet.plugin.app.worker.CLOSING_SECONDS", 0)
    go_on, over, events = threading.Event(), threading.Event(), []

    def run(_should_stop):
        go_on.wait()
        event = Event()
        events.append(weakref.ref(event.voxels))
        yield event
        del event
        over.set()

    job.start(run)
    qtbot.wait(5)
    job.abandon()
    go_on.set()
    qtbot.waitUntil(over.is_set)
    qtbot.wait(5)
    gc.collect()
    assert events[0]() is None


@pytest.mark.slow
def test_rounds_of_training_segmenting_and_filling_leave_nothing_behind(bench):
    bench.annotator.config = TrainConfig(
        seconds=36_000, max_steps=3, threads=1, model=replace(PRESETS["fast"], width=4, levels=3)
    )
    bench.paint(5)
    bench.paint(10)
    bench.train()
    for button in (bench.widget.result.segment, bench.widget.result.fill):
        button.click()
        bench.wait_for_job()
    kinds = (TrainingTask, SegmentationTask, ScanPrepared, RoundDone, VolumeSegmented)
    assert left(*kinds, SlicesFilled, SlicePredicted) == []
