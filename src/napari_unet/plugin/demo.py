"""The demo with a window: the annotated sample, the widget docked, ready to train."""

from __future__ import annotations

import napari

from napari_unet.annotation.states import SliceState
from napari_unet.errors import UsageError
from napari_unet.learning.config import TrainConfig
from napari_unet.plugin.widgets.advanced_panel import TRAINING_SECONDS
from napari_unet.plugin.widgets.annotator_widget import AnnotatorWidget

PLUGIN = "napari-unet-mri"


def open_demo(config: TrainConfig | None = None, *, run: bool = True) -> napari.Viewer:
    """Open napari on the annotated sample with the annotator docked.

    Parameters
    ----------
    config : TrainConfig, optional
        Whose training time the panel shall begin with.
    run : bool
        Start the event loop and return when the window is closed.

    Raises
    ------
    UsageError
        If the panel has no such training time.
    """
    seconds = (config or TrainConfig()).seconds
    shortest, longest = TRAINING_SECONDS
    if not shortest <= seconds <= longest:
        raise UsageError(
            f"seconds of training in a window is from {shortest} to {longest}, not {seconds:g}."
        )
    viewer = napari.Viewer()
    viewer.open_sample(PLUGIN, "brain_metastases_annotated")
    # Under the name that napari's menu gives it, so that the menu finds this one.
    widget = AnnotatorWidget(viewer)
    viewer.window.add_dock_widget(widget, name="U-Net annotator (U-Net MRI)")
    session = widget.annotator.session
    if session is not None:
        session.segmentation.go_to(session.record.slices_in(SliceState.ANNOTATED)[0])
    widget.advanced.seconds.value = seconds
    widget.annotator.say("Five slices are annotated. Press Train and watch the predictions arrive.")
    if run:
        napari.run()
    return viewer
