"""Undo takes back the latest step, whatever it was, and shows where."""

import nibabel as nib
import numpy as np

from napari_unet.annotation.states import SliceState
from napari_unet.plugin.layers.scan_layers import grid_of


def accept(bench, index):
    bench.session.segmentation.go_to(index)
    bench.annotator.accept_slice()


def states(bench, *indices):
    return [bench.session.record.state(index).value for index in indices]


def test_accepting_is_a_step_of_undo_and_undo_goes_to_what_it_changes(bench):
    bench.paint(8)
    accept(bench, 3)
    segmentation, labels = bench.session.segmentation, bench.session.labels
    segmentation.go_to(12)
    labels.undo()
    assert (segmentation.visible_index, *states(bench, 3, 8)) == (3, "empty", "annotated")
    labels.undo()
    assert (segmentation.visible_index, *states(bench, 3, 8)) == (8, "empty", "empty")
    assert not labels.data.any()
    labels.undo()
    assert states(bench, 3, 8) == ["empty", "empty"]
    segmentation.go_to(12)
    labels.redo()
    assert (segmentation.visible_index, *states(bench, 3, 8)) == (8, "empty", "annotated")
    labels.redo()
    assert (segmentation.visible_index, *states(bench, 3, 8)) == (3, "annotated", "annotated")
    labels.undo()
    bench.paint(5)
    labels.redo()
    assert states(bench, 3, 5, 8) == ["empty", "annotated", "annotated"], "a new stroke is the end"
    labels.undo()
    accept(bench, 1)
    labels.redo()
    assert states(bench, 1, 5) == ["annotated", "empty"], "so is a slice that is accepted"


def test_a_slice_accepted_before_a_stroke_stays_accepted_when_the_stroke_is_undone(bench):
    bench.session.segmentation.write_prediction(8, bench.truth[8].astype(np.uint8))
    accept(bench, 8)
    bench.paint(8, mask=~bench.truth[8])
    bench.session.labels.undo()
    assert states(bench, 8) == ["annotated"]
    np.testing.assert_array_equal(bench.session.record.truth(8) == 1, bench.truth[8])
    bench.session.labels.undo()
    assert states(bench, 8) == ["predicted"]


def test_partial_and_reset_are_steps_of_undo(bench):
    record, labels = bench.session.record, bench.session.labels
    bench.session.segmentation.write_prediction(8, bench.truth[8].astype(np.uint8))
    accept(bench, 8)
    bench.annotator.set_partial(True)
    assert states(bench, 8) == ["partial"]
    labels.undo()
    labels.undo()
    assert states(bench, 8) == ["predicted"], "no voxel is left that a person had decided"
    labels.redo()
    truth = record.truth(8)
    bench.annotator.reset_slice()  # no label differs
    assert states(bench, 8) == ["predicted"]
    bench.session.segmentation.write_prediction(8, np.zeros(bench.truth[8].shape, np.uint8))
    labels.undo()
    assert states(bench, 8) == ["annotated"]
    np.testing.assert_array_equal(record.truth(8), truth)
    labels.redo()
    assert states(bench, 8) == ["predicted"]
    assert not labels.data[8].any(), "the model's present prediction returns"


def test_a_stroke_across_slices_that_is_repeated_leaves_them_partial(bench):
    labels = bench.session.labels
    labels.n_edit_dimensions = 3
    labels.brush_size = 6
    labels.paint((8, 24, 20), 1)
    before = states(bench, *range(16))
    labels.undo()
    assert set(states(bench, *range(16))) == {"empty"}
    labels.redo()
    assert states(bench, *range(16)) == before
    assert "annotated" not in before


def test_a_loaded_mask_is_predictions_again_when_it_is_undone(bench, tmp_path):
    bench.paint(2, mask=bench.truth[8])
    grid = grid_of(bench.image)
    stored = grid.to_source(bench.truth.astype(np.uint8))
    nib.save(nib.Nifti1Image(stored, grid.affine), tmp_path / "mask.nii")
    bench.annotator.take_mask(bench.annotator.find_mask(tmp_path / "mask.nii"), complete=True)
    assert states(bench, 2, 7, 8) == ["annotated"] * 3
    bench.session.labels.undo()
    assert states(bench, 2, 7, 8) == ["annotated", "predicted", "predicted"]
    bench.session.labels.undo()
    assert bench.session.segmentation.visible_index == 2
    assert bench.session.record.slices_in(SliceState.ANNOTATED) == []


def test_undo_shows_the_stroke_from_the_side_too(bench):
    corner = np.zeros_like(bench.truth[8])
    corner[5:9, 30:34] = True
    bench.paint(8, mask=corner)
    bench.viewer.dims.order = (2, 0, 1)
    bench.viewer.dims.set_current_step(2, 3)
    bench.session.labels.undo()
    assert 30 <= bench.viewer.dims.current_step[2] < 34


def test_undo_is_napari_s_own_again_when_the_annotator_is_closed(bench):
    bench.paint(8)
    accept(bench, 3)
    labels = bench.session.labels
    bench.annotator.close()
    assert not {"undo", "redo", "paint", "fill", "paint_polygon"} & set(vars(labels))
    labels.undo()
    assert not labels.data.any()


def test_what_is_predicted_is_outlined_until_somebody_chooses_a_contour(bench):
    layer, labels = bench.session.segmentation, bench.session.labels
    bench.session.record.write_prediction(8, bench.truth[8].astype(np.uint8))
    bench.paint(9)

    def contour_at(index: int) -> int:
        layer.go_to(index)
        bench.widget._render_slices()
        return int(labels.contour)

    assert [contour_at(index) for index in (8, 9, 2, 8)] == [1, 0, 0, 1]
    labels.contour = 3
    assert [contour_at(index) for index in (8, 9, 8)] == [3, 3, 3]
