"""What does not say left from right is not made to say it by opening or saving it."""

import json
import struct

import nibabel as nib
import nrrd
import numpy as np
import pytest
from PIL import Image

from napari_unet.cli.main import main
from napari_unet.imaging.convert import convert
from napari_unet.imaging.formats.registry import open_scan
from napari_unet.imaging.loading import load_volume
from napari_unet.imaging.saving import save_mask

VOXELS = np.arange(9 * 10 * 11, dtype=np.int16).reshape(9, 10, 11)


def analyze(folder):
    nib.AnalyzeImage(VOXELS, np.eye(4)).to_filename(folder / "scan.img")
    return folder / "scan.hdr"


def nifti_without_codes(folder):
    image = nib.Nifti1Image(VOXELS, None)
    image.to_filename(folder / "scan.nii")
    return folder / "scan.nii"


def mgh_without_orientation(folder):
    path = folder / "scan.mgh"
    nib.MGHImage(VOXELS, np.eye(4)).to_filename(path)
    raw = bytearray(path.read_bytes())
    raw[28:30] = struct.pack(">h", 0)  # goodRASFlag
    path.write_bytes(raw)
    return path


def nrrd_without_space(folder):
    nrrd.write(str(folder / "scan.nrrd"), VOXELS, {"spacings": [1.0, 1.0, 2.0]})
    return folder / "scan.nrrd"


def picture(folder):
    Image.fromarray(VOXELS[0].astype(np.uint8)).save(folder / "scan.png")
    return folder / "scan.png"


UNKNOWN = [analyze, nifti_without_codes, mgh_without_orientation, nrrd_without_space, picture]


@pytest.mark.parametrize("make", UNKNOWN)
def test_what_is_saved_of_an_unknown_orientation_carries_the_warning(tmp_path, make):
    source = make(tmp_path)
    assert "may be swapped" in convert(source, tmp_path / "converted.nii.gz").summary()
    volume = load_volume(source)
    receipt = save_mask(np.ones(volume.shape_zyx, np.uint8), volume.grid, tmp_path / "m.nii.gz")
    assert "may be swapped" in receipt.summary()
    assert "may be swapped" in json.loads(receipt.sidecar.read_text())["Geometry"]["Remark"]


@pytest.mark.parametrize("make", UNKNOWN)
def test_info_names_the_guess_and_no_codes_that_the_file_does_not_have(tmp_path, make, capsys):
    assert main(["info", str(make(tmp_path))]) == 0
    told = capsys.readouterr().out
    assert "a guess" in told
    assert "scanner" not in told


def test_a_known_orientation_carries_no_warning(tmp_path):
    nib.Nifti1Image(VOXELS, np.eye(4)).to_filename(tmp_path / "scan.nii")
    for name in ("a.nrrd", "a.mgz"):
        assert "swapped" not in convert(tmp_path / "scan.nii", tmp_path / name).summary()
        assert open_scan(tmp_path / name).grid.has_orientation


def test_a_picture_saved_as_a_picture_claims_nothing(tmp_path):
    volume = load_volume(picture(tmp_path))
    receipt = save_mask(np.ones(volume.shape_zyx, np.uint8), volume.grid, tmp_path / "m.tif")
    assert receipt.remark == ""
