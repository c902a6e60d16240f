"""Looking inside a model in a real window: pictures in their place, gone without a trace."""

import time
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
import torch
from napari.layers import Image, Shapes
from qtpy.QtCore import QPoint, Qt
from qtpy.QtTest import QTest

from napari_unet.learning.calibration import Calibration
from napari_unet.learning.config import PRESETS, TrainConfig
from napari_unet.learning.inspection import explanation
from napari_unet.learning.inspection.levels import Place
from napari_unet.learning.network.checkpoint import Checkpoint
from napari_unet.learning.network.unet import UNet
from napari_unet.plugin.inspection.controller import NO_ANNOTATOR
from napari_unet.plugin.inspection.panel import InspectionPanel
from napari_unet.plugin.inspection.tasks import Picture

from ..conftest import SHAPE, Bench

PLACE = Place((1.0, 1.0), (0.0, 0.0))
NARROW = {name: replace(PRESETS[name], width=4, levels=3) for name in PRESETS}


def train(bench: Bench, network: str = "fast", steps: int = 6) -> None:
    bench.annotator.config = TrainConfig(
        seconds=36_000, max_steps=steps, threads=1, model=NARROW[network]
    )
    bench.paint(8)
    bench.train()


def settle(bench: Bench, panel: InspectionPanel) -> None:
    """Wait until what is requested for is shown."""
    controller = panel.controller
    bench.qtbot.waitUntil(lambda: bool(controller.levels) and not controller.busy)


def ours(bench: Bench) -> dict[str, object]:
    known = (bench.image, bench.session.labels)
    return {layer.name: layer for layer in bench.viewer.layers if layer not in known}


@pytest.fixture
def open_panel(bench) -> Iterator:
    opened = []

    def open_it() -> InspectionPanel:
        panel = bench.open("Look inside", InspectionPanel)
        opened.append(panel)
        return panel

    yield open_it
    for panel in opened:
        panel.disconnect_viewer()


def click_level(bench: Bench, panel: InspectionPanel, name: str) -> None:
    level = next(each for each in panel.controller.levels if each.name == name)
    at = panel.view.block(level).center().toPoint()
    QTest.mouseClick(panel.view, Qt.MouseButton.LeftButton, pos=at)
    settle(bench, panel)


def click_voxel(bench: Bench) -> None:
    canvas = bench.viewer.window._qt_viewer.canvas.native
    middle = QPoint(canvas.width() // 2, canvas.height() // 2)
    QTest.mouseMove(canvas, middle)
    QTest.mousePress(canvas, Qt.MouseButton.LeftButton, pos=middle)
    QTest.mouseRelease(canvas, Qt.MouseButton.LeftButton, pos=middle)
    bench.qtbot.wait(50)


@pytest.mark.window
@pytest.mark.slow
@pytest.mark.parametrize("network", NARROW)
def test_everything_can_be_seen_over_the_scan_and_is_gone_when_removed(bench, open_panel, network):
    train(bench, network)
    panel = open_panel()
    settle(bench, panel)
    before = list(bench.viewer.layers)
    dims = bench.viewer.dims
    steps = dims.nsteps[0], dims.point
    for toggle in (panel.network_input, panel.probabilities, panel.uncertainty):
        toggle.click()
    click_level(bench, panel, "encoder 2")
    layers = ours(bench)
    level = next(each for each in panel.controller.levels if each.name == "encoder 2")
    features = next(layer for name, layer in layers.items() if name.startswith("Encoder 2: 8 ch"))
    assert features.data.shape == (1, *level.size)
    assert {"As the model sees it", "Probability: Structure 1", "Uncertainty"} < set(layers)
    index = bench.session.segmentation.visible_index
    for layer in layers.values():
        assert layer.units == bench.image.units
        assert layer.axis_labels == bench.image.axis_labels
        assert layer.translate[0] == bench.image.translate[0] + index * bench.image.scale[0]
    uncertainty = layers["Uncertainty"]
    np.testing.assert_allclose(uncertainty.scale, bench.image.scale)
    # What was selected stays so, and the annotation stays on top.
    assert bench.viewer.layers.selection.active == bench.session.labels
    assert bench.session.labels.mode == "paint"
    assert bench.viewer.layers[-1] == bench.session.labels
    assert (dims.nsteps[0], dims.point[0]) == (steps[0], steps[1][0])

    panel.why.click()
    assert bench.session.labels.mode == "pan_zoom"
    painted = bench.session.labels.data.copy()
    click_voxel(bench)
    settle(bench, panel)
    assert isinstance(ours(bench)["What it can see"], Shapes)
    assert isinstance(ours(bench)["Why here: gradient"], Image)
    assert "Orange speaks for it" in panel.message.text
    np.testing.assert_array_equal(bench.session.labels.data, painted)

    panel.remove.click()
    assert list(bench.viewer.layers) == before
    assert bench.session.labels.mode == "paint"
    assert not panel.network_input.isChecked()
    assert panel._on_press not in bench.viewer.mouse_drag_callbacks


@pytest.mark.window
def test_another_method_explains_the_voxel_that_was_clicked_until_it_is_complete(bench, open_panel):
    train(bench)
    panel = open_panel()
    settle(bench, panel)
    panel.why.click()
    click_voxel(bench)
    settle(bench, panel)
    assert set(ours(bench)) == {"Why here: gradient", "What it can see"}
    most = ours(bench)["Why here: gradient"].contrast_limits[1]
    assert most == pytest.approx(float(f"{most:.0e}"))  # its colour bar has a tick at either end
    boxes = ours(bench)["What it can see"].data
    occlusion = panel.method.findData("occlusion")
    panel.method.setCurrentIndex(occlusion)
    panel.method.activated.emit(occlusion)
    settle(bench, panel)
    assert set(ours(bench)) == {"Why here: occlusion", "What it can see"}
    np.testing.assert_array_equal(ours(bench)["What it can see"].data, boxes)
    assert "done)" not in panel.message.text
    panel.why.click()
    assert not ours(bench)


def test_the_mask_hides_no_picture_and_is_filled_again_afterwards(bench, open_panel):
    train(bench)
    panel = open_panel()
    settle(bench, panel)
    labels, controller = bench.session.labels, panel.controller
    before = labels.contour
    for leave in (panel.remove.click, panel.probabilities.click, bench.viewer.layers.pop):
        panel.probabilities.click()
        settle(bench, panel)
        shown = ours(bench)["Probability: Structure 1"]
        assert labels.contour > before
        # Its colours are none of a structure's, and where there is nothing the scan is seen.
        assert not np.isclose(shown.colormap.colors, labels.get_color(1)).all(axis=1).any()
        assert shown.colormap.colors[0, 3] == 0
        bench.viewer.layers.move(bench.viewer.layers.index(shown), len(bench.viewer.layers))
        leave()
        assert not ours(bench)
        assert labels.contour == before
    controller.see(uncertainty=True)
    settle(bench, panel)
    labels.contour = 3  # by hand
    panel.remove.click()
    assert labels.contour == 3


def test_a_colour_bar_and_the_panel_say_what_colours_mean(bench, open_panel):
    train(bench)
    panel = open_panel()
    settle(bench, panel)
    panel.controller.see(network_input=True, probabilities=True, uncertainty=True, level="bridge")
    settle(bench, panel)
    assert len(ours(bench)) == 4
    for layer in ours(bench).values():
        assert layer.colorbar.visible
    text = panel.units.text()
    for words in (
        "standard deviations",
        "Probability: 0 to 1",
        "Uncertainty: 0 (sure)",
        "activation",
    ):
        assert words in text
    panel.remove.click()
    assert not panel.units.text()


def test_letters_follow_a_picture_that_shows_the_head_mirrored(bench, open_panel):
    train(bench)
    panel = open_panel()
    settle(bench, panel)
    letters = {False: ("A", "P", "R", "L"), True: ("A", "P", "L", "R")}
    marks, seen, mirrored = bench.widget.marks, set(), False
    for _ in range(20):  # draws: half of them are mirrored
        if len(seen) == 2 and mirrored:
            break
        panel.variation.activated.emit(panel.variation.findText("Varied: flip"))
        settle(bench, panel)
        [layer] = ours(bench).values()
        index = bench.session.segmentation.visible_index
        head = panel.controller._kept[0].scan.slices[index, 0]
        mirrored = bool(np.allclose(layer.data[0], head[:, ::-1], atol=1e-3))
        assert mirrored or np.allclose(layer.data[0], head, atol=1e-3)
        assert marks.letters == letters[mirrored]
        seen.add(mirrored)
    assert mirrored
    marks.set_neurological(True)
    assert marks.letters == letters[False]
    marks.set_neurological(False)
    layer.visible = False
    assert marks.letters == letters[False]
    layer.visible = True
    assert marks.letters == letters[True]
    bench.session.segmentation.go_to(index - 1)  # the scan itself
    assert marks.letters == letters[False]
    bench.session.segmentation.go_to(index)
    assert marks.letters == letters[True]
    panel.remove.click()
    assert marks.letters == letters[False]


def test_pictures_follow_the_slice_in_the_same_layers_when_asked(bench, open_panel):
    train(bench)
    panel = open_panel()
    settle(bench, panel)
    panel.network_input.click()
    settle(bench, panel)
    layer = ours(bench)["As the model sees it"]
    first = layer.data.copy()
    bench.session.segmentation.go_to(4)
    bench.qtbot.wait(400)
    np.testing.assert_array_equal(layer.data, first)
    panel.follow.setChecked(True)
    settle(bench, panel)
    assert list(ours(bench).values()) == [layer]
    assert layer.translate[0] == pytest.approx(bench.image.translate[0] + 4 * 2.0)
    assert not np.array_equal(layer.data, first)
    bench.session.segmentation.go_to(12)
    bench.qtbot.waitUntil(lambda: layer.translate[0] == bench.image.translate[0] + 12 * 2.0)


def test_channels_can_be_stepped_through_or_seen_in_a_grid(bench, open_panel):
    train(bench)
    panel = open_panel()
    settle(bench, panel)
    click_level(bench, panel, "decoder 1")
    [layer] = ours(bench).values()
    first, name = layer.data.copy(), layer.name
    assert "most telling" in panel.message.text
    panel.rank.setValue(2)
    settle(bench, panel)
    assert not np.array_equal(layer.data, first)
    assert layer.name != name
    one = layer.data.shape
    covered_mm = one[2] * layer.scale[2]
    panel.channel_grid.setCurrentIndex(1)
    panel.channel_grid.activated.emit(1)
    settle(bench, panel)
    assert layer.data.shape[2] > 2 * one[2] * 0.9
    assert layer.data.shape[2] * layer.scale[2] == pytest.approx(covered_mm, rel=0.1)
    assert layer.name.startswith("Decoder 1: 4 channels")


def test_an_inspection_waits_for_the_training_and_shows_the_new_model(bench, open_panel):
    train(bench)
    panel = open_panel()
    settle(bench, panel)
    bench.annotator.config = TrainConfig(seconds=36_000, threads=1, model=NARROW["fast"])
    bench.widget.train.start.click()
    bench.wait_for_step()
    panel.network_input.click()
    bench.qtbot.waitUntil(lambda: "training" in panel.message.text)
    assert not ours(bench)
    bench.widget.train.start.click()
    bench.wait_for_job()
    settle(bench, panel)
    assert "As the model sees it" in ours(bench)


def test_layers_deleted_by_hand_are_no_longer_requested(bench, open_panel):
    train(bench)
    panel = open_panel()
    settle(bench, panel)
    panel.uncertainty.click()
    settle(bench, panel)
    bench.viewer.layers.remove(ours(bench)["Uncertainty"])
    assert not panel.uncertainty.isChecked()


@pytest.mark.slow
def test_a_picture_that_waits_for_its_turn_goes_with_the_request_or_the_plane(bench, open_panel):
    train(bench)
    panel = open_panel()
    settle(bench, panel)
    panel.uncertainty.click()
    panel.probabilities.click()
    settle(bench, panel)
    layers = panel.controller.layers
    kept = ours(bench)["Probability: Structure 1"]
    shown = {"Uncertainty", "Probability: Structure 1"}
    picture = Picture("uncertainty", 1, "late", 8, kept.data[0], PLACE, (0.0, 1.0))
    layers.show(picture, bench.session)
    bench.viewer.layers.remove(ours(bench)["Uncertainty"])
    assert panel.uncertainty.isChecked()  # one of its kind is still to come
    layers.drop_waiting("uncertainty")
    panel.uncertainty.click()
    panel.uncertainty.click()
    settle(bench, panel)
    assert set(ours(bench)) == shown
    bench.session.record.reset(8)  # the plane can change while nothing is annotated
    layers.show(picture, bench.session)
    bench.annotator.choose([bench.image], axis=2)
    settle(bench, panel)
    assert not ours(bench)  # a model is not asked about slices along another plane


def test_without_a_model_the_panel_says_what_is_missing(make_napari_viewer, bench, open_panel):
    panel = open_panel()
    assert "Train a model" in panel.message.text
    assert not panel.network_input.isEnabled()
    bench.widget.disconnect_viewer()
    assert panel.message.text == NO_ANNOTATOR


@pytest.mark.slow
def test_nothing_is_left_when_the_scan_goes(bench, open_panel):
    train(bench)
    panel = open_panel()
    settle(bench, panel)
    panel.network_input.click()
    settle(bench, panel)
    bench.viewer.layers.remove(bench.image)
    bench.qtbot.wait(50)
    assert [layer.name for layer in bench.viewer.layers] == ["Segmentation of scan"]


@pytest.mark.window
def test_nothing_is_left_when_the_dock_closes(bench, open_panel):
    train(bench)
    panel = open_panel()
    settle(bench, panel)
    panel.network_input.click()
    settle(bench, panel)
    callbacks = list(bench.viewer.mouse_drag_callbacks)
    panel.why.click()
    bench.viewer.window.remove_dock_widget(panel)
    assert not ours(bench)
    assert bench.session.labels.mode == "paint"
    assert bench.viewer.mouse_drag_callbacks == callbacks


def test_the_annotator_works_on_while_pictures_are_shown(bench, open_panel):
    train(bench)
    panel = open_panel()
    settle(bench, panel)
    panel.network_input.click()
    settle(bench, panel)
    scan = bench.widget.scan.image
    shown = [scan.itemText(at) for at in range(scan.count())]
    assert "As the model sees it" not in shown
    bench.annotator.segment()
    bench.wait_for_job()
    assert bench.session.labels.data.shape == SHAPE


def begin_long_inspection(bench: Bench, seen: list) -> None:
    """An inspection that goes on until it is stopped."""

    def inspect(should_stop):
        while not should_stop():
            time.sleep(0.01)
            yield "still at it"

    bench.annotator.work.background.happened.connect(seen.append)
    bench.annotator.work.run_in_background(inspect)
    bench.qtbot.waitUntil(lambda: len(seen) > 2)


@pytest.mark.parametrize("button", ["train.start", "result.segment", "result.fill"])
def test_an_inspection_makes_way_for_what_the_annotator_starts(bench, button):
    train(bench)
    bench.paint(12)
    bench.wait_for_job()
    seen = []
    begin_long_inspection(bench, seen)
    panel, name = button.split(".")
    pressed = getattr(getattr(bench.widget, panel), name)
    assert pressed.isEnabled()
    assert bench.widget.scan.isEnabled()
    pressed.click()
    assert bench.annotator.work.running
    bench.wait_for_job()
    assert not bench.annotator.work.background.running
    assert not bench.widget.message.failed, bench.widget.message.text
    assert bench.widget.message.text != "Stopped."


def test_work_that_waits_for_an_inspection_can_be_stopped(bench):
    train(bench)
    begin_long_inspection(bench, [])
    bench.widget.train.start.click()
    assert bench.widget.train.start.text() == "Stop"
    bench.widget.train.start.click()
    assert not bench.annotator.work.running
    assert bench.widget.message.text == "Stopped."
    bench.qtbot.waitUntil(lambda: not bench.annotator.work.background.running)
    assert not bench.annotator.work.running


def test_pictures_that_had_to_make_way_come_afterwards(bench, open_panel):
    train(bench)
    panel = open_panel()
    settle(bench, panel)
    panel.uncertainty.setChecked(True)
    panel.controller.see(uncertainty=True)
    panel.controller._begin()
    assert bench.annotator.work.background.running
    bench.annotator.segment()
    bench.wait_for_job()
    settle(bench, panel)
    assert "Uncertainty" in ours(bench)


@pytest.mark.window
def test_an_explanation_makes_way_for_pictures_and_ends_when_nobody_wants_it(
    bench, open_panel, monkeypatch
):
    def endless(decision):
        while True:
            time.sleep(0.01)
            yield torch.ones(decision.images.shape[-2:]), 0.5

    monkeypatch.setattr(explanation, "_by_gradient", endless)
    monkeypatch.setattr(explanation, "MOST_SECONDS", 1e9)
    train(bench)
    panel = open_panel()
    settle(bench, panel)
    panel.why.click()
    click_voxel(bench)
    bench.qtbot.waitUntil(lambda: "50% done" in panel.message.text)
    panel.uncertainty.click()
    bench.qtbot.waitUntil(lambda: "Uncertainty" in ours(bench))
    bench.qtbot.waitUntil(lambda: "50% done" in panel.message.text)  # it goes on
    assert set(ours(bench)) == {"Uncertainty", "Why here: gradient", "What it can see"}
    panel.why.click()
    settle(bench, panel)
    assert set(ours(bench)) == {"Uncertainty"}


def test_the_model_can_be_changed_during_an_inspection(bench, open_panel):
    train(bench)
    panel = open_panel()
    settle(bench, panel)
    begin_long_inspection(bench, [])
    bench.annotator.forget_model()
    bench.qtbot.waitUntil(lambda: not panel.controller.busy)
    assert "Train a model" in panel.message.text


def test_what_a_model_of_other_structures_and_levels_showed_goes_with_it(
    bench, open_panel, tmp_path
):
    bench.annotator.config = TrainConfig(
        seconds=36_000, max_steps=3, threads=1, model=NARROW["fast"]
    )
    bench.annotator.add_structure()
    bench.paint(8)
    bench.paint(9, 2)
    bench.train()
    panel = open_panel()
    settle(bench, panel)
    panel.probabilities.click()
    click_level(bench, panel, "encoder 2")
    assert sum(name.startswith("Probability") for name in ours(bench)) == 2
    deep = bench.session.models.present
    card = replace(
        deep.card,
        model=replace(deep.card.model, levels=2, n_classes=2),
        class_names=deep.card.class_names[:1],
        label_values=deep.card.label_values[:1],
        calibration=Calibration(),
    )
    shallow = Checkpoint(UNet(card.model).state_dict(), card)
    path = tmp_path / "shallow.safetensors"
    shallow.save(path)
    bench.session.models.load(path, None)
    bench.annotator.work.changed.emit()
    settle(bench, panel)
    assert [name.split(":")[0] for name in ours(bench)] == ["Probability"]
    assert not panel.message.failed, panel.message.text
    assert panel.controller.request.level == ""


def test_a_slice_can_be_seen_as_training_varies_it(bench, open_panel):
    train(bench)
    panel = open_panel()
    settle(bench, panel)

    def vary(how: str) -> None:
        panel.variation.activated.emit(panel.variation.findText(how))
        settle(bench, panel)

    vary("Varied: rotation")
    layer = ours(bench)["Varied: rotation"]
    first = layer.data.copy()
    np.testing.assert_allclose(layer.scale, bench.image.scale)
    vary("Varied: rotation")  # another draw, in the same layer
    assert list(ours(bench)) == ["Varied: rotation"]
    assert not np.array_equal(layer.data, first)
    vary("Not varied")
    assert not ours(bench)


@pytest.mark.window
def test_both_docks_share_one_place_in_tabs_with_the_new_one_in_front(bench, open_panel):
    panel = open_panel()
    window = bench.viewer.window._qt_window
    window.show()
    docks = panel.parent(), bench.widget.parent()
    bench.qtbot.waitUntil(lambda: docks[1] in window.tabifiedDockWidgets(docks[0]))
    bench.qtbot.waitUntil(lambda: not panel.visibleRegion().isEmpty())
    assert bench.widget.visibleRegion().isEmpty()
    bench.viewer.window.remove_dock_widget(panel)
    bench.qtbot.waitUntil(lambda: not bench.widget.visibleRegion().isEmpty())
