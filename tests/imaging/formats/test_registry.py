"""One door to all formats: who reads what, and what is said of the rest."""

import errno
import os
import re
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from napari_unet.errors import VolumeError
from napari_unet.imaging.formats.registry import READABLE, open_scan, stem


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("brain.mnc", "a MINC file.*mnc2nii"),
        ("T1.PAR", "Philips PAR/REC.*dcm2niix"),
        ("T1.REC", "Philips PAR/REC.*dcm2niix"),
        ("anat+orig.HEAD", "AFNI.*3dAFNItoNIFTI"),
        ("anat+orig.BRIK.gz", "AFNI.*3dAFNItoNIFTI"),
        ("dwi.mif.gz", "MRtrix.*mrconvert"),
        ("pet.v", "ECAT"),
        ("scan.nii.bz2", "bunzip2"),
        ("voxels.zraw", r"Open that: its \.mhd"),
        ("patient.zip", "Unpack it"),
        ("photo.webp", "not named like an image that can be read"),
        ("notes", "not named like an image that can be read"),
    ],
)
def test_formats_that_are_not_read_are_named_with_what_to_do(tmp_path, refusal, name, says):
    (tmp_path / name).write_bytes(b"whatever is in it")
    assert re.search(says, refusal(tmp_path / name))


@pytest.mark.parametrize("suffix", READABLE)
def test_a_text_file_under_any_name_is_refused_in_a_sentence(tmp_path, suffix, refusal):
    path = tmp_path / f"notes{suffix}"
    for other in (".hdr", ".img"):
        (tmp_path / f"notes{other}").write_text("no image at all, but long enough " * 40)
    path.write_text("no image at all, but long enough " * 40)
    assert "cannot be read" in refusal(path)
    path.write_bytes(b"")
    assert "empty" in refusal(path)


def test_names_lose_the_suffix_of_their_format(tmp_path):
    for suffix in READABLE:
        assert stem(tmp_path / f"sub-01_T1w{suffix.upper()}") == "sub-01_T1w"
    assert stem(tmp_path / "IM0001.dcm") == "IM0001"
    assert stem(tmp_path / "1.2.840.10008") == "1.2.840.10008"


def test_a_dicom_series_can_only_be_chosen_where_there_are_some(tmp_path):
    nib.Nifti1Image(np.zeros((4, 5, 6), np.int16), np.eye(4)).to_filename(tmp_path / "a.nii")
    with pytest.raises(VolumeError, match=r"a\.nii holds no DICOM series"):
        open_scan(tmp_path / "a.nii", series="T1")


def test_a_name_that_is_too_long_and_a_folder_that_may_not_be_entered_are_refused(
    tmp_path, monkeypatch
):
    with pytest.raises(VolumeError, match="name too long"):
        open_scan(tmp_path / f"{'a' * 300}.nii")
    with pytest.raises(VolumeError, match="There is no file"):
        open_scan(tmp_path / "scan.nii" / "inside.nii")

    def locked(_path, **_):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr(Path, "stat", locked)
    with pytest.raises(VolumeError, match=r"scan\.nii cannot be reached: Permission denied"):
        open_scan(tmp_path / "scan.nii")


def test_damage_in_mgh_voxels_is_not_told_as_of_nifti(tmp_path):
    path = tmp_path / "a.mgh"
    nib.MGHImage(np.ones((4, 5, 6), np.int16), np.eye(4)).to_filename(path)
    scan = open_scan(path)
    path.write_bytes(path.read_bytes()[:300])
    with pytest.raises(VolumeError, match="cannot be read as MGH"):
        scan.read(0)
