"""The scan that is named is the one on screen, and what is painted on it is seen."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from napari.layers import Image
from qtpy.QtCore import QPoint, Qt
from qtpy.QtTest import QTest

from napari_unet.annotation.states import SliceState
from napari_unet.imaging.volume import Grid, middle_slice
from napari_unet.plugin.layers.metadata import LayerInfo
from napari_unet.plugin.layers.scan_layers import grid_of, spatial_arguments
from napari_unet.plugin.widgets.scan_panel import ScanPanel


def open_scan(bench, name: str, *, grid: Grid | None = None, **looks: object) -> Image:
    """Open another patient as our reader does, on the grid of the first one by default."""
    grid = grid_of(bench.image) if grid is None else grid
    data = np.zeros(grid.shape_zyx, np.float32)
    data[-5:-1, 4:-4, 4:-4] = 100  # a head in slices of its own
    layer = bench.viewer.add_image(
        data,
        name=name,
        metadata=LayerInfo(grid=grid).as_metadata(),
        **spatial_arguments(grid),
        **looks,
    )
    bench.qtbot.wait(5)
    return layer


def visible(bench) -> set[str]:
    bench.qtbot.wait(1)
    return {layer.name for layer in bench.viewer.layers if layer.visible}


def test_a_scan_that_is_opened_or_chosen_is_shown_alone_where_it_was_left(bench):
    bench.session.segmentation.go_to(5)
    first = bench.session
    other = open_scan(bench, "B")
    assert bench.session.images[0] == other
    assert visible(bench) == {"B", "Segmentation of B"}
    assert bench.viewer.layers.selection.active == bench.session.labels
    assert bench.viewer.title.startswith("B - ")
    assert bench.session.segmentation.visible_index == 12, "the middle of its head"
    assert "“scan” is hidden" in bench.widget.message.text
    bench.widget.scan.image.setCurrentIndex(0)
    bench.widget.scan.image.activated.emit(0)
    assert bench.session is first
    assert visible(bench) == {"scan", "Segmentation of scan"}
    assert first.segmentation.visible_index == 5
    assert bench.widget.scan.all.isVisibleTo(bench.widget)
    bench.widget.scan.all.click()
    assert visible(bench) == {"scan", "Segmentation of scan", "B", "Segmentation of B"}
    assert not bench.widget.scan.all.isVisibleTo(bench.widget)


def test_what_was_seen_with_a_scan_goes_and_comes_with_it(bench):
    place = {"scale": bench.image.scale, "translate": bench.image.translate}
    flair = bench.viewer.add_image(bench.image.data, name="flair", opacity=0.4, **place)
    entry = LayerInfo(grid=grid_of(bench.image)).as_metadata()
    bench.viewer.add_labels(bench.truth.astype(np.uint8), name="truth", metadata=entry, **place)
    bench.annotator.choose([bench.image, flair])
    assert visible(bench) == {"scan", "flair", "truth", "Segmentation of scan"}
    open_scan(bench, "B")
    assert visible(bench) == {"B", "Segmentation of B"}
    bench.annotator.choose([bench.image, flair])
    assert visible(bench) == {"scan", "flair", "truth", "Segmentation of scan"}


def test_the_mask_of_another_scan_is_not_taken_for_that_of_this_one(bench):
    first = bench.session
    open_scan(bench, "B")
    other = bench.session
    row = bench.widget.scan.labels.findText("Segmentation of scan")
    bench.widget.scan.labels.setCurrentIndex(row)
    bench.widget.scan.labels.activated.emit(row)
    assert "“Segmentation of scan” is the mask of “scan”" in bench.widget.message.text
    assert bench.session is other
    assert first.images == (bench.image,)


def drag(bench) -> None:
    canvas = bench.viewer.window._qt_viewer.canvas.native
    middle = QPoint(canvas.width() // 2, canvas.height() // 2)
    QTest.mousePress(canvas, Qt.MouseButton.LeftButton, pos=middle)
    QTest.mouseMove(canvas, middle + QPoint(6, 0))
    bench.qtbot.wait(20)
    QTest.mouseRelease(canvas, Qt.MouseButton.LeftButton, pos=middle + QPoint(9, 0))
    bench.qtbot.wait(20)


@pytest.mark.window
def test_no_stroke_on_another_patient_goes_into_the_mask(bench):
    other = open_scan(bench, "B")
    bench.annotator.choose([bench.image])
    bench.viewer.show()
    other.visible = True
    assert "“B” lies over “scan”" in bench.widget.scan.hindrance.text()
    labels = bench.session.labels
    labels.mode = "paint"  # as with the key P
    assert "“B” lies over “scan”" in bench.widget.message.text
    drag(bench)
    assert not labels.data.any()
    bench.widget.scan.mended.click()
    assert visible(bench) == {"scan", "Segmentation of scan"}
    drag(bench)
    assert labels.data.any()


def test_an_image_of_the_same_patient_may_lie_over_the_scan(bench):
    other = open_scan(bench, "flair")
    bench.annotator.choose([bench.image])
    other.visible = True
    assert bench.session.labels.mode == "pan_zoom"
    bench.widget.scan.same.click()
    assert bench.session.labels.mode == "paint"
    assert not bench.widget.scan.hindrance.isVisibleTo(bench.widget)


@pytest.mark.parametrize("looks", [{"opacity": 0.5}, {"blending": "additive"}, {"visible": False}])
def test_an_overlay_leaves_the_brush(bench, looks):
    bench.viewer.add_image(bench.image.data, name="heat", scale=bench.image.scale, **looks)
    assert bench.session.labels.mode == "paint"
    assert bench.annotator.screen.hindrance is None


def test_another_scan_that_is_loaded_by_a_script_holds_the_brush(bench):
    place = {"scale": bench.image.scale, "translate": bench.image.translate}
    theirs = bench.viewer.add_image(bench.image.data, name="theirs", **place)
    assert bench.session.labels.mode == "pan_zoom"
    bench.viewer.layers.move(bench.viewer.layers.index(theirs), 0)
    assert bench.session.labels.mode == "paint"


HIDDEN = {
    "hidden": lambda bench: setattr(bench.session.labels, "visible", False),
    "transparent": lambda bench: setattr(bench.session.labels, "opacity", 0.0),
    "3D": lambda bench: setattr(bench.viewer.dims, "ndisplay", 3),
    "beneath": lambda bench: bench.viewer.layers.move(0, 2),
}


@pytest.mark.parametrize("how", HIDDEN)
def test_a_mask_that_is_not_seen_is_shown_before_its_slice_is_accepted_or_reset(bench, how):
    bench.paint(8)
    bench.session.segmentation.go_to(8)
    HIDDEN[how](bench)
    assert bench.session.labels.mode == "pan_zoom"
    bench.widget.try_to(bench.annotator.reset_slice)
    assert "Look at the slice now, then reset it" in bench.widget.message.text
    assert bench.annotator.screen.hindrance is None
    assert bench.session.record.state(8) is SliceState.ANNOTATED
    assert bench.session.labels.mode == "paint"
    bench.annotator.reset_slice()
    assert bench.session.record.state(8) is SliceState.EMPTY
    HIDDEN[how](bench)
    bench.widget.try_to(bench.annotator.accept_slice)
    assert bench.session.record.state(8) is SliceState.EMPTY
    HIDDEN[how](bench)
    bench.annotator.next_slice()
    assert bench.annotator.screen.hindrance is None
    assert bench.session.segmentation.in_view


def test_picking_a_structure_shows_a_hidden_mask(bench):
    bench.session.labels.visible = False
    bench.annotator.pick_structure(1)
    assert bench.session.labels.visible
    assert bench.session.labels.mode == "paint"
    assert "was hidden" in bench.widget.message.text


def test_the_panel_names_no_slice_that_is_not_on_screen_and_the_strip_leads_back(bench):
    bench.viewer.add_image(np.zeros((60, 48, 40)), name="larger", opacity=0.1)
    bench.viewer.dims.set_point(0, 50.0)
    bench.qtbot.waitUntil(lambda: "No slice" in bench.widget.paint.slice.text())
    assert not bench.widget.paint.accept.isEnabled()
    bench.widget.paint.strip.jump.emit(3)
    bench.qtbot.waitUntil(lambda: "Slice 3" in bench.widget.paint.slice.text())
    bench.viewer.dims.order = (2, 0, 1)
    bench.qtbot.waitUntil(lambda: "No slice" in bench.widget.paint.slice.text())
    bench.widget.paint.strip.jump.emit(4)
    assert bench.session.segmentation.in_view
    assert bench.session.segmentation.visible_index == 4


def test_scans_of_one_name_are_told_apart_by_their_folders(qtbot):
    panel = ScanPanel()
    qtbot.addWidget(panel)
    places = [("T1", "sub-01/T1.nii"), ("T1 [1]", "sub-02/T1.nii"), ("FLAIR", "sub-01/FLAIR.nii")]
    images = [
        SimpleNamespace(name=name, metadata={}, source=SimpleNamespace(path=Path(path)))
        for name, path in places
    ]
    panel.show_layers(images, [])
    shown = [panel.image.itemText(row) for row in range(panel.image.count())]
    assert shown == ["T1 (sub-01)", "T1 [1] (sub-02)", "FLAIR"]


def test_the_middle_of_a_head_is_not_the_middle_of_its_box():
    data = np.zeros((20, 70, 8), np.float32)
    data[2:7, 20:60, 2:6] = 50
    assert [middle_slice(data, axis) for axis in range(3)] == [4, 39, 3]
