"""Opening files and folders through napari: every format, several volumes, several series."""

import logging
import shutil
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pydicom
import pytest
from napari.layers import Image
from napari.layers._source import layer_source
from pydicom.uid import generate_uid

from napari_unet.errors import VolumeError
from napari_unet.imaging.dicom.series import series_in
from napari_unet.imaging.formats.registry import open_scan
from napari_unet.plugin.layers import reader
from napari_unet.plugin.layers.choose_dialog import ChooseDialog
from napari_unet.plugin.layers.metadata import LayerInfo
from napari_unet.plugin.layers.reader import get_reader, read_scans
from napari_unet.plugin.layers.scan_layers import identity_of

PLUGIN = "napari-unet-mri"


@pytest.fixture
def told(monkeypatch) -> list[str]:
    """What is shown as a notification."""
    sentences: list[str] = []
    monkeypatch.setattr(reader, "show_info", sentences.append)
    return sentences


@pytest.fixture
def asked(monkeypatch) -> list[tuple[str, ...]]:
    """A window to ask in, where the second entry is always chosen; what was offered."""
    offered: list[tuple[str, ...]] = []

    def choose(_title, _text, names):
        offered.append(tuple(names))
        return [1]

    monkeypatch.setattr(reader, "open_window", object)
    monkeypatch.setattr(reader, "choose", choose)
    return offered


def save_series(path: Path, n_volumes: int) -> None:
    shape = (10, 12, 9, n_volumes)
    data = np.zeros(shape, np.int16) + np.arange(n_volumes, dtype=np.int16)
    nib.save(nib.Nifti1Image(data, np.diag([2.0, 2.0, 3.0, 1.0])), path)


@pytest.fixture
def series_folder(tmp_path) -> Path:
    """Two series of a few slices in one folder."""
    folder = tmp_path / "study"
    folder.mkdir()
    for number, name in enumerate(("T1 sag", "FLAIR tra")):
        uid = generate_uid(entropy_srcs=[name])
        for k in range(8):
            data = pydicom.Dataset()
            data.file_meta = pydicom.dataset.FileMetaDataset()
            data.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
            data.SOPClassUID = data.file_meta.MediaStorageSOPClassUID = pydicom.uid.MRImageStorage
            data.SOPInstanceUID = data.file_meta.MediaStorageSOPInstanceUID = generate_uid()
            data.SeriesInstanceUID, data.SeriesDescription = uid, name
            data.StudyInstanceUID = generate_uid(entropy_srcs=["study"])
            data.FrameOfReferenceUID = data.StudyInstanceUID
            data.Modality, data.SeriesNumber, data.InstanceNumber = "MR", number, k + 1
            data.ImagePositionPatient = [-10, -12, 3.0 * k]
            data.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
            data.PixelSpacing, data.SliceThickness = [1, 1], 3
            data.Rows, data.Columns = 24, 20
            data.SamplesPerPixel, data.PhotometricInterpretation = 1, "MONOCHROME2"
            data.BitsAllocated = data.BitsStored = 16
            data.HighBit, data.PixelRepresentation = 15, 0
            data.PixelData = np.full((24, 20), 100 * number + k, np.uint16).tobytes()
            data.save_as(folder / f"{name[:2]}{k}.dcm", enforce_file_format=True)
    return folder


@pytest.mark.parametrize("name", ["a.nii", "a.NII.GZ", "a.mgz", "a.nrrd", "a.seg.nrrd", "a.mha"])
def test_every_readable_name_is_offered(name):
    assert get_reader(name) is read_scans


def test_other_files_and_folders_are_left_to_others(tmp_path):
    (tmp_path / "picture.webp").write_bytes(b"\x89PNG")
    (tmp_path / "notes").write_text("DICOM is a standard")
    assert get_reader(str(tmp_path / "picture.webp")) is None
    assert get_reader(str(tmp_path / "notes")) is None
    assert get_reader(str(tmp_path)) is None


def test_a_few_volumes_open_as_layers_of_their_own(tmp_path):
    save_series(tmp_path / "dwi.nii", 3)
    layers = read_scans(str(tmp_path / "dwi.nii"))
    assert [int(data.max()) for data, _, _ in layers] == [0, 1, 2]
    names = [arguments["name"] for _, arguments, _ in layers]
    assert len(set(names)) == 3
    assert all(name.startswith("dwi") for name in names)


def test_many_volumes_open_as_the_first_one_and_it_is_said(tmp_path, told):
    save_series(tmp_path / "bold.nii", 40)
    [(data, arguments, _)] = read_scans(str(tmp_path / "bold.nii"))
    assert data.shape == (9, 12, 10)
    assert arguments["name"].startswith("bold")
    assert any("holds 40 volumes; the first is shown" in sentence for sentence in told)


def test_in_a_window_the_volumes_are_chosen(tmp_path, asked):
    save_series(tmp_path / "bold.nii", 40)
    [(data, _, _)] = read_scans(str(tmp_path / "bold.nii"))
    assert data.max() == 1
    assert len(asked[0]) == 40


def test_a_folder_with_two_series_is_refused_where_nobody_can_be_asked(series_folder):
    assert get_reader(str(series_folder)) is read_scans
    with pytest.raises(VolumeError, match="FLAIR tra"):
        read_scans(str(series_folder))


def test_in_a_window_the_series_is_chosen_by_name(series_folder, asked):
    [(data, arguments, kind)] = read_scans(str(series_folder))
    chosen = asked[0][1]
    assert {name.split(" (")[0] for name in asked[0]} == {"T1 sag", "FLAIR tra"}
    assert kind == "image"
    assert data.shape == (8, 24, 20)
    assert (data.min() >= 100) == chosen.startswith("FLAIR")
    assert LayerInfo.in_metadata(arguments["metadata"]).grid.shape_zyx == (8, 24, 20)


def test_a_disc_opens_and_asks_whether_to_join_slices_that_are_each_a_series(
    dicom, tmp_path, monkeypatch
):
    def apart(ds, k):
        ds.SeriesInstanceUID = generate_uid()

    questions: list[str] = []

    def choose(_title, text, names):
        questions.append(text)
        return [names.index("T1 axial (4 series joined) (12 x 10 x 4)")]

    monkeypatch.setattr(reader, "open_window", object)
    monkeypatch.setattr(reader, "choose", choose)
    files = dicom.write(np.zeros((4, 10, 12), np.int16), edit=apart)
    assert get_reader(str(tmp_path)) is read_scans
    for paths in (str(tmp_path), [str(file) for file in files]):
        [(data, _, _)] = read_scans(paths)
        assert data.shape == (4, 10, 12)
    assert len(questions) == 2
    assert "\n4 series of one slice each lie one above another like one scan" in questions[0]


def test_all_files_of_a_series_open_as_one_layer(make_napari_viewer, series_folder):
    viewer = make_napari_viewer()
    files = sorted(series_folder.glob("T1*.dcm"))
    viewer.open(files, plugin=PLUGIN)
    assert len(viewer.layers) == 1
    assert viewer.layers[0].data.shape == (8, 24, 20)


def test_a_real_series_opens_upright(make_napari_viewer, data_dir, caplog):
    folder = data_dir / "io" / "dicom_series"
    if not folder.exists():
        pytest.skip("shared data are not here")
    viewer = make_napari_viewer()
    with caplog.at_level(logging.WARNING):
        layers = viewer.open(folder, plugin=PLUGIN)
    assert layers
    assert all(str(layer.units[0]) == "millimeter" for layer in layers)
    assert not caplog.records


def test_what_a_file_says_about_itself_is_shown(tmp_path, told):
    grid = np.diag([2.0, 2.0, 3.0, 1.0])
    data = np.ones((10, 12, 9), np.float32)
    data[0, 0, 0] = np.nan
    nib.save(nib.Nifti1Image(data, grid), tmp_path / "t1.nii")
    read_scans(str(tmp_path / "t1.nii"))
    assert told
    assert told[0].startswith("t1: ")
    assert "NaN" in told[0]


def test_padding_is_told_and_does_not_darken_or_bleach_the_picture(tmp_path, told):
    data = np.random.default_rng(0).normal(500, 100, (10, 12, 9)).astype(np.float32)
    nib.save(nib.Nifti1Image(data, np.eye(4)), tmp_path / "clean.nii")
    data[7:], data[0, 0, 0] = -32768, 65535
    nib.save(nib.Nifti1Image(data, np.eye(4)), tmp_path / "padded.nii")
    [(_, clean, _)] = read_scans(str(tmp_path / "clean.nii"))
    assert not told
    [(_, padded, _)] = read_scans(str(tmp_path / "padded.nii"))
    assert "325 voxels lie far outside" in told[0]
    assert padded["contrast_limits"] == pytest.approx(clean["contrast_limits"], abs=60)


def test_a_mask_by_its_header_opens_as_labels_of_any_type(tmp_path):
    labels = np.zeros((10, 12, 9), np.int16)
    labels[3:5] = 1035
    image = nib.Nifti1Image(labels, np.eye(4))
    image.header.set_intent("label")
    nib.save(image, tmp_path / "aparc.nii")
    shutil.copy(tmp_path / "aparc.nii", tmp_path / "copy.nii")
    [(data, _, kind)] = read_scans(str(tmp_path / "copy.nii"))
    assert kind == "labels"
    assert data.max() == 1035


def test_the_chooser_gives_what_is_selected(qtbot):
    dialog = ChooseDialog("Open volumes", "Which?", ["b = 0", "b = 500", "b = 1000"])
    qtbot.addWidget(dialog)
    assert dialog.chosen() == [0]
    dialog.list.item(2).setSelected(True)
    assert dialog.chosen() == [0, 2]


def test_opening_a_file_of_a_series_that_is_open_says_so(make_napari_viewer, series_folder, told):
    viewer = make_napari_viewer()
    viewer.open(series_folder / "T10.dcm", plugin=PLUGIN)
    told.clear()
    viewer.open(series_folder / "T11.dcm", plugin=PLUGIN)
    assert len(viewer.layers) == 1
    assert told == ["T11.dcm is of a series that is open already: its layer is in the list."]


def test_of_a_file_with_two_stacks_one_is_chosen_like_of_a_folder(
    series_folder, asked, monkeypatch
):
    file = series_folder / "T10.dcm"
    both = [replace(one, files=(file,)) for one in series_in(series_folder)]
    monkeypatch.setattr(reader, "series_in", lambda _: both)
    # Two orientations in one file are rare; the folder stands for it.
    monkeypatch.setattr(
        reader, "open_scan", lambda _, series: open_scan(series_folder, series=series)
    )
    [(_, arguments, _)] = read_scans(str(file))
    assert len(asked[0]) == 2
    assert LayerInfo.in_metadata(arguments["metadata"]).series == both[1].uid


def test_volumes_of_a_file_and_series_of_a_folder_are_told_apart(tmp_path):
    save_series(tmp_path / "bold.nii", 3)
    seen = set()
    for data, arguments, _ in read_scans(str(tmp_path / "bold.nii")):
        with layer_source(path=str(tmp_path / "bold.nii")):
            seen.add(identity_of(Image(data, **arguments)))
    assert len(seen) == 3


def test_bright_lesions_of_a_scan_are_not_all_white(tmp_path):
    rng = np.random.default_rng(0)
    data = rng.normal(100, 5, (64, 64, 32)).astype(np.float32)
    lesion = data[10:14, 20:24, 9:17] = rng.uniform(130, 150, (4, 4, 8))
    nib.save(nib.Nifti1Image(data, np.eye(4)), tmp_path / "flair.nii.gz")
    path = str(tmp_path / "flair.nii.gz")
    ((_, arguments, _),) = get_reader(path)(path)
    assert np.mean(lesion < arguments["contrast_limits"][1]) > 0.8
