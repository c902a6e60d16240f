"""Label values of files: the same in the window and on the command line, for one model."""

from dataclasses import replace

import nibabel as nib
import numpy as np
import pytest

import napari_unet
from napari_unet.annotation.states import SliceState
from napari_unet.imaging.sidecar import structures_beside
from napari_unet.learning.config import ModelConfig
from napari_unet.learning.model_card import ModelCard, ScanSizes
from napari_unet.learning.network.checkpoint import Checkpoint
from napari_unet.plugin.layers.reader import read_scans

PLUGIN = "napari-unet-mri"


def values_of(path) -> set[int]:
    return set(np.unique(np.asarray(nib.load(path).dataobj)).tolist())


def save_mask(bench, path, values):
    """Save the ball as a mask: one value left of its middle, another right of it."""
    left, right = values
    columns = np.arange(bench.truth.shape[2])
    labels = np.where(bench.truth, np.where(columns < 20, left, right), 0)
    grid = bench.session.grid
    nib.save(nib.Nifti1Image(grid.to_source(labels).astype(np.int16), grid.affine), path)


@pytest.fixture
def model(tmp_path):
    """A model for the values 17 and 53, as the command line makes it, that has learned nothing."""
    from napari_unet.learning.network.unet import UNet

    shape = ModelConfig(n_classes=3, width=4, levels=2)
    card = ModelCard(shape, ("label 17", "label 53"), label_values=(17, 53))
    path = tmp_path / "model.safetensors"
    Checkpoint(UNet(shape).state_dict(), card).save(path)
    return path


@pytest.mark.window
def test_a_mask_of_freesurfer_is_learned_from_and_everything_saved_has_its_values(bench, tmp_path):
    save_mask(bench, tmp_path / "aparc.nii", (17, 1035))
    bench.annotator.take_mask(bench.annotator.find_mask(tmp_path / "aparc.nii"), complete=True)
    assert [(s.name, s.value) for s in bench.session.structures] == [
        ("Structure 17", 17),
        ("Structure 1035", 1035),
    ]
    bench.annotator.config = type(bench.annotator.config)(seconds=36_000, max_steps=2, threads=1)
    bench.train()
    bench.annotator.save_mask(tmp_path / "button.nii.gz")
    bench.viewer.layers.selection = {bench.session.labels}
    bench.viewer.layers.save(str(tmp_path / "dialog.nii.gz"), selected=True, plugin=PLUGIN)
    for door in ("button", "dialog"):
        assert values_of(tmp_path / f"{door}.nii.gz") == {0, 17, 1035}
        rows = structures_beside(tmp_path / f"{door}.nii.gz")
        assert [row[:2] for row in rows] == [(17, "Structure 17"), (1035, "Structure 1035")]
    bench.annotator.save_model(tmp_path / "model.safetensors")
    card = Checkpoint.load(tmp_path / "model.safetensors").card
    assert card.label_values == (17, 1035)


def test_a_model_of_the_command_line_gives_its_values_in_the_window(bench, tmp_path, model):
    bench.annotator.load_model(model)
    save_mask(bench, tmp_path / "painted.nii", (17, 53))
    bench.annotator.take_mask(bench.annotator.find_mask(tmp_path / "painted.nii"), complete=True)
    assert [s.value for s in bench.session.structures] == [17, 53], "not 53 structures"
    bench.annotator.save_mask(tmp_path / "window.nii.gz")
    shell = napari_unet.segment(
        bench.session.scan_source().read(), model, labels=bench.annotator.find_mask(
            tmp_path / "painted.nii"
        ).labels,
    )  # fmt: skip
    assert values_of(tmp_path / "window.nii.gz") == {0, 17, 53}
    assert set(np.unique(shell)) == {0, 17, 53}


def test_a_model_that_comes_after_the_mask_knows_its_structures_by_value(bench, tmp_path, model):
    save_mask(bench, tmp_path / "painted.nii", (17, 53))
    bench.annotator.take_mask(bench.annotator.find_mask(tmp_path / "painted.nii"), complete=True)
    bench.annotator.load_model(model)
    assert bench.session.models.to_segment(bench.session.structures).card.label_values == (17, 53)


def test_a_model_for_other_structures_does_not_rename_what_the_mask_shows(bench, tmp_path, model):
    save_mask(bench, tmp_path / "painted.nii", (4, 5))
    bench.annotator.take_mask(bench.annotator.find_mask(tmp_path / "painted.nii"), complete=False)
    assert not bench.widget.try_to(lambda: bench.annotator.load_model(model))
    assert "Structure 4 = 4, Structure 5 = 5" in bench.widget.message.text
    assert "label 17 = 17, label 53 = 53" in bench.widget.message.text
    assert [s.value for s in bench.session.structures] == [4, 5]


def test_an_earlier_model_of_other_structures_does_not_take_their_names(bench, tmp_path, model):
    bench.annotator.load_model(model)
    other = Checkpoint.load(model).with_classes(["Core", "Oedema"], label_values=[1, 2])
    other.save(tmp_path / "other.safetensors")
    bench.annotator.load_model(tmp_path / "other.safetensors")
    assert bench.session.class_names == ("Core", "Oedema")
    bench.annotator.restore_model(1)
    assert bench.session.class_names == ("label 17", "label 53")
    bench.annotator.restore_model(0)
    bench.paint(8)
    assert not bench.widget.try_to(lambda: bench.annotator.restore_model(1))
    assert "are not those of this model" in bench.widget.message.text


def test_a_structure_named_like_another_value_keeps_its_own(bench, tmp_path):
    bench.paint(8)
    bench.annotator.change_structure(1, replace(bench.session.structures[0], name="label 2"))
    bench.annotator.config = type(bench.annotator.config)(seconds=36_000, max_steps=1, threads=1)
    bench.train()
    bench.annotator.save_model(tmp_path / "model.safetensors")
    bench.annotator.save_mask(tmp_path / "window.nii.gz")
    model = Checkpoint.load(tmp_path / "model.safetensors")
    volume, labels = bench.session.scan_source().read(), bench.session.record.mask()
    shell = napari_unet.segment(volume, model, labels=labels, slices=[7])
    assert values_of(tmp_path / "window.nii.gz") - {0} == {1}
    assert shell.max() == 1


def test_a_mask_layer_that_napari_opened_is_taken_up_with_its_values(bench, tmp_path):
    save_mask(bench, tmp_path / "aparc_mask.nii", (17, 1035))
    [(data, arguments, _)] = read_scans(str(tmp_path / "aparc_mask.nii"))
    layer = bench.viewer.add_labels(data, **arguments)
    bench.annotator.choose([bench.image], labels=layer)
    assert [s.value for s in bench.session.structures] == [17, 1035]
    assert len(bench.session.record.slices_in(SliceState.ANNOTATED)) > 3
    bench.annotator.save_mask(tmp_path / "again.nii.gz")
    again, before = (nib.load(tmp_path / n).dataobj for n in ("again.nii.gz", "aparc_mask.nii"))
    np.testing.assert_array_equal(again, before)


def test_a_model_of_another_plane_turns_an_empty_scan_and_not_an_annotated_one(
    bench, tmp_path, model
):
    known = Checkpoint.load(model)
    sagittal = replace(known, card=replace(known.card, slice_axis=2))
    sagittal.save(tmp_path / "sagittal.safetensors")
    bench.annotator.load_model(tmp_path / "sagittal.safetensors")
    assert bench.session.axis == 2
    assert bench.viewer.dims.order[0] == 2
    assert "works on sagittal slices, which are shown now" in bench.widget.message.text
    bench.session.labels.data_setitem((np.array([5]), np.array([20]), np.array([20])), 1)
    bench.qtbot.wait(1)
    assert not bench.widget.try_to(lambda: bench.annotator.load_model(model))
    assert "learned from axial slices, but these are sagittal" in bench.widget.message.text
    assert bench.session.axis == 2
    assert bench.session.models.present.card.slice_axis == 2


def test_what_is_unlike_the_model_s_scans_is_said_with_the_result(bench, tmp_path, model):
    crop = ScanSizes((9.0,) * 3, (9.0,) * 3, (2.0, 1.0, 1.0), (2.0, 1.0, 1.0))
    known = Checkpoint.load(model)
    replace(known, card=replace(known.card, scan_sizes=crop)).save(model)
    bench.annotator.load_model(model)
    bench.annotator.segment()
    bench.wait_for_job()
    text = bench.widget.message.text
    assert "The whole volume is segmented" in text
    assert "scan: it shows about" in text
    assert "scans that show about 9 x 9 x 9 mm" in text
