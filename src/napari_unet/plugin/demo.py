"""The demo with a window: the annotated sample, the widget docked, ready to train."""

from __future__ import annotations

import napari

from napari_unet.annotation.states import SliceState

PLUGIN = "napari-unet-mri"


def open_demo(*, run: bool = True) -> napari.Viewer:
    """Open napari on the annotated sample with the annotator docked.

    Parameters
    ----------
    run : bool
        Start the event loop and return when the window is closed.
    """
    viewer = napari.Viewer()
    viewer.open_sample(PLUGIN, "brain_metastases_annotated")
    _, widget = viewer.window.add_plugin_dock_widget(PLUGIN, "U-Net annotator")
    session = widget.annotator.session
    session.bridge.go_to(session.record.slices_in(SliceState.ANNOTATED)[0])
    widget.message.say("Five slices are annotated. Press Train and watch the predictions arrive.")
    if run:
        napari.run()
    return viewer
