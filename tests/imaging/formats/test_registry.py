"""One door to all formats: who reads what, and what is said of the rest."""

import errno
import os
import re
from pathlib import Path

import nibabel as nib
import nrrd
import numpy as np
import pytest

from napari_unet.errors import VolumeError
from napari_unet.imaging.formats.registry import READABLE, open_scan, stem
from napari_unet.imaging.loading import load_volume


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


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (errno.EACCES, "may not be read: no permission"),
        (errno.EIO, f"cannot be reached: {os.strerror(errno.EIO)}"),
        (errno.ESTALE, f"cannot be reached: {os.strerror(errno.ESTALE)}"),
    ],
)
@pytest.mark.parametrize("name", ["scan.nii.gz", "scan.nrrd", "scan.mha", "scan.tif", "IM0001"])
def test_what_cannot_be_read_is_called_neither_missing_nor_damaged(
    tmp_path, monkeypatch, name, number, words
):
    path = tmp_path / name
    path.write_bytes(b"content")

    def refuse(*_args, **_options):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(VolumeError, match=words) as refused:
        open_scan(path)
    assert "damaged" not in str(refused.value)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="Windows has no such pipes")
@pytest.mark.parametrize("name", ["scan.nii", "scan.nii.gz", "scan.nrrd", "scan.png", "IM0001"])
def test_a_pipe_is_refused_at_once(tmp_path, name):
    os.mkfifo(tmp_path / name)
    with pytest.raises(VolumeError, match="is a pipe or a device, not a file"):
        open_scan(tmp_path / name)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="Windows has no such pipes")
def test_a_pipe_beside_the_file_that_is_opened_is_refused_at_once(tmp_path):
    voxels, affine = np.ones((4, 5, 6), np.int16), np.eye(4)
    nib.Spm99AnalyzeImage(voxels, affine).to_filename(tmp_path / "a.hdr")
    nrrd.write(str(tmp_path / "a.nhdr"), voxels, {"encoding": "raw"})
    for header, other in (("a.hdr", "a.img"), ("a.img", "a.hdr"), ("a.hdr", "a.mat")):
        kept = (tmp_path / other).read_bytes()
        (tmp_path / other).unlink()
        os.mkfifo(tmp_path / other)
        with pytest.raises(VolumeError, match="is a pipe"):
            open_scan(tmp_path / header)
        (tmp_path / other).unlink()
        (tmp_path / other).write_bytes(kept)
    (tmp_path / "a.raw").unlink()
    os.mkfifo(tmp_path / "a.raw")
    with pytest.raises(VolumeError, match="is a pipe"):
        open_scan(tmp_path / "a.nhdr")
    with pytest.raises(VolumeError, match="no DICOM files"):
        open_scan(tmp_path)


@pytest.mark.parametrize("header", ["scan.nhdr", "scan.mhd"])
@pytest.mark.parametrize("absolute", [True, False])
def test_voxels_outside_the_folder_of_their_header_are_read_only_when_told(
    tmp_path, header, absolute
):
    (tmp_path / "folder").mkdir()
    elsewhere = tmp_path / "scan.raw"
    elsewhere.write_bytes(np.arange(60, dtype=np.uint8).tobytes())
    named = elsewhere if absolute else "../scan.raw"
    (tmp_path / "folder" / header).write_text(
        f"NRRD0004\ntype: uchar\ndimension: 3\nsizes: 3 4 5\nencoding: raw\ndata file: {named}\n"
        if header == "scan.nhdr"
        else "ObjectType = Image\nNDims = 3\nDimSize = 3 4 5\nElementType = MET_UCHAR\n"
        f"ElementDataFile = {named}\n"
    )
    (tmp_path / "folder" / "scan.raw").write_bytes(elsewhere.read_bytes())
    inside = (tmp_path / "folder" / header).with_stem("inside")
    beside = tmp_path / "folder" / "scan.raw" if absolute else "../folder/scan.raw"
    text = (tmp_path / "folder" / header).read_text()
    inside.write_text(text.replace(str(named), str(beside)))
    assert open_scan(inside).grid.shape == (3, 4, 5)
    with pytest.raises(VolumeError, match="outside its folder"):
        open_scan(tmp_path / "folder" / header)
    volume = load_volume(tmp_path / "folder" / header, voxels_anywhere=True)
    assert volume.data.max() == 59


def test_damage_in_mgh_voxels_is_not_told_as_of_nifti(tmp_path):
    path = tmp_path / "a.mgh"
    nib.MGHImage(np.ones((4, 5, 6), np.int16), np.eye(4)).to_filename(path)
    scan = open_scan(path)
    path.write_bytes(path.read_bytes()[:300])
    with pytest.raises(VolumeError, match="cannot be read as MGH"):
        scan.read(0)
