"""``napari-unet convert``: the same voxels in another file."""

import json

import nibabel as nib
import nrrd
import numpy as np
import pydicom
import pytest

from napari_unet.cli.main import main
from napari_unet.imaging.formats.registry import open_scan
from napari_unet.imaging.saving import save_mask

AFFINE = np.array([[0, 0.4, 0, -20.0], [-0.4, 0, 0, 31], [0, 0, 6, -7], [0, 0, 0, 1]])


def scan(path, data, *, slope=None, intent=None):
    image = nib.Nifti1Image(data, AFFINE)
    image.set_sform(AFFINE, 4)
    image.set_qform(AFFINE, 1)
    image.header.set_xyzt_units("mm", "sec")
    if slope:
        image.header.set_slope_inter(*slope)
    if intent:
        image.header.set_intent(intent)
    image.to_filename(path)
    return str(path)


def numbers(dtype="int16"):
    return np.arange(6 * 7 * 5).reshape(6, 7, 5).astype(dtype)


TYPES = ("uint8", "int8", "int16", ">i2", "uint16", "int32", "uint32", "float32", "float64")


@pytest.mark.parametrize("dtype", TYPES)
def test_nifti_to_nifti_keeps_numbers_scaling_and_every_spatial_field(tmp_path, capsys, dtype):
    source = scan(tmp_path / "a.nii.gz", numbers(dtype), slope=(0.37, -12.5))
    assert main(["convert", source, str(tmp_path / "b.nii")]) == 0
    assert "b.nii (6 x 7 x 5); re-read and identical" in capsys.readouterr().out
    old, new = nib.load(source), nib.load(tmp_path / "b.nii")
    np.testing.assert_array_equal(new.dataobj.get_unscaled(), old.dataobj.get_unscaled())
    assert new.get_data_dtype().newbyteorder("=") == old.get_data_dtype().newbyteorder("=")
    assert (new.dataobj.slope, new.dataobj.inter) == (old.dataobj.slope, old.dataobj.inter)
    np.testing.assert_array_equal(new.get_sform(), old.get_sform())
    np.testing.assert_array_equal(new.get_qform(), old.get_qform())
    for field in ("sform_code", "qform_code", "xyzt_units"):
        assert new.header[field] == old.header[field]
    assert int(new.header["intent_code"]) == 0
    assert not (tmp_path / "b.json").exists()


def test_an_unscaled_image_keeps_its_type_in_nrrd(tmp_path):
    source = scan(tmp_path / "a.nii.gz", numbers("int16"))
    assert main(["convert", source, str(tmp_path / "b.nrrd")]) == 0
    stored, header = nrrd.read(str(tmp_path / "b.nrrd"))
    assert stored.dtype == np.int16
    np.testing.assert_array_equal(stored, numbers())
    np.testing.assert_allclose(header["space origin"], (20, -31, -7))


@pytest.mark.parametrize(
    ("slope", "stored"), [((0.5, 10.0), np.float32), ((1 / 3, 0.1), np.float64)]
)
def test_scaled_intensities_stay_exact_where_a_format_knows_no_scaling(tmp_path, slope, stored):
    source = scan(tmp_path / "a.nii.gz", numbers("int16") + 20000, slope=slope)
    assert main(["convert", source, str(tmp_path / "b.nrrd")]) == 0
    found = nrrd.read(str(tmp_path / "b.nrrd"))[0]
    assert found.dtype == stored
    np.testing.assert_array_equal(found, nib.load(source).get_fdata())


def test_what_a_format_cannot_hold_exactly_is_refused(tmp_path, capsys):
    source = scan(tmp_path / "a.nii.gz", numbers("float64") / 3)
    assert main(["convert", source, str(tmp_path / "b.mgz")]) == 1
    assert "MGH cannot hold these intensities (float64) without rounding" in capsys.readouterr().err
    assert not (tmp_path / "b.mgz").exists()
    whole = scan(tmp_path / "c.nii.gz", numbers("uint32"))
    assert main(["convert", whole, str(tmp_path / "c.mgz")]) == 0
    np.testing.assert_array_equal(nib.load(tmp_path / "c.mgz").dataobj, numbers())


def test_nan_and_infinity_stay(tmp_path):
    data = numbers("float32")
    data[0, 0, :2] = np.nan, np.inf
    source = scan(tmp_path / "a.nii.gz", data)
    for name in ("b.nii.gz", "b.nrrd", "b.mgz"):
        assert main(["convert", source, str(tmp_path / name)]) == 0
    np.testing.assert_array_equal(nib.load(tmp_path / "b.mgz").dataobj, data)


def test_a_mask_becomes_a_segmentation_for_slicer_and_keeps_its_names(tmp_path):
    labels = (numbers() % 3).astype(np.float32)  # as some tools store masks
    source = scan(tmp_path / "mask.nii.gz", labels, intent="label")
    named = {
        "GeneratedBy": [{"Name": "napari-unet-mri"}],
        "Structures": [{"index": 2, "name": "Core", "color": "#00ff00"}],
    }
    (tmp_path / "mask.json").write_text(json.dumps(named))
    assert main(["convert", source, str(tmp_path / "out.seg.nrrd")]) == 0
    stored, header = nrrd.read(str(tmp_path / "out.seg.nrrd"))
    assert stored.dtype == np.uint8
    np.testing.assert_array_equal(stored, labels)
    assert header["Segment1_Name"] == "Core"
    found = json.loads((tmp_path / "out.json").read_text())
    assert found["Structures"] == named["Structures"]
    assert found["Sources"] == ["mask.nii.gz"]


def test_what_a_file_is_can_be_said(tmp_path, capsys):
    source = scan(tmp_path / "mask.nii.gz", numbers("int16"))
    assert main(["convert", source, str(tmp_path / "image.nii.gz"), "--image"]) == 0
    assert nib.load(tmp_path / "image.nii.gz").get_data_dtype() == np.int16
    probability = scan(tmp_path / "p.nii.gz", numbers("float32") / 210)
    assert main(["convert", probability, str(tmp_path / "q.nii.gz"), "--mask"]) == 1
    assert "whole numbers" in capsys.readouterr().err


def test_an_image_named_like_a_mask_is_an_image(tmp_path):
    source = scan(tmp_path / "label_probability.nii.gz", numbers("float32") / 210)
    assert main(["convert", source, str(tmp_path / "b.nii.gz")]) == 0
    assert nib.load(tmp_path / "b.nii.gz").get_data_dtype() == np.float32


def test_files_are_replaced_only_when_told_and_never_the_source(tmp_path, capsys):
    source = scan(tmp_path / "a.nii.gz", numbers())
    assert main(["convert", source, str(tmp_path / "b.nii.gz")]) == 0
    assert main(["convert", source, str(tmp_path / "b.nii.gz")]) == 1
    assert main(["convert", source, str(tmp_path / "b.nii.gz"), "--overwrite"]) == 0
    capsys.readouterr()
    assert main(["convert", source, source, "--overwrite"]) == 1
    assert "is the file to convert" in capsys.readouterr().err


def test_a_volume_that_is_not_there_is_refused(tmp_path, capsys):
    source = scan(tmp_path / "a.nii.gz", numbers())
    assert main(["convert", source, str(tmp_path / "b.nii.gz"), "--volume", "1"]) == 1
    assert "no volume 1: they count from 0 to 0" in capsys.readouterr().err


# -- DICOM segmentations ---------------------------------------------------------


@pytest.fixture
def dicom_scan(dicom, tmp_path):
    """A DICOM folder of five slices, and a NIfTI mask of it with names beside it."""
    pytest.importorskip("highdicom", reason="writing DICOM needs the extra 'dicom'")
    dicom.write(np.arange(5 * 6 * 7, dtype=np.int16).reshape(5, 6, 7))
    opened = open_scan(dicom.folder)
    labels = np.zeros(opened.grid.shape, np.uint8)
    labels[1, 4, 3] = 2
    save_mask(
        opened.grid.to_display(labels),
        opened.grid,
        tmp_path / "mask.nii.gz",
        structures=[(2, "Core", "#00ff00")],
    )
    return dicom.folder


def test_a_mask_becomes_a_dicom_segmentation_of_the_series_it_was_painted_on(
    dicom_scan, tmp_path, capsys
):
    source, target = str(tmp_path / "mask.nii.gz"), tmp_path / "out.dcm"
    assert main(["convert", source, str(target), "--scan", str(dicom_scan)]) == 0
    assert "out.dcm (7 x 6 x 5); re-read and identical" in capsys.readouterr().out
    saved = pydicom.dcmread(target)
    assert saved.Modality == "SEG"
    assert [segment.SegmentLabel for segment in saved.SegmentSequence] == ["Core"]
    assert saved.pixel_array.sum() == 1
    found = json.loads((tmp_path / "out.json").read_text())
    assert found["Geometry"]["Format"] == "DICOM segmentation"
    assert found["Geometry"]["VoxelsKept"]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["mask.nii.gz", "out.dcm"], "Give the folder of that series as scan"),
        (["mask.nii.gz", "out.dcm", "--scan", "mask.nii.gz"], "but mask is none"),
        (["mask.nii.gz", "out.dcm", "--scan", "dicom", "--image"], "Only masks"),
        (["mask.nii.gz", "out.nrrd", "--scan", "dicom"], "leave scan out"),
        (["mask.nii.gz", "dicom/im000.dcm", "--scan", "dicom", "--overwrite"], "series itself"),
    ],
)
def test_a_dicom_segmentation_needs_its_series(
    dicom_scan, tmp_path, capsys, monkeypatch, arguments, says
):
    monkeypatch.chdir(tmp_path)
    before = (dicom_scan / "im000.dcm").read_bytes()
    assert main(["convert", *arguments]) == 1
    assert says in capsys.readouterr().err
    assert (dicom_scan / "im000.dcm").read_bytes() == before
    assert not (tmp_path / "out.dcm").exists()
