"""Keys: free in napari, doing what they say, written once."""

import re
import tomllib
from pathlib import Path

import pytest
from napari.components import ViewerModel
from napari.layers import Image, Labels
from napari.utils.key_bindings import KeymapHandler, coerce_keybinding
from napari.utils.shortcuts import default_shortcuts
from qtpy.QtGui import QShortcut

from napari_unet.annotation.states import BACKGROUND_BRUSH, SliceState
from napari_unet.plugin.app.shortcuts import Shortcut
from napari_unet.plugin.inspection.panel import InspectionPanel
from napari_unet.plugin.widgets.annotator_widget import VIEWER_KEYS

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def press(bench):
    """Press a key as napari does, with the Segmentation layer selected."""
    keys = KeymapHandler()

    def press(shortcut: Shortcut) -> None:
        keys.keymap_providers = [bench.session.labels, bench.viewer]
        assert keys.press_key(shortcut.key)

    return press


def test_no_key_is_taken_by_napari():
    ours = {str(coerce_keybinding(each.key)) for each in VIEWER_KEYS}
    other_layers = ("activate_add", "activate_vertex", "points", "shapes", "drawing")
    taken = {
        str(key)
        for name, keys in default_shortcuts.items()
        if not any(word in name for word in other_layers)
        for key in keys
    }
    for kind in (ViewerModel, Labels, Image):
        taken |= {str(key) for key in kind.class_keymap}
    assert len(taken) > 50
    assert not ours & taken


def test_every_key_but_the_sheet_s_is_bound_and_freed(bench):
    bound = {coerce_keybinding(each.key) for each in Shortcut if each is not Shortcut.HELP}
    assert bound <= set(bench.viewer.keymap)
    bench.widget.disconnect_viewer()
    assert not bound & set(bench.viewer.keymap)


def test_keys_say_what_counts_on_a_slice_and_take_the_background_brush(bench, press):
    bench.session.segmentation.go_to(8)
    press(Shortcut.BACKGROUND)
    assert "Press I" in bench.widget.message.text
    assert bench.session.labels.selected_label == 1
    bench.paint(8)
    press(Shortcut.PARTIAL)
    assert bench.session.record.state(8) is SliceState.PARTIAL
    press(Shortcut.BACKGROUND)
    assert bench.session.labels.selected_label == BACKGROUND_BRUSH
    press(Shortcut.BACKGROUND)
    assert bench.session.labels.selected_label == 1
    press(Shortcut.PARTIAL)
    assert bench.session.record.state(8) is SliceState.ANNOTATED
    press(Shortcut.RESET)
    assert bench.session.record.state(8) is SliceState.EMPTY
    press(Shortcut.RESET)
    assert "not painted" in bench.widget.message.text


def test_keys_walk_through_annotated_slices_and_say_where_they_end(bench, press):
    for index in (4, 8, 9):
        bench.paint(index)
    layer = bench.session.segmentation
    layer.go_to(5)
    seen = []
    for shortcut in (*3 * [Shortcut.NEXT_ANNOTATED], *3 * [Shortcut.PREVIOUS_ANNOTATED]):
        press(shortcut)
        seen.append(layer.visible_index)
    assert seen == [8, 9, 9, 8, 4, 4]
    assert bench.widget.message.text == "No slice before this one is annotated."


def test_a_key_hides_the_mask_and_gives_it_back_with_its_brush(bench, press):
    labels = bench.session.labels
    press(Shortcut.HIDE)
    assert not labels.visible
    press(Shortcut.HIDE)
    assert labels.visible
    assert labels.mode == "paint"


def test_a_key_starts_the_training_and_stops_it(bench, press):
    bench.paint(8)
    press(Shortcut.TRAIN)
    assert bench.annotator.work.running, bench.widget.message.text
    press(Shortcut.TRAIN)
    bench.wait_for_job()


def test_tooltips_name_the_keys_of_their_controls(bench):
    paint = bench.widget.paint
    bench.paint(bench.session.segmentation.visible_index, mask=bench.truth[8])
    bench.widget._render_slices()
    for control, shortcut in (
        (paint.accept, Shortcut.ACCEPT),
        (paint.next, Shortcut.NEXT),
        (paint.reset, Shortcut.RESET),
        (paint.partial, Shortcut.PARTIAL),
        (paint.background, Shortcut.BACKGROUND),
        (bench.widget.train.start, Shortcut.TRAIN),
    ):
        assert f"({shortcut.key})" in control.toolTip()


def test_the_sheet_of_keys_and_the_link_to_the_manual_are_in_both_docks(bench):
    urls = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["urls"]
    for dock in (bench.widget, bench.open("Look inside", InspectionPanel)):
        dock.show()
        assert urls["Homepage"] in dock.help.manual.text()
        key = dock.help.findChild(QShortcut)
        assert key.key().toString() == Shortcut.HELP.key
        key.activated.emit()
        assert dock.help.sheet.isVisible()
        text = dock.help.sheet.findChild(type(dock.help.manual)).text()
        assert all(each.key in text and each.does in text for each in Shortcut)


def test_the_table_of_keys_in_the_readme_is_that_of_the_window():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    table = re.search(r"\| key \| what it does \|\n\|---\|---\|\n((?:\|.*\n)+)", readme)
    rows = [tuple(row.strip("| ").split(" | ")) for row in table[1].splitlines()]
    assert rows == [(each.key, each.does) for each in Shortcut]
