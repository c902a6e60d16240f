"""Letters at the edges of the picture, millimetres of the slice, and which side right is on."""

from dataclasses import replace

import nibabel as nib
import numpy as np
import pytest

from napari_unet.imaging.volume import Grid
from napari_unet.plugin.layers.metadata import LayerInfo
from napari_unet.plugin.layers.scan_layers import spatial_arguments
from napari_unet.plugin.widgets.orientation_marks import OrientationMarks

PLUGIN = "napari-unet-mri"


def picture_position(viewer, world):
    """Where a world point (z, y, x) is on the canvas: columns to the right, rows down."""
    camera = viewer.scene.camera
    down, right = viewer.dims.displayed
    vertical, horizontal = (str(way) for way in camera.orientation2d)
    column = (world[right] - camera.center[2]) * (1 if horizontal == "right" else -1)
    row = (world[down] - camera.center[1]) * (1 if vertical == "down" else -1)
    return column, row


@pytest.mark.parametrize(
    ("axis", "radiological", "neurological"),
    [(0, "A P R L", "A P L R"), (1, "S I R L", "S I L R"), (2, "S I A P", "S I A P")],
)
def test_letters_are_right_in_every_plane(bench, axis, radiological, neurological):
    bench.annotator.choose([bench.image], axis=axis)
    bench.qtbot.wait(1)
    assert " ".join(bench.widget.marks.letters) == radiological
    box = bench.widget.advanced.display
    box.setCurrentIndex(1)
    box.activated.emit(1)
    assert " ".join(bench.widget.marks.letters) == neurological


@pytest.mark.parametrize("neurological", [False, True])
def test_a_voxel_lies_on_the_side_that_its_letter_says(bench, neurological):
    bench.widget.marks.set_neurological(neurological)
    right_of_patient, left_of_patient = (-8.0, 20.0, 5.0), (-8.0, 20.0, 40.0)
    right, _ = picture_position(bench.viewer, right_of_patient)
    left, _ = picture_position(bench.viewer, left_of_patient)
    assert (right > left) is neurological


@pytest.mark.parametrize("neurological", [False, True])
def test_what_is_painted_at_a_millimetre_is_saved_there_either_way_round(
    bench, tmp_path, neurological
):
    bench.widget.marks.set_neurological(neurological)
    session = bench.session
    world = np.array([4.0, 20.0, 13.0])  # towards I, P, L
    session.segmentation.go_to(round((world[0] - session.labels.translate[0]) / 2))
    session.labels.paint(session.labels.world_to_data(world), 1)
    bench.qtbot.wait(1)
    bench.annotator.save_mask(tmp_path / "mask.nii.gz")
    saved = nib.load(tmp_path / "mask.nii.gz")
    i, j, k = np.linalg.solve(saved.affine, [*(-world[::-1]), 1])[:3].round().astype(int)
    assert np.asarray(saved.dataobj)[i, j, k] == 1
    mirrored = np.asarray(saved.dataobj)[saved.shape[0] - 1 - i, j, k]
    assert mirrored == 0


def test_the_choice_is_remembered_and_left_alone_in_3d(bench):
    bench.widget.marks.set_neurological(True)
    camera = bench.viewer.scene.camera
    assert [str(way) for way in camera.orientation2d] == ["down", "left"]
    bench.viewer.dims.ndisplay = 3
    assert [str(way) for way in camera.orientation2d] == ["down", "right"]
    assert bench.widget.marks.letters == ("", "", "", "")
    bench.viewer.dims.ndisplay = 2
    assert bench.widget.marks.letters == ("A", "P", "L", "R")
    next_time = OrientationMarks(bench.viewer)
    assert next_time.neurological
    next_time.close()


def test_letters_follow_a_camera_that_somebody_else_turns(bench):
    bench.viewer.scene.camera.orientation2d = ("up", "right")
    assert bench.widget.marks.letters == ("P", "A", "R", "L")


def test_the_slice_row_says_where_the_slice_is(bench):
    bench.session.segmentation.go_to(3)
    bench.widget._render_slices()
    assert bench.widget.paint.place.text() == "S 4.0 mm"
    bench.session.segmentation.go_to(9)
    bench.widget._render_slices()
    assert bench.widget.paint.place.text() == "I 8.0 mm"


def test_an_oblique_scan_is_said_to_be_oblique(bench):
    c, s = np.cos(0.3), np.sin(0.3)
    affine = np.array([[1, 0, 0, -20], [0, c, -s, -20], [0, s, c, 5], [0, 0, 0, 1.0]])
    grid = Grid((40, 48, 16), affine, sform=affine)
    data = np.random.default_rng(0).normal(size=grid.shape_zyx)
    other = bench.viewer.add_image(
        data, name="oblique", metadata=LayerInfo(grid=grid).as_metadata(), **spatial_arguments(grid)
    )
    bench.annotator.choose([other])
    assert bench.widget.scan.axis.currentText() == "Axial (1 mm, oblique 17°)"
    k = grid.flip_index(0, bench.session.segmentation.visible_index)
    height = (affine @ [19.5, 23.5, k, 1])[2]
    assert bench.widget.paint.place.text() == f"S {height:.1f} mm"
    assert "oblique" in bench.widget.paint.place.toolTip()


def test_no_letters_where_nobody_knows_how_the_patient_lay(bench):
    other = bench.viewer.add_image(bench.image.data, name="stack of pictures")
    bench.annotator.choose([other])
    assert bench.widget.marks.letters == ("", "", "", "")
    assert bench.widget.paint.place.isHidden()
    bench.annotator.choose([bench.image])
    assert bench.widget.marks.letters == ("A", "P", "R", "L")


def test_no_letters_where_the_file_does_not_say_left_from_right(bench):
    grid = replace(bench.session.grid, has_orientation=False)
    other = bench.viewer.add_image(
        bench.image.data,
        name="analyze",
        metadata=LayerInfo(grid=grid).as_metadata(),
        **spatial_arguments(grid),
    )
    bench.annotator.choose([other])
    assert bench.widget.marks.letters == ("", "", "", "")
    assert bench.widget.paint.place.isHidden()


def test_a_closed_widget_leaves_no_letters(bench):
    bench.widget.marks.set_neurological(True)
    bench.widget.disconnect_viewer()
    assert not [key for key in bench.viewer.canvas.overlays if "unet" in key]
    assert [str(way) for way in bench.viewer.scene.camera.orientation2d] == ["down", "right"]


@pytest.mark.window
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_letters_are_seen_over_a_picture_of_any_brightness(bench, theme):
    viewer, image = bench.viewer, bench.image
    viewer.show()
    viewer.theme = theme
    viewer.scene.camera.zoom *= 4  # behind the letters too there is picture
    bench.session.labels.visible = False
    for limits in ((1e6, 2e6), (-2e6, -1e6)):  # all black, all white
        image.contrast_limits_range = (-2e6, 2e6)
        image.contrast_limits = limits
        bench.qtbot.wait(50)
        picture = viewer.screenshot(canvas_only=True, flash=False)[..., 0].astype(int)
        middle = len(picture) // 2
        assert np.ptp(picture[middle - 15 : middle + 15, :40]) > 100
