"""Which images make one volume: two spacings, exports made twice, discs, a series a slice."""

import io
import os

import numpy as np
import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, MediaStorageDirectoryStorage, generate_uid

from napari_unet.errors import SaveError, VolumeError
from napari_unet.imaging.dicom import grouping
from napari_unet.imaging.dicom.seg_writer import check_can_refer
from napari_unet.imaging.dicom.series import open_dicom, series_in, stack_of


@pytest.fixture
def data() -> np.ndarray:
    """Slices, rows and columns; no two voxels alike."""
    return np.arange(12 * 4 * 5, dtype=np.int16).reshape(12, 4, 5)


def at(affine: np.ndarray, heights: list[float], digits: int = 6):
    """Place slice k of a series at `heights[k]` slice distances."""

    def edit(ds, k):
        place = affine[:3, 3] + heights[k] * affine[:3, 2]
        ds.ImagePositionPatient = [f"{coordinate:.{digits}f}" for coordinate in place]

    return edit


def voxels(scan) -> np.ndarray:
    return np.asarray(scan.read(0).stored).transpose(2, 1, 0)


def index_of_a_disc() -> bytes:
    index, file = Dataset(), io.BytesIO()
    index.file_meta = FileMetaDataset()
    index.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    index.file_meta.MediaStorageSOPClassUID = MediaStorageDirectoryStorage
    index.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    index.save_as(file, enforce_file_format=True)
    return file.getvalue()


@pytest.mark.parametrize(
    ("heights", "fine", "coarse"),
    [
        ([0, 0.5, 1, 1.5, 2, 3, 4, 5, 6, 7, 8, 9], slice(0, 5), slice(5, 12)),
        ([0, 1, 2, 3, 4, 5, 6, 6.5, 7, 7.5, 8, 8.5], slice(6, 12), slice(0, 6)),
        ([0, 0.5, 1, 1.5, 2, 2.75, 3.75, 4.75, 5.75, 6.75, 7.75, 8.75], slice(0, 5), slice(5, 12)),
    ],
)
def test_the_parts_of_a_head_ct_with_two_spacings_are_offered(dicom, data, heights, fine, coarse):
    flat = dicom.tilted((0.0, 0.0))
    files = dicom.write(data, flat, description="Head", edit=at(flat, heights))
    with pytest.raises(VolumeError) as refused:
        open_dicom(dicom.folder)
    said = str(refused.value)
    assert "2.5 mm apart from " in said
    assert "5 mm apart from " in said
    assert "a volume has one spacing" in said
    assert "missing" not in said
    for name, part in (("Head (2.5 mm apart)", fine), ("Head (5 mm apart)", coarse)):
        scan = open_dicom(dicom.folder, name)
        np.testing.assert_array_equal(voxels(scan), data[part])
        assert scan.files == tuple(files[part])
        assert any("a volume has one spacing" in note for note in scan.notes)
        assert len(stack_of(scan).volumes[0]) == len(data[part])
        assert open_dicom(files[part][1]).name == scan.name


def test_slices_that_are_missing_are_no_second_spacing(dicom, data):
    flat = dicom.tilted((0.0, 0.0))
    heights = [0, 1, 2, 3, 5, 6, 7, 8, 11, 12, 13, 14]
    dicom.write(data, flat, edit=at(flat, heights))
    with pytest.raises(VolumeError, match="Slices of T1 axial are missing"):
        open_dicom(dicom.folder)


@pytest.mark.parametrize("same_instances", [True, False])
@pytest.mark.parametrize("digits", [0, 1])
def test_a_series_exported_twice_is_read_once_with_the_positions_that_are_not_rounded(
    dicom, data, digits, same_instances
):
    lps, uid, instances = dicom.tilted(), generate_uid(), {}
    data[:2] = 0  # air, alike in both slices

    def exact(ds, k):
        instances[k] = ds.SOPInstanceUID

    def rounded(ds, k):
        at(lps, list(range(12)), digits)(ds, k)
        if same_instances:
            ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = instances[k]

    dicom.write(data, lps, prefix="b", series=uid, edit=exact)
    dicom.write(data, lps, prefix="a", series=uid, edit=rounded)
    (series,) = series_in(dicom.folder)
    assert series.shape == (5, 4, 12)
    scan = open_dicom(dicom.folder)
    np.testing.assert_array_equal(voxels(scan), data)
    np.testing.assert_allclose(scan.grid.affine, np.diag([-1, -1, 1, 1]) @ lps, atol=2e-5)
    assert "12 of its images are there twice" in " ".join(scan.notes)
    assert sorted(scan.files) == sorted(dicom.folder.iterdir())


def test_two_scans_at_almost_the_same_places_are_not_called_incomplete(dicom, data):
    lps, uid = dicom.tilted(), generate_uid()
    dicom.write(data, lps, prefix="a", series=uid)
    dicom.write(data + 1000, lps, prefix="b", series=uid, edit=at(lps, list(np.arange(12) + 0.01)))
    with pytest.raises(VolumeError, match="images only 0.05 mm apart: a.*.dcm and b.*.dcm"):
        open_dicom(dicom.folder)


def test_a_disc_is_searched_below_its_index_and_links_are_followed_once(dicom, data, tmp_path):
    inner = tmp_path / "disc" / "DICOM" / "PAT01" / "ST01" / "SE01"
    inner.parent.mkdir(parents=True)
    dicom.write(data)
    dicom.folder.rename(inner)
    (tmp_path / "disc" / "autorun.inf").write_text("viewer.exe")
    (tmp_path / "disc" / "DICOMDIR").write_bytes(index_of_a_disc())
    os.symlink(tmp_path / "disc", inner.parent / "loop", target_is_directory=True)
    os.symlink(inner, tmp_path / "disc" / "again", target_is_directory=True)
    os.symlink("itself", tmp_path / "disc" / "itself")
    for path in (tmp_path / "disc", tmp_path / "disc" / "DICOMDIR"):
        scan = open_dicom(path)
        np.testing.assert_array_equal(voxels(scan), data)
        assert len(scan.files) == 12
        assert scan.notes == ()
        assert len(series_in(path)) == 1


def test_a_folder_of_too_many_files_is_not_searched_without_end(dicom, data, tmp_path, monkeypatch):
    dicom.write(data)
    monkeypatch.setattr(grouping, "MOST_LOOKED_AT", 5)
    with pytest.raises(VolumeError, match="more than 5 files in its folders. Choose one"):
        open_dicom(tmp_path)


def test_slices_that_are_each_a_series_are_offered_as_one_scan(dicom, data):
    def apart(ds, k):
        ds.SeriesInstanceUID = generate_uid()

    files = dicom.write(data, ks=[3, 0, 4, 1, 2], edit=apart)
    for path in (dicom.folder, files[1]):
        with pytest.raises(VolumeError, match=r"“T1 axial \(5 series joined\)” joins them"):
            open_dicom(path)
    scan = open_dicom(dicom.folder, "T1 axial (5 series joined)")
    np.testing.assert_array_equal(voxels(scan), data[:5])
    assert len(stack_of(scan).volumes[0]) == 5
    alone = open_dicom(dicom.folder, "T1 axial")
    assert alone.grid.shape == (5, 4, 1)
    with pytest.raises(SaveError, match="of several series"):
        check_can_refer(scan)


@pytest.mark.parametrize(
    "differing", ["StudyInstanceUID", "FrameOfReferenceUID", "position", "name"]
)
def test_series_that_were_never_one_are_not_offered_as_one(dicom, data, differing):
    def apart(ds, k):
        ds.SeriesInstanceUID = generate_uid()
        if differing == "position":
            at(dicom.tilted(), [0, 1, 4, 5, 9])(ds, k)
        elif differing == "name":
            ds.SeriesDescription = f"T{k}"
        else:
            setattr(ds, differing, generate_uid())

    dicom.write(data[:5], edit=apart)
    assert [one.shape for one in series_in(dicom.folder)] == [(5, 4, 1)] * 5


@pytest.mark.parametrize(
    ("keyword", "name"),
    [("StudyInstanceUID", "study identifier"), ("FrameOfReferenceUID", "frame of reference")],
)
def test_missing_identifiers_are_told_when_a_scan_is_opened(dicom, data, keyword, name):
    pytest.importorskip("highdicom", reason="needs the extra 'dicom'")
    dicom.write(data, edit=lambda ds, k: delattr(ds, keyword))
    scan = open_dicom(dicom.folder)
    assert f"cannot be saved as DICOM (.dcm): its images have no {name}" in scan.notes[0]
    with pytest.raises(SaveError, match=f"have no {name}.*Save the mask as .nii.gz"):
        check_can_refer(scan)
