"""What ``napari-unet info`` says of images of every format."""

import nibabel as nib
import nrrd
import numpy as np
import pydicom
import pytest

from napari_unet.cli.main import main
from napari_unet.imaging.dicom.series import series_in

AFFINE = np.array([[-1.5, 0, 0, 20], [0, 2, 0, -30], [0, 0, 3, 40], [0, 0, 0, 1.0]])


@pytest.fixture
def info(capsys):
    """Run the command; give its lines as a dict, notes joined."""

    def run(*arguments: object) -> dict[str, str]:
        assert main(["info", *map(str, arguments)]) == 0
        lines: dict[str, str] = {}
        for line in capsys.readouterr().out.splitlines():
            key, _, value = line.partition("  ")
            lines[key.strip()] = " ".join([lines.get(key.strip(), ""), value.strip()]).strip()
        return lines

    return run


def test_a_big_endian_scaled_series_without_orientation_is_described_in_full(tmp_path, info):
    voxels = np.zeros((4, 5, 6, 3), ">i2")
    voxels[1, 1, 1, 0] = 700
    image = nib.Nifti1Image(voxels, None, nib.Nifti1Header(endianness=">"))
    image.header.set_xyzt_units("micron")
    image.header.set_data_dtype(">i2")
    image.to_filename(tmp_path / "bold.nii")
    raw = bytearray((tmp_path / "bold.nii").read_bytes())
    raw[112:120] = np.array([0.5, -10], ">f4").tobytes()  # slope and intercept
    (tmp_path / "bold.nii").write_bytes(raw)

    lines = info(tmp_path / "bold.nii")
    assert lines["format"] == "NIfTI-1"
    assert lines["shape"].startswith("4 x 5 x 6 voxels")
    assert lines["sform, qform"] == "0 (unknown), 0 (unknown)"
    assert lines["unit"] == "micrometre"
    assert lines["stored type"] == "int16, big-endian, times 0.5 plus -10"
    assert lines["volumes"] == "3, numbered from 0"
    assert lines["values of volume 0"] == "-10 to 340"
    assert "no orientation" in lines["note"]
    assert "taken as millimetres" in lines["note"]


def test_a_mask_shows_its_labels_and_a_scan_its_range(tmp_path, info):
    labels = np.zeros((4, 5, 6), np.uint8)
    labels[1:3, 2, 2] = 7
    labels[0] = 2
    nrrd.write(str(tmp_path / "m.seg.nrrd"), labels, {"spacings": [1.0, 2.0, 5.0]})
    lines = info(tmp_path / "m.seg.nrrd")
    assert (lines["label 2"], lines["label 7"]) == ("30 voxels, 0.30 mL", "2 voxels, 0.02 mL")
    assert "values" not in lines

    scan = np.arange(120, dtype=np.float32).reshape(4, 5, 6)
    scan[0, 0, 0] = np.nan
    nib.MGHImage(scan, AFFINE).to_filename(tmp_path / "t1.mgz")
    lines = info(tmp_path / "t1.mgz")
    assert lines["values"] == "1 to 119; 1 voxels are NaN or infinite"
    assert lines["orientation"].startswith("LAS")
    assert (lines["format"], lines["spacing"]) == ("MGZ", "1.5 x 2 x 3 mm")


def test_nothing_but_nan_is_described_too(tmp_path, info):
    image = nib.Nifti1Image(np.full((4, 5, 6), np.nan, np.float32), AFFINE)
    image.to_filename(tmp_path / "nan.nii")
    assert info(tmp_path / "nan.nii")["values"] == "none; 120 voxels are NaN or infinite"


def test_a_dicom_folder_is_described_by_its_series(data_dir, info):
    folder = data_dir / "io" / "dicom_series"
    (lone,) = series_in(folder)
    described = info(folder)
    assert described["format"] == f"DICOM, {len(lone.files)} files"
    assert described == {**info(folder, "--series", lone.name), "file": str(folder)}
    assert info(lone.files[0])["shape"] == described["shape"]


def test_of_several_dicom_series_the_names_are_shown(data_dir, tmp_path, info):
    for number, file in enumerate(sorted((data_dir / "io" / "dicom_series").iterdir())):
        for series in ("T1", "T2"):
            slice_ = pydicom.dcmread(file)
            del slice_[0x00000000:0x00010000]  # network commands, which no file should hold
            slice_.SeriesDescription = series
            slice_.SeriesInstanceUID = f"{slice_.SeriesInstanceUID}.{series[1]}"
            slice_.save_as(tmp_path / f"{series}_{number}.dcm")
    lines = info(tmp_path)
    assert "2 series; describe one with --series NAME" in lines["folder"]
    assert set(lines) == {"folder", "T1", "T2"}
    assert info(tmp_path, "--series", "T2")["format"].startswith("DICOM")
