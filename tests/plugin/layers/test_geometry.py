"""Whatever the tool, the spacing and the plane: what is drawn lands on the slice on screen."""

import itertools
from types import SimpleNamespace

import numpy as np
import pytest
from napari.components import Dims, LayerList
from napari.layers import Image
from napari.utils import interactions
from napari.utils._proxies import ReadOnlyWrapper
from scipy.spatial.transform import Rotation

from napari_unet.imaging.volume import Grid, slices_where
from napari_unet.plugin.layers.label_layers import new_segmentation
from napari_unet.plugin.layers.scan_layers import spatial_arguments

PLUGIN = "napari-unet-mri"
SHAPE = (19, 9, 10)
AWKWARD = (0.5729166865348816, 0.7, 2.4, 3.2999961376190186, 3.3, 6.4999847)
"""Spacings in mm that are not exact in binary; some are of real scans."""


def grid_of_scan(spacing, origin=(-31.7, 88.84, -120.3), degrees=0.0) -> Grid:
    """Grid of a scan with slices `spacing` mm apart, turned about the patient's x axis."""
    affine = np.eye(4)
    turn = Rotation.from_euler("x", degrees, degrees=True).as_matrix()
    affine[:3, :3] = turn @ np.diag([-0.7, -0.5729166865348816, spacing])
    affine[:3, 3] = origin
    return Grid(shape=SHAPE[::-1], affine=affine, sform=affine)


class Window:
    """A scan in a viewer with the widget, and a mouse over the middle of it."""

    def __init__(self, viewer, qtbot):
        self.viewer, self.qtbot = viewer, qtbot
        self.image = viewer.add_image(np.zeros(SHAPE, np.float32), units=("mm",) * 3)
        _, self.widget = viewer.window.add_plugin_dock_widget(PLUGIN, "U-Net annotator")
        self.widget.annotator.choose([self.image])
        self.layer = self.widget.annotator.session.labels

    def lay(self, place, axis):
        """Put scan and labels elsewhere, seen along `axis`; voxels hold their slice number."""
        self.image.data = np.indices(SHAPE)[axis].astype(np.float32)
        self.image.scale, self.image.translate = place["scale"], place["translate"]
        labels = new_segmentation(self.image, axis)
        self.layer.scale, self.layer.translate = labels.scale, labels.translate
        self.axis = axis
        self.viewer.dims.order = (axis, *(other for other in range(3) if other != axis))

    def event(self, kind, offset=(0, 0), button=1):
        """Make what the canvas makes of the mouse, some voxels from the middle of the scan."""
        position = list(self.viewer.dims.point)
        middle = self.image.data_to_world([n // 2 for n in self.image.data.shape])
        for axis, steps in zip(self.viewer.dims.displayed, offset, strict=True):
            position[axis] = middle[axis] + steps * self.image.scale[axis]
        event = SimpleNamespace(
            type=f"mouse_{kind}",
            button=button,
            position=tuple(position),
            pos=np.array(offset) * 50.0,
            modifiers=(),
            view_direction=None,
            dims_displayed=list(self.viewer.dims.displayed),
            is_dragging=False,
            handled=False,
        )
        return ReadOnlyWrapper(event, exceptions=("handled",))

    def click(self, offset=(0, 0), button=1):
        interactions.mouse_press_callbacks(self.layer, self.event("press", offset, button))
        interactions.mouse_release_callbacks(self.layer, self.event("release", offset, button))

    def use(self, tool):
        """Draw with a tool at the middle, as a hand would."""
        self.layer.mode = tool
        if tool != "polygon":
            self.click()
            return
        for corner in ((-2, -2), (-2, 2), (2, 2)):
            interactions.mouse_move_callbacks(self.layer, self.event("move", corner))
            self.click(corner)
        self.finish((2, -2))

    def finish(self, corner):
        """Add the last corner of a polygon."""
        self.click(corner)
        interactions.mouse_double_click_callbacks(self.layer, self.event("double_click", corner))

    def slices_drawn_on(self, tool) -> list[int]:
        """Use a tool, and find out where."""
        self.layer.selected_label = 1
        self.layer.data[...] = before = tool == "erase"
        self.use(tool)
        return slices_where(self.layer.data != before, self.axis)

    def encircle(self):
        """Paint around a place with the right button, which fills what is inside."""
        self.layer.mode, self.layer.brush_size = "paint", 1
        interactions.mouse_press_callbacks(self.layer, self.event("press", (-3, -3), 2))
        interactions.mouse_release_callbacks(self.layer, self.event("release", (-3, -3), 2))
        for corner in ((-3, 3), (3, 3), (3, -3), (-3, -3)):
            interactions.mouse_move_callbacks(self.layer, self.event("move", corner))

    def slice_on_screen(self) -> int:
        """Which slice is drawn: the scan's voxels hold their slice number."""
        return int(self.image.get_value(self.event("move").position, world=True))


@pytest.fixture
def window(make_napari_viewer, qtbot):
    """A scan with its Segmentation layer, to be laid anywhere."""
    window = Window(make_napari_viewer(), qtbot)
    yield window
    window.widget.disconnect_viewer()


def test_slices_and_millimetres_agree_exactly_at_any_spacing_and_place():
    rng = np.random.default_rng(0)
    for spacing in (*AWKWARD, *rng.uniform(0.3, 8.0, 14)):
        grid = grid_of_scan(spacing, rng.uniform(-500, 500, 3), rng.uniform(-40, 40))
        image = Image(np.zeros(SHAPE, np.float32), **spatial_arguments(grid))
        np.testing.assert_allclose(image.scale, grid.spacing_mm, rtol=1e-6)
        np.testing.assert_allclose(image.translate, grid.origin_mm, atol=1e-3)
        labels = new_segmentation(image, 0)
        extent = LayerList([image, labels]).extent
        dims = Dims(ndim=3, range=tuple(zip(*extent.world, extent.step, strict=True)))
        assert dims.nsteps == SHAPE
        for step in range(max(SHAPE)):
            voxel = [min(step, n - 1) for n in SHAPE]
            dims.current_step = voxel
            assert labels.world_to_data(dims.point).tolist() == voxel
            assert labels.world_to_data(labels.data_to_world(voxel)).tolist() == voxel


def test_every_tool_draws_on_the_slice_on_screen(window):
    rng, viewer = np.random.default_rng(0), window.viewer
    for axis, spacing, ours in ((0, 2.4, True), (1, 0.7, False), (2, 3.2999961376190186, False)):
        grid = grid_of_scan(spacing, rng.uniform(-200, 200, 3))
        place = {"scale": grid.spacing_mm, "translate": grid.origin_mm}
        window.lay(spatial_arguments(grid) if ours else place, axis)
        last = SHAPE[axis] - 1
        assert viewer.dims.nsteps[axis] == last + 1
        for step in range(last + 1):
            viewer.dims.set_current_step(axis, step)
            assert window.slice_on_screen() == step
            for tool in ("polygon", "paint", "fill", "erase") if step == last else ("polygon",):
                assert window.slices_drawn_on(tool) == [step], (tool, spacing)
        window.layer.data[...] = np.where(window.image.data == last, 7, 9)
        window.layer.refresh()
        window.use("pick")
        assert window.layer.selected_label == 7
        window.widget._render_slices()


def test_between_slices_every_tool_draws_on_the_one_that_is_shown(window):
    window.lay({"scale": (2.0, 1.0, 1.0), "translate": (0.0, 0.0, 0.0)}, 0)
    for millimetres in (7.3, 8.9):  # where another scan has its slices
        window.viewer.dims.set_point(0, millimetres)
        assert window.slice_on_screen() == 4
        for tool in ("polygon", "paint", "fill", "erase"):
            assert window.slices_drawn_on(tool) == [4], tool
        window.layer.data[...] = 0
        window.encircle()
        assert slices_where(window.layer.data, 0) == [4]
        assert window.layer.data[4].sum() > 6 * 6, "filled"


def test_a_polygon_lands_on_the_slice_on_which_it_is_finished(window):
    window.lay({"scale": (2.0, 1.0, 1.0), "translate": (0.0, 0.0, 0.0)}, 0)
    window.viewer.dims.set_current_step(0, 3)
    window.layer.mode, window.layer.selected_label = "polygon", 1
    for corner in ((-2, -2), (-2, 2), (2, 2)):
        window.click(corner)
    window.viewer.dims.set_current_step(0, 5)
    window.finish((2, -2))
    assert slices_where(window.layer.data, 0) == [5]


def test_nothing_is_drawn_where_the_scan_has_no_slice(window):
    window.lay({"scale": (2.0, 1.0, 1.0), "translate": (0.0, 0.0, 0.0)}, 0)
    place = {"translate": (-20.0, 0.0, 0.0), "units": ("mm",) * 3}
    window.viewer.add_image(np.zeros((60, 9, 10)), blending="additive", **place)
    for tool, millimetres in itertools.product(("polygon", "paint", "fill"), (-6.0, 40.0)):
        window.viewer.dims.set_point(0, millimetres)
        window.widget.message.say("")
        assert window.slices_drawn_on(tool) == [], tool
        window.qtbot.wait(1)
        assert "outside the scan: nothing was drawn" in window.widget.message.text
