"""Masks, sequences and layers that other tools made, on whatever grid."""

import json
import threading

import nibabel as nib
import numpy as np
import pytest
from napari.layers import Image, Labels
from napari.layers._source import layer_source
from qtpy.QtWidgets import QFileDialog, QMessageBox

from napari_unet.annotation.states import SliceState
from napari_unet.errors import NapariUnetError, VolumeError
from napari_unet.imaging.regridding import resample
from napari_unet.imaging.saving import save_mask
from napari_unet.imaging.volume import Grid
from napari_unet.plugin.app.mask_exchange import mask_of_file, mask_of_layer
from napari_unet.plugin.layers import scan_layers, writer
from napari_unet.plugin.layers.metadata import LayerInfo
from napari_unet.plugin.layers.reader import read_scans
from napari_unet.plugin.layers.reorient import reoriented_layer
from napari_unet.plugin.layers.scan_layers import (
    check_scan,
    grid_of,
    reader_of,
    source_of,
    spatial_arguments,
    why_not_a_scan,
)

PLUGIN = "napari-unet-mri"
YES, NO = QMessageBox.StandardButton.Yes, QMessageBox.StandardButton.No


@pytest.fixture
def answer(monkeypatch, tmp_path):
    """Choose the file mask.nii in the dialog; answer the question as the list says."""
    answers = []
    monkeypatch.setattr(QFileDialog, "getOpenFileName", lambda *_: (str(tmp_path / "mask.nii"), ""))
    monkeypatch.setattr(QMessageBox, "question", lambda *_: answers.pop())
    return answers


def save_on_half_grid(bench, path, value=2):
    """Save the ball as a mask with voxels twice as large, stored R-A-S."""
    own = grid_of(bench.image)
    labels = own.to_source(bench.truth.astype(np.uint8) * value)[::-1, ::-1, ::-1]
    step = np.diag([2.0, 2.0, 4.0])
    first = own.affine[:3, :3] @ (np.array(own.shape) - 1) + own.affine[:3, 3]
    affine = np.eye(4)
    affine[:3, :3] = step
    affine[:3, 3] = first + np.array([0.5, 0.5, 1.0])
    nib.save(nib.Nifti1Image(labels[::2, ::2, ::2].copy(), affine), path)


@pytest.mark.parametrize("complete", [True, False])
def test_a_mask_on_another_grid_becomes_annotation_if_it_is_complete(
    bench, answer, tmp_path, complete
):
    save_on_half_grid(bench, tmp_path / "mask.nii")
    answer.append(YES if complete else NO)
    bench.widget.scan.load.click()
    assert not answer, bench.widget.message.text
    record = bench.session.record
    found = bench.session.labels.data == 1
    assert 2 * (found & bench.truth).sum() / (found.sum() + bench.truth.sum()) > 0.85
    shown = [int(i) for i in np.flatnonzero(found.any(axis=(1, 2)))]
    state = SliceState.ANNOTATED if complete else SliceState.PREDICTED
    assert record.slices_in(state) == shown
    assert "resampled from 2 x 2 x 4 mm onto the grid of “scan”" in bench.widget.message.text
    assert [s.value for s in bench.session.structures] == [2]
    assert bench.session.progress.score() is None, "what somebody else labelled is no prediction"


def test_a_loaded_mask_leaves_what_was_annotated(bench, answer, tmp_path):
    corner = np.zeros_like(bench.truth[8])
    corner[:4, :4] = True
    bench.paint(8, mask=corner)
    grid = grid_of(bench.image)
    stored = grid.to_source(bench.truth.astype(np.int16))
    nib.save(nib.Nifti1Image(stored, grid.affine), tmp_path / "mask.nii")
    answer.append(YES)
    bench.widget.scan.load.click()
    np.testing.assert_array_equal(bench.session.labels.data[8] == 1, corner)
    np.testing.assert_array_equal(bench.session.labels.data[7] == 1, bench.truth[7])
    assert "1 that you had annotated stay" in bench.widget.message.text
    assert "resampled" not in bench.widget.message.text
    bench.train()


def test_masks_without_a_structure_are_refused(bench, answer, tmp_path):
    grid = grid_of(bench.image)
    stored = grid.to_source(np.where(bench.truth, 255, 0).astype(np.int16))
    nib.save(nib.Nifti1Image(stored, grid.affine), tmp_path / "mask.nii")
    bench.widget.scan.load.click()
    assert bench.widget.message.failed
    assert "means “not annotated”" in bench.widget.message.text
    assert not bench.session.labels.data.any()


def test_masks_of_more_structures_than_can_be_worked_on_are_refused(bench):
    many = np.arange(bench.truth.size, dtype=np.int32).reshape(bench.truth.shape) % 400
    with pytest.raises(VolumeError, match=r"398 different values; at most 253 structures"):
        mask_of_layer(Labels(many, name="cells", scale=(2, 1, 1)), bench.image)


def test_a_label_layer_on_another_grid_is_brought_onto_the_scan_in_a_new_layer(bench, answer):
    bench.paint(5)
    mine = bench.session.labels
    flipped = bench.truth[::-1, :, ::-1].astype(np.int32) * 3
    other = bench.viewer.add_labels(
        flipped,
        name="theirs",
        scale=(-2.0, 1.0, -1.0),
        translate=(-10.0 + 2 * 15, 5.0, 3.0 + 39),
    )
    bench.qtbot.wait(5)
    row = [bench.widget.scan.labels.itemText(i) for i in range(bench.widget.scan.labels.count())]
    answer.append(YES)
    bench.widget.scan.labels.setCurrentIndex(row.index("theirs"))
    bench.widget.scan.labels.activated.emit(row.index("theirs"))
    assert bench.session.labels not in (mine, other)
    np.testing.assert_array_equal(bench.session.labels.data == 1, bench.truth)
    assert [s.value for s in bench.session.structures] == [3]
    assert mine.data[5].any()
    assert "resampled" not in bench.widget.message.text, "the same voxels, only flipped"


def test_new_labels_of_napari_over_our_scan_can_be_used(bench):
    bench.viewer.layers.selection.active = bench.image
    bench.viewer._new_labels()
    layer = bench.viewer.layers[-1]
    bench.annotator.choose([bench.image], labels=layer)
    assert bench.session.labels is layer
    bench.paint(8)
    bench.train()


def _add_coarse_flair(bench):
    """Open a second sequence, on a grid of its own, and choose both."""
    coarse = Grid.from_spacing((8, 24, 20), (4.0, 2.0, 2.0), (-9.0, 5.5, 3.5))
    flair = bench.viewer.add_image(
        bench.image.data[::2, ::2, ::2],
        name="flair",
        metadata=LayerInfo(grid=coarse).as_metadata(),
        **spatial_arguments(coarse),
    )
    bench.annotator.choose([bench.image, flair])
    return flair


@pytest.mark.slow
def test_sequences_on_two_grids_are_trained_on_together(bench, monkeypatch):
    threads = []

    def noted(*arguments, **options):
        threads.append(threading.current_thread())
        return resample(*arguments, **options)

    monkeypatch.setattr(scan_layers, "resample", noted)
    _add_coarse_flair(bench)
    assert bench.widget.message.text == (
        "“flair” was resampled from 2 x 2 x 4 mm onto the grid of “scan”."
    )
    volume = reader_of(bench.session.images)()
    assert volume.data.shape == (2, 16, 48, 40)
    assert np.corrcoef(volume.data[0].ravel(), volume.data[1].ravel())[0, 1] > 0.8
    bench.paint(8)
    threads.clear()
    bench.train()
    assert not bench.widget.message.failed
    # It takes seconds: the window must not wait for it.
    assert threads
    assert threading.main_thread() not in threads


@pytest.mark.slow
def test_a_sequence_that_is_removed_while_it_is_read_is_not_learned_from_next_time(
    bench, monkeypatch
):
    reading, go_on = threading.Event(), threading.Event()

    def slow(*arguments, **options):
        reading.set()
        assert go_on.wait(60)
        return resample(*arguments, **options)

    flair = _add_coarse_flair(bench)
    bench.paint(8)
    monkeypatch.setattr(scan_layers, "resample", slow)
    bench.widget.train.start.click()
    bench.qtbot.waitUntil(reading.is_set)
    bench.viewer.layers.remove(flair)
    go_on.set()
    bench.wait_for_job()
    assert bench.session.images == (bench.image,)
    bench.train()
    assert not bench.widget.message.failed, bench.widget.message.text
    assert bench.session.scan_source().prepared.n_channels == 1


@pytest.mark.parametrize(
    "placed",
    [
        {"scale": (-2.0, 1.0, 1.0), "translate": (20.0, 5.0, 3.0)},
        {"scale": (2.0, -1.0, -1.0)},
        {"affine": np.diag([2.0, 1.0, -1.0, 1.0])},
        {"scale": (2.0, 1.0, 1.0), "affine": np.diag([0.5, 2.0, 2.0, 1.0])},
    ],
)
def test_scans_that_other_readers_mirrored_are_annotated_and_saved_on_their_own_voxels(
    bench, tmp_path, placed
):
    theirs = bench.viewer.add_image(bench.image.data.copy(), name="theirs", **placed)
    assert why_not_a_scan(theirs) is None
    bench.annotator.choose([theirs])
    scan = bench.session.images[0]
    voxel = (5, 20, 11)
    world = np.array(theirs.data_to_world(voxel))
    at = tuple(int(i) for i in np.round(scan.world_to_data(world)))
    assert scan.data[at] == theirs.data[voxel]
    bench.session.segmentation.go_to(at[0])
    bench.session.labels.paint(at, 1)
    bench.qtbot.wait(1)
    bench.annotator.save_mask(tmp_path / "mask.nii.gz")
    saved = nib.load(tmp_path / "mask.nii.gz")
    mask = np.asarray(saved.dataobj).T
    assert mask.shape == theirs.data.shape
    assert mask[voxel] == 1
    np.testing.assert_allclose((saved.affine @ [*voxel[::-1], 1])[:3], -world[::-1], atol=1e-4)
    assert not theirs.visible
    bench.annotator.choose([theirs])
    assert bench.session.images[0] is scan, "one upright copy is enough"


def test_axes_in_another_order_are_brought_back_exactly():
    data = np.random.default_rng(0).normal(size=(20, 30, 12))
    affine = np.array([[0, 0, 4.0, 7], [-1, 0, 0, 0], [0, 1.5, 0, -2], [0, 0, 0, 1]])
    layer = Image(data, affine=affine)
    upright = reoriented_layer(layer, [])
    assert upright.data.shape == (12, 20, 30)
    voxel = (3, 8, 5)
    ijk = np.round(upright.world_to_data(layer.data_to_world(voxel))).astype(int)
    assert upright.data[tuple(ijk)] == data[voxel]


def scan_of_another_reader(tmp_path, *, with_source):
    """A scan stored R-A-S as others show it: array (k, j, i), placed by its spacing alone."""
    affine = np.eye(4)
    affine[:3, 3] = (-9.5, -11.5, -14.5)
    voxels = np.random.default_rng(0).normal(size=(20, 24, 30)).astype(np.float32)
    nib.save(nib.Nifti1Image(voxels, affine), tmp_path / "scan.nii")
    mask = np.zeros(voxels.shape, np.uint8)
    mask[5, 6, 25] = 1
    nib.save(nib.Nifti1Image(mask, affine), tmp_path / "mask.nii")
    with layer_source(path=str(tmp_path / "scan.nii") if with_source else None):
        return Image(voxels.T, name="theirs", translate=(-14.5, -11.5, -9.5)), affine


def test_a_mask_file_lands_on_its_voxels_of_a_scan_that_another_reader_opened(tmp_path):
    theirs, _ = scan_of_another_reader(tmp_path, with_source=True)
    mask = mask_of_file(tmp_path / "mask.nii", theirs)
    assert np.argwhere(mask.labels).tolist() == [[25, 6, 5]]
    assert not mask.note


def test_a_mask_file_is_refused_where_nobody_knows_left_from_right(tmp_path):
    theirs, _ = scan_of_another_reader(tmp_path, with_source=False)
    with pytest.raises(VolumeError, match="Open the scan's file with napari-unet-mri"):
        mask_of_file(tmp_path / "mask.nii", theirs)


@pytest.mark.window
@pytest.mark.parametrize("flipped", [False, True])
def test_a_mask_of_another_readers_scan_is_saved_on_the_grid_of_its_file(bench, tmp_path, flipped):
    theirs, affine = scan_of_another_reader(tmp_path, with_source=True)
    if flipped:
        theirs.scale, theirs.translate = (-1, -1, -1), (14.5, 11.5, 9.5)
    bench.viewer.add_layer(theirs)
    bench.annotator.choose([theirs])
    at = (25, 6, 5)
    bench.session.labels.data_setitem(
        tuple(np.array([n - 1 - i if flipped else i]) for i, n in zip(at, (30, 24, 20))), 1
    )
    bench.qtbot.wait(1)
    bench.annotator.save_mask(tmp_path / "button.nii.gz")
    bench.viewer.layers.selection = {bench.session.labels}
    bench.viewer.layers.save(str(tmp_path / "dialog.nii.gz"), selected=True, plugin=PLUGIN)
    assert "Left and right" not in bench.widget.message.text
    for door in ("button", "dialog"):
        saved = nib.load(tmp_path / f"{door}.nii.gz")
        np.testing.assert_allclose(saved.affine, affine)
        assert np.argwhere(saved.dataobj).tolist() == [[5, 6, 25]]
    assert json.loads((tmp_path / "button.json").read_text())["Sources"] == ["scan.nii"]


@pytest.mark.window
def test_a_mask_is_said_to_have_its_sides_from_the_viewer_where_no_file_tells(
    bench, tmp_path, monkeypatch
):
    told = []
    monkeypatch.setattr(writer, "show_info", told.append)
    theirs, _ = scan_of_another_reader(tmp_path, with_source=False)
    bench.viewer.add_layer(theirs)
    bench.annotator.choose([theirs])
    bench.annotator.save_mask(tmp_path / "button.nii.gz")
    assert "Left and right are taken from the viewer" in bench.widget.message.text
    bench.viewer.layers.selection = {bench.session.labels}
    bench.viewer.layers.save(str(tmp_path / "dialog.nii.gz"), selected=True, plugin=PLUGIN)
    assert "Left and right are taken from the viewer" in told[0]
    bench.annotator.choose([bench.image])
    bench.annotator.save_mask(tmp_path / "known.nii.gz")
    assert "Left and right" not in bench.widget.message.text


@pytest.mark.parametrize("moved", [{"translate": (3, 0, 0)}, {"scale": (2, 1, 1)}])
def test_a_layer_that_was_moved_in_the_viewer_is_not_used_as_if_it_were_not(moved):
    grid = Grid.from_spacing((12, 12, 12), (3.0, 1.0, 1.0))
    data = np.ones(grid.shape_zyx, np.uint8)
    known = {**spatial_arguments(grid), "metadata": LayerInfo(grid=grid).as_metadata()}
    assert why_not_a_scan(Image(data, **known)) is None
    assert "was moved or turned in the viewer" in why_not_a_scan(Image(data, **{**known, **moved}))
    with pytest.raises(VolumeError, match="moved in the viewer"):
        mask_of_layer(Labels(data, **{**known, **moved}), Image(data, **known))


def two_places(folder):
    """A scan and a mask of it, as napari gets them: the mask lies on the scan's qform."""
    voxels = np.zeros((9, 10, 11), np.uint8)
    voxels[2:4, 3:5, 1:3] = 1
    image = nib.Nifti1Image(voxels.astype(np.float32), None)
    elsewhere = np.diag([1.0, 1.0, 2.0, 1.0])
    elsewhere[:3, 3] = (5, 6, 7)
    image.header.set_qform(elsewhere, 1)
    image.header.set_sform(elsewhere, 4)
    image.header["srow_x"][3] += 8.8
    nib.save(image, folder / "scan.nii")
    nib.save(nib.Nifti1Image(voxels, elsewhere), folder / "mask.nii")
    files = (str(folder / "scan.nii"), str(folder / "mask.nii"))
    (data, known, _), (labels, placed, _) = read_scans(list(files))
    return Image(data, **known), Labels(labels, **placed)


def test_a_mask_on_the_scans_other_matrix_keeps_its_voxels_through_every_door(tmp_path):
    image, layer = two_places(tmp_path)
    for mask in (mask_of_file(tmp_path / "mask.nii", image), mask_of_layer(layer, image)):
        np.testing.assert_array_equal(mask.labels, image.data)
        assert "lies on the qform of “scan” (as placed here, they lie up to 8.8 mm" in mask.note


def test_a_sequence_on_the_scans_other_matrix_keeps_its_voxels(tmp_path):
    image, layer = two_places(tmp_path)
    second = Image(layer.data * 2, name="second", scale=layer.scale, translate=layer.translate)
    second.metadata = layer.metadata
    check_scan([image, second])
    volume = reader_of([image, second])()
    np.testing.assert_array_equal(volume.data[1], 2 * volume.data[0])
    assert volume.notes[0].startswith("“second” lies on the qform of “scan”")


@pytest.mark.parametrize("beside", [127, 251])
def test_255_that_seems_to_be_a_structure_is_not_dropped_in_the_window(tmp_path, beside):
    image, layer = two_places(tmp_path)
    voxels = np.zeros((9, 10, 11), np.uint8)
    voxels[2, 3, 1], voxels[2, 3, 2] = beside, 255
    nib.save(nib.Nifti1Image(voxels, grid_of(image).affine), tmp_path / "ribbon.nii")
    with pytest.raises(VolumeError, match=r"ribbon\.nii holds 255 as a structure"):
        mask_of_file(tmp_path / "ribbon.nii", image)
    layer.data = grid_of(image).to_display(voxels)
    with pytest.raises(VolumeError, match="holds 255 as a structure"):
        mask_of_layer(layer, image)
    rows = [(beside, "front", "#ff0000")]  # what we saved says that 255 is no structure
    labels = grid_of(image).to_display(voxels)
    save_mask(labels, grid_of(image), tmp_path / "ours.nii", structures=rows)
    assert set(np.unique(mask_of_file(tmp_path / "ours.nii", image).labels)) == {0, beside, 255}


def test_a_layer_that_nobody_placed_keeps_its_voxels_on_a_scan_of_the_same_shape(tmp_path):
    image, layer = two_places(tmp_path)
    mask = mask_of_layer(Labels(layer.data.copy(), name="theirs"), image)
    np.testing.assert_array_equal(mask.labels, image.data)
    assert "“theirs” does not say where it lies" in mask.note


def test_an_upright_copy_knows_its_file_and_goes_again_if_it_cannot_be_used(bench, tmp_path):
    theirs, _ = scan_of_another_reader(tmp_path, with_source=True)
    theirs.scale, theirs.translate = (-1, -1, -1), (14.5, 11.5, 9.5)
    bench.viewer.add_layer(theirs)
    before = list(bench.viewer.layers)
    wrong = Labels(np.full((4, 5, 6), 254, np.uint8), translate=(500, 0, 0))
    with pytest.raises(NapariUnetError):
        bench.annotator.choose([theirs], labels=wrong)
    assert list(bench.viewer.layers) == before
    assert theirs.visible
    bench.annotator.choose([theirs])
    assert source_of(bench.session.images[0]) == tmp_path / "scan.nii"


@pytest.mark.parametrize("suffix", [".nrrd", ".mgh"])
def test_a_suffix_that_is_typed_is_kept_where_it_can_be_written(
    bench, tmp_path, monkeypatch, suffix
):
    typed = tmp_path / f"mask{suffix}"
    monkeypatch.setattr(QFileDialog, "getSaveFileName", lambda *_: (str(typed), "NIfTI"))
    bench.widget.result.save_mask.click()
    assert typed.exists()
