"""Structures in a real window: which labels can be painted, and what becomes of them."""

import numpy as np
import pytest
from napari.layers.labels import _labels_key_bindings as napari_keys

from napari_unet.annotation.states import BACKGROUND_BRUSH, IGNORE_LABEL, SliceState
from napari_unet.learning.config import TrainConfig

from ..conftest import bright_ball

FOREVER = TrainConfig(seconds=36_000, threads=1)


def names(bench) -> list[str]:
    rows = bench.widget.paint.structures.list
    return [rows.item(row).text() for row in range(rows.count())]


def test_next_label_after_the_background_brush_is_a_structure_that_is_learned_and_saved(bench):
    bench.paint(4, BACKGROUND_BRUSH)
    napari_keys.new_label(bench.session.labels)  # the key M
    assert bench.session.labels.selected_label == 2
    bench.qtbot.waitUntil(lambda: "Label 2 is no structure yet" in bench.widget.message.text)
    bench.paint(8, bench.session.labels.selected_label)
    assert names(bench) == ["Structure 1", "Structure 2"]
    assert (bench.session.record.mask()[8] == 2).any()
    slices = bench.session.progress.training_slices(2)
    assert any((each.labels == 2).any() for each in slices if each.index == 8)


def test_a_label_far_beyond_the_structures_becomes_the_next_one(bench):
    bench.session.labels.selected_label = 17
    assert bench.session.labels.selected_label == 2
    bench.annotator.add_structure()
    bench.session.labels.selected_label = 1
    assert bench.session.labels.selected_label == 1


def test_a_script_that_writes_255_is_told_that_it_is_neither_learned_nor_saved(bench):
    bench.paint(8, IGNORE_LABEL)
    assert bench.widget.message.failed
    assert "neither learned nor saved" in bench.widget.message.text


@pytest.mark.parametrize("kind", [np.uint8, np.int64])
def test_a_label_from_the_picker_is_drawn_and_counted_down_like_any_other(bench, kind):
    bench.annotator.add_structure()
    bench.session.labels.selected_label = kind(1)
    bench.annotator.session_changed.emit()
    assert bench.widget.paint.structures.list.currentRow() == 0
    for _ in range(2):
        napari_keys.decrease_label_id(bench.session.labels)
        bench.annotator.session_changed.emit()
    assert bench.session.labels.selected_label == 0


@pytest.mark.parametrize("before", ["stays", "is removed"])
def test_a_scan_that_is_opened_while_training_stops_is_annotated_then(bench, before):
    bench.annotator.config = FOREVER
    bench.paint(8)
    bench.widget.train.start.click()
    bench.wait_for_step()
    bench.widget.train.start.click()
    if before == "is removed":
        bench.viewer.layers.remove(bench.image)
    info, place = bench.image.metadata, {"scale": bench.image.scale, "units": bench.image.units}
    opened = bench.viewer.add_image(
        bright_ball()[0], name="next", metadata=info, translate=bench.image.translate, **place
    )
    bench.widget.choice.offer()  # what follows an opened layer soon
    assert bench.annotator.work.running
    bench.wait_for_job()
    bench.widget.choice.offer()
    assert bench.session is not None
    assert bench.session.images == (opened,)
    assert bench.session.record.slices_in(SliceState.ANNOTATED) == []


def test_a_structure_that_a_stroke_added_is_told_and_goes_with_the_stroke(bench):
    bench.session.labels.selected_label = 2
    bench.paint(8, 2)
    assert "Added as a structure, since its label was painted: “Structure 2”" in (
        bench.widget.message.text
    )
    bench.session.labels.undo()
    bench.qtbot.wait(1)
    assert names(bench) == ["Structure 1"]
    assert "No longer a structure" in bench.widget.message.text
    bench.session.labels.redo()
    bench.qtbot.wait(1)
    bench.widget.paint.structures.list.item(1).setText("Cyst")
    bench.session.labels.undo()
    bench.qtbot.wait(1)
    assert names(bench) == ["Structure 1", "Cyst"]


def test_no_two_structures_share_a_name(bench):
    bench.annotator.add_structure()
    bench.widget.paint.structures.list.item(1).setText("structure 1")
    assert names(bench) == ["Structure 1", "Structure 2"]
    assert "There is a structure “structure 1” already" in bench.widget.message.text
    bench.widget.paint.structures.list.item(0).setText("Structure 3")
    bench.annotator.add_structure()
    assert names(bench) == ["Structure 3", "Structure 2", "Structure 3 (2)"]


def test_a_structure_that_was_asked_for_stays_though_nothing_shows_it_yet(bench):
    bench.paint(5, 2)  # adds a structure, as a stroke does
    bench.annotator.add_structure()
    bench.paint(8)
    bench.session.record.sync()
    bench.qtbot.wait(1)
    assert len(bench.session.structures) == 3
