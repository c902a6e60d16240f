"""Opening, saving, samples and menus, through napari itself."""

from functools import partial
from types import SimpleNamespace

import nibabel as nib
import numpy as np
import pytest
from napari._app_model import get_app_model
from napari.layers import Image
from napari.layers._source import layer_source
from napari.viewer import Viewer
from npe2 import PluginManager, PluginManifest
from qtpy.QtWidgets import QFileDialog

from napari_unet.annotation.states import SliceState
from napari_unet.learning.config import TrainConfig
from napari_unet.phantom.metastases import make_phantom
from napari_unet.plugin.demo import open_demo
from napari_unet.plugin.layers.reader import read_scans
from napari_unet.plugin.widgets.file_dialogs import ask_mask_to_save

PLUGIN = "napari-unet-mri"


@pytest.fixture
def scan_file(tmp_path):
    """A sagittal acquisition with thick slices, stored P-I-R."""
    rng = np.random.default_rng(0)
    affine = np.array([[0, 0, 4.0, -30], [-1, 0, 0, 20], [0, -1.5, 0, 40], [0, 0, 0, 1]])
    path = tmp_path / "t1.nii.gz"
    image = nib.Nifti1Image(rng.integers(0, 900, (32, 28, 12)).astype(np.int16), affine)
    image.set_sform(affine, 1)
    image.set_qform(affine, 1)
    nib.save(image, path)
    return path


def test_a_file_opens_upright_in_millimetres(make_napari_viewer, scan_file):
    viewer: Viewer = make_napari_viewer()
    [layer] = viewer.open(scan_file, plugin=PLUGIN)
    assert layer.data.shape == (28, 32, 12)
    np.testing.assert_allclose(layer.scale, (1.5, 1, 4))
    assert str(layer.units[0]) == "millimeter"
    stored = nib.load(scan_file)
    world = np.array([2, 3, 5]) * layer.scale + layer.translate
    ijk = np.linalg.inv(stored.affine) @ [*(-world[::-1]), 1]
    assert layer.data[2, 3, 5] == stored.get_fdata()[tuple(ijk[:3].round().astype(int))]


def test_thick_sagittal_slices_are_annotated_sagittally_and_saved_where_they_belong(
    make_napari_viewer, scan_file, tmp_path
):
    viewer: Viewer = make_napari_viewer()
    viewer.open(scan_file, plugin=PLUGIN)
    _, widget = viewer.window.add_plugin_dock_widget(PLUGIN, "U-Net annotator")
    session = widget.annotator.session
    assert session.axis == 2
    session.segmentation.go_to(4)
    session.labels.paint((10, 12, 4), 1)
    assert session.record.state(4) is SliceState.ANNOTATED
    for path in (tmp_path / "button.nii.gz", tmp_path / "dialog.nii.gz"):
        if path.stem.startswith("button"):
            widget.annotator.save_mask(path)
        else:
            viewer.layers.selection = {session.labels}
            assert viewer.layers.save(str(path), selected=True, plugin=PLUGIN) == [str(path)]
        saved, source = nib.load(path), nib.load(scan_file)
        assert saved.shape == source.shape
        np.testing.assert_array_equal(saved.affine, source.affine)
        assert (saved.header["sform_code"], saved.header["qform_code"]) == (1, 1)
        assert np.count_nonzero(saved.dataobj) == np.count_nonzero(session.labels.data)
        world = np.array([10, 12, 4]) * session.labels.scale + session.labels.translate
        ijk = np.linalg.inv(saved.affine) @ [*(-world[::-1]), 1]
        assert np.asarray(saved.dataobj)[tuple(ijk[:3].round().astype(int))] == 1
    widget.disconnect_viewer()


@pytest.mark.parametrize("key", ["brain_metastases", "brain_metastases_annotated"])
def test_samples_open_with_their_hidden_answer(make_napari_viewer, key):
    viewer: Viewer = make_napari_viewer()
    layers = viewer.open_sample(PLUGIN, key)
    answer = next(layer for layer in layers if layer.name == "Hidden answer")
    assert not answer.visible
    assert answer.data.any()
    _, widget = viewer.window.add_plugin_dock_widget(PLUGIN, "U-Net annotator")
    session = widget.annotator.session
    annotated = session.record.slices_in(SliceState.ANNOTATED)
    assert len(annotated) == (5 if key.endswith("annotated") else 0)
    assert session.labels is not answer
    for index in annotated:
        np.testing.assert_array_equal(session.labels.data[index], answer.data[index])
    if annotated:
        assert session.class_names == ("Metastasis",)
    widget.disconnect_viewer()


def test_the_mni_sample_opens_upright(make_napari_viewer):
    pytest.importorskip("nilearn", reason="the MNI152 sample comes with nilearn")
    viewer: Viewer = make_napari_viewer()
    [layer] = viewer.open_sample(PLUGIN, "mni152")
    assert layer.data.ndim == 3
    head = layer.data > layer.data.mean()
    widths = head.any(axis=2).sum(axis=1)
    assert widths[5] < widths[len(widths) // 2], "the crown of the head comes first"


def test_the_widget_is_in_the_plugins_and_in_the_segment_menu(make_napari_viewer):
    viewer: Viewer = make_napari_viewer()
    menus = get_app_model().menus
    in_segment = [str(getattr(i, "command", i)) for i in menus.get_menu("napari/layers/segment")]
    assert any("napari-unet-mri.annotator" in item for item in in_segment)
    actions = [a.text() for a in viewer.window.plugins_menu.actions()]
    assert any("U-Net" in text for text in actions)


def test_every_command_of_the_manifest_can_be_imported():
    manifest = PluginManifest.from_distribution("napari-unet-mri")
    assert PluginManager.instance().get_manifest(PLUGIN).name == PLUGIN
    for command in manifest.contributions.commands:
        assert callable(command.python_name and _resolve(command.python_name))


def _resolve(name: str) -> object:
    module, _, attribute = name.partition(":")
    return getattr(__import__(module, fromlist=["_"]), attribute)


@pytest.mark.slow
def test_a_saved_model_is_fine_tuned_on_another_scan(bench, tmp_path):
    bench.paint(8)
    bench.train()
    path = tmp_path / "model.safetensors"
    bench.annotator.save_model(path)
    other = bench.viewer.add_image(bench.image.data * 2 + 10, name="next patient")
    bench.annotator.choose([other])
    bench.annotator.load_model(path)
    bench.widget.result.segment.click()
    bench.wait_for_job()
    assert bench.session.record.states().count(SliceState.PREDICTED) == 16
    bench.paint(7)  # which changes nothing where the prediction is right
    bench.session.segmentation.go_to(7)
    bench.annotator.accept_slice()
    bench.train()
    card = bench.session.models.present.card
    assert card.provenance.trained_on == ("scan", "next patient")
    assert card.provenance.steps == 40


@pytest.mark.window
def test_a_saved_mask_opens_as_labels_and_goes_on_as_annotation(bench, tmp_path):
    bench.paint(8)
    path = tmp_path / "yesterday.nii.gz"
    bench.annotator.save_mask(path)
    [mask] = bench.viewer.open(path, plugin=PLUGIN)
    assert mask.data.dtype == np.uint8
    np.testing.assert_array_equal(mask.data, bench.session.labels.data)
    bench.annotator.choose([bench.image], labels=mask)
    assert bench.session.record.slices_in(SliceState.ANNOTATED) == [8]


def test_an_image_named_like_a_mask_opens_as_an_image(make_napari_viewer, tmp_path):
    viewer: Viewer = make_napari_viewer()
    noise = np.random.default_rng(0).normal(size=(12, 12, 12)).astype(np.float32)
    nib.save(nib.Nifti1Image(noise, np.eye(4)), tmp_path / "label_probability.nii")
    [layer] = viewer.open(tmp_path / "label_probability.nii", plugin=PLUGIN)
    assert layer._type_string == "image"


@pytest.mark.parametrize(
    ("header", "proposed"),
    [
        ({"StudyDescription": "Brain/MRI: 2"}, "Brain_MRI_2_4_T1_axial_mask.nii.gz"),
        ({"StudyID": "77", "SeriesNumber": None}, "77_T1_axial_mask.nii.gz"),
        ({"StudyDate": "20260102"}, "20260102_4_T1_axial_mask.nii.gz"),
        ({"StudyDescription": "頭" * 60}, f"{'頭' * 26}_4_T1_axial_mask.nii.gz"),
        ({}, "4_T1_axial_mask.nii.gz"),
    ],
)
def test_the_name_proposed_for_a_mask_of_dicom_says_study_and_series(
    dicom, monkeypatch, header, proposed
):
    def edit(ds, k):
        ds.SpecificCharacterSet = "ISO_IR 192"
        for keyword, value in header.items():
            setattr(ds, keyword, value)

    def save(_parent, _title, path, _kinds):
        asked.append(path)
        return "", ""

    asked: list[str] = []
    monkeypatch.setattr(QFileDialog, "getSaveFileName", save)
    dicom.write(np.zeros((8, 8, 8), np.int16), names=[f"IM{n}" for n in range(8)], edit=edit)
    [(data, arguments, _)] = read_scans(str(dicom.folder))
    with layer_source(path=str(dicom.folder)):
        session = SimpleNamespace(images=(Image(data, **arguments),))
    assert ask_mask_to_save(None, session) is None
    assert asked == [str(dicom.folder.with_name(proposed))]


def test_the_demo_opens_with_the_training_time_that_it_is_given(make_napari_viewer, monkeypatch):
    tiny = partial(make_phantom, shape_zyx=(24, 40, 36), spacing_mm=(3.0, 2.0, 2.0))
    monkeypatch.setattr("napari_unet.plugin.layers.samples.make_phantom", tiny)
    monkeypatch.setattr("napari_unet.plugin.demo.napari.Viewer", make_napari_viewer)
    viewer = open_demo(TrainConfig(seconds=33.0), run=False)
    dock = viewer.window.dock_widgets["U-Net annotator (U-Net MRI)"]
    assert dock.annotator.config.seconds == 33.0
    assert dock.advanced.seconds.value == 33.0
    dock.disconnect_viewer()
